"""One table of many measures: every model, every split, every number with its interval, and the paired differences.

    by = by_split(draws.places, splits)
    found = panel({"askd": [lambda domains: shares(counts, draws, domains)]}, draws, by, pairs=[("askd", "ce_only")])
    found["models"]["askd"]["splits"]["all"]["excess"]        # {"value": ..., "ci95": [low, high]}, or None
    found["comparisons"][0]                         # {"a", "b", "split", "measure", "delta", "ci95", "p"}

A model is a list of functions, one a training seed, from the names of domains to ``{measure: Estimate}``. All estimates
come from the same `askd.intervals.Draws`, which is what pairs them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from askd.errors import AskdError, pick
from askd.intervals import Draws, Estimate, compared

Measures = Callable[[Collection[str]], Mapping[str, Estimate]]
Rows = Sequence[Mapping]  # of one model and one seed


def per_seed(rows: Rows | Sequence[Rows]) -> list[Rows]:
    """Rows of one model, or of several seeds of it, as a list of row lists."""
    return [rows] if not rows or isinstance(rows[0], Mapping) else list(rows)


def same_utterances(rows: Mapping[str, Rows | Sequence[Rows]], draws: Draws | None = None) -> None:
    """Refuse models that did not answer on the same utterances, or resamples of others.

    Raises:
        AskdError: which two models, and the first row in which they differ.
    """
    first, theirs = "", None
    for name, given in rows.items():
        for seed_rows in per_seed(given):
            mine = [(r["domain"], r["id"], r.get("reference")) for r in seed_rows]
            first, theirs = first or name, mine if theirs is None else theirs
            if mine != theirs:
                i = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs)))
                raise AskdError(
                    f"{name} and {first} must have transcribed the same utterances in the same order; they hold {len(mine)} and "
                    f"{len(theirs)} and differ from row {i + 1} on: run both again on the same clips"
                )
    if draws is not None and theirs is not None and [key[:2] for key in theirs] != draws.utterances:
        raise AskdError(f"{first} answered on {len(theirs)} utterances, but the resamples are of {draws.n} others")


def panel(
    models: Mapping[str, Sequence[Measures]], draws: Draws, by: Mapping[str, Collection[str]],
    pairs: Sequence[tuple[str, str]] = (), digits: int | Mapping[str, int] = 2, measures: Collection[str] | None = None,
) -> dict:
    """Evaluate every measure.

    Args:
        models: by name, one function a training seed.
        draws: from which the estimates come.
        by: split -> its domains, from `askd.intervals.by_split`.
        pairs: (a, b) to compare, a minus b.
        digits: decimals, of all or by measure (others 2).
        measures: those to compare; default all.

    Returns:
        ``{"models": {name: {"splits": {split: {measure: {"value", "ci95"} | None}}}}, "comparisons": [...]}``; differences of
        what is undefined are left out.

    Raises:
        UnknownName: a pair with a model that is not there.
    """
    for name in (name for pair in pairs for name in pair):
        pick("model", name, models)
    found: dict[tuple[str, str], dict[str, Estimate]] = {}
    for name, seeds in models.items():
        for split, domains in by.items():
            each = [of(domains) for of in seeds]
            found[name, split] = {measure: draws.over_seeds([e[measure] for e in each]) for measure in each[0]}

    def decimals(measure: str) -> int:
        return digits if isinstance(digits, int) else digits.get(measure, 2)

    tables = {
        name: {"splits": {split: {m: e.rounded(decimals(m)) for m, e in found[name, split].items()} for split in by}}
        for name in models
    }
    names = [m for m in next(iter(found.values()), {}) if measures is None or m in measures]
    splits = {split: split for split in by}  # an estimate is looked up by its split
    comparisons = [
        row for m in names for row in compared(lambda name, split, m=m: found[name, split][m], pairs, splits, m, decimals(m))
    ]
    return {"models": tables, "comparisons": comparisons}
