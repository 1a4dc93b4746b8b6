"""``askd distill``: your recordings in, a student with its scores, its report and its exports out.

    distill(Asked("tiny.en", ("my_recordings/",), hours=1), "runs/mine")

    DIR/plan.json          settings, reasons, estimates: written once, and followed by every later call
    DIR/student/           training (askd/training.py), then a transformers folder
    DIR/results/           wer.json, latency.json, summary.json, hypotheses/
    DIR/export/hf, ct2     for other programs (askd/export.py)
    DIR/report.html        the executed notebook 07

Every stage leaves its result behind: after kill -9 the same command goes on where it was.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from askd import plan as planning
from askd.domains import all_domains, get_domain
from askd.errors import AskdError, RunError
from askd.files import only_writer, read_json, write_json
from askd.owndata import Parts, amount, contents, evenly, mixed_in, own_clips
from askd.plan import Asked, Plan
from askd.timings import device_here, free_memory, measure_machine

EXPORTS = ("hf", "ct2")


def distill(asked: Asked, out: Path | str, plan_only: bool = False, replan: bool = False, progress: bool = True,
            exports: Sequence[str] = EXPORTS) -> dict:
    """Plan, distil, score, time and export; go on where an earlier call stopped.

    Args:
        asked: what to do.
        out: run folder.
        plan_only: stop when the plan is written.
        replan: take changed arguments or recordings, and plan anew: a student trained otherwise is moved aside, not deleted.
        progress: bars with ETA, and a new plan on the terminal.
        exports: ``hf``, ``ct2``.

    Returns:
        the content of ``results/summary.json``; of a plan alone, ``{"plan": DIR/plan.json}``.

    Raises:
        RunError: training has begun with other arguments; they are named. Or another process writes to ``out``.
        AskdError: too little speech, too few hours, a recording at fault: named.
    """
    from askd.teacher import load_teacher

    asked, out = located(asked), Path(out)
    with only_writer(out):
        parts = own_clips(asked.data, progress=progress, **asked.sources())
        model, processor = load_teacher(asked.teacher)
        path = out / "plan.json"
        stamp = path.stat().st_mtime_ns if path.is_file() else None
        plan, mixed = make_plan(asked, out, parts, model, processor, replan, progress)
        if plan_only:
            return {"plan": str(path)}
        if progress:
            print(f"by the plan in {path}" if path.stat().st_mtime_ns == stamp else plan.as_text(), flush=True)
        return _carry_out(plan, out, clips_of(plan, parts, mixed), model, processor, progress, exports)


def located(asked: Asked) -> Asked:
    """Paths made absolute, so that the report, which runs elsewhere, means the same."""
    def absolute(name: str) -> str:
        known = name in all_domains() or name.startswith("hub:")
        return name if known or not Path(name).exists() else str(Path(name).resolve())

    teacher = str(Path(asked.teacher).resolve()) if Path(asked.teacher).is_dir() else asked.teacher
    return replace(asked, teacher=teacher, data=tuple(absolute(name) for name in asked.data))


# ---- the plan ---------------------------------------------------------------------------------------------------------


def make_plan(asked: Asked, out: Path, parts: Parts, model, processor, replan: bool = False, progress: bool = True):
    """The plan of ``out`` and the synthetic clips of it: read where there is one, else measured and written.

    Raises:
        RunError: training has begun by another plan, and ``replan`` was not said; what changed is named.
    """
    from askd.trainconfig import fast_precision

    path = out / "plan.json"
    own_h = sum(clip.audio_s for clip in parts["train"]) / 3600
    mix, why_mix = planning.mix_size(asked, len(parts["train"]), own_h)
    if path.is_file():
        old = Plan(**read_json(path))
        changes = asked.changes(old.asked) + (["the recordings"] if old.contents != contents(parts) else [])
        if not changes:
            return old, mixed_in(old.use["drawn"], asked.seed, progress) if old.use["drawn"] else []
        begun = (out / "student" / "training.json").is_file()
        if begun and not replan:
            raise RunError(
                f"{out} has begun with another plan; changed: {'; '.join(changes)}. Give the arguments it had, another --out, or "
                "--replan: then the student trained so far is moved aside"
            )
        print(f"planning anew, changed: {'; '.join(changes)}")
    mixed = mixed_in(mix, asked.seed, progress) if mix else []
    clips = [*parts["train"], *mixed]
    speech_h = sum(clip.audio_s for clip in clips) / 3600
    shape = {name: getattr(model.config, name) for name in ("d_model", "encoder_layers", "decoder_layers", "vocab_size")}
    shape["parameters"] = model.num_parameters()
    device = device_here()
    about = (asked, clips, own_h, shape, fast_precision(device), free_memory())
    if progress:
        print("measuring this machine", flush=True)
    fields, why = planning.settings(*about)
    counts = (len(clips), speech_h, len(parts["dev"]), len(parts["test"]))
    timings = measure_machine(fields, clips, parts["test"], model, processor, device)
    steps, use, minutes = planning.fit(asked, fields, timings, *counts)
    cut = asked.decoder_layers is None and fields["decoder_layers"] < shape["decoder_layers"]
    if cut and steps["steps"] < planning.RECOVERY_STEPS:
        fields, why = planning.settings(*about, all_layers=True)
        again = measure_machine(fields, clips, parts["test"], model, processor, device)
        timings = replace(again, spent_s=timings.spent_s + again.spent_s)
        steps, use, minutes = planning.fit(asked, fields, timings, *counts)
    epochs = steps["steps"] * fields["batch_size"] / use["train"]
    used_mixed = round(use["train"] * len(mixed) / len(clips))
    plan = Plan(
        asked=asdict(asked) | {"data": list(asked.data)}, contents=contents(parts), train=fields | steps,
        amounts={role: amount(part) for role, part in parts.items()} | ({"mixed in": amount(mixed)} if mixed else {}),
        use={"train": use["train"], "dev": use["dev"], "test": use["test"], "mixed in": used_mixed, "drawn": len(mixed)},
        why=why | {"mixed in": why_mix, "steps": f"{epochs:.1f} passes over the clips", "dev_every": "steps; about a dozen looks",
                   "checkpoint_every": f"steps; kill -9 costs at most {planning.CHECKPOINT_S:.0f} s"},
        minutes=minutes, timings=asdict(timings), notes=tuple(planning.advice(len(parts["train"]), len(parts["test"]))),
        licences={d.name: d.licence for d in map(get_domain, asked.data)},
    )
    write_json(path, asdict(plan))
    return Plan(**read_json(path)), mixed  # as every later call will see it


def clips_of(plan: Plan, parts: Parts, mixed: Sequence) -> Parts:
    """The clips that a plan uses: spread over all there are."""
    own = evenly(parts["train"], plan.use["train"] - plan.use["mixed in"])
    train = own + evenly(mixed, plan.use["mixed in"])
    return {"train": train, "dev": parts["dev"], "test": evenly(parts["test"], plan.use["test"])}


# ---- carrying it out --------------------------------------------------------------------------------------------------


def _carry_out(plan: Plan, out: Path, clips: Parts, teacher, processor, progress: bool, exports: Sequence[str]) -> dict:
    from askd.evaluation import hypotheses, wer_report
    from askd.runs import provenance
    from askd.targets import weights_digest
    from askd.teacher import load_teacher
    from askd.trainconfig import TrainConfig
    from askd.training import train

    results, asked = out / "results", plan.asked
    config = TrainConfig(**plan.train)
    folder = train(config, teacher, processor, clips["train"], out / "student", clips["dev"], progress, asked["skip_bad"])
    device = device_here()
    models = {"teacher": teacher.to(device), "student": load_teacher(folder).model.to(device)}
    rows = {
        name: hypotheses(model, processor, clips["test"], results / "hypotheses" / f"{name}.jsonl", progress=progress)
        for name, model in models.items()
    }
    trained = {clip.domain for clip in clips["train"]}
    splits = {c.domain: "in_domain" if c.domain in trained else "out_of_domain" for c in clips["test"]}
    weights = {name: weights_digest(model) for name, model in models.items()}
    report = wer_report(rows, {"teacher": "teacher", "student": "student"}, [("student", "teacher")], splits)
    write_json(results / "wer.json", report | {"provenance": provenance()})
    latency = _latency(models, processor, clips["test"], results / "latency.json", weights, progress)
    exported = [_export(out, to, weights["student"], clips["test"]) for to in exports]
    summary = _summary(report, latency, [e for e in exported if e], asked)
    write_json(results / "summary.json", summary)
    return summary


def _latency(models, processor, clips, path: Path, weights: dict, progress: bool) -> dict:
    from askd.latency import machine, measure, speedup

    if path.is_file() and (old := read_json(path))["weights"] == weights:
        return old
    heard = evenly(clips, planning.LATENCY["clips"])
    tokens = [len(processor.tokenizer(clip.text).input_ids) for clip in heard]
    rows = measure(models, [clip.samples() for clip in heard], 1, tokens, planning.LATENCY["repeats"],
                   planning.LATENCY["warmup"], "test set", progress)
    found = {"rows": rows, "speedup": speedup(rows, "teacher", "student"), "machine": machine(), "weights": weights}
    write_json(path, found)
    return found


def _export(out: Path, to: str, weights: str, clips) -> dict | None:
    """Export once; what an earlier student left is replaced. A missing converter must not spoil the end of a long run."""
    from askd.export import export

    record = out / "results" / f"export_{to}.json"
    if record.is_file() and (old := read_json(record))["weights"] == weights and Path(old["folder"]).is_dir():
        return old
    shutil.rmtree(out / "export" / to, ignore_errors=True)
    try:
        found = export(out, to, out / "export" / to, clips) | {"weights": weights}
    except AskdError as error:
        print(f"not exported to {to}: {error}")
        return None
    write_json(record, found)
    return found


def _summary(report: dict, latency: dict, exported: list[dict], asked: dict) -> dict:
    comparison = next(c for c in report["comparisons"] if c["split"] == "all")
    times = {row["model"]: row["p50_ms"] for row in latency["rows"]}
    return {
        "teacher": asked["teacher"], "wer": {name: model["macro"]["all"] for name, model in report["models"].items()},
        "utterances": sum(row["utterances"] for row in report["models"]["student"]["domains"].values()),
        "delta_wer": comparison["delta"], "ci95": comparison["ci95"], "in_words": comparison["in_words"],
        "p50_ms": times, "speedup": latency["speedup"], "exports": {e["to"]: e["folder"] for e in exported},
        "same_words_after_conversion": next((e["same_words"] for e in exported if e["to"] == "ct2"), None),
    }


def in_words(summary: dict) -> str:
    """What came out, in a few plain lines."""
    wer, ms, (low, high) = summary["wer"], summary["p50_ms"], summary["ci95"]
    verdict = (
        "the student is better" if high < 0 else "the student is worse: more recordings or more hours may help" if low > 0
        else "these recordings cannot tell the two apart"
    )
    return "\n".join([
        f"WER on {summary['utterances']} test recordings: teacher {wer['teacher']:.1f} %, student {wer['student']:.1f} %",
        f"difference {summary['delta_wer']:+.1f} points, 95 % CI [{low:+.1f}, {high:+.1f}]: {verdict}",
        f"a clip at a time, median: teacher {ms['teacher']:.0f} ms, student {ms['student']:.0f} ms "
        f"(all clips together: {summary['speedup']:.1f}x as fast)",
    ])
