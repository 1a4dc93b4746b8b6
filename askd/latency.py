r"""Latency of teacher and student in the same engine, honestly timed.

Batch 1 and batch N; clips of fixed length and the real test clips; at a **fixed token count** (equal work, so that a model
is not called fast because it deletes words) and free-running. Models take turns (A B A B), so that a slow moment of the
machine hits both; the first rounds are warm-up. Times are wall-clock around features -> tokens, synchronised.

    RTFx = seconds of audio / seconds of processing
"""

import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import torch

from askd.decoding import MAX_NEW_TOKENS, context_frames, greedy, in_context
from askd.features import encode, log_mels

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


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed_round(model, features: torch.Tensor, tokens: int | None) -> dict[str, float]:
    """One pass over a batch (B, M, T): seconds in total and in the encoder, new tokens of the longest utterance."""
    device = features.device
    _synchronise(device)
    start = time.perf_counter()
    with torch.inference_mode():
        encoded = encode(model, features)
        _synchronise(device)
        middle = time.perf_counter()
        out, _ = greedy(model, features, tokens or MAX_NEW_TOKENS, fixed_tokens=tokens is not None, encoded=encoded)
        _synchronise(device)
    return {"encoder": middle - start, "total": time.perf_counter() - start, "tokens": out.shape[1]}


def measure(
    models: Mapping[str, object], clips: Sequence[np.ndarray], batch: int = 1, tokens: Sequence[int] | None = None,
    repeats: int = 20, warmup: int = 2, label: str = "clips", progress: bool = False,
) -> list[dict]:
    """Interleaved timing of several models on the same audio.

    Args:
        models: name -> Whisper, each on its own audio context (30 s for a stock Whisper, the clip's own for our students).
        clips: audio at 16 kHz; cut into batches of ``batch`` in the order given, a short last batch is left out.
        batch: utterances a pass.
        tokens: fixed token count of each clip; None decodes until the end token.
        repeats, warmup: rounds over all batches, and rounds before them that are not counted.
        label: what the clips are, kept in the rows.

    Returns:
        one row a model: model, engine, batch, audio_s (mean), p50_ms, p95_ms, encoder_ms (p50), rtfx, tokens (mean), mode.
    """
    from tqdm.auto import tqdm

    starts = range(0, len(clips) - batch + 1, batch)
    inputs = {name: [] for name in models}
    for name, model in models.items():
        device = next(model.parameters()).device
        for start in starts:
            features = log_mels(clips[start : start + batch], model.config.num_mel_bins)
            inputs[name].append(in_context(features, context_frames(model)).to(device))
    limits = [max(tokens[s : s + batch]) if tokens is not None else None for s in starts]
    times = {name: [] for name in models}
    for round_ in tqdm(range(warmup + repeats), desc=f"latency {label}", unit="round", disable=not progress):
        for i, limit in enumerate(limits):
            for name, model in models.items():
                result = timed_round(model, inputs[name][i], limit)
                if round_ >= warmup:
                    times[name].append(result)
    audio_s = float(np.mean([len(clip) / 16_000 for clip in clips]))
    rows = []
    for name in models:
        total = np.array([t["total"] for t in times[name]])
        rows.append({
            "model": name, "engine": "transformers", "batch": batch, "audio_s": round(audio_s, 2),
            "p50_ms": round(1e3 * float(np.percentile(total, 50)), 2), "p95_ms": round(1e3 * float(np.percentile(total, 95)), 2),
            "mean_ms": round(1e3 * float(total.mean()), 2),
            "encoder_ms": round(1e3 * float(np.percentile([t["encoder"] for t in times[name]], 50)), 2),
            "rtfx": round(batch * audio_s / float(total.mean()), 1),
            "tokens": round(float(np.mean([t["tokens"] for t in times[name]])), 1),
            "mode": "fixed" if tokens is not None else "free", "clips": label,
        })
    return rows


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
    return np.resize(clip, int(audio_s * 16_000)).astype(np.float32)
