"""WER against published worked examples, jiwer, kaldialign and an exhaustive count; alignments against what defines them."""

import functools
import random
from importlib.metadata import version

import jiwer
import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askd.scoring import align, char_errors, domain_table, macro, normalise, scorer_name, word_errors

ALPHABET = "alpha bravo charlie delta echo foxtrot golf hotel".split()
texts = st.one_of(
    st.lists(st.sampled_from(["a", "b", "c", "twenty", "one", "Um,", "colour", "don't", "$5", "[noise]", "..."]), max_size=12)
    .map(" ".join),
    st.text(max_size=30),
)


def noisy(rng: random.Random, count: int = 300) -> tuple[list[str], list[str]]:
    """Random references, and hypotheses that share words with them by chance."""
    references = [" ".join(rng.choices(ALPHABET, k=rng.randint(1, 15))) for _ in range(count)]
    return references, [" ".join(rng.choices(ALPHABET, k=rng.randint(0, 15))) for _ in range(count)]


def totals(references: list[str], hypotheses: list[str]) -> tuple[int, int, int, int]:
    """S, D, I and words of all utterances."""
    counts = word_errors(references, hypotheses)
    return tuple(int(part.sum()) for part in (counts.sub, counts.dele, counts.ins, counts.words))


# "well" stands where the sources have "um", which the normaliser drops: see below
@pytest.mark.parametrize(
    ("reference", "hypothesis", "published", "wer"),
    [
        # Jurafsky & Martin, Speech and Language Processing, speech recognition, evaluation: an utterance of CallHome
        ("i WELL the PHONE IS i LEFT THE portable PHONE UPSTAIRS last night",
         "i GOT IT TO the FULLEST i LOVE TO portable FORM OF STORES last night", (6, 1, 3, 13), 76.9),
        # Hirschberg, COMS 4706 (Columbia 2011), lecture "ASR Evaluation": two by hand, one from NIST's sclite (2347-b-013)
        ("portable PHONE UPSTAIRS last night so", "portable FORM OF STORES last night so", (2, 0, 1, 6), 50.0),
        ("portable phone upstairs last night so", "preferable form of stores next light so far", (5, 0, 2, 6), 116.7),
        ("was an engineer SO I i was always with MEN WELL and they",
         "was an engineer AND i was always with THEM THEY ALL THAT and they", (3, 1, 2, 13), 46.2),
    ],
)
def test_published_examples(reference, hypothesis, published, wer):
    assert totals([reference], [hypothesis]) == published
    assert word_errors([reference], [hypothesis]).wer == pytest.approx(wer, abs=0.05)


def test_fillers_do_not_count():
    """The first example as it was said, with "um": Whisper's normaliser drops it, and one word less is in the denominator."""
    said = "i UM the PHONE IS i LEFT THE portable PHONE UPSTAIRS last night"
    heard = "i GOT IT TO the FULLEST i LOVE TO portable FORM OF STORES last night"
    counts = word_errors([said], [heard])
    assert (counts.errors[0], counts.words[0]) == (10, 12)


def test_corpus_level_is_not_the_mean_of_utterances():
    counts = word_errors(["go", "we all went to the old house again"], ["no", "we all went to the old house again"])
    assert counts.wer == pytest.approx(100 / 9)


@pytest.mark.parametrize(
    ("written", "normal"),
    [("Twenty-three dollars", "$23"), ("Colour, please!", "color please"), ("I'm Mr. Smith", "i am mister smith"),
     ("  Um, okay  ", "okay"), ("", ""), ("[music] (laughs)", "")],
)
def test_normaliser(written, normal):
    assert normalise(written) == normal


def test_empty_references_and_hypotheses():
    counts = word_errors(["", "", "good day", "[noise]"], ["", "hello there you", "", "Um."])
    assert counts.words.tolist() == [0, 0, 2, 0]
    assert counts.ins.tolist() == [0, 3, 0, 0]
    assert counts.dele.tolist() == [0, 0, 2, 0]
    assert counts.sub.tolist() == [0, 0, 0, 0]
    wrong, characters = char_errors(["", "", "good day"], ["", "you", ""])
    assert (wrong.tolist(), characters.tolist()) == ([0, 3, 8], [0, 0, 8])
    assert word_errors([], []).wer == 0 and align([], []) == []


@pytest.mark.parametrize("function", [word_errors, char_errors, align])
def test_texts_must_come_in_pairs(function):
    with pytest.raises(ValueError, match="1 references"):
        function(["a"], [])


def substitutions_possible(reference: list[str], hypothesis: list[str]) -> tuple[int, set[int]]:
    """The least number of errors, and every number of substitutions that an alignment with so few can have."""
    @functools.cache
    def best(i: int, j: int) -> tuple[int, frozenset[int]]:
        if i == 0 or j == 0:
            return i + j, frozenset([0])
        other = int(reference[i - 1] != hypothesis[j - 1])
        ways = [(*best(i - 1, j - 1), other), (*best(i - 1, j), 0), (*best(i, j - 1), 0)]
        costs = [ways[0][0] + other, ways[1][0] + 1, ways[2][0] + 1]
        return min(costs), frozenset(
            s + more for cost, (_, subs, more) in zip(costs, ways, strict=True) if cost == min(costs) for s in subs
        )

    return best(len(reference), len(hypothesis))


def test_parity_with_kaldialign_and_with_every_alignment_there_is():
    """Errors are the fewest possible; S, D and I agree with kaldialign's wherever the fewest errors allow one split only."""
    references, hypotheses = noisy(random.Random(0))
    counts = word_errors(references, hypotheses)
    unique = 0
    for i, (r, h) in enumerate(zip(references, hypotheses, strict=True)):
        theirs = kaldialign.edit_distance(r.split(), h.split())
        least, possible = substitutions_possible(r.split(), h.split())
        assert counts.errors[i] == theirs["total"] == least
        assert counts.sub[i] in possible
        assert counts.ins[i] - counts.dele[i] == len(h.split()) - len(r.split())
        if len(possible) == 1:
            unique += 1
            assert (counts.sub[i], counts.dele[i], counts.ins[i]) == (theirs["sub"], theirs["del"], theirs["ins"])
    assert 100 < unique < 300  # both kinds are there


def test_corpus_parity_with_kaldialign():
    references, hypotheses = noisy(random.Random(1))
    theirs = kaldialign.batch_error_rate([r.split() for r in references], [h.split() for h in hypotheses])
    assert word_errors(references, hypotheses).wer == pytest.approx(100 * theirs["err_rate"])


def test_parity_with_jiwer():
    """Of texts that need no normalising, jiwer's own totals, words and characters."""
    references, hypotheses = noisy(random.Random(2))
    theirs = jiwer.process_words(references, hypotheses)
    assert totals(references, hypotheses)[:3] == (theirs.substitutions, theirs.deletions, theirs.insertions)
    assert word_errors(references, hypotheses).wer == pytest.approx(100 * theirs.wer)
    theirs = jiwer.process_characters(references, hypotheses)
    wrong, characters = char_errors(references, hypotheses)
    assert wrong.sum() == theirs.substitutions + theirs.deletions + theirs.insertions
    assert characters.sum() == theirs.hits + theirs.substitutions + theirs.deletions
    assert 100 * wrong.sum() / characters.sum() == pytest.approx(100 * theirs.cer)


def test_characters_count_spaces():
    wrong, characters = char_errors(["black bird"], ["blackbird"])
    assert (wrong[0], characters[0]) == (1, 10)


def test_alignment_by_hand():
    found = align(["The cat sat."], ["so the cat, down"])[0]
    assert found.reference == ("the", "cat", "sat") and found.hypothesis == ("so", "the", "cat", "down")
    assert found.heard == ("the", "cat", "down")
    assert found.inserted == (("so",), (), (), ())
    assert found.right == (False, True, True, False)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "heard", "inserted"),
    [("", "", (), ((),)), ("", "thank you", (), (("thank", "you"),)), ("good day", "", (None, None), ((), (), ())),
     ("good day", "good day to you", ("good", "day"), ((), (), ("to", "you"))), ("a b c", "a c", ("a", None, "c"), ((),) * 4)],
)
def test_alignment_of_nothing_and_at_the_ends(reference, hypothesis, heard, inserted):
    found = align([reference], [hypothesis])[0]
    assert (found.heard, found.inserted) == (heard, inserted)


@given(texts, texts)
def test_an_alignment_holds_both_texts(reference, hypothesis):
    found = align([reference], [hypothesis])[0]
    assert list(found.reference) == normalise(reference).split()
    assert list(found.hypothesis) == normalise(hypothesis).split()
    assert len(found.heard) == len(found.reference) and len(found.inserted) == len(found.reference) + 1
    written, right = [], []
    for i, extra in enumerate(found.inserted):
        written += extra
        right += [False] * len(extra)
        if i < len(found.heard) and found.heard[i] is not None:
            written.append(found.heard[i])
            right.append(found.heard[i] == found.reference[i])
    assert tuple(written) == found.hypothesis
    assert tuple(right) == found.right


@given(texts, texts)
def test_an_alignment_has_the_counts(reference, hypothesis):
    found, counts = align([reference], [hypothesis])[0], word_errors([reference], [hypothesis])
    assert counts.dele[0] == found.heard.count(None)
    assert counts.ins[0] == sum(map(len, found.inserted)) == len(found.hypothesis) - len(found.heard) + counts.dele[0]
    assert counts.sub[0] == sum(h not in (None, r) for r, h in zip(found.reference, found.heard, strict=True))
    assert counts.words[0] == len(found.reference)
    assert counts.errors[0] == kaldialign.edit_distance(found.reference, found.hypothesis)["total"]


@given(texts)
def test_a_text_does_not_differ_from_itself(text):
    found = align([text], [text])[0]
    assert found.heard == found.reference and all(found.right) and not any(found.inserted)
    assert word_errors([text], [text]).errors[0] == char_errors([text], [text])[0][0] == 0


@given(texts, texts, texts)
def test_errors_are_a_distance(a, b, c):
    there, back, first, second = word_errors([a, b, a, b], [b, a, c, c]).errors
    assert there == back and there <= first + second
    assert (there == 0) == (normalise(a) == normalise(b))


def test_utterances_do_not_touch_each_other():
    references, hypotheses = noisy(random.Random(3), 50)
    alone = [align([r], [h])[0] for r, h in zip(references, hypotheses, strict=True)]
    assert align(references, hypotheses) == alone
    order = np.random.default_rng(0).permutation(50)
    mixed = word_errors([references[i] for i in order], [hypotheses[i] for i in order])
    assert np.array_equal(mixed.errors, word_errors(references, hypotheses).errors[order])


def rows(domain, references, hypotheses):
    return [{"domain": domain, "id": str(i), "speaker": "s", "reference": r, "hypothesis": h}
            for i, (r, h) in enumerate(zip(references, hypotheses, strict=True))]


def test_table_and_macro():
    table = domain_table(
        rows("a", ["good day"], ["good"]) + rows("b", ["x y z w"], ["x y z w"]), {"a": "in_domain", "b": "out_of_domain"}
    )
    assert table["a"] == {
        "split": "in_domain", "errors": 1, "words": 2, "wer": 50.0, "sub": 0, "del": 1, "ins": 0, "utterances": 1, "cer": 50.0,
    }
    assert macro(table) == {"in_domain": 50.0, "out_of_domain": 0.0, "all": 25.0}
    assert macro({"a": table["a"]})["out_of_domain"] is None


def test_macro_does_not_weigh_domains_by_size():
    table = domain_table(
        rows("small", ["go"], ["no"]) + rows("large", ["we went home"] * 9, ["we went home"] * 9),
        {"small": "in_domain", "large": "in_domain"},
    )
    assert macro(table)["all"] == 50.0
    assert macro(table, "cer")["all"] == 25.0  # "no" for "go": one of two characters


def test_a_domain_without_words_does_not_pass_for_perfect():
    table = domain_table(rows("silence", ["", "[music]"], ["Thank you.", ""]), {"silence": "out_of_domain"})
    assert (table["silence"]["words"], table["silence"]["ins"], table["silence"]["wer"]) == (0, 2, 200.0)


def test_the_scorer_names_its_versions():
    for package in ("jiwer", "whisper-normalizer"):
        assert version(package) in scorer_name()
