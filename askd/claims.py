"""The paper's claims, each as a number with an interval for every method, made from the reports of `askd.score`.

    found = claims({"wer": ..., "blindspots": ..., "hallucination": ..., "calibration": ...})
    print(as_text(found))

The abstract (arXiv 2601.19919) says that plain distillation makes the student inherit the teacher's blind spots and its
over-confident hallucinations, at the price of generalisation, and that ASKD does not. It gives no measure for the three; these
are ours:

    inheritance      of the words the teacher gets wrong, the share the student gets wrong identically, minus the share expected
                     of a student with as many errors that does not know the teacher (askd.blindspots)
    same error       of the words both get wrong, the share that is wrong in the same way. Inheritance grows with the number of a
                     student's errors even where nothing is inherited, since hard words are hard for all; this does not.
                     Only the two together speak of inheritance
    over-confidence  mean probability of the best token minus how often it is right, teacher-forced (askd.calibration)
    hallucination    share of wordless sounds that get words, on the context the model is used with (askd.nonspeech); inserted
                     words on speech are in hallucination.json (askd.hallucination)
    generalisation   out-of-domain macro WER minus the teacher's (askd.wer)

Constant KD minus CE only asks whether distillation does the harm; ASKD minus constant KD whether the curriculum mends it; ASKD
minus CE only whether it gains over having no teacher at all.
"""

from collections.abc import Mapping

from askd.blindspots import PAIRS
from askd.intervals import holm, in_words
from askd.methods import DESCRIBED, named
from askd.notebook import table
from askd.wer import shown

WORDS = {  # claim -> what is said of a when its number is lower, and higher
    "inheritance": ("copies fewer of the teacher's wrong words than", "copies more of the teacher's wrong words than"),
    "same_error": ("errs less in the teacher's way than", "errs more in the teacher's way than"),
    "over_confidence": ("promises less, for its accuracy, than", "promises more, for its accuracy, than"),
    "hallucination": ("answers fewer wordless sounds than", "answers more wordless sounds than"),
    "generalisation": ("makes fewer errors out of domain than", "makes more errors out of domain than"),
}


def claims(reports: Mapping[str, Mapping]) -> dict:
    """The content of ``claims.json``.

    Args:
        reports: any of ``wer``, ``blindspots``, ``hallucination``, ``calibration``, ``nonspeech``, as `askd.score` makes them; a
            claim whose report is not there is left out.

    Returns:
        ``{"claims": [{"name", "title", "unit", "reference", "models": {name: {"value", "ci95"} | None}, "tests": [{"a", "b",
        "delta", "ci95", "p", "p_holm", "in_words"}]}]}``; p_holm is over all tests of all claims.
    """
    found = []
    if report := reports.get("blindspots"):
        found.append(_of_panel(
            report, "inheritance", "excess", "all", "teacher's wrong words copied, beyond what is expected", "points", 0.0
        ))
        found.append(_of_panel(
            report, "same_error", "same_when_both_wrong", "all", "same error where both are wrong", "% of words", None
        ))
    if report := reports.get("calibration"):
        found.append(_of_panel(
            report, "over_confidence", "over_confidence", "all", "confidence minus accuracy of the next token", "points", 0.0
        ))
    if report := reports.get("nonspeech"):
        found.append(_of_panel(
            report, "hallucination", "non_empty_share", "own", "wordless sounds that get words", "% of sounds", None
        ))
    if report := reports.get("wer"):
        found.append(_generalisation(report))
    found = [claim for claim in found if any(claim["models"].values())]
    tests = {(claim["name"], test["a"], test["b"]): test for claim in found for test in claim["tests"]}
    for key, p in holm({key: test["p"] for key, test in tests.items()}).items():
        tests[key]["p_holm"] = round(p, 5)
    return {"claims": found}


def _of_panel(report: Mapping, name: str, measure: str, split: str, title: str, unit: str, reference: float | None) -> dict:
    models = {model: entry.get("splits", entry).get(split, {}).get(measure) for model, entry in report["models"].items()}
    rows = [c for c in report["comparisons"] if c["split"] == split and c["measure"] == measure]
    return _claim(name, title, unit, reference, models, rows)


def _generalisation(wer: Mapping) -> dict:
    rows = [c for c in wer["comparisons"] if c["split"] == "out_of_domain"]
    models = {c["a"]: {"value": c["delta"], "ci95": c["ci95"]} for c in rows if c["b"] == "teacher"}
    title = "out-of-domain macro WER, minus the teacher's"
    return _claim("generalisation", title, "points", 0.0, models, rows)


def _claim(name, title, unit, reference, models, rows) -> dict:
    less, more = WORDS[name]
    tests = [
        {key: c[key] for key in ("a", "b", "delta", "ci95", "p")}
        | {"in_words": in_words(c["delta"], c["ci95"], named(c["a"]), named(c["b"]), less, more, p=c["p"])}
        for c in rows if (c["a"], c["b"]) in PAIRS
    ]
    return {"name": name, "title": title, "unit": unit, "reference": reference, "models": models, "tests": tests}


def claims_table(found: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows: models x claims, the teacher first, each cell with its 95 % interval."""
    names = list(dict.fromkeys(name for claim in found["claims"] for name in claim["models"]))
    names.sort(key=lambda name: name != "teacher")
    header = ["model", *[f"{claim['name'].replace('_', '-')}, {claim['unit']}" for claim in found["claims"]]]
    rows = []
    for name in names:
        rows.append([DESCRIBED.get(name, name), *[
            shown(claim["models"].get(name), signed=claim["reference"] is not None) for claim in found["claims"]
        ]])
    return header, rows


def as_text(found: Mapping) -> str:
    """The table of all claims and a sentence for each test."""
    lines = [table(*claims_table(found)), "(95 % intervals in brackets; p after Holm over all lines below)"]
    for claim in found["claims"]:
        lines += [f"{claim['name'].replace('_', '-'):16} {test['in_words']}, p {test['p_holm']:.2g}" for test in claim["tests"]]
    return "\n".join(lines)
