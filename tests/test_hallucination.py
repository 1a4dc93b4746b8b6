"""Signs of hallucination: hand-counted utterances, and rates that add up to the WER."""

import json
import random

import numpy as np
import pytest

from askd.errors import AskdError
from askd.evaluation import hypotheses
from askd.hallucination import MEASURES, counts, deleted_at_end, report
from askd.intervals import Draws
from askd.labelfilters import compression_ratio, repeated_ngrams
from askd.scoring import align, domain_table, macro, word_errors

SPLITS = {"a": "in_domain", "b": "in_domain", "c": "out_of_domain"}


def row(domain, reference, hypothesis, ended=True, name="0"):
    return {"domain": domain, "id": name, "speaker": "s", "reference": reference, "hypothesis": hypothesis, "ended": ended}


def one_model(rows, splits=SPLITS, resamples=200):
    return report({"m": rows}, Draws(rows, resamples), splits, [])["models"]["m"]


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("", 0),
        ("okay okay okay okay", 0),  # four words hold no 5-gram
        ("Red sky at night, sailors delight", 0),
        ("Red sky at night my friend. Red sky at night my dear!", 1),
        ("red sky at night friend " * 3, 6),  # 11 5-grams, 5 of them distinct
        ("Okay, " * 12, 7),  # 8 5-grams, one distinct
    ],
)
def test_repeated_5grams(text, repeats):
    assert repeated_ngrams(text) == repeats


def test_compression_ratio():
    assert compression_ratio("") == 0
    assert compression_ratio("The ferry to the island leaves at nine from the old harbour.") < 1.2
    assert compression_ratio("okay, " * 30) > 10
    assert compression_ratio("a" * 100) == pytest.approx(100 / 12, abs=0.8)  # 12 bytes of zlib
    assert compression_ratio("é" * 50) == pytest.approx(100 / 13, abs=0.8)  # bytes of UTF-8 count, not characters
    loop = "I think so, I think so. "
    assert compression_ratio(loop) < 2.4 < compression_ratio(loop * 4)


@pytest.mark.parametrize(
    ("heard", "missing"),
    [
        ("a b c d e f g h", 0), ("a b c d e", 3), ("", 8), ("a b h", 0), ("a b c d x", 3), ("x a b c d e", 3),
        ("a b c d e f g h h h", 0), ("b b b", 5),
    ],
)
def test_deleted_at_end(heard, missing):
    words = {w: f"word{w}" for w in "abcdefghx"}  # letters alone are normalised away
    texts = [" ".join(words[w] for w in text.split()) for text in ("a b c d e f g h", heard)]
    assert deleted_at_end(align(*([text] for text in texts))[0]) == missing


def test_counts_of_hand_counted_utterances():
    rows = [
        row("a", "the cat sat on the mat by the door today at noon", "Oh, the cat sit on the mat by the door today noon."),
        row("a", "the boat leaves at nine today", "The boat leaves."),
        row("a", "the boat leaves at nine today", "The boat leaves", ended=False),  # cut, not an early end
        row("a", "good day", ""),  # two words are no early end
        row("a", "", "you"),
        row("a", "no way", "no " + "way " * 60, ended=False),
    ]
    assert {name: values.tolist() for name, values in counts(rows).items()} == {
        "utterances": [1] * 6, "told_ended": [1] * 6, "words": [12, 6, 6, 2, 0, 2], "hypothesis_words": [12, 3, 3, 0, 1, 61],
        "inserted": [1, 0, 0, 0, 1, 59], "deleted": [1, 3, 3, 2, 0, 0], "substituted": [1, 0, 0, 0, 0, 0],
        "repeated": [0, 0, 0, 0, 0, 55],  # 57 5-grams: one begins with "no", 56 are the same
        "compressed": [0, 0, 0, 0, 0, 1], "early_end": [0, 1, 0, 0, 0, 0], "cut": [0, 0, 1, 0, 0, 1],
    }


def test_report_of_hand_counted_utterances():
    rows = [
        row("a", "here we are again", "Here we are again."),
        row("a", "the boat leaves at nine today", "the boat"),  # 4 deleted of 10 in a: 40 %
        row("b", "good day sir now go home", "good day " * 6, ended=False, name="loop"),
        row("b", "good day", "good day"),
        row("c", "hello there", "oh hello there you", name="more"),  # 2 inserted of 2: 100 %
    ]
    model = one_model(rows)
    # b of 8 words: 12 heard for 6, of which 2 are right: 4 substituted, 6 inserted; 8 5-grams, 2 of them distinct
    found = {name: value["value"] for name, value in model["splits"]["in_domain"].items()}
    assert found == pytest.approx({
        "insertion_rate": (0 + 75) / 2, "deletion_rate": (40 + 0) / 2, "substitution_rate": (0 + 50) / 2,
        "repeated_5grams_per_1000_words": 1000 * 6 / 18, "compressed_share": 25.0, "length_ratio": (6 / 10 + 14 / 8) / 2,
        "early_end_share": 25.0, "cut_share": 25.0,
    }, abs=1e-3)
    assert model["splits"]["out_of_domain"]["insertion_rate"] == {"value": 100.0, "ci95": [100.0, 100.0]}
    assert model["splits"]["all"]["cut_share"]["value"] == 20.0
    assert model["worst"] == [["b", "loop", 6], ["c", "more", 2]]


def noisy(seed, wrong):
    """Forty utterances of each of three domains, words dropped, replaced and invented at random."""
    rng = random.Random(seed)
    rows = []
    for domain in SPLITS:
        for i in range(40):
            words = [f"word{rng.randint(0, 30)}" for _ in range(rng.randint(1, 12))]
            changed = random.Random(f"{domain} {i} {wrong}")
            heard = []
            for word in words:
                if changed.random() < wrong:
                    heard += changed.choice([[], ["other"], [word, "more", "words"]])
                else:
                    heard.append(word)
            rows.append(row(domain, " ".join(words), " ".join(heard), name=str(i)))
    return rows


def test_the_rates_add_up_to_the_wer():
    rows = noisy(0, 0.4)
    draws = Draws(rows, 500)
    errors = word_errors([r["reference"] for r in rows], [r["hypothesis"] for r in rows])
    table = macro(domain_table(rows, SPLITS))
    splits = one_model(rows)["splits"]
    for split, domains in (("in_domain", ["a", "b"]), ("out_of_domain", ["c"]), ("all", None)):
        value = {name: found["value"] for name, found in splits[split].items()}
        total = value["insertion_rate"] + value["deletion_rate"] + value["substitution_rate"]
        assert min(value["insertion_rate"], value["deletion_rate"], value["substitution_rate"]) > 1
        assert total == pytest.approx(table[split], abs=0.003)
        assert total == pytest.approx(draws.ratio(errors.errors, errors.words, domains).point, abs=0.003)
        assert value["length_ratio"] == pytest.approx(1 + (value["insertion_rate"] - value["deletion_rate"]) / 100, abs=0.003)


def test_rows_of_other_programs_do_not_say_whether_the_model_ended():
    rows = [row("a", "the boat leaves at nine", "the boat"), row("a", "good day", "good day", ended=False)]
    untold = [{name: value for name, value in r.items() if name != "ended"} for r in rows]
    told, other = (one_model(given)["splits"]["all"] for given in (rows, untold))
    assert told["cut_share"]["value"] == 50.0 and other["cut_share"] is None
    assert told["early_end_share"] == other["early_end_share"] and told["early_end_share"]["value"] == 50.0


def test_differences_are_paired_and_signed():
    better, worse = noisy(0, 0.1), noisy(0, 0.5)
    found = report({"x": better, "y": worse, "z": better}, Draws(better, 500), SPLITS, [("x", "y"), ("x", "z")])
    rows = {(r["b"], r["split"], r["measure"]): r for r in found["comparisons"]}
    assert len(rows) == 2 * 3 * len(MEASURES)
    for split in ("in_domain", "out_of_domain", "all"):
        for measure in ("insertion_rate", "deletion_rate", "substitution_rate"):
            different, same = rows["y", split, measure], rows["z", split, measure]
            values = [found["models"][name]["splits"][split][measure]["value"] for name in "xy"]
            assert different["delta"] == pytest.approx(values[0] - values[1], abs=0.002)
            assert different["ci95"][0] < different["delta"] < different["ci95"][1] < 0 and different["p"] < 0.05
            assert (same["delta"], same["ci95"], same["p"]) == (0.0, [0.0, 0.0], 1.0)


def test_worst_is_at_most_twenty_and_only_insertions():
    rows = [row("a", "good day", "good day" + " you" * (i % 30), name=str(i)) for i in range(60)]
    worst = one_model(rows)["worst"]
    assert len(worst) == 20 and worst[:3] == [["a", "29", 29], ["a", "59", 29], ["a", "28", 28]]
    assert one_model([row("a", "good day", "good")])["worst"] == []


def test_a_split_without_a_word_or_without_a_domain_is_plain_json():
    rows = [row("a", "", "you"), row("a", "", ""), row("b", "good day", "good day")]
    found = report({"m": rows, "n": rows}, Draws(rows, 50), {"a": "out_of_domain", "b": "in_domain"}, [("m", "n")])
    json.dumps(found, allow_nan=False)
    silent = found["models"]["m"]["splits"]["out_of_domain"]
    assert silent["insertion_rate"] is None and silent["length_ratio"] is None and silent["cut_share"]["value"] == 0.0
    assert set(one_model(rows[2:])["splits"]) == {"in_domain", "all"}


def test_seeds_are_averaged():
    """Two seeds: the numbers are the means of the seeds, and seeds that differ widen the interval."""
    first, second = noisy(0, 0.1), noisy(0, 0.5)
    draws = Draws(first, 500)
    found = report({"one": first, "two": second, "both": [first, second]}, draws, SPLITS, [("both", "one")])
    one, two, both = (found["models"][name]["splits"]["all"]["insertion_rate"] for name in ("one", "two", "both"))
    assert both["value"] == pytest.approx((one["value"] + two["value"]) / 2, abs=0.002)
    assert np.ptp(both["ci95"]) > 2 * np.ptp(two["ci95"])
    assert found["comparisons"][0]["delta"] > 0
    seeds = [[row("a", "good day", "good day" + " you" * n, name=str(i)) for i, n in enumerate(m)] for m in ([0, 3], [2, 1])]
    worst = report({"m": seeds}, Draws(seeds[0], 50), SPLITS, [])["models"]["m"]["worst"]
    assert worst == [["a", "1", 3], ["a", "0", 2]]


def test_different_utterances_are_named():
    rows = [row("a", "good day", "good day", name=str(i)) for i in range(3)]
    for other in (rows[:2], [*rows[:2], row("a", "good day", "good day", name="x")]):
        with pytest.raises(AskdError, match=r"askd and teacher must have transcribed the same utterances.*from row 3 on"):
            report({"teacher": rows, "askd": other}, Draws(rows, 50), SPLITS, [])


def test_real_transcripts_cut_at_the_limit(tiny_en, clips):
    whole, cut = (hypotheses(*tiny_en, clips[:1], max_new_tokens=limit) for limit in (128, 3))
    domain = {clips[0].domain: "in_domain"}
    found = report({"whole": whole, "cut": cut}, Draws(whole, 100), domain, [("cut", "whole")])
    values = {name: found["models"][name]["splits"]["in_domain"] for name in ("whole", "cut")}
    assert values["whole"]["cut_share"]["value"] == 0 and values["cut"]["cut_share"]["value"] == 100
    assert values["cut"]["early_end_share"]["value"] == 0  # the words are missing because we stopped
    assert values["cut"]["deletion_rate"]["value"] > values["whole"]["deletion_rate"]["value"] + 20
    assert 0.8 < values["whole"]["length_ratio"]["value"] < 1.2
