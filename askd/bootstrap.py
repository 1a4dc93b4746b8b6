r"""Paired bootstrap of a difference in macro WER (Bisani & Ney 2004; by blocks: Liu & Peng, arXiv 1912.09508).

Both models heard the same utterances, so utterances are resampled for both together, inside each domain. Where a domain
has at least ``MIN_BLOCKS`` speakers, whole speakers are resampled, since a speaker's utterances are not independent.
Our synthetic domains have two to five voices: their intervals speak of new utterances by the same voices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from askd.scoring import word_errors

MIN_BLOCKS = 10  # fewer speakers cannot stand for a population; utterances are resampled instead. Ours


@dataclass(frozen=True)
class Difference:
    """WER(a) - WER(b) in percentage points, with a 95 % interval; negative: a is better."""

    delta: float
    low: float
    high: float

    def in_words(self, a: str, b: str) -> str:
        """What the interval allows one to say."""
        numbers = f"{self.delta:+.2f} points, 95 % CI [{self.low:+.2f}, {self.high:+.2f}]"
        if self.low > 0:
            return f"{a} makes more errors than {b} ({numbers})"
        if self.high < 0:
            return f"{a} makes fewer errors than {b} ({numbers})"
        return f"no difference between {a} and {b} can be told from these utterances ({numbers})"


def paired_bootstrap(
    rows_a: Sequence[Mapping], rows_b: Sequence[Mapping], resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Macro WER of a minus b over the domains in the rows.

    Args:
        rows_a, rows_b: hypothesis rows of the two models (domain, id, speaker, reference, hypothesis) on the same ids.
        resamples: bootstrap samples. Default 10,000.

    Raises:
        ValueError: the two models did not transcribe the same utterances.
    """
    if [(r["domain"], r["id"]) for r in rows_a] != [(r["domain"], r["id"]) for r in rows_b]:
        raise ValueError("the two models must have transcribed the same utterances in the same order")
    references = [r["reference"] for r in rows_a]
    a = word_errors(references, [r["hypothesis"] for r in rows_a])
    b = word_errors(references, [r["hypothesis"] for r in rows_b])
    domains = np.array([r["domain"] for r in rows_a])
    speakers = np.array([r["speaker"] for r in rows_a])
    rng = np.random.default_rng(seed)
    point, samples = [], []
    for domain in dict.fromkeys(domains.tolist()):
        mine = domains == domain
        blocks = np.unique(speakers[mine], return_inverse=True)[1]
        if blocks.max() + 1 < MIN_BLOCKS:
            blocks = np.arange(mine.sum())
        n = blocks.max() + 1
        difference = np.bincount(blocks, a.errors[mine] - b.errors[mine], n)  # (blocks,)
        words = np.bincount(blocks, a.words[mine], n)
        drawn = rng.integers(n, size=(resamples, n))  # (resamples, blocks)
        point.append(difference.sum() / max(1, words.sum()))
        samples.append(difference[drawn].sum(1) / np.maximum(1, words[drawn].sum(1)))
    macro = 100 * np.mean(samples, axis=0)  # (resamples,)
    low, high = np.percentile(macro, [2.5, 97.5])
    return Difference(round(100 * float(np.mean(point)), 3), round(float(low), 3), round(float(high), 3))
