"""Where a training step spends its time, and how far it is from what the machine's matrix products allow.

    data       waiting for the batch            decoder     forward and backward, the vocabulary projection with it
    teacher    teacher and self-teacher         loss        softmaxes and divergences, forward and backward
    encoder    forward and backward             optimiser   gradient norm, AdamW, EMA

The backward pass is cut where the gradient reaches the logits and where it reaches the encoder's output.
"""

import time
from collections.abc import Sequence

import torch

PARTS = ("data", "teacher", "encoder", "decoder", "loss", "optimiser", "other")
SAMPLED = 20  # on a GPU one step in so many is timed in parts: each mark has to wait for the device. Ours


class StepClock:
    """A stopwatch with named parts. ``begin`` a step, ``mark`` the end of each part, ``row`` gives the seconds."""

    def __init__(self, device: torch.device):
        self.device, self.on = device, True
        self.begin(0)

    def begin(self, step: int) -> None:
        """Start the clock of a step."""
        self.on = self.device.type == "cpu" or step % SAMPLED == 0
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.began = self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """The time since the last mark went into ``part``."""
        if not self.on:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now

    def mark_gradient(self, tensor: torch.Tensor, part: str) -> None:
        """Mark ``part`` when the backward pass has reached ``tensor``."""
        if self.on and tensor.requires_grad:
            tensor.register_hook(lambda _: self.mark(part))

    def row(self) -> dict[str, float]:
        """``seconds`` of the step so far and, where they were timed, of its parts."""
        total = time.perf_counter() - self.began
        return {"seconds": total} | ({part: seconds for part, seconds in self.seconds.items()} if self.on else {})


def shares(rows: Sequence[dict]) -> dict[str, float]:
    """Share of each part in the timed steps' seconds; sums to one (what no mark covered is ``other``)."""
    timed = [row for row in rows if "decoder" in row]
    total = sum(row["seconds"] for row in timed)
    if not total:
        return {}
    out = {part: sum(row[part] for row in timed) / total for part in PARTS}
    out["other"] += 1 - sum(out.values())
    return out


def training_flops(
    config, utterances: int, frames: int, tokens: int, labels: int, frozen_encoder: bool = False, frozen_vocabulary: bool = True
) -> float:
    """Floating-point operations of the matrix products of one forward and backward pass.

    A product with a weight of P entries over n rows costs 2 P n forward; as much again for the gradient of its input and
    as much again for the gradient of the weight. Attention's own two products have no weight: twice backward.

    Args:
        config: the student's `WhisperConfig`.
        utterances, frames, tokens: B, T and L of the padded batch.
        labels: N, label positions that reach the vocabulary projection.
        frozen_encoder: no backward pass there. frozen_vocabulary: no gradient of the projection's weight.
    """
    d, positions = config.d_model, frames / 2
    rows, tokens_all = utterances * positions, utterances * tokens
    convolutions = 2 * 3 * d * config.num_mel_bins * utterances * frames
    convolutions += 2 * 3 * d * d * rows
    encoder_weights = config.encoder_layers * 2 * rows * (4 * d * d + 2 * d * config.encoder_ffn_dim)
    encoder_attention = config.encoder_layers * 4 * rows * positions * d
    decoder_weights = config.decoder_layers * 2 * (tokens_all * (6 * d * d + 2 * d * config.decoder_ffn_dim) + rows * 2 * d * d)
    decoder_attention = config.decoder_layers * 4 * tokens_all * (tokens + positions) * d
    vocabulary = 2 * labels * d * config.vocab_size
    encoder = (convolutions + encoder_weights + encoder_attention) * (1 if frozen_encoder else 3)
    return encoder + 3 * (decoder_weights + decoder_attention) + vocabulary * (2 if frozen_vocabulary else 3)


def matmul_rate(dtype: torch.dtype, device: torch.device | str = "cpu", n: int = 2048, seconds: float = 0.3) -> float:
    """Operations a second of square matrix products in ``dtype``: the bound for everything that trains here."""
    device = torch.device(device)
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    rate, repeats = 0.0, 1
    for attempt in range(3):  # the first one warms up and says how many fit into the time
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(repeats):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken = time.perf_counter() - start
        rate = max(rate, repeats * 2 * n**3 / taken) if attempt else 0.0
        repeats = max(1, round(seconds / 2 / (taken / repeats)))
    return rate
