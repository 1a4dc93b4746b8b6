"""Log-mel features and the right-sized audio context.

Axes: ``B`` utterances, ``T`` mel frames (10 ms), ``M`` mel bands (80).

Whisper pads every clip to 30 s with digital silence. Its log-mel of silence is a constant, so the padded features are
the clip's own frames followed by that constant: we compute the clip once and pad to any context afterwards.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FEATURES = "log_mels 2"  # in the keys of caches: change it when the numbers change
HOP = 160  # samples, 10 ms
N_FFT = 400  # samples, 25 ms
FULL_CONTEXT = 3000  # frames, 30 s
FRAMES_PER_POSITION = 2  # the second convolution halves the rate: 20 ms per encoder position


@functools.cache
def _mel_filters(bands: int) -> Tensor:
    from transformers import WhisperFeatureExtractor

    return torch.from_numpy(WhisperFeatureExtractor(feature_size=bands).mel_filters).float().T.contiguous()  # (M, 201)


def mel_frames(samples: int) -> int:
    """Frames T that `log_mel` gives a clip of ``samples`` samples: ceil(n / 160) + 2, at most 3000."""
    return min(-(-samples // HOP) + 2, FULL_CONTEXT)


def log_mel(samples: np.ndarray, bands: int = 80) -> Tensor:
    """Whisper's log-mel of a clip, on the clip's own length: one clip of `log_mels`.

    Args:
        samples: (n,), float32 at 16 kHz.
        bands: 80; 128 for large-v3.

    Returns:
        (M, T), float32, T = `mel_frames`: the last window that touches the clip is in.
    """
    return log_mels([samples], bands)[0]


def log_mels(clips: Sequence[np.ndarray], bands: int = 80, batch_size: int = 4) -> list[Tensor]:
    """Whisper's log-mel of many clips, each on its own length, in batches of similar length.

        x = log10(max(mel power, 1e-10));  x = max(x, max(x) - 8);  (x + 4) / 4

    Equal to the first T frames of `transformers.WhisperFeatureExtractor`, which pads every clip to 30 s (tested to 1e-4).

    Args:
        clips: arrays (n_i,), float32 at 16 kHz.
        bands: 80; 128 for large-v3.
        batch_size: clips transformed together. Ours, measured: larger blocks spend their time on fresh memory pages.

    Returns:
        tensors (M, T_i), float32, in the order given.
    """
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    out: list[Tensor | None] = [None] * len(clips)
    window = torch.hann_window(N_FFT)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        # the transform mirrors the end of the 30 s, so no clip is padded beyond them
        padded = min((mel_frames(len(clips[chosen[-1]])) + 3) * HOP, FULL_CONTEXT * HOP)
        audio = torch.zeros(len(chosen), padded)  # (B, n)
        for row, i in zip(audio, chosen, strict=True):
            row[: len(clips[i])] = torch.from_numpy(np.ascontiguousarray(clips[i][:padded], dtype=np.float32))
        spectrum = torch.stft(audio, N_FFT, HOP, window=window, return_complex=True)  # (B, 201, T)
        power = spectrum.real.square() + spectrum.imag.square()  # without the square root of abs(): five times faster
        log = (_mel_filters(bands) @ power).clamp_min(1e-10).log10()  # (B, M, T)
        for clip, i in zip(log, chosen, strict=True):
            own = clip[:, : mel_frames(len(clips[i]))]
            out[i] = (own.clamp_min(own.max() - 8.0) + 4.0) / 4.0  # (M, T_i)
    return out


def silence_of(features: Tensor) -> float:
    """The value that digital silence takes beside this clip: 8 decades below its peak, or the absolute floor."""
    return max(float(features.max()) - 2.0, -1.5)


def pad_features(features: Sequence[Tensor], frames: int | None = None) -> Tensor:
    """Clips of different length -> one batch; each is followed by its own silence, as Whisper's padding would.

    Args:
        features: tensors (M, T_i).
        frames: context T, rounded up to an even number; default the longest clip. Longer clips are cut.

    Returns:
        (B, M, T) float32.
    """
    if frames is None:
        frames = max(f.shape[-1] for f in features)
    frames = min(frames + frames % FRAMES_PER_POSITION, FULL_CONTEXT)
    batch = torch.empty(len(features), features[0].shape[0], frames)
    for row, clip in zip(batch, features, strict=True):
        own = min(clip.shape[-1], frames)
        row[:, :own] = clip[:, :own]
        row[:, own:] = silence_of(clip)
    return batch


def encode(model, features: Tensor) -> Tensor:
    """Whisper's encoder on a context of any even number of frames up to 3000.

    transformers' own forward insists on 30 s. The layers do not: positions are simply the first T/2 of the table.

    Args:
        model: `transformers.WhisperForConditionalGeneration`.
        features: (B, M, T).

    Returns:
        hidden states, (B, T/2, d).
    """
    encoder = model.model.encoder
    hidden = torch.nn.functional.gelu(encoder.conv1(features))  # (B, d, T)
    hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)  # (B, T/2, d)
    # by a call, not by its weight: an offloaded teacher's weights are there only during a call
    hidden = hidden + encoder.embed_positions(torch.arange(hidden.shape[1], device=hidden.device))
    for layer in encoder.layers:
        output = layer(hidden, None)
        hidden = output[0] if isinstance(output, tuple) else output
    return encoder.layer_norm(hidden)
