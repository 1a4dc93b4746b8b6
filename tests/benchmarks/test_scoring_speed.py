"""Speed of scoring and of intervals, measured and printed, never asserted: `make benchmarks`."""

import functools
import time
from collections.abc import Callable

import numpy as np

from askd.compare import as_text, compare
from askd.grammar import grammar_sentence
from askd.intervals import Draws
from askd.scoring import align, char_errors, normalise, word_errors

UTTERANCES = 5000
DOMAINS = 10


def heard(sentence: str, rng: np.random.Generator, rate: float) -> str:
    """A sentence with words replaced, left out and put in, each at a third of ``rate``."""
    out = []
    for word in sentence.split():
        what = rng.random()
        out += [] if what < rate / 3 else ["banana"] if what < 2 * rate / 3 else [word, "and"] if what < rate else [word]
    return " ".join(out)


def hypotheses(rate: float, seed: int) -> list[dict]:
    """Rows of one model: written sentences with numbers, capitals and commas; half of the domains have many speakers."""
    rng = np.random.default_rng(seed)
    return [
        {
            "domain": f"d{i % DOMAINS}", "id": str(i), "speaker": f"s{i // DOMAINS % (50 if i % 2 else 3)}",
            "reference": grammar_sentence(i), "hypothesis": heard(grammar_sentence(i), rng, rate),
        }
        for i in range(UTTERANCES)
    ]


def timed(work: Callable, times: int = 5) -> tuple[float, float]:
    """Seconds, and processor seconds, of the fastest of some runs, each from a cold cache of normalised texts."""
    taken = []
    for _ in range(times):
        normalise.cache_clear()
        start = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(taken)


def said(taken: tuple[float, float]) -> str:
    """The processor's seconds tell a slow program from a busy machine."""
    return f"{taken[0]:.2f} s (processor {taken[1]:.2f} s)"


def test_scoring():
    rows = hypotheses(0.15, 0)
    references, written = [r["reference"] for r in rows], [r["hypothesis"] for r in rows]
    normalise("loads the normaliser")
    whole = timed(lambda: word_errors(references, written))
    normalising = timed(lambda: [normalise(text) for text in (*references, *written)])
    characters = timed(lambda: char_errors(references, written))
    counts = word_errors(references, written)
    print(f"\n{UTTERANCES} utterances, {counts.words.mean():.1f} words, WER {counts.wer:.1f} %, cold cache: {said(whole)} "
          f"(goal: 2 s); normalising alone {said(normalising)}, the rest is alignment and counts; CER, cold: {said(characters)}")


def test_resamples():
    a, b = hypotheses(0.15, 0), hypotheses(0.10, 1)
    references = [row["reference"] for row in a]
    one, two = (word_errors(references, [row["hypothesis"] for row in rows]) for rows in (a, b))

    def difference(draws: Draws) -> tuple[float, float]:
        return (draws.ratio(one.errors, one.words) - draws.ratio(two.errors, two.words)).ci()

    draws = Draws(a, 10_000)
    whole, drawing = timed(lambda: difference(Draws(a, 10_000))), timed(lambda: Draws(a, 10_000))
    print(f"\n10,000 resamples of a macro difference, {UTTERANCES} utterances in {DOMAINS} domains: {said(whole)} (goal: 1 s); "
          f"drawing alone {said(drawing)}; each further difference {said(timed(lambda: difference(draws)))}")


def test_compare():
    """All that `askd compare` does after reading its files."""
    a, b = hypotheses(0.15, 0), hypotheses(0.10, 1)
    taken = timed(lambda: as_text(compare(a, b), "a", "b"), 2)
    print(f"\ncompare: {UTTERANCES} utterances of two models, five measures, 10,000 resamples, as text: {said(taken)}")


def test_long_utterances():
    """Long-form transcripts: alignment costs the product of the lengths."""
    rng = np.random.default_rng(0)
    for words in (100, 1000, 5000):
        reference = " ".join(" ".join(grammar_sentence(i) for i in range(words)).split()[:words])
        written = heard(reference, rng, 0.15)
        print(f"\none utterance of {words} words: {said(timed(functools.partial(align, [reference], [written]), 2))}", end="")
