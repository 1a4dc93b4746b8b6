"""What came out of a distillation: which student ships, its scores, its times, its exports, and the few lines that say so.

    folder = choose(DIR, dev=64)              # DIR/student, or DIR/student/best
    summary = judge(plan.asked, DIR, clips["test"], teacher, processor, trained={"mine"})
    print(in_words(summary))

Everything lies in ``DIR/results`` and is made again only when the weights or the clips are others.
"""

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from askd.clips import Clip
from askd.errors import AskdError
from askd.files import read_json, write_json
from askd.owndata import evenly
from askd.plan import FEW_TESTS, LATENCY
from askd.timings import device_here


def choose(out: Path, dev: int) -> Path:
    """The student to ship: that of the lowest dev cross-entropy, where there are `FEW_TESTS` dev clips or more to tell by, else
    that of the last step. ``results/student.json`` holds its folder and, where the two differ, a note.

    Args:
        out: run folder.
        dev: number of dev clips.
    """
    from askd.runlogs import read_metrics

    rows = [row for row in read_metrics(out / "student") if "dev_ce" in row]
    path, folder, note = out / "student" / "best" / "best.json", "student", ""
    if rows and path.is_file() and (best := read_json(path))["step"] < rows[-1]["step"]:
        note = f"dev cross-entropy {best['dev_ce']:.3f} after step {best['step']}, {rows[-1]['dev_ce']:.3f} at the end: "
        if dev >= FEW_TESTS:
            folder, note = "student/best", note + "the earlier student is taken, student/best"
        else:
            note += f"{dev} dev clips are too few to choose by, the last student is taken; the earlier one is student/best"
    write_json(out / "results" / "student.json", {"folder": folder, "note": note})
    return out / folder


def judge(
    asked: dict, out: Path, test: Sequence[Clip], teacher, processor, trained: Collection[str], exports: Sequence[str] = (),
    progress: bool = True,
) -> dict:
    """Score, time and export the chosen student; return the content of ``results/summary.json``.

    Args:
        asked: fields of `askd.plan.Asked`.
        out: run folder, `choose` done.
        test: clips to score on.
        teacher, processor: from `askd.load_teacher`.
        trained: domains that were trained on.
        exports: ``hf``, ``ct2``, ``onnx``.
        progress: bars with ETA.
    """
    from askd.evaluation import hypotheses
    from askd.runs import provenance
    from askd.targets import weights_digest
    from askd.teacher import load_teacher
    from askd.wer import wer_report

    results, device = out / "results", device_here()
    student = read_json(results / "student.json")
    models = {"teacher": teacher.to(device), "student": load_teacher(out / student["folder"]).model.to(device)}
    rows = {
        name: hypotheses(model, processor, test, results / "hypotheses" / f"{name}.jsonl", progress=progress)
        for name, model in models.items()
    }
    splits = {c.domain: "in_domain" if c.domain in trained else "out_of_domain" for c in test}
    report = wer_report(rows, [("student", "teacher")], {"teacher": "teacher", "student": "student"}, splits)
    write_json(results / "wer.json", report | {"provenance": provenance()})
    weights = {name: weights_digest(model) for name, model in models.items()}
    summary = _summary(report, _latency(models, processor, test, results / "latency.json", weights, progress), asked) | student
    write_json(results / "summary.json", summary)  # a conversion may take its process with it
    exported = {to: found for to in exports if (found := _export(out, to, weights["student"], test))}
    summary |= {"exports": {to: found["folder"] for to, found in exported.items()}}
    if "ct2" in exported:
        summary["same_words_after_conversion"] = exported["ct2"]["same_words"]
    write_json(results / "summary.json", summary)
    return summary


def _latency(models, processor, clips, path: Path, weights: dict, progress: bool) -> dict:
    from askd.latency import machine, measure, speedup

    if path.is_file() and (old := read_json(path))["weights"] == weights:
        return old
    heard = evenly(clips, LATENCY["clips"])
    tokens = [len(processor.tokenizer(clip.text).input_ids) for clip in heard]
    rows = measure(models, [clip.samples() for clip in heard], 1, tokens, LATENCY["repeats"], LATENCY["warmup"], "test set",
                   progress)
    found = {"rows": rows, "speedup": speedup(rows, "teacher", "student"), "machine": machine(), "weights": weights}
    write_json(path, found)
    return found


def _export(out: Path, to: str, weights: str, clips: Sequence[Clip]) -> dict | None:
    """Export once; what lies there of another student, or of the user, is moved aside. A missing converter must not spoil the
    end of a long run."""
    from askd.export import export

    record, folder = out / "results" / f"export_{to}.json", out / "export" / to
    old = read_json(record) if record.is_file() else {}
    if old.get("weights") == weights and folder.is_dir():
        return old
    if folder.exists():
        aside = folder.with_name(f"{to}.old-{old.get('weights', '')[:6] or int(time.time())}")
        folder.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}-{int(time.time())}"))
    try:
        found = export(out, to, folder, clips[0].samples() if clips else None) | {"weights": weights, "folder": f"export/{to}"}
    except AskdError as error:
        print(f"not exported to {to}: {error}")
        return None
    write_json(record, found)
    return found


def _summary(report: dict, latency: dict, asked: dict) -> dict:
    comparison = next(c for c in report["comparisons"] if c["split"] == "all")
    times, domains = {row["model"]: row["p50_ms"] for row in latency["rows"]}, report["models"]["student"]["domains"]
    return {
        "teacher": asked["teacher"], "wer": {name: model["macro"]["all"] for name, model in report["models"].items()},
        "utterances": sum(row["utterances"] for row in domains.values()), "sources": len(domains),
        "delta_wer": comparison["delta"], "ci95": comparison["ci95"], "in_words": comparison["in_words"],
        "p50_ms": times, "speedup": latency["speedup"], "exports": {}, "same_words_after_conversion": None,
    }


def in_words(summary: dict) -> str:
    """What came out, in a few plain lines."""
    wer, ms, (low, high) = summary["wer"], summary["p50_ms"], summary["ci95"]
    verdict = (
        "too few recordings for a verdict" if summary["utterances"] < FEW_TESTS else "the student is better" if high < 0
        else "the student is worse: more recordings or more hours may help" if low > 0
        else "these recordings cannot tell the two apart"
    )
    mean = f", mean over {summary['sources']} sources" if summary["sources"] > 1 else ""
    lines = [
        f"WER on {summary['utterances']} test recordings{mean}: teacher {wer['teacher']:.1f} %, student {wer['student']:.1f} %",
        f"difference {summary['delta_wer']:+.1f} points, 95 % CI [{low:+.1f}, {high:+.1f}]: {verdict}",
        f"a clip at a time, median, with askd.transcribe: teacher {ms['teacher']:.0f} ms, student {ms['student']:.0f} ms "
        f"(all clips together: {summary['speedup']:.1f}x as fast)",
        "programs that pad to 30 s, such as faster-whisper, gain only what cut layers give",
    ]
    if summary["same_words_after_conversion"] is False:
        lines.append("export/ct2 wrote other words than the student for the clip that was compared: int8 changes some")
    return "\n".join(lines + [summary["note"]] * bool(summary["note"]))
