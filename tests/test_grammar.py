"""Sentences of the grammar never come twice, are the same everywhere, and read as written ones do."""

import functools
import itertools
import re
import string
import subprocess
import sys
import time

import pytest
import yaml

from askd import grammar
from askd.errors import AskdError, UnknownName
from askd.files import data_dir
from askd.grammar import Choice, Numbers, Phrase, grammar_sentence, load_grammar, positions, sentence_at, shuffled, unique_below
from askd.scoring import normalise
from askd.sentences import SPLITS, sentences, split_of, topics

CLIPS = 20_000
NOT_WORDS = str.maketrans("", "", string.punctuation)
RAW = yaml.safe_load((data_dir() / "grammar.yaml").read_text(encoding="utf-8"))


def words(text: str) -> str:
    """What `split_of` looks at: small letters and spaces."""
    return text.lower().translate(NOT_WORDS)


@pytest.fixture(scope="module")
def spoken() -> list[str]:
    start = time.process_time()
    texts = [sentence_at(i, "train") for i in range(CLIPS)]
    cpu_s = time.process_time() - start
    print(f"{CLIPS / cpu_s:,.0f} sentences per CPU second")
    return texts


def test_no_training_text_comes_twice_and_none_is_a_written_one(spoken):
    written = {words(text) for topic in topics() for text in sentences(topic)}
    drawn = {words(text) for text in spoken}
    assert len(drawn) == CLIPS and not drawn & written
    assert positions() > 32 * 2 * CLIPS  # askd.synthesis deals them to up to 32 domains


def test_no_number_repeats_a_text():
    assert unique_below() > 300_000
    assert len({words(grammar_sentence(number)) for number in range(300_000)}) == 300_000
    far = range(unique_below() - 1000, unique_below())
    assert len({grammar_sentence(number, 3) for number in far}) == 1000


@pytest.mark.parametrize("size", [1, 2, 7, 207, 10_000, 10_001])
def test_shuffling_is_a_permutation_without_a_pattern(size):
    order = [shuffled(i, size, "key") for i in range(size)]
    assert sorted(order) == list(range(size))
    if size > 100:
        steps = [b - a for a, b in itertools.pairwise(order)]
        assert order != [shuffled(i, size, "other key") for i in range(size)] and len(set(steps)) > size / 3


@functools.cache
def literals(phrase: Phrase) -> list[re.Pattern]:
    """The words between the slots; "a(n)" fits both articles."""
    return [re.compile("an?".join(words(part) for part in re.split(r"[Aa]\(n\)", text))) for text in phrase.words]


@functools.cache
def numerals(node: Numbers) -> list[str]:
    return [words(node.text(i)) for i in range(node.count)]


def readings(text: str) -> int:
    """In how many ways the grammar can say the words of ``text``: templates and choices in their slots."""
    said, known = words(text), {}

    def ends(node, at: int) -> dict[int, int]:
        """Where a reading of ``node`` from ``at`` on may end, and how many readings end there."""
        if (node, at) not in known:
            if isinstance(node, Choice):
                found = total(itertools.chain.from_iterable(ends(entry, at).items() for entry in node.entries))
            elif isinstance(node, Numbers):
                found = total((at + len(number), 1) for number in numerals(node) if said.startswith(number, at))
            else:
                found = {at: 1}
                for literal, slot in itertools.zip_longest(literals(node), node.slots):
                    found = {match.end(): ways for at, ways in found.items() if (match := literal.match(said, at))}
                    if slot and found:
                        found = total((end, ways * more) for at, ways in found.items() for end, more in ends(slot, at).items())
                    if not found:
                        break
            known[node, at] = found
        return known[node, at]

    return sum(ends(template, 0).get(len(said), 0) for template in load_grammar())


def total(pairs) -> dict[int, int]:
    sums: dict[int, int] = {}
    for key, value in pairs:
        sums[key] = sums.get(key, 0) + value
    return sums


def test_only_one_choice_of_template_and_entries_gives_a_text():
    """With it, different numbers give different text, also those that no test draws."""
    for number in range(3 * len(load_grammar())):
        text = grammar_sentence(10**6 + number, seed=1)
        assert readings(text) == 1, text


def test_splits_are_disjoint_and_every_position_has_a_sentence():
    drawn = {split: {words(sentence_at(i, split)) for i in range(1500)} for split in SPLITS}
    for split, texts in drawn.items():
        assert len(texts) == 1500 and all(split_of(text) == split for text in texts)
    assert not drawn["train"] & drawn["test"] and not drawn["train"] & drawn["dev"] and not drawn["dev"] & drawn["test"]
    assert split_of(sentence_at(positions() * 3 + 5, "dev")) == "dev"  # past the end they may repeat, and go on


def test_a_sentence_depends_on_position_split_and_seed_alone():
    asked = [(i, split, seed) for i in (0, 7, 19_999, 3_000_000) for split in SPLITS for seed in (0, 11)]
    here = {key: sentence_at(*key) for key in reversed(asked)}
    code = f"from askd.grammar import sentence_at\nfor key in {asked}: print(sentence_at(*key))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert fresh == [here[key] for key in asked]
    assert len(set(fresh)) == len(asked)


def test_sentences_are_what_a_voice_can_read(spoken):
    lengths = [len(text.split()) for text in spoken]
    assert min(lengths) >= 3 and max(lengths) <= 40 and 12 <= sum(lengths) / CLIPS <= 15.5
    assert sum(n <= 6 for n in lengths) > 0.04 * CLIPS and sum(n >= 25 for n in lengths) > 0.04 * CLIPS
    for text in spoken:
        assert text.isascii() and re.fullmatch(r"[A-Z][A-Za-z ',-]*[.?!]", text) and "  " not in text and " ," not in text, text


def test_articles_and_plurals_agree(spoken):
    wrong = re.compile(
        r"\ba (?!one|uni|use|uri|eu)[aeiou]|\ba (?:hour|honest|heir)"
        r"|\ban (?!hour|honest|heir)[^aeiou]|\ban (?:one|uni|use|uri|eu)"
        r"|(?<!-)(?<!point )(?<!and )\bone (?:days|weeks|months|years|dollars|minutes|hours|miles|books)\b"
        r"|\b(the|a|an|of|to|in|on|at|and|for|is|was|had) \1\b", re.IGNORECASE
    )
    assert not [text for text in spoken if wrong.search(text)]
    assert all(map(wrong.search, ("He saw a owl.", "It took one days.", "She sat on on it.", "An unicorn.", "a honest man")))


def test_all_topics_templates_and_entries_are_heard(spoken):
    assert set(RAW["templates"]) == set(topics()) - {"science", "cooking", "sports"}
    assert len(load_grammar()) >= 80
    for texts in RAW["templates"].values():
        for template in texts:
            pattern = re.escape(re.sub(r"\{.*?\}", "SLOT", template)).replace("SLOT", ".+").replace(r"\(n\)", "n?")
            assert any(map(re.compile(pattern, re.I).fullmatch, spoken)), template
    heard = " " + " ".join(words(text) for text in spoken) + " "
    entries = [entry for slot in RAW["slots"].values() for entry in slot if "{" not in entry]
    missing = [entry for entry in entries if f" {words(entry)} " not in heard]
    assert len(entries) > 1000 and len(missing) <= 0.05 * len(entries), missing


def test_digits_and_words_score_alike(spoken):
    """Whisper writes digits where these texts have words; its normaliser makes them one."""
    pairs = {
        f"It costs {Numbers(1234, 1234).text(0)} dollars and fifty cents.": "It costs $1,234.50.",
        f"Sales fell {Numbers(4, 4).text(0)} point two percent.": "Sales fell 4.2%.",
        f"We met on March {Numbers(1, 28, 1, 'ordinal').text(20)}.": "We met on March 21st.",
        f"She was born in {Numbers(1900, 2024, 1, 'year').text(82)}.": "She was born in 1982.",
        "Six seventy-one Alder Lane.": "671 Alder Lane.",
        "Dial five five five, zero one nine two.": "Dial 5550192.",
    }
    for said, seen in pairs.items():
        assert normalise(said) == normalise(seen)
    for text in spoken[:500]:
        assert normalise(normalise(text)) and len(normalise(text).split()) <= 2 * len(text.split())


GOOD = {
    "slots": {"name": ["Ann", "Bob"], "digit": list("abcdefghij")},
    "templates": {"news": ["{name} has {1000..9999} to {1000..9999}."]},
}


@pytest.mark.parametrize(("part", "value", "message"), [
    ("templates", {"news": ["{nmae} has {1..9999} to {1..9999}."]}, r"slot in .*nmae.* has .*'nmae' .did you mean 'name'"),
    ("templates", {"news": ["{name} has {1..9}."]}, r"'\{name\} has \{1..9\}.' has 18 texts and needs 10,000,000"),
    ("templates", {"news": ["{name} has {9..1}."]}, r"'\{name\} has .*range \{9..1\} is empty"),
    ("templates", {"news": ["{name} has {1..9999} to {1..9999}"]}, r"'\{name\} has .* must end in"),
    ("templates", {"news": ["{name} has 5 of {1..9999} to {1..9999}."]}, r"5 of .* cannot be spoken"),
    ("templates", {"news": ["{name} has {1..9999} to {1..9999}."] * 2}, r"stands there twice"),
    ("templates", {"news": [None]}, r"is not text"),
    ("templates", {"news": None}, r"needs 'slots'"),
    ("templates", {}, r"needs 'slots'"),
    ("slots", {"name": []}, r"slot 'name' has no entries"),
    ("slots", {"name": ["Ann", ""]}, r"slot 'name', entry '' is not text"),
    ("slots", {"name": ["Ann", True]}, r"slot 'name', entry True is not text"),
    ("slots", {"name": ["Ann", "Bob", "ann,"]}, r"slot 'name' has 'ann' twice"),
    ("slots", {"name": ["Ann", "Zo\u00eb"]}, r"slot 'name', entry .* cannot be spoken"),
    ("slots", {"name": ["Ann", "{other}"], "other": ["a", "{name}"]}, r"holds itself \(name > other > name\)"),
    ("slots", {"name": ["Ann"], "unused": ["{nowhere}"]}, r"slot in .*unused.*nowhere"),
])
def test_a_broken_grammar_names_the_place(tmp_path, part, value, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | {part: value}), encoding="utf-8")
    with pytest.raises(AskdError, match=message) as error:
        load_grammar(path)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"slots: [", b"slots: \xff", b"- a list", None])
def test_a_file_that_is_no_grammar_is_named(tmp_path, content):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AskdError, match=r"mine\.yaml"):
        load_grammar(path)


def test_a_grammar_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    assert unique_below(path) == 2 * 9000**2
    assert re.fullmatch(r"(Ann|Bob) has [a-z -]+ to [a-z -]+\.", grammar_sentence(5, path=path))


def test_what_cannot_be_asked():
    with pytest.raises(AskdError, match="numbered from 0"):
        grammar_sentence(-1)
    with pytest.raises(UnknownName, match="known are dev, test, train"):
        sentence_at(0, "tain")
    assert grammar.TRIES * positions() <= unique_below()
