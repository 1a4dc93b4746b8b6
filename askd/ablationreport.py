"""``ablation.json``: what methods x seeds of one profile say, from their files alone.

    ablation = read_json("runs/cpu-ablation/results/ablation.json")
    ablation["wer"]["askd"]["macro"]["real"]                # {"value", "ci95"}: all seeds, other seeds and other utterances
    ablation["comparisons"]                                 # a minus b on each split: delta, ci95, p, in_words
    ablation["curves"]["askd"][0]["w_teacher"]              # of the first seed, at ablation["curves"]["askd"][0]["step"]

A method counts when all seeds have it, finished, trained with the settings of its seed's folder, and transcribed. The others are
named in ``left_out``.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from askd.errors import RunError
from askd.files import digest, read_json, write_json
from askd.intervals import Draws
from askd.methods import DESCRIBED, named
from askd.panel import Rows
from askd.rows import read_rows
from askd.runinfo import read_info
from askd.runlogs import read_metrics, read_speed
from askd.runs import Run, provenance
from askd.wer import cell, declared_splits, default_pairs, real_domains, wer_report

POINTS = 80  # of a training curve: more cannot be seen in a figure. Ours
CURVES = ("w_label", "w_teacher", "w_self", "ce", "kl_teacher", "kl_self", "loss")
COLUMNS = {"in_domain": "in-domain", "out_of_domain": "out-of-domain", "real": "real speech", "all": "all domains"}
TOLD = [("teacher", split) for split in ("all", "real", "out_of_domain")] + [
    (b, split) for b in ("constant_kd", "ce_only") for split in ("all", "real", "out_of_domain")]


def seed_folder(folder: Path, seed: int) -> Path:
    """The run folder of one seed."""
    return Path(folder) / f"seed-{seed}"


def seeds_there(folder: Path) -> list[int]:
    """Seeds that have a folder.

    Raises:
        RunError: none has.
    """
    found = [path.parent.name.removeprefix("seed-") for path in Path(folder).glob("seed-*/settings.json")]
    if not found:
        raise RunError(f"{folder} holds no seed-N/settings.json: run askd ablate without --no-train first")
    return sorted(int(seed) for seed in found if seed.isdigit())


def hypotheses_path(folder: Path, name: str) -> Path:
    """Where a seed's folder keeps the transcripts of a model."""
    return Run(folder).results / "hypotheses" / f"{name}.jsonl"


def lacking(folder: Path, method: str) -> str:
    """What a method lacks in a seed's folder; empty when it is whole."""
    run = Run(folder)
    student = run.student(method)
    if not (student / "finished.json").is_file():
        return "not trained to the end"
    recorded, now = read_info(student / "training.json"), run.train_config(method).recorded()
    if any(recorded.get(part, {}).get(name, value) != value for part, values in now.items() for name, value in values.items()):
        return "trained with other settings"
    return "" if hypotheses_path(folder, method).is_file() else "not transcribed"


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
        RunError: no seed's folder, no transcripts of the teacher, or not one method is whole.
    """
    from askd import blindspots, hallucination

    folders = {seed: seed_folder(folder, seed) for seed in seeds}
    for seed_run in folders.values():
        Run(seed_run).settings()
    begun = [m for m in DESCRIBED if m in methods and any(Run(f).student(m).is_dir() for f in folders.values())]
    left_out = [
        {"method": m, "seeds": [seed for seed, why in of.items() if why], "why": next(filter(None, of.values()))}
        for m in begun if any((of := {seed: lacking(f, m) for seed, f in folders.items()}).values())
    ]
    for entry in left_out:
        print(f"left out: {entry['method']}: {entry['why']} with seed {', '.join(map(str, entry['seeds']))}", file=sys.stderr)
    whole = [m for m in begun if m not in {entry["method"] for entry in left_out}]
    teacher = hypotheses_path(folders[seeds[0]], "teacher")
    if not whole or not teacher.is_file():
        lacks = "no method has all seeds" if not whole else f"{teacher} is not there"
        raise RunError(f"{folder}: nothing to score: {lacks}; the same command without --no-train makes what is missing")

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
        **_recorded(folders, whole), "resamples": resamples, "scorer": reports["wer"]["scorer"], "unit": "percent",
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


def _recorded(folders: Mapping[int, Path], methods: Sequence[str]) -> dict:
    """Settings without the seed, curricula and where the students were trained, with a digest of the first two."""
    settings = asdict(Run(next(iter(folders.values()))).settings())
    del settings["seed"]
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


def ablation_table(ablation: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows: models x macro WERs, then all domains minus the teacher and minus CE only, each with its interval."""
    models, against = ablation["wer"], {(c["a"], c["b"], c["split"]): c for c in ablation["comparisons"]}
    splits = {split: title for split, title in COLUMNS.items() if split in models["teacher"]["macro"]}
    minus = [b for b in ("teacher", "ce_only") if b in models]
    rows = []
    for name in ("teacher", *[m for m in DESCRIBED if m in models]):
        found = [against.get((name, b, "all")) for b in minus]
        macro = models[name]["macro"]
        rows.append([DESCRIBED.get(name, name), *[cell(macro[s]["value"], macro[s]["ci95"]) for s in splits],
                     *[cell(c["delta"], c["ci95"], signed=True) if c else "" for c in found]])
    return ["model", *splits.values(), *[f"all, minus {named(b)}" for b in minus]], rows


def ablation_domains(ablation: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows: domains x models, WER % with intervals; a star: never trained on; (real): people speak."""
    names = ["teacher", *[m for m in DESCRIBED if m in ablation["wer"]]]
    tables = [ablation["wer"][name]["domains"] for name in names]
    rows = [
        [("" if d["split"] == "in_domain" else "* ") + domain + " (real)" * d["real"],
         *[cell(table[domain]["wer"], table[domain]["ci95"]) for table in tables]]
        for domain, d in tables[0].items()
    ]
    return ["domain", *[DESCRIBED.get(name, name) for name in names]], rows


def ablation_sentences(ablation: Mapping) -> list[str]:
    """What the intervals allow one to say of ASKD and the teacher, constant KD and CE only; empty without ASKD."""
    against = {(c["a"], c["b"], c["split"]): c for c in ablation["comparisons"]}
    found = [(split, against.get(("askd", b, split))) for b, split in TOLD]
    return [f"{COLUMNS[split]}: {c['in_words']}, p {c['p']:.2g}" for split, c in found if c]
