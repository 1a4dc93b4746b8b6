r"""``wer.json``: word error rates of all models per domain, with intervals, and who differs from whom.

    report = wer_report({"teacher": rows_t, "askd": rows_a}, [("askd", "teacher")])
    report["models"]["askd"]["domains"]["formant_noise"]["wer"], ["wer_ci95"]
    report["comparisons"]          # in-domain, out-of-domain, all; real and synthetic speech: delta, ci95, p, in_words
    report["domain_comparisons"]   # domain by domain: delta, ci95, p, p_holm

Several training seeds of a method are given as a list of row lists; counts are summed over them, so a WER is the mean over
seeds, and intervals speak of other seeds and other utterances (`askd.intervals`).
"""

from collections.abc import Collection, Mapping, Sequence

from askd.domains import all_domains
from askd.intervals import Draws, Estimate, by_split, compared, holm, in_words
from askd.methods import DESCRIBED, named
from askd.panel import Rows, per_seed, same_utterances
from askd.scoring import WordErrors, domain_table, macro, scorer_name, word_errors


def default_pairs(names: Collection[str], teacher: str = "teacher") -> list[tuple[str, str]]:
    """Who is compared: every student with the teacher, ASKD with every other student, constant KD with CE only; of models
    without a teacher and ASKD, all with the first.

    >>> default_pairs(["teacher", "ce_only", "askd"])
    [('ce_only', 'teacher'), ('askd', 'teacher'), ('askd', 'ce_only')]
    """
    students = [name for name in names if name != teacher]
    pairs = [(name, teacher) for name in students] if teacher in names else []
    pairs += [("askd", name) for name in students if name != "askd"] if "askd" in names else []
    pairs += [("constant_kd", "ce_only")] * ({"constant_kd", "ce_only"} <= set(names))
    return pairs or [(name, next(iter(names))) for name in students[1:]]


def default_roles(names: Collection[str]) -> dict[str, str]:
    """``teacher``, ``student`` (ASKD) or ``control`` by name."""
    return {name: {"teacher": "teacher", "askd": "student"}.get(name, "control") for name in names}


def declared_splits(domains: Collection[str]) -> dict[str, str]:
    """``in_domain`` or ``out_of_domain`` of each domain as declared in data/domains.yaml; of others, out of domain."""
    known = all_domains()
    return {name: known[name].split if name in known else "out_of_domain" for name in domains}


def real_domains(domains: Collection[str]) -> list[str]:
    """Those in which people speak: recordings, and what is not declared, since only recordings need no declaration."""
    known = all_domains()
    return [name for name in domains if name not in known or known[name].real]


def wer_report(
    rows: Mapping[str, Rows | Sequence[Rows]], pairs: Sequence[tuple[str, str]] | None = None,
    roles: Mapping[str, str] | None = None, splits: Mapping[str, str] | None = None, resamples: int = 10_000,
    draws: Draws | None = None,
) -> dict:
    """The content of ``wer.json``: tables of all models and paired comparisons, WER in percent.

    Args:
        rows: hypothesis rows by model, all on the same utterances; of several seeds, a list of them.
        pairs: (a, b) to compare, WER(a) - WER(b); default `default_pairs`.
        roles: ``teacher``, ``student`` or ``control`` by model; default by name.
        splits: ``in_domain`` or ``out_of_domain`` by domain; default as declared.
        resamples: of the bootstrap.
        draws: resamples that other metrics share; default new ones.

    Raises:
        AskdError: the models did not transcribe the same utterances.
    """
    same_utterances(rows)
    pairs = default_pairs(rows) if pairs is None else pairs
    roles = roles or default_roles(rows)
    first = per_seed(next(iter(rows.values())))[0]
    draws = draws or Draws(first, resamples)
    splits = splits or declared_splits(draws.places)
    by = by_split(list(draws.places), splits, real_domains(draws.places))
    counts = {name: [_errors(seed_rows) for seed_rows in per_seed(given)] for name, given in rows.items()}

    def of(name: str, domains: Collection[str] | None) -> Estimate:
        found = counts[name]
        return draws.over_seeds([draws.ratio(c.errors, c.words, domains) for c in found])

    models = {name: _model(per_seed(given), roles[name], splits, by, name, of) for name, given in rows.items()}
    comparisons = [
        row | {"in_words": in_words(row["delta"], row["ci95"], named(row["a"]), named(row["b"]), p=row["p"])}
        for row in compared(of, pairs, by, "wer")
    ]
    each = {domain: [domain] for domain in draws.places}
    domain_rows = []
    for pair in pairs:
        found = [{"domain": row.pop("split"), **row} for row in compared(of, [pair], each, "wer")]
        adjusted = holm({row["domain"]: row["p"] for row in found})
        domain_rows += [row | {"p_holm": round(adjusted[row["domain"]], 5)} for row in found]
    return {
        "scorer": scorer_name(), "unit": "percent", "resamples": draws.resamples,
        "seeds": max(map(len, counts.values())), "models": models, "comparisons": comparisons,
        "domain_comparisons": domain_rows,
    }


def _errors(rows: Rows) -> WordErrors:
    return word_errors([r["reference"] for r in rows], [r["hypothesis"] for r in rows])


def _model(seeds: list[Rows], role: str, splits: Mapping[str, str], by: Mapping[str, Collection[str]], name: str, of) -> dict:
    table = domain_table((row for rows in seeds for row in rows), splits)
    for domain, entry in table.items():
        entry["utterances"] //= len(seeds)
        entry["wer_ci95"] = (of(name, [domain]).rounded() or {}).get("ci95")
    return {
        "role": role, "seeds": len(seeds), "domains": table, "macro": _macros(table, by), "macro_cer": _macros(table, by, "cer"),
        "macro_ci95": {split: (of(name, domains).rounded() or {}).get("ci95") for split, domains in by.items()},
    }


def _macros(table: Mapping[str, Mapping], by: Mapping[str, Collection[str]], rate: str = "wer") -> dict[str, float | None]:
    """`askd.scoring.macro`, and the same mean of the other splits."""
    found = macro(table, rate)
    others = {split: {d: table[d] for d in domains} for split, domains in by.items() if split not in found}
    return found | {split: macro(its, rate)["all"] for split, its in others.items()}


def cell(value: float | None, ci95: Sequence[float] | None, digits: int = 1, signed: bool = False) -> str:
    """A number with its interval, as tables show it.

    >>> cell(8.44, [6.1, 11.02]), cell(-5.2, [-7.4, -2.2], signed=True), cell(None, None)
    ('8.4 [6.1, 11.0]', '-5.2 [-7.4, -2.2]', '-')
    """
    if value is None:
        return "-"
    sign = "+" if signed else ""
    interval = f" [{ci95[0]:{sign}.{digits}f}, {ci95[1]:{sign}.{digits}f}]" if ci95 else ""
    return f"{value:{sign}.{digits}f}{interval}"


def shown(entry: Mapping | None, digits: int = 1, signed: bool = False) -> str:
    """``{"value", "ci95"}`` of a report as `cell` shows it.

    >>> shown({"value": 8.44, "ci95": [6.1, 11.02]}), shown(None)
    ('8.4 [6.1, 11.0]', '-')
    """
    return cell(entry["value"], entry["ci95"], digits, signed) if entry else "-"


def by_domain(report: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table domains x models, WER % with 95 % intervals, for `askd.notebook.table`."""
    models = report["models"]
    domains = next(iter(models.values()))["domains"]
    rows = [
        [("" if entry["split"] == "in_domain" else "* ") + domain,
         *[cell(m["domains"][domain]["wer"], m["domains"][domain].get("wer_ci95")) for m in models.values()]]
        for domain, entry in domains.items()
    ]
    for split in ("in_domain", "out_of_domain", "all"):
        cells = [cell(m["macro"][split], m.get("macro_ci95", {}).get(split)) for m in models.values()]
        rows.append([f"macro {split.replace('_', ' ')}", *cells])
    return ["domain", *[DESCRIBED.get(name, name) for name in models]], rows
