"""Ablations as `askd ablate` leaves them, without any model: students that get a share of their words wrong."""

import json
import random

from askd.ablationfiles import hypotheses_path, seed_folder
from askd.ablationreport import ablation_report
from askd.files import write_json
from askd.methods import METHODS, get_method
from askd.rows import meta_path, write_rows
from askd.runs import Run

WORDS = "quick brown fox jumps over lazy dog while green birds watch from their old stone wall".split()
DOMAINS = ("neural_clean", "formant_noise", "scottish_street", "pocketsphinx")  # the third never trained on, the last real too
RATES = {"teacher": 0.5, "askd": 0.1, "constant_kd": 0.3, "ce_only": 0.15, "ps_kd": 0.2}  # of words that are wrong


def rows_of(name, seed=0, n=12):
    """A model that gets a share of its words wrong, others in every domain and with every seed."""
    rows = []
    for i, domain in [(i, d) for d in DOMAINS for i in range(n)]:
        said, chance = random.Random(f"{domain}{i}").choices(WORDS, k=8), random.Random(f"{name}{seed}{domain}{i}")
        heard = [chance.choice(WORDS) if chance.random() < RATES[name] else word for word in said]
        rows.append({"domain": domain, "id": str(i), "speaker": f"v{i % 3}", "reference": " ".join(said), "seconds": 2.0,
                     "hypothesis": " ".join(heard), "ended": True})
    return rows


def report(folder, seeds=(0, 1), resamples=300):
    """``ablation.json`` of all methods that are there."""
    return ablation_report(folder, "made", seeds, list(METHODS), resamples)


def add_transcripts(folder, name, rows, **meta):
    """With the meta file that `askd.evaluation.hypotheses` leaves."""
    write_rows(hypotheses_path(folder, name), rows)
    kept = {"format": 3, "weights": name, "max_new_tokens": 40, "clips": "test clips", "rows": len(rows)} | meta
    write_json(meta_path(hypotheses_path(folder, name)), kept)


def add_student(folder, method, seed, steps=200, **recorded):
    """``recorded``: what training.json says otherwise."""
    run, student = Run(folder), Run(folder).student(method)
    data = {"teacher": "teacher", "clips": f"clips {seed}", "n_clips": 9, "dev_clips": "dev clips"}
    write_json(student / "training.json", run.train_config(method).recorded() | data | recorded)
    curriculum, logged = get_method(method), []
    for step in range(1, steps + 1):
        w = curriculum.weights((step - 1) / steps)
        terms = {"ce": 1 / step} | ({"kl_teacher": 2 / step} if w.teacher else {}) | ({"kl_self": 0.1} if w.self_teacher else {})
        row = {"step": step, "loss": 1.0, "phase": curriculum.phase((step - 1) / steps), **terms, "w_label": w.label,
               "w_teacher": w.teacher, "w_self": w.self_teacher}
        logged.append(row | ({"dev_ce": 1.5, "dev_wer": 20 + seed} if step % 50 == 0 else {}))
    for name, lines in (("metrics", logged), ("speed", [{"step": i, "seconds": 0.5} for i in range(1, steps + 1)])):
        (student / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = {"git": {"commit": "abc", "dirty": False}, "environment": {"gpu": "H100"}}
    write_json(student / "run.json", {"starts": [start, start]})
    write_json(student / "finished.json", {"steps": steps})
    add_transcripts(folder, method, rows_of(method, seed))


def make(folder, seeds=(0, 1), methods=("ce_only", "constant_kd", "askd"), **settings):
    """All methods with all seeds."""
    for seed in seeds:
        its = seed_folder(folder, seed)
        Run(its).start(**{"steps": 200, "seed": seed} | settings)
        add_transcripts(its, "teacher", rows_of("teacher"))
        for method in methods:
            add_student(its, method, seed)
    return folder
