"""SpecAugment: bands and stretches of a log-mel spectrogram are hidden, so that a student cannot lean on any one of them."""

import numpy as np
from torch import Tensor

BANDS, WIDTH = 2, 15  # masks, and at most so many mel bands each (of 80). The paper's policy LD has 2 of 27
STRETCHES, LENGTH = 2, 40  # and at most so many frames (10 ms); LD has 2 of 100, for utterances of 12 s
SHARE = 0.1  # and at most this share of the batch's context each. LD's limit is the whole utterance; the widths are ours


def masked(features: Tensor, rng: np.random.Generator) -> Tensor:
    """``features`` (B, M, T) with bands and stretches set to 0, about the mean of Whisper's features; each clip its own.

    Park et al., arXiv 1904.08779, without time warping. The input stays as it was.
    """
    out = features.clone()
    _, bands, frames = out.shape
    for clip in out:
        for _ in range(BANDS):
            width = int(rng.integers(0, min(WIDTH, bands) + 1))
            first = int(rng.integers(0, bands - width + 1))
            clip[first : first + width] = 0
        for _ in range(STRETCHES):
            length = int(rng.integers(0, min(LENGTH, int(SHARE * frames)) + 1))
            first = int(rng.integers(0, frames - length + 1))
            clip[:, first : first + length] = 0
    return out
