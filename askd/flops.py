"""Floating-point operations of Whisper's matrix products, and what a machine could do of them at best.

A product with a weight of P entries over n rows costs 2 P n forward; as much again for the gradient of its input, and as
much again for the gradient of the weight. Attention's own two products have no weight: twice their cost backward.
"""

import time
from typing import NamedTuple

import torch


class Forward(NamedTuple):
    """Operations of one forward pass."""

    encoder: float
    decoder: float
    vocabulary: float


def forward_flops(config, utterances: int, frames: int, tokens: int, labels: int) -> Forward:
    """Operations of a forward pass through a Whisper.

    Args:
        config: `transformers.WhisperConfig`.
        utterances, frames, tokens: B, T and L of the padded batch.
        labels: N, label positions that reach the vocabulary projection.
    """
    d, positions = config.d_model, frames / 2
    rows, inputs = utterances * positions, utterances * tokens
    encoder = 2 * 3 * d * config.num_mel_bins * utterances * frames + 2 * 3 * d * d * rows  # two convolutions
    encoder += config.encoder_layers * 2 * rows * (4 * d * d + 2 * d * config.encoder_ffn_dim)
    encoder += config.encoder_layers * 4 * rows * positions * d
    decoder = config.decoder_layers * 2 * inputs * (6 * d * d + 2 * d * config.decoder_ffn_dim)
    decoder += config.decoder_layers * 2 * rows * 2 * d * d  # keys and values of the encoder's output
    decoder += config.decoder_layers * 4 * inputs * (tokens + positions) * d
    return Forward(encoder, decoder, 2 * labels * d * config.vocab_size)


def training_flops(
    config, utterances: int, frames: int, tokens: int, labels: int, frozen_encoder: bool = False, frozen_vocabulary: bool = True
) -> float:
    """Operations of one forward and backward pass.

    Args:
        config, utterances, frames, tokens, labels: as in `forward_flops`.
        frozen_encoder: no backward pass there.
        frozen_vocabulary: no gradient of the projection's weight.
    """
    forward = forward_flops(config, utterances, frames, tokens, labels)
    return (
        forward.encoder * (1 if frozen_encoder else 3) + 3 * forward.decoder
        + forward.vocabulary * (2 if frozen_vocabulary else 3)
    )


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
