r"""Latency of several models in several engines, honestly timed.

    rows = measure({"teacher": teacher, "student": student}, clips, batch=1, tokens=counts)    # in our own loop
    rows = measure([make_engine("ct2", ...), make_engine("faster-whisper", ...)], clips)
    speedup(rows, "teacher", "student", batch=1)

Batch 1 and batch N; clips of fixed length and the real test clips; at a **fixed token count** (equal work, so that a model
is not called fast because it deletes words) and free-running. Engines take turns (A B A B), so that a slow moment of the
machine hits all; the first rounds are warm-up. Times are wall-clock from sound to tokens, features included, synchronised.

    RTFx = seconds of audio / seconds of processing
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import torch

from askd.audio import SAMPLING_RATE_HZ
from askd.errors import AskdError
from askd.progress import progress_bar

TOKENS_PER_S = 3.5  # near what our test clips have (3.3, printed in notebook 05), end token included; ours


def machine() -> dict:
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu, "threads": torch.get_num_threads(), "torch": version("torch"), "transformers": version("transformers"),
        "python": platform.python_version(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def measure(
    models: Mapping[str, object] | Sequence, clips: Sequence[np.ndarray], batch: int = 1, tokens: Sequence[int] | None = None,
    repeats: int = 20, warmup: int = 2, label: str = "clips", progress: bool = False,
) -> list[dict]:
    """Interleaved timing on the same audio.

    Args:
        models: engines of `askd.engines`; or name -> Whisper, each to run in our own loop. Each hears its own audio context:
            30 s for a stock Whisper, the clip's own for our students.
        clips: audio at 16 kHz; cut into batches of ``batch`` in the order given, a short last batch is left out.
        batch: utterances a pass.
        tokens: fixed token count of each clip, a batch writes as many as its longest; None decodes until the end token.
        repeats, warmup: rounds over all batches, and rounds before them that are not counted.
        label: what the clips are, kept in the rows.

    Returns:
        one row an engine: model, engine, batch, audio_s (mean), p50_ms, p95_ms, mean_ms, features_ms and encoder_ms (p50),
        encoder_share (of the mean), rtfx, tokens (mean of the steps of a pass), mode, clips.

    Raises:
        AskdError: fewer clips than a batch, or clips that engines refuse.
    """
    from askd.engines import Transformers
    from askd.teacher import Recogniser

    if len(clips) < batch:
        raise AskdError(f"{len(clips)} clips do not fill a batch of {batch}: take more clips or a smaller batch")
    engines = models
    if isinstance(models, Mapping):
        engines = [Transformers(Recogniser(model, None), name) for name, model in models.items()]
    starts = range(0, len(clips) - batch + 1, batch)
    heard = [[] for _ in engines]
    for round_ in progress_bar(range(warmup + repeats), desc=f"latency {label}", unit="round", shown=progress):
        for start in starts:
            count = max(tokens[start : start + batch]) if tokens is not None else None
            for engine, found in zip(engines, heard, strict=True):
                result = engine.transcribe(clips[start : start + batch], count)
                if round_ >= warmup:
                    found.append(result)
    audio_s = float(np.mean([len(clip) for clip in clips[: starts[-1] + batch]])) / SAMPLING_RATE_HZ
    about = {"batch": batch, "audio_s": round(audio_s, 2), "mode": "fixed" if tokens is not None else "free", "clips": label}
    return [_row(engine, found, about) for engine, found in zip(engines, heard, strict=True)]


def _row(engine, found: Sequence, about: dict) -> dict:
    """One engine's passes as a row of `measure`."""
    total, encoder = (1e3 * np.array([getattr(h, part) for h in found]) for part in ("total_s", "encoder_s"))  # ms
    return {
        "model": engine.of, "engine": engine.name, **about,
        "p50_ms": round(float(np.percentile(total, 50)), 2), "p95_ms": round(float(np.percentile(total, 95)), 2),
        "mean_ms": round(float(total.mean()), 2),
        "features_ms": round(1e3 * float(np.percentile([h.features_s for h in found], 50)), 2),
        "encoder_ms": round(float(np.percentile(encoder, 50)), 2),
        "encoder_share": round(float(encoder.sum() / total.sum()), 3),
        "rtfx": round(1e3 * about["batch"] * about["audio_s"] / float(total.mean()), 1),
        "tokens": round(float(np.mean([h.steps for h in found])), 1),
    }


def speedup(rows: Sequence[Mapping], teacher: str, student: str, **where) -> float:
    """Mean time of the teacher over that of the student, in the rows that match ``where`` (batch=1, mode="fixed", ...)."""
    def time_of(name: str) -> float:
        found = [r["mean_ms"] for r in rows if r["model"] == name and all(r[k] == v for k, v in where.items())]
        if len(found) != 1:
            raise ValueError(f"{len(found)} rows of {name!r} match {where}, need one")
        return found[0]

    return round(time_of(teacher) / time_of(student), 2)


def of_length(clip: np.ndarray, audio_s: float) -> np.ndarray:
    """A clip of exactly ``audio_s`` seconds: repeated or cut."""
    return np.resize(clip, int(audio_s * SAMPLING_RATE_HZ)).astype(np.float32)
