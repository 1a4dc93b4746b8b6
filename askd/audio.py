"""The one door for sound: file -> mono float32 at 16 kHz, in [-1, 1]."""

from pathlib import Path

import numpy as np

from askd.errors import AudioError

SAMPLING_RATE_HZ = 16_000
MAX_AUDIO_S = 30.0  # Whisper's window


def read_audio(path: Path | str, max_audio_s: float | None = MAX_AUDIO_S) -> np.ndarray:
    """Read any file libsndfile knows as mono float32 at 16 kHz.

    Stereo is averaged, other sampling rates are resampled by soxr (HQ).

    Args:
        path: audio file.
        max_audio_s: longest allowed duration; ``None`` allows any.

    Returns:
        samples, shape (n,), float32.

    Raises:
        AudioError: missing, unreadable, truncated, empty, not finite, or too long; the file is named.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = file.samplerate
            promised = file.frames
            samples = file.read(dtype="float32", always_2d=True)  # (n, channels)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read as audio ({error})") from None
    if 0 < promised < 2**40 and len(samples) < promised:
        raise AudioError(f"{path}: truncated, {len(samples)} of {promised} samples; copy the file again")
    try:
        return to_16khz_mono(samples, rate, max_audio_s)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def to_16khz_mono(samples: np.ndarray, rate_hz: int, max_audio_s: float | None = MAX_AUDIO_S) -> np.ndarray:
    """Samples of shape (n,) or (n, channels) at ``rate_hz`` -> (m,) float32 at 16 kHz."""
    import soxr

    samples = np.asarray(samples)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if samples.size == 0:
        raise AudioError("holds no samples")
    if not np.isfinite(samples).all():
        raise AudioError("holds NaN or infinite samples")
    if max_audio_s is not None and len(samples) / rate_hz > max_audio_s + 1e-3:
        raise AudioError(f"lasts {len(samples) / rate_hz:.1f} s; at most {max_audio_s:g} s fit, cut it first")
    samples = samples.astype(np.float32)
    if rate_hz != SAMPLING_RATE_HZ:
        samples = soxr.resample(samples, rate_hz, SAMPLING_RATE_HZ).astype(np.float32)
    return samples


def write_flac(path: Path | str, samples: np.ndarray) -> None:
    """Write mono float32 at 16 kHz as 16-bit FLAC; peaks beyond +-1 are scaled down, never wrapped."""
    import soundfile

    peak = float(np.abs(samples).max()) if samples.size else 0.0
    soundfile.write(str(path), samples / max(1.0, peak), SAMPLING_RATE_HZ, format="FLAC", subtype="PCM_16")
