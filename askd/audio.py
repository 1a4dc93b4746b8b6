"""The one door for sound: file -> mono float32 at 16 kHz, in [-1, 1]."""

import io
import os
import re
from pathlib import Path

import numpy as np

from askd.errors import AskdError, AudioError

SAMPLING_RATE_HZ = 16_000
MAX_AUDIO_S = 30.0  # Whisper's window
G722, G722_BYTES_PER_S = ".g722", 8_000
NEEDS_FFMPEG = (".m4a", ".aac", ".mp4", ".webm", ".wma", ".amr")  # telephones and browsers write them; libsndfile reads none


def read_audio(path: Path | str | bytes, max_audio_s: float | None = MAX_AUDIO_S) -> np.ndarray:
    """Read any file libsndfile knows (and G.722) as mono float32 at 16 kHz.

    Stereo is averaged, other sampling rates are resampled by soxr (HQ).

    Args:
        path: audio file, or the content of one.
        max_audio_s: longest allowed duration; ``None`` allows any.

    Returns:
        samples, shape (n,), float32.

    Raises:
        AudioError: missing, unreadable, truncated, empty, not finite, or too long; the file is named.
        AskdError: a G.722 file, and PyAV is not installed.
    """
    import soundfile

    content = isinstance(path, bytes)
    name = "embedded audio" if content else str(path)
    try:
        if is_g722(name):
            samples, rate = _read_g722(name), SAMPLING_RATE_HZ
            promised = len(samples)
        else:
            with soundfile.SoundFile(io.BytesIO(path) if content else name) as file:
                rate = file.samplerate
                promised = file.frames
                samples = file.read(dtype="float32", always_2d=True)  # (n, channels)
                if cut := cut_short(file.extra_info):
                    raise AudioError(f"{name}: truncated, {cut}; copy the file again")
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{name}: {_why(name, error)}") from None
    if 0 < promised < 2**40 and len(samples) < promised:
        raise AudioError(f"{name}: truncated, {len(samples)} of {promised} samples; copy the file again")
    try:
        return to_16khz_mono(samples, rate, max_audio_s)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from None


def cut_short(header: str) -> str:
    """What is missing of a WAV or Ogg file, whose frame count libsndfile shortens to what is there; else an empty string."""
    wav = re.search(r"^data : (\d+) \(should be (\d+)\)", header, re.MULTILINE)
    if wav and int(wav[2]) < int(wav[1]) < 2**31 - 2**16:  # programs that write to a pipe leave 0 or about 2**32 there
        return f"{wav[2]} of {wav[1]} bytes"
    return "the Ogg stream has no end" if "lacks an end-of-stream bit" in header else ""


def is_g722(path: Path | str) -> bool:
    """Whether it is a G.722 file, by its suffix: such files have no header."""
    return str(path).lower().endswith(G722)


def _why(name: str, error: Exception) -> str:
    path = Path(name)
    if path.suffix.lower() in NEEDS_FFMPEG and path.is_file():
        into = path.with_suffix(".flac").name
        return f"{path.suffix} is a format libsndfile does not know; convert it: `ffmpeg -i {path.name} {into}`"
    return f"cannot be read as audio ({error})"


def duration_s(path: Path | str) -> float:
    """Seconds of a recording, from its header (G.722, which has none: its size) alone.

    Raises:
        AudioError: missing, without a header that libsndfile knows, or without samples; the file is named.
    """
    import soundfile

    try:
        seconds = os.path.getsize(path) / G722_BYTES_PER_S if is_g722(path) else soundfile.info(str(path)).duration
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{path}: {_why(str(path), error)}") from None
    if not seconds:
        raise AudioError(f"{path}: holds no samples")
    return seconds


def _read_g722(path: str) -> np.ndarray:
    """G.722 at 64 kbit/s, 16 kHz (ITU-T G.722), which libsndfile does not know: decoded by FFmpeg through PyAV."""
    try:
        import av
    except ImportError:
        raise AskdError(f"{path}: G.722 is decoded by PyAV, which is not installed; pip install 'askd[speech]'") from None

    try:
        with av.open(os.path.abspath(path), format="g722") as container:  # a relative "a:b.g722" would be a URL
            frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    except av.FFmpegError as error:
        raise AudioError(f"{path}: cannot be read as audio ({error})") from None
    return np.concatenate([np.zeros(0, np.int16), *frames]).astype(np.float32) / 32768


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
