r"""How fast a Whisper could be here: the time of its matrix products at the rates of this machine, beside what it takes.

    rates = measure_rates(weight_bytes(model.config))
    found = against_bound(Transformers(recogniser), samples, tokens=24, rates=rates)
    print(as_text([found]))

A product costs 2 operations a weight and row, and its weights have to be read once a pass, so no program is faster than

    t = max(operations / (operations a second), bytes / (bytes a second))

The encoder has hundreds of rows a weight and is bound by operations. A decoder step at batch 1 has one row: it reads every
weight of its layers and of the vocabulary for a single token, and is bound by memory.
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from askd.decoding import prompt_ids
from askd.engines import Engine
from askd.features import FRAMES_PER_POSITION
from askd.flops import forward_flops, matmul_rate
from askd.latency import measure
from askd.notebook import table


class Rates(NamedTuple):
    """What a machine does at best."""

    flops: float  # operations a second of large matrix products
    bandwidth: float  # bytes a second of a matrix-vector product, over as much memory as a decoder step reads


class Work(NamedTuple):
    """Operations, and bytes of weights and of keys and values that have to be read."""

    flops: float
    bytes: float

    def seconds(self, rates: Rates) -> float:
        """The least time it takes."""
        return max(self.flops / rates.flops, self.bytes / rates.bandwidth)


def step_weights(config) -> int:
    """Weights that a decoder step reads: self-attention, queries and output of cross-attention, feed-forward, vocabulary."""
    d = config.d_model
    return config.decoder_layers * (6 * d * d + 2 * d * config.decoder_ffn_dim) + d * config.vocab_size


def weight_bytes(config, size: int = 4) -> int:
    """Bytes of the weights of a decoder step, ``size`` bytes each."""
    return size * step_weights(config)


def encoder_work(config, frames: int, size: int = 4) -> Work:
    """One clip on a context of ``frames`` mel frames, weights of ``size`` bytes."""
    d = config.d_model
    weights = 3 * d * config.num_mel_bins + 3 * d * d + config.encoder_layers * (4 * d * d + 2 * d * config.encoder_ffn_dim)
    return Work(forward_flops(config, 1, frames, 1, 0).encoder, size * weights)


def cross_work(config, frames: int, size: int = 4) -> Work:
    """Keys and values of the encoder's output, once a clip."""
    weights = config.decoder_layers * 2 * config.d_model**2
    return Work(2 * weights * frames / FRAMES_PER_POSITION, size * weights)


def step_work(config, frames: int, past: int, rows: int = 1, size: int = 4) -> Work:
    """One decoder step.

    Args:
        config: `transformers.WhisperConfig`.
        frames: audio context, in mel frames.
        past: positions fed before.
        rows: tokens fed in this step; the last one alone goes through the vocabulary.
        size: bytes of a weight, a key or a value.
    """
    d, layers = config.d_model, config.decoder_layers
    in_layers = step_weights(config) - d * config.vocab_size
    attended = layers * d * (past + rows + frames / FRAMES_PER_POSITION)  # keys; as many values
    return Work(2 * (rows * in_layers + d * config.vocab_size) + 4 * rows * attended,
                weight_bytes(config, size) + 2 * size * attended)


def bound_ms(config, frames: int, tokens: int, rates: Rates, prompt: int = 2, size: int = 4) -> dict[str, float]:
    """Least milliseconds of ``encoder`` and ``decoder`` at batch 1 for ``tokens`` new tokens after ``prompt`` start tokens."""
    steps = [step_work(config, frames, 0, prompt, size)]
    steps += [step_work(config, frames, prompt + i, 1, size) for i in range(tokens - 1)]
    decoder_s = cross_work(config, frames, size).seconds(rates) + sum(step.seconds(rates) for step in steps)
    return {"encoder": 1e3 * encoder_work(config, frames, size).seconds(rates), "decoder": 1e3 * decoder_s}


def stream_rate(count: int, dtype: torch.dtype = torch.float32, seconds: float = 0.3, width: int = 1024) -> float:
    """Bytes a second of matrix-vector products that read ``count`` bytes in all; the better of both memory layouts."""
    rows = max(1, count // (width * dtype.itemsize))
    best, x = 0.0, torch.randn(1, width).to(dtype)
    for weight in (torch.randn(rows, width).to(dtype), torch.randn(width, rows).to(dtype).t()):
        start, took = time.perf_counter(), []
        while len(took) < 3 or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            took.append(time.perf_counter() - before)
        best = max(best, weight.nbytes / min(took))
    return best


def measure_rates(count: int, dtype: torch.dtype = torch.float32, seconds: float = 0.3) -> Rates:
    """Both rates of this CPU; ``count`` bytes are read by a decoder step (`weight_bytes`), which may fit into a cache."""
    return Rates(matmul_rate(dtype, seconds=seconds), stream_rate(count, dtype, seconds))


def against_bound(
    engine: Engine, samples: np.ndarray, tokens: int, rates: Rates | None = None, repeats: int = 10, progress: bool = False
) -> dict:
    """Measured and least milliseconds of encoder and decoder, batch 1.

    Args:
        engine: over torch modules on the CPU (``transformers``, ``generate``, ``compiled``).
        samples: a clip (n,), float32 at 16 kHz.
        tokens: fixed count.
        rates: default those measured here, in the model's dtype.

    Returns:
        model, engine, audio_s, frames, tokens, rates; for encoder and decoder: measured_ms, bound_ms, times (measured / bound).
    """
    config, size = engine.model.config, engine.model.dtype.itemsize
    rates = rates or measure_rates(weight_bytes(config, size), engine.model.dtype)
    row = measure([engine], [samples], 1, [tokens], repeats, label="bound", progress=progress)[0]
    frames = engine.features([samples]).shape[-1]
    least = bound_ms(config, frames, tokens, rates, len(prompt_ids(engine.model)), size)
    measured = {"encoder": row["encoder_ms"], "decoder": row["p50_ms"] - row["encoder_ms"] - row["features_ms"]}
    return {
        "model": engine.of, "engine": engine.name, "audio_s": row["audio_s"], "frames": frames, "tokens": tokens,
        "rates": rates._asdict(),
        **{part: {"measured_ms": round(measured[part], 2), "bound_ms": round(least[part], 2),
                  "times": round(measured[part] / least[part], 2)} for part in least},
    }


def as_text(found: Sequence[Mapping]) -> str:
    """Measured and bound, one line a model and part."""
    rows = [[f"{each['model']} {part}", each["engine"], each["frames"], each["tokens"], *each[part].values()]
            for each in found for part in ("encoder", "decoder")]
    said = "; ".join(f"{each['model']}: {each['rates']['flops'] / 1e9:.0f} GFLOP/s, {each['rates']['bandwidth'] / 1e9:.1f} GB/s"
                     for each in found)
    header = ["part", "engine", "frames", "tokens", "measured ms", "bound ms", "measured / bound"]
    return f"{table(header, rows, digits=2)}\nbound: matrix products at the rates measured here ({said})"
