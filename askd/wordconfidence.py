r"""Word confidence: can one tell from the model's own probabilities which words it got wrong?

Free-running, from the hypotheses that are kept, without a model. The confidence of a word is the geometric mean of its
tokens' probabilities; whether it is right says the same alignment that makes the WER.

    AUROC = P(c of a right word > c of a wrong word) + P(equal) / 2      0.5: says nothing; 1: finds every error
    NCE = (H + sum_right ln c + sum_wrong ln(1 - c)) / H                 normalised cross-entropy (NIST, Siu & Gish 1999)
          H = -N_right ln(N_right / N) - N_wrong ln(N_wrong / N)         1: perfect; below 0: worse than knowing the accuracy

AUROC asks for order only, NCE and ECE for honest values too. ECE, over-confidence and the confidence of wrong words are those
of `askd.calibration`, over words. Deleted words have no confidence: none of these numbers sees them. A hypothesis that loops
holds many wrong words at once, so that a few loops can move all of these numbers; the intervals show it.

    rows = {name: read_rows(run / "results" / "hypotheses" / f"{name}.jsonl") for name in ("teacher", "askd")}
    report(rows, Draws(rows["teacher"]), splits, [("askd", "teacher")])["models"]["askd"]["splits"]["all"]["auroc"]

Axes: ``N`` words, ``n`` utterances, ``R`` resamples, ``K`` sums.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise
from statistics import fmean

import numpy as np

from askd.calibration import BINS, UNITS, measures_of, report_of, token_sums
from askd.errors import AskdError
from askd.intervals import Draws, Estimate, by_split
from askd.panel import Rows, per_seed
from askd.scoring import align, normalise

FLOOR = 1e-4  # NCE takes c within FLOOR and 1 - FLOOR: log-probabilities are kept to four digits. Ours
CHUNK = 64  # resamples at once: their sums stay in the processor's cache
WORD_UNITS = UNITS | {"auroc": "0 to 1, of wrong words found by low confidence", "nce": "at most 1"}


@dataclass(frozen=True)
class Words:
    """The words of one hypothesis that could be judged, and how many could not."""

    confidence: np.ndarray  # (N,), 0 to 1
    right: np.ndarray  # (N,) bool
    left_out: int


def judged_words(rows: Sequence[Mapping], how: str = "mean") -> list[Words]:
    """Confidence and correctness of the words of hypothesis rows.

    A raw word is normalised alone to find it among the words of the alignment; one that becomes several ("don't") is right when
    all of them are. Words that mean something else in their sentence ("twenty three") or nothing at all (a filler), and words
    without a token of their own, are left out and counted.

    Args:
        rows: hypothesis rows with ``log_probs`` (nats a token) and ``word_tokens``; a row without them (long-form) has no words.
        how: ``mean``, the geometric mean of the tokens' probabilities (default, ours: of any length, and a doubtful piece
            counts), or ``min``, the least of them.

    Raises:
        AskdError: ``word_tokens`` do not fit the hypothesis; the utterance is named.
        ValueError: unknown ``how``.
    """
    if how not in ("mean", "min"):
        raise ValueError(f"how must be mean or min, not {how!r}")
    aligned = align([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    return [
        _words(row, found.hypothesis, found.right, fmean if how == "mean" else min)
        for row, found in zip(rows, aligned, strict=True)
    ]


def _words(row: Mapping, normal: Sequence[str], right: Sequence[bool], together) -> Words:
    """``together`` joins the log-probabilities of a word's tokens."""
    raw = row["hypothesis"].split()
    if not _has_confidence(row):
        return Words(np.empty(0), np.empty(0, bool), 0)
    counts, log_probs = row["word_tokens"], row["log_probs"]
    if len(counts) != len(raw) or sum(counts) > len(log_probs):
        raise AskdError(
            f"{row['id']}: word_tokens do not fit its {len(raw)} words and {len(log_probs)} log_probs: transcribe it again"
        )
    confidence, judged = [], []
    for (start, end), partners in zip(pairwise(accumulate(counts, initial=0)), _partners(raw, normal), strict=True):
        if end > start and partners:
            confidence.append(math.exp(together(log_probs[start:end])))
            judged.append(all(right[j] for j in partners))
    return Words(np.array(confidence), np.array(judged, bool), len(raw) - len(judged))


def _has_confidence(row: Mapping) -> bool:
    """False of long-form transcripts and of other programs' rows."""
    return bool(row.get("log_probs")) and bool(row.get("word_tokens") or not row["hypothesis"].strip())


def _partners(raw: Sequence[str], normal: Sequence[str]) -> list[list[int]]:
    """Of each raw word the positions in ``normal``, the words of the normalised whole; empty when one of them is not there."""
    alone = [normalise(word).split() for word in raw]
    flat = [word for words in alone for word in words]
    place = {i: i for i in range(len(flat))}
    if flat != list(normal):
        blocks = SequenceMatcher(None, flat, list(normal), autojunk=False).get_matching_blocks()
        place = {a + i: b + i for a, b, size in blocks for i in range(size)}
    spans = pairwise(accumulate(map(len, alone), initial=0))
    found = [[place.get(i) for i in range(start, end)] for start, end in spans]
    return [[] if None in partners else partners for partners in found]


def auroc(
    confidence: np.ndarray, right: np.ndarray, utterance: np.ndarray | None = None, weights: np.ndarray | None = None
) -> np.ndarray:
    """AUROC of finding wrong words by low confidence, in every resample; ties count half (Mann & Whitney).

    Args:
        confidence, right: (N,).
        utterance: (N,) position of each word's utterance in ``weights``; default each word its own.
        weights: (R, n) how often each utterance is in each resample; default one resample of everything once.

    Returns:
        (R,); NaN where a resample has no right or no wrong word.
    """
    from scipy.sparse import csr_array

    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    utterance = np.arange(len(right)) if utterance is None else np.asarray(utterance)
    weights = np.ones((1, len(right)), np.float32) if weights is None else weights
    sure = confidence[right]
    values, of_wrong = np.unique(confidence[~right], return_inverse=True)  # the W confidences of wrong words, rising
    # right words lie in 2 W + 1 places: below values[0], at it, between it and values[1], ..., above values[-1]
    of_right = np.searchsorted(values, sure) + np.searchsorted(values, sure, side="right")

    def counts(place: np.ndarray, words: np.ndarray, places: int):
        """How many of the words of each utterance lie in each place: sparse (places, n)."""
        ones = np.ones(len(place), np.float32)
        return csr_array((ones, (place, utterance[words])), shape=(places, weights.shape[1]))

    right_at, wrong_at = counts(of_right, right, 2 * len(values) + 1), counts(of_wrong, ~right, len(values))
    out = np.empty(len(weights))
    for start in range(0, len(weights), CHUNK):
        chunk = np.ascontiguousarray(weights[start : start + CHUNK].T)  # (n, r)
        up_to = (right_at @ chunk).cumsum(0)  # (2 W + 1, r), float32: whole numbers, exact below 2^24
        wrong = wrong_at @ chunk  # (W, r)
        total = up_to[-1]  # (r,)
        wins = (wrong * (total - (up_to[:-1:2] + up_to[1::2]) / 2)).sum(0, dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[start : start + CHUNK] = wins / (total * wrong.sum(0, dtype=float))
    return out


def information(confidence: np.ndarray, right: np.ndarray) -> float:
    """sum_right ln c + sum_wrong ln(1 - c), the cross-entropy of `nce` in nats; c within `FLOOR` and 1 - `FLOOR`."""
    confidence = np.clip(np.asarray(confidence, float), FLOOR, 1 - FLOOR)
    return float(np.log(np.where(np.asarray(right, bool), confidence, 1 - confidence)).sum())


def nce(found: np.ndarray | float, total: np.ndarray | float, right: np.ndarray | float) -> np.ndarray:
    """Normalised cross-entropy; NaN when all words are right or all are wrong.

    Args:
        found: `information`; total, right: number of words and of right words. Numbers or arrays of one shape.
    """
    found, total, right = np.asarray(found, float), np.asarray(total, float), np.asarray(right, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = -right * np.log(right / total) - (total - right) * np.log1p(-right / total)
        return (entropy + found) / entropy


def report(
    rows: Mapping[str, Rows | Sequence[Rows]], draws: Draws, splits: Mapping[str, str], pairs: Sequence[tuple[str, str]],
    how: str = "mean",
) -> dict:
    """Every measure with its interval by model and split, reliability diagrams over words, and paired differences.

    Args:
        rows: hypothesis rows by model, all on the same utterances in the same order; of several training seeds, a list of them.
        draws: resamples of these utterances.
        splits: ``in_domain`` or ``out_of_domain`` by domain.
        pairs: (a, b) to compare: a minus b.
        how: as in `judged_words`.

    Returns:
        as `askd.calibration.report`, with ``words``, ``words_left_out`` and ``utterances_left_out`` (without
        log-probabilities, such as long-form) instead of ``tokens``.

    Raises:
        AskdError: the models did not transcribe the same utterances, or a row does not fit itself.
    """
    judged = {name: [judged_words(seed_rows, how) for seed_rows in per_seed(given)] for name, given in rows.items()}
    sums = {name: [_sums(words) for words in seeds] for name, seeds in judged.items()}
    weights = draws.weights()  # (R, n)

    def found_by_confidence(name: str, seed: int, domains: Collection[str]) -> dict[str, Estimate]:
        return {"auroc": _auroc(judged[name][seed], _places(draws, domains), weights, draws.blocks(domains))}

    found = report_of(rows, sums, _measured, draws, splits, pairs, "words", found_by_confidence)
    for split, domains in by_split(list(draws.places), splits).items():
        places = _places(draws, domains)
        for name, seeds in judged.items():
            found["models"][name]["splits"][split] |= {
                "words_left_out": sum(words[i].left_out for words in seeds for i in places),
                "utterances_left_out": sum(not _has_confidence(one[i]) for one in per_seed(rows[name]) for i in places),
            }
    return {"units": WORD_UNITS} | found


def _places(draws: Draws, domains: Collection[str]) -> np.ndarray:
    return np.concatenate([draws.places[domain] for domain in domains])


def _sums(words: Sequence[Words]) -> np.ndarray:
    return np.array([[*token_sums(w.confidence, w.right), information(w.confidence, w.right)] for w in words])


def _measured(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of `_sums` added up, (..., K)."""
    count, right = sums[..., :BINS].sum(-1), sums[..., 2 * BINS : 3 * BINS].sum(-1)
    return measures_of(sums) | {"nce": nce(sums[..., -1], count, right)}


def _auroc(words: Sequence[Words], places: np.ndarray, weights: np.ndarray, blocks: int) -> Estimate:
    from sklearn.metrics import roc_auc_score

    confidence, right = (np.concatenate([getattr(words[i], name) for i in places]) for name in ("confidence", "right"))
    utterance = np.repeat(places, [len(words[i].right) for i in places])
    both = 0 < right.sum() < len(right)
    point = float(roc_auc_score(right, confidence)) if both else float("nan")
    return Estimate(point, auroc(confidence, right, utterance, weights), blocks)
