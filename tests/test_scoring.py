"""WER against a worked example and kaldialign; the bootstrap against theory."""

import random

import kaldialign
import numpy as np
import pytest

from askd.bootstrap import Difference, paired_bootstrap
from askd.scoring import domain_table, macro, normalise, word_errors


def test_worked_example():
    # reference "the cat sat on the mat", hypothesis "the cat sit on mat now": S 1, D 1, I 1 of 6 words
    counts = word_errors(["the cat sat on the mat"], ["The cat sit on mat now."])
    assert (counts.errors[0], counts.words[0]) == (3, 6)
    assert counts.sub[0] + counts.dele[0] + counts.ins[0] == 3
    assert counts.wer == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("written", "normal"),
    [("Twenty-three dollars", "$23"), ("Colour, please!", "color please"), ("I'm Mr. Smith", "i am mister smith"),
     ("  Um, okay  ", "okay"), ("", "")],
)
def test_normaliser(written, normal):
    assert normalise(written) == normal


def test_empty_references_and_hypotheses():
    counts = word_errors(["", "", "good day"], ["", "hello there you", ""])
    assert counts.words.tolist() == [0, 0, 2]
    assert counts.ins.tolist() == [0, 3, 0]
    assert counts.dele.tolist() == [0, 0, 2]
    with pytest.raises(ValueError, match="1 references"):
        word_errors(["a"], [])


def test_parity_with_kaldialign():
    rng = random.Random(0)
    vocabulary = "alpha bravo charlie delta echo foxtrot golf hotel".split()
    references = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 15))) for _ in range(300)]
    hypotheses = [" ".join(rng.choices(vocabulary, k=rng.randint(0, 15))) for _ in range(300)]
    counts = word_errors(references, hypotheses)
    for i, (r, h) in enumerate(zip(references, hypotheses, strict=True)):
        theirs = kaldialign.edit_distance(normalise(r).split(), normalise(h).split())
        assert counts.errors[i] == theirs["total"]
    assert counts.errors.sum() == (counts.sub + counts.dele + counts.ins).sum()


def rows(domain, references, hypotheses, speakers=None):
    return [
        {"domain": domain, "id": str(i), "speaker": speakers[i] if speakers else "s", "reference": r, "hypothesis": h}
        for i, (r, h) in enumerate(zip(references, hypotheses, strict=True))
    ]


def test_table_and_macro():
    table = domain_table(
        rows("a", ["good day"], ["good"]) + rows("b", ["x y z w"], ["x y z w"]), {"a": "in_domain", "b": "out_of_domain"}
    )
    assert table["a"] == {
        "split": "in_domain", "errors": 1, "words": 2, "wer": 50.0, "sub": 0, "del": 1, "ins": 0, "utterances": 1,
    }
    assert macro(table) == {"in_domain": 50.0, "out_of_domain": 0.0, "all": 25.0}
    assert macro({"a": table["a"]})["out_of_domain"] is None


def test_a_model_does_not_differ_from_itself():
    same = rows("a", ["here we are"] * 20, ["here he are"] * 20)
    assert paired_bootstrap(same, same, 200) == Difference(0.0, 0.0, 0.0)


def test_interval_covers_as_it_should():
    """Errors of two models are coin flips with known rates: the interval holds the true difference 95 % of the time."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        wrong_a, wrong_b = rng.random(150) < 0.3, rng.random(150) < 0.2
        a = rows("a", ["word"] * 150, ["x" if w else "word" for w in wrong_a])
        b = rows("a", ["word"] * 150, ["x" if w else "word" for w in wrong_b])
        found = paired_bootstrap(a, b, 500, seed=trial)
        hits += found.low <= 10.0 <= found.high
    assert 88 <= hits <= 100


def test_speakers_are_resampled_whole_when_there_are_enough():
    """Twenty speakers, each all right or all wrong: by speaker the interval is wider than by utterance."""
    wrong = [s % 2 == 0 for s in range(20) for _ in range(10)]
    speakers = [f"s{s}" for s in range(20) for _ in range(10)]
    said = ["word"] * 200
    hypotheses = ["x" if w else "word" for w in wrong]
    grouped = paired_bootstrap(rows("a", said, hypotheses, speakers), rows("a", said, said, speakers), 1000)
    single = paired_bootstrap(rows("a", said, hypotheses), rows("a", said, said), 1000)
    assert grouped.delta == single.delta == 50
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_different_utterances_are_refused():
    with pytest.raises(ValueError, match="same utterances"):
        paired_bootstrap(rows("a", ["x"], ["x"]), rows("b", ["x"], ["x"]))


def test_words_follow_the_interval():
    assert "fewer" in Difference(-2.0, -3.0, -1.0).in_words("askd", "teacher")
    assert "more" in Difference(2.0, 1.0, 3.0).in_words("askd", "teacher")
    assert "no difference" in Difference(-1.0, -3.0, 1.0).in_words("askd", "teacher")
