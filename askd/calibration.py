r"""Calibration and over-confidence: may one believe how sure a model is?

Tokens (or words) are put into ``BINS`` bins of equal width by the model's confidence c; in a bin of n_b tokens

    ECE = sum_b n_b / N * |mean confidence - accuracy|      expected calibration error (Naeini et al. 2015; Guo et al. 2017)
    over-confidence = mean confidence - accuracy            signed, over all tokens: above zero the model promises too much

ECE takes absolute values, so noise in the bins never cancels: it is biased upwards where tokens are few, and the bootstrap
adds the same bias once more, so that its interval lies too high. The signed over-confidence has no such bias: judge claims
by it, and read ECE beside the reliability diagram. What over-confident hallucination means is the confidence on wrong tokens.

    rows = {name: read_rows(run / "results" / "forced" / f"{name}.jsonl") for name in ("teacher", "askd")}
    draws = Draws(rows["teacher"])
    found = report(rows, draws, splits, [("askd", "teacher")])
    found["models"]["askd"]["splits"]["out_of_domain"]["over_confidence"]       # {"value": ..., "ci95": [low, high]}

All numbers pool the tokens of a split: a token is one answer, whatever its utterance. Axes: ``N`` tokens, ``n`` utterances,
``R`` resamples, ``K`` sums.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np

from askd.intervals import Draws, Estimate, by_split
from askd.panel import Rows, panel, per_seed, same_utterances

BINS = 15  # Guo et al. 2017; research practice for Whisper too
SURE, VERY_SURE = 0.7, 0.9  # a wrong token above them is a confident error; 0.7 as in arXiv 2509.07195, 0.9 ours
DIGITS = 4
UNITS = {
    "ece": "percent; biased upwards, and its interval more so: judge by over_confidence",
    "over_confidence": "percentage points, mean confidence minus accuracy", "accuracy": "percent", "confidence": "percent",
    "confidence_on_wrong": "percent, mean confidence of the wrong ones",
    "wrong_above_70": "percent of the wrong ones with confidence above 0.7",
    "wrong_above_90": "percent of the wrong ones with confidence above 0.9",
}
TOKEN_UNITS = UNITS | {"nll": "nats a token", "brier": "sum over the vocabulary of squared differences, 0 to 2"}


def token_sums(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sums from which all measures follow, and which add up over utterances: (3 * bins + 4,).

    In order: tokens of each bin, their confidence, their right ones; then of the wrong ones their number, confidence, number
    above `SURE` and above `VERY_SURE`. Bin b holds b / bins < c <= (b + 1) / bins; a c of 0 goes to the first.

    Args:
        confidence: (N,), 0 to 1.
        right: (N,), 0 or 1.
        bins: number of bins.

    Raises:
        ValueError: different lengths, or a confidence outside 0 to 1.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"confidence {confidence.shape} and right {right.shape} must be two lists of one length")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence must lie between 0 and 1")
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)  # (N,)
    by_bin = [np.bincount(place, weights, bins) for weights in (None, confidence, right)]
    wrong = confidence[right == 0]
    return np.concatenate([*by_bin, [len(wrong), wrong.sum(), (wrong > SURE).sum(), (wrong > VERY_SURE).sum()]])


def measures_of(sums: np.ndarray, bins: int = BINS) -> dict[str, np.ndarray]:
    """`token_sums` -> measures in percent; any leading axes, such as resamples; NaN where there is nothing to count.

    Args:
        sums: (..., 3 * bins + 4).
        bins: as in `token_sums`.

    Returns:
        the keys of `UNITS`, each (...).
    """
    count, confidence, right = (sums[..., i * bins : (i + 1) * bins] for i in range(3))  # (..., bins)
    wrong, wrong_confidence, above, far_above = np.moveaxis(sums[..., 3 * bins : 3 * bins + 4], -1, 0)
    total = count.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "ece": np.abs(confidence - right).sum(-1) / total,  # n_b / N * |sum c / n_b - sum right / n_b|
            "over_confidence": (confidence - right).sum(-1) / total,
            "accuracy": right.sum(-1) / total,
            "confidence": confidence.sum(-1) / total,
            "confidence_on_wrong": wrong_confidence / wrong,
            "wrong_above_70": above / wrong,
            "wrong_above_90": far_above / wrong,
        }
    return {name: 100 * value for name, value in found.items()}


def ece(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error in percent; arguments as in `token_sums`.

    >>> round(ece([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 0]), 6)
    5.0
    """
    return float(measures_of(token_sums(confidence, right, bins), bins)["ece"])


def over_confidence(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean confidence minus accuracy, in percentage points.

    >>> round(over_confidence([0.9, 0.7], [1, 0]), 6)
    30.0
    """
    return float(measures_of(token_sums(confidence, right))["over_confidence"])


def measures(confidence: np.ndarray, right: np.ndarray, nll: np.ndarray, brier: np.ndarray) -> dict[str, float]:
    """All measures of `TOKEN_UNITS` over N tokens, as `askd.forced` judges them; undefined is NaN.

    Args:
        confidence, right, nll, brier: (N,) each.
    """
    found = measures_of(token_sums(confidence, right))
    return {name: float(value) for name, value in found.items()} | {"nll": float(np.mean(nll)), "brier": float(np.mean(brier))}


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict]:
    """What a reliability diagram shows, bin by bin: ``{low, high, count, confidence, accuracy}``.

    ``low`` and ``high`` are the bin's edges, 0 to 1; ``confidence`` and ``accuracy`` percent, None in an empty bin.
    """
    return bins_of(token_sums(confidence, right, bins), bins)


def bins_of(sums: np.ndarray, bins: int = BINS) -> list[dict]:
    """`reliability` from `token_sums`."""
    edges = np.linspace(0, 1, bins + 1).round(DIGITS).tolist()
    return [
        {"low": edges[b], "high": edges[b + 1], "count": int(sums[b]),
         "confidence": round(100 * float(sums[bins + b] / sums[b]), DIGITS) if sums[b] else None,
         "accuracy": round(100 * float(sums[2 * bins + b] / sums[b]), DIGITS) if sums[b] else None}
        for b in range(bins)
    ]


def report(
    forced: Mapping[str, Rows | Sequence[Rows]], draws: Draws, splits: Mapping[str, str], pairs: Sequence[tuple[str, str]]
) -> dict:
    """Every measure with its interval by model and split, reliability diagrams, and paired differences.

    Args:
        forced: rows of `askd.forced.forced_rows` by model, all on the same utterances in the same order; of several training
            seeds, a list of them.
        draws: resamples of these utterances: ``Draws(forced[any model])``.
        splits: ``in_domain`` or ``out_of_domain`` by domain.
        pairs: (a, b) to compare: a minus b.

    Returns:
        ``{"units", "models": {name: {"splits": {split: {"tokens", measure: {"value", "ci95"}}}, "reliability": {split: [...]}}},
        "comparisons": [{"a", "b", "split", "measure", "delta", "ci95", "p"}]}``, ready for JSON: undefined is None. Tokens and
        diagrams hold all seeds together, numbers are means over them.

    Raises:
        AskdError: the models did not answer on the same utterances, or the draws are of others.
    """
    sums = {name: [_sums(rows) for rows in per_seed(given)] for name, given in forced.items()}
    return {"units": TOKEN_UNITS} | report_of(forced, sums, _measured, draws, splits, pairs, "tokens")


def _sums(rows: Rows) -> np.ndarray:
    return np.array([[*token_sums(row["confidence"], row["right"]), sum(row["nll"]), sum(row["brier"])] for row in rows])


def _measured(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of `_sums` added up, (..., K)."""
    tokens = sums[..., :BINS].sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return measures_of(sums) | {"nll": sums[..., -2] / tokens, "brier": sums[..., -1] / tokens}


def estimates(measured: Callable, values: np.ndarray, draws: Draws, domains: Collection[str]) -> dict[str, Estimate]:
    """Measures of sums over some domains.

    Args:
        measured: sums (..., K) -> ``{measure: (...)}``.
        values: sums of each utterance (n, K).
        draws, domains: what is summed up.
    """
    point, samples = draws.sums(values, domains)  # (K,), (R, K)
    resampled = measured(samples)
    return {name: Estimate(float(value), resampled[name], draws.blocks(domains)) for name, value in measured(point).items()}


def report_of(
    rows: Mapping[str, Rows | Sequence[Rows]], sums: Mapping[str, Sequence[np.ndarray]], measured: Callable, draws: Draws,
    splits: Mapping[str, str], pairs: Sequence[tuple[str, str]], what: str, more: Callable | None = None,
) -> dict:
    """The report of tokens or words, without its units.

    Args:
        rows, draws, splits, pairs: as in `report`.
        sums: of each model and seed, sums of each utterance (n, K), which begin with `token_sums`.
        measured: as in `estimates`.
        what: how the things counted are called.
        more: (model, seed, domains) -> further estimates.
    """
    same_utterances(rows, draws)
    by = by_split(list(draws.places), splits)

    def of(name: str, seed: int, domains: Collection[str]) -> dict[str, Estimate]:
        return estimates(measured, sums[name][seed], draws, domains) | (more(name, seed, domains) if more else {})

    found = panel(
        {name: [partial(of, name, seed) for seed in range(len(seeds))] for name, seeds in sums.items()}, draws, by, pairs, DIGITS
    )
    for name, seeds in sums.items():
        model = found["models"][name]
        model["reliability"] = {}
        for split, domains in by.items():
            total = sum(draws.total(values, domains) for values in seeds)  # (K,)
            model["splits"][split] = {what: int(total[:BINS].sum())} | model["splits"][split]
            model["reliability"][split] = bins_of(total)
    return found
