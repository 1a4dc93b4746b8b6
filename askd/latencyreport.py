"""Models and engines side by side, from one run: latency, memory and word error rate in one table.

    report = compare({"teacher": load_teacher("tiny.en"), "student": load_teacher("my-student")}, clips, ["transformers", "ct2"])
    print(as_text(report))
    askd.figures.save(pareto(report), Path("figures/pareto"))       # askd.latencyfigures

The first model is the one that the others are compared with, in the same engine. ``weights_mb`` is the size of the weights, in
memory as on disk; activations and the libraries come on top of it. WER is of that engine's own transcripts, batch 1.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from askd.clips import Clip
from askd.engines import Engine, make_engine
from askd.errors import AskdError
from askd.latency import TOKENS_PER_S, machine, measure, of_length
from askd.notebook import table
from askd.progress import progress_bar
from askd.scoring import domain_table, macro, scorer_name
from askd.teacher import Recogniser

TEST = "test clips"  # label of the rows about them
GOALS = (  # a student in this engine against (model, engine): at least so many times as fast, batch 1, test clips. Ours
    ("transformers", ("teacher", "transformers"), 5.0), ("ct2", ("teacher", "ct2"), 8.0),
    ("ct2", ("tiny.en", "faster-whisper"), 3.0),
)
FIELDS = {  # of the table
    "model": "model", "engine": "engine", "batch": "batch", "clips": "clips", "mode": "tokens", "tokens": "n",
    "encoder_ms": "encoder ms", "p50_ms": "p50 ms", "p95_ms": "p95 ms", "rtfx": "RTFx", "of_first": "times", "weights_mb": "MB",
    "wer": "WER %",
}


def compare(
    models: Mapping[str, Recogniser], clips: Sequence[Clip], kinds: Sequence[str], peers: Mapping[str, Recogniser] | None = None,
    audio_s: Sequence[float] = (1, 3, 5, 10, 30), batches: Sequence[int] = (1, 8), repeats: int = 20, clip_repeats: int = 3,
    scratch: Path | str | None = None, progress: bool = False,
) -> dict:
    """Time every model in every engine, interleaved, and score what it writes.

    Args:
        models: name -> model and processor; the first one is the teacher.
        clips: test clips of any domains, at most 30 s each.
        kinds: names in `askd.engines.ENGINES`.
        peers: stock models that run in faster-whisper alone, as a user would pick them.
        audio_s: lengths of clips that are timed at a fixed token count, 3.5 tokens a second.
        batches: utterances a pass; where the test clips are fewer, they are timed in smaller batches only.
        repeats, clip_repeats: rounds over a clip of fixed length, and over all test clips.
        scratch: where conversions are kept; default a temporary folder.

    Returns:
        students (names), rows (of `askd.latency.measure`, with of_first, weights_mb and wer), wer (model, engine, domains,
        macro), failed (engines that could not run, and why), goals, scorer, machine.

    Raises:
        UnknownName: no such engine.
        AskdError: no clips, clips that engines refuse, or a package is missing.
    """
    if not clips:
        raise AskdError("no test clips: name at least one domain, with one clip or more")
    with tempfile.TemporaryDirectory() as temporary:
        planned = [(kind, name, model) for kind in kinds for name, model in models.items()]
        planned += [("faster-whisper", name, model) for name, model in (peers or {}).items()]
        engines, failed = _started(planned, scratch or temporary, clips[0].samples())
        if not engines:
            raise AskdError(f"no engine could run: {'; '.join(f'{name}: {why}' for name, why in failed.items())}")
        wer = [_scored(engine, clips, progress) for engine in engines]
        rows = _fixed_lengths(engines, clips[0].samples(), audio_s, batches, repeats, progress)
        rows += _test_clips(engines, clips, batches, clip_repeats, progress)
    first = next(iter(models))
    by_engine = {(found["model"], found["engine"]): found for found in wer}
    for row in rows:
        row["of_first"] = _ratio(rows, row, (first, row["engine"]))
        row |= {name: by_engine[row["model"], row["engine"]][name] for name in ("weights_mb", "wer")}
    return {"students": list(models)[1:], "rows": rows, "wer": wer, "failed": failed, "goals": _goals(rows, list(models)),
            "scorer": scorer_name(), "machine": machine()}


def _started(planned: Sequence[tuple], scratch: Path | str, samples: np.ndarray) -> tuple[list[Engine], dict[str, str]]:
    """Engines that transcribed a clip; why the others could not. What the user can mend is not caught."""
    engines, failed = [], {}
    for kind, name, model in planned:
        engine = make_engine(kind, model, name, scratch)
        try:
            engine.transcribe([samples], 2)
            engines.append(engine)
        except AskdError:
            raise
        except Exception as error:  # of a compiler or a package that is not ours: the table goes on without it
            failed[f"{name} {kind}"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return engines, failed


def _scored(engine: Engine, clips: Sequence[Clip], progress: bool) -> dict:
    rows = []
    for clip in progress_bar(clips, desc=f"words of {engine.of} {engine.name}", unit="clip", shown=progress):
        said = engine.text(engine.transcribe([clip.samples()]).tokens[0])
        rows.append({"domain": clip.domain, "reference": clip.text, "hypothesis": said})
    domains = domain_table(rows, dict.fromkeys({clip.domain for clip in clips}, "all"))
    return {
        "model": engine.of, "engine": engine.name, "weights_mb": round(engine.weights_mb, 1), "wer": macro(domains)["all"],
        "domains": {name: found["wer"] for name, found in domains.items()},
    }


def _fixed_lengths(engines, spoken: np.ndarray, audio_s, batches, repeats: int, progress: bool) -> list[dict]:
    rows = []
    for batch in batches:
        for length in audio_s:
            tokens = max(2, round(TOKENS_PER_S * length))
            clips = [of_length(spoken, length)] * batch
            rows += measure(engines, clips, batch, [tokens] * batch, repeats, 1, f"{length:g} s", progress)
    return rows


def _test_clips(engines, clips: Sequence[Clip], batches, repeats: int, progress: bool) -> list[dict]:
    """Fixed token counts of the references, and free-running; clips of similar length in one batch."""
    clips = sorted(clips, key=lambda clip: clip.audio_s)
    samples = [clip.samples() for clip in clips]
    tokenizer = engines[0].processor.tokenizer
    tokens = [1 + len(tokenizer(clip.text, add_special_tokens=False).input_ids) for clip in clips]  # with the end
    rows = []
    for batch in batches:
        if batch <= len(clips):
            for counts, warmup in ((tokens, 1), (None, 0)):
                rows += measure(engines, samples, batch, counts, repeats, warmup, TEST, progress)
    return rows


def _ratio(rows: Sequence[Mapping], row: Mapping, other: tuple[str, str]) -> float | None:
    """Mean time of ``other`` (model, engine) on the same work over that of ``row``."""
    same = [r for r in rows if (r["model"], r["engine"]) == other and all(r[k] == row[k] for k in ("batch", "clips", "mode"))]
    return round(same[0]["mean_ms"] / row["mean_ms"], 2) if same else None


def _goals(rows: Sequence[Mapping], names: Sequence[str]) -> list[dict]:
    """What we had aimed at beside what came out, for each student; pairs that were not measured are left out."""
    there = {(row["model"], row["engine"]): row for row in rows}
    found = []
    for student in names[1:]:
        mine = [row for row in rows if row["model"] == student and row["batch"] == 1 and row["clips"] == TEST]
        for engine, (one, theirs), goal in GOALS:
            other = (one if (one, theirs) in there else names[0]), theirs  # without such a peer the teacher is the stock model
            for row in mine:
                if row["engine"] == engine and other in there:
                    found.append({
                        "model": f"{student} {engine}", "other": " ".join(other), "mode": row["mode"], "goal": goal,
                        "times": _ratio(rows, row, other), "wer": row["wer"], "wer_other": there[other]["wer"],
                    })
    return found


def as_text(report: Mapping) -> str:
    """The table, the goals, and what could not run."""
    rows = [[row[field] for field in FIELDS] for row in report["rows"]]
    lines = [table(list(FIELDS.values()), rows), "", "times: as fast as the first model in the same engine, of mean times; MB: "
             "weights, in memory as on disk", f"WER: macro, {report['scorer']}"]
    for goal in report["goals"]:
        lines.append(f"{goal['model']} against {goal['other']}, {goal['mode']} tokens: {goal['times']:.2f}x as fast "
                     f"(goal {goal['goal']:g}x), WER {goal['wer']:.1f} and {goal['wer_other']:.1f} %")
    lines += [f"could not run: {name}: {why}" for name, why in report["failed"].items()]
    return "\n".join(lines)
