"""``ablation.json``: what methods x seeds of one profile say, from their files alone.

    ablation = read_json("runs/cpu-ablation/results/ablation.json")
    ablation["wer"]["askd"]["macro"]["real"]                # {"value", "ci95"}: the mean of seeds; over seeds and utterances
    ablation["comparisons"]                                 # a minus b on each split: delta, ci95, p, in_words
    ablation["curves"]["askd"][0]["w_teacher"]              # of the first seed, at ablation["curves"]["askd"][0]["step"]

A method counts when all seeds have it, whole (`askd.ablationfiles.not_whole`). The others are named in ``left_out``, a row a
method and seed that is not. With settings.clips_seed a seed changes order and padding of the same training clips: intervals
then speak of other orders and utterances, not of other clips. Tables and sentences: `askd.ablationtables`.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from askd.ablationfiles import hypotheses_path, not_whole, same_settings, seed_folder, teacher_meta
from askd.errors import RunError
from askd.files import digest, read_json, write_json
from askd.intervals import Draws
from askd.methods import DESCRIBED
from askd.panel import Rows
from askd.rows import read_rows
from askd.runinfo import read_info
from askd.runlogs import read_metrics, read_speed
from askd.runs import Run, provenance
from askd.wer import declared_splits, default_pairs, real_domains, wer_report

POINTS = 80  # of a training curve: more cannot be seen in a figure. Ours
CURVES = ("w_label", "w_teacher", "w_self", "ce", "kl_teacher", "kl_self", "loss")


def ablation_pairs(names: Collection[str]) -> list[tuple[str, str]]:
    """Every student minus the teacher, ASKD minus every other, every student minus CE only and minus the fine-tuned teacher.

    >>> ablation_pairs(["teacher", "constant_kd", "ce_only"])
    [('constant_kd', 'teacher'), ('ce_only', 'teacher'), ('constant_kd', 'ce_only')]
    """
    students = [name for name in names if name != "teacher"]
    pairs = default_pairs(names)
    for b in ("ce_only", "finetuned_teacher"):
        pairs += [(a, b) for a in students if a != b and (b, a) not in pairs] if b in names else []
    return list(dict.fromkeys(pairs))


def ablation_report(folder: Path, profile: str, seeds: Sequence[int], methods: Sequence[str], resamples: int = 10_000) -> dict:
    """Score what is whole, write ``results/*.json`` and ``figures/``, say on stderr what is left out; return ablation.json.

    Args:
        folder: of the ablation.
        profile: its name, for the record.
        seeds: that a method must have.
        methods: considered; one that was not even begun is passed over.
        resamples: of the bootstrap.

    Raises:
        RunError: no seed's folder, seeds of different settings, no transcripts of the teacher, or not one method is whole.
    """
    from askd import blindspots, hallucination

    folders = {seed: seed_folder(folder, seed) for seed in seeds}
    settings = same_settings(folder, seeds)
    begun = [m for m in DESCRIBED if m in methods and any(Run(f).student(m).is_dir() for f in folders.values())]
    lacks = not_whole(folder, seeds, begun)
    for method, of in lacks.items():
        seeds_of = {why: ", ".join(str(seed) for seed in of if of[seed] == why) for why in of.values()}
        print(f"left out: {method}: " + "; ".join(f"{why} with seed {its}" for why, its in seeds_of.items()), file=sys.stderr)
    left_out = [{"method": m, "seed": seed, "why": why} for m, of in lacks.items() for seed, why in of.items()]
    whole = [m for m in begun if m not in lacks]
    teacher = hypotheses_path(folders[seeds[0]], "teacher")
    if not teacher_meta(folder, seeds[0]):
        raise RunError(f"{folder}: nothing to score: {teacher} is not there, or half-written; the same command without "
                       "--no-train makes it")
    if not whole:
        raise RunError(f"{folder}: nothing to score: no method has all seeds ({', '.join(map(str, seeds))}); the same command "
                       "without --no-train makes what is missing, and --seeds names fewer")

    texts = {"teacher": [read_rows(teacher, kind="hypotheses")]} | {
        m: [read_rows(hypotheses_path(f, m), kind="hypotheses") for f in folders.values()] for m in whole}
    run, draws, pairs = Run(folders[seeds[0]]), Draws(texts["teacher"][0], resamples), ablation_pairs(texts)
    splits = declared_splits(draws.places) | {domain: split for domain, split in run.splits().items() if domain in draws.places}
    students = [pair for pair in pairs if "teacher" not in pair]
    reports = {
        "wer": wer_report(texts, pairs, splits=splits, draws=draws),
        "blindspots": blindspots.report(texts, draws, splits, students),
        "hallucination": hallucination.report(texts, draws, splits, pairs),
    }
    about = {"provenance": provenance(run.settings()), "runs": [f.name for f in folders.values()]}
    ablation = {
        "profile": profile, "methods": whole, "seeds": list(seeds), "left_out": left_out,
        **_recorded(folders, whole, settings), "resamples": resamples, "scorer": reports["wer"]["scorer"], "unit": "percent",
        "wer": _word_errors(reports["wer"], texts), "comparisons": reports["wer"]["comparisons"],
        "domain_comparisons": reports["wer"]["domain_comparisons"],
        **{name: {m: model["splits"] for m, model in report["models"].items()}
           for name, report in (("inheritance", reports["blindspots"]), ("hallucination", reports["hallucination"]))},
        "curves": {m: [curve(Run(f).student(m)) for f in folders.values()] for m in whole},
        "train_s": {m: [_train_s(Run(f).student(m)) for f in folders.values()] for m in whole},
    }
    for name, report in (reports | {"ablation": ablation}).items():
        write_json(Path(folder) / "results" / f"{name}.json", report | about)
    for name, draw in ablation_drawings(ablation).items():
        Run(folder).save_figure(draw(), name)
    return ablation | about


def _recorded(folders: Mapping[int, Path], methods: Sequence[str], settings: Mapping) -> dict:
    """Settings without the seed, curricula and where the students were trained, with a digest of the first two."""
    students = [Run(f).student(m) for m in methods for f in folders.values()]
    curricula = {m: read_json(Run(next(iter(folders.values()))).student(m) / "training.json")["curriculum"] for m in methods}
    trained = []
    for student in students:
        for start in read_info(student / "run.json").get("starts", []):
            git = start.get("git", {})
            entry = {"commit": git.get("commit"), "changed": git.get("dirty"), "machine": start.get("environment")}
            trained += [entry] if entry not in trained else []
    return {"settings": settings, "curricula": curricula, "config_hash": digest([settings, curricula]), "trained": trained}


def _word_errors(wer: Mapping, texts: Mapping[str, Sequence[Rows]]) -> dict[str, dict]:
    """Macros and domains of every model, with intervals and the rate of each seed."""
    from askd.scoring import word_errors

    found = {}
    for name, model in wer["models"].items():
        real = real_domains(model["domains"])
        counts = [word_errors([r["reference"] for r in rows], [r["hypothesis"] for r in rows]) for rows in texts[name]]
        where = np.array([row["domain"] for row in texts[name][0]])
        found[name] = {
            "macro": {split: {"value": value, "ci95": model["macro_ci95"].get(split)}
                      for split, value in model["macro"].items() if value is not None},
            "domains": {
                domain: {
                    "split": entry["split"], "real": domain in real, "wer": entry["wer"], "ci95": entry["wer_ci95"],
                    "per_seed": [_rate(c.errors[where == domain].sum(), c.words[where == domain].sum()) for c in counts],
                } for domain, entry in model["domains"].items()
            },
        }
    return found


def _rate(errors: int, words: int) -> float:
    return round(100 * float(errors) / max(1, int(words)), 3)


def curve(student: Path) -> dict:
    """What a student logged: at most `POINTS` steps of the weights and terms, all looks at the dev clips, the step of the switch.

    A term that was not computed, since its weight was 0, is None.
    """
    rows = read_metrics(student)
    thin = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).round().astype(int))] if rows else []
    return {
        "step": [row["step"] for row in thin], **{key: [_short(row.get(key)) for row in thin] for key in CURVES},
        "dev": [{"step": row["step"], "dev_ce": _short(row.get("dev_ce")), "dev_wer": _short(row.get("dev_wer"))}
                for row in rows if "dev_ce" in row or "dev_wer" in row],
        "switch": next((row["step"] for row in rows if row.get("phase") == "B"), None),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _train_s(student: Path) -> float:
    return round(sum(row["seconds"] for row in read_speed(student)), 1)


def ablation_drawings(ablation: Mapping) -> dict[str, Callable]:
    """Figures by file name, each a function that draws it; those that there is nothing for are not among them."""
    from askd import methodfigures

    curves = ablation["curves"]
    found = {"ablation_wer": lambda: methodfigures.ablation_wer(ablation)}
    if curves.get("askd"):
        found["ablation_terms"] = lambda: methodfigures.terms_over_training(curves)
    if any(look["dev_wer"] is not None for seeds in curves.values() for one in seeds for look in one["dev"]):
        found["ablation_dev_wer"] = lambda: methodfigures.dev_wer_over_steps(curves)
    return found
