"""A recording of any length, five minutes at a time, so that memory does not grow with it.

    check_sound("meeting.mp3")                                # reads all of it once, keeps nothing: is it whole?
    for samples in stretches(sound_blocks("meeting.mp3")):    # about five minutes each; joined they are the recording
        ...

Blocks of a file are mixed to mono and resampled as they are read, and are what `askd.audio.read_audio` gives as a whole (tested
to 1e-4). A recording is cut into stretches in the quietest half second of the last 30 s before the five minutes are over.
Transcribing three hours takes 30 MB more than transcribing six minutes (measured). G.722 is the exception: it is read at once,
0.23 GB an hour.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from askd.audio import SAMPLING_RATE_HZ, cut_short, duration_s, is_g722, read_audio
from askd.errors import AudioError
from askd.segments import FRAME, PAUSE_S, frame_energy

BLOCK = 2**19  # samples a channel that are read at once, 11 to 66 s; ours
STRETCH_S = 300.0  # 19 MB of sound and 10 MB of log-mel; ours
REACH_S = 30.0  # a stretch ends in a quiet place of its last so many seconds; ours
SILENCE = 2.0**-14  # two steps of 16 bits (-84 dBFS): what only ever stays below is digital silence, dithered or not; ours


def sound_blocks(path: Path | str) -> Iterator[np.ndarray]:
    """Mono float32 at 16 kHz of a file, block after block.

    Raises:
        AudioError: as `askd.audio.read_audio`, but what is wrong further on shows only there: `check_sound` looks beforehand.
        AskdError: a G.722 file, and PyAV is not installed.
    """
    import soxr

    resampler = None
    for block, rate in _native_blocks(path):
        if rate != SAMPLING_RATE_HZ:
            resampler = resampler or soxr.ResampleStream(rate, SAMPLING_RATE_HZ, 1, dtype="float32")
            block = resampler.resample_chunk(block)
        yield block
    if resampler:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def check_sound(path: Path | str) -> float:
    """Read a file from end to end.

    Returns:
        its duration in seconds.

    Raises:
        AudioError: missing, unreadable, truncated, empty or not finite; the file is named.
        AskdError: a G.722 file, and PyAV is not installed.
    """
    return sum(len(block) / rate for block, rate in _native_blocks(path))


def _native_blocks(path: Path | str) -> Iterator[tuple[np.ndarray, int]]:
    """Mono blocks (n,) at the file's own rate, and that rate."""
    import soundfile

    duration_s(path)  # says what is wrong with a file that cannot be opened or holds nothing
    if is_g722(path):
        yield from ((block, SAMPLING_RATE_HZ) for block in in_blocks(read_audio(path, max_audio_s=None)))
        return
    seen = 0
    try:
        with soundfile.SoundFile(str(path)) as file:
            promised = file.frames if file.frames < 2**40 else 0  # beyond it: not known
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):  # (n, channels)
                if not np.isfinite(block).all():
                    raise AudioError(f"{path}: holds NaN or infinite samples")
                seen += len(block)
                yield block.mean(axis=1), file.samplerate
            if cut := cut_short(file.extra_info):
                raise AudioError(f"{path}: truncated, {cut}; copy the file again")
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read as audio beyond {seen} samples ({error})") from None
    if seen < promised or not seen:
        raise AudioError(f"{path}: truncated, {seen} of {promised} samples; copy the file again")


def in_blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Samples (n,) that are in memory anyway, as `sound_blocks` gives those of a file."""
    return (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))


def stretches(blocks: Iterable[np.ndarray], longest_s: float = STRETCH_S) -> Iterator[np.ndarray]:
    """Put blocks together to stretches of at most ``longest_s`` and, of the last one, `REACH_S` more.

    Args:
        blocks: (n_i,), float32 at 16 kHz.
        longest_s: at least `REACH_S`.

    Returns:
        arrays, each with at least one sample; joined they are the blocks.
    """
    longest, reach = (int(seconds * SAMPLING_RATE_HZ) for seconds in (longest_s, REACH_S))
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block)
        while sum(map(len, held)) > longest + reach:
            samples = np.concatenate(held)
            cut = longest - reach + FRAME * int(frame_energy(samples[longest - reach : longest], PAUSE_S).argmin())
            yield samples[:cut]
            held = [samples[cut:].copy()]  # a copy, so that what was handed out can be freed
    if sum(map(len, held)):
        yield np.concatenate(held)


def is_silent(samples: np.ndarray) -> bool:
    """Whether a sound is digital silence throughout. Noise is not, however faint it sounds."""
    return not len(samples) or max(float(samples.max()), -float(samples.min())) <= SILENCE


def silence_s(samples: np.ndarray) -> float:
    """Seconds of digital silence in a sound, in steps of 10 ms."""
    frames = len(samples) // FRAME
    framed = samples[: frames * FRAME].reshape(frames, FRAME)
    return int((np.maximum(framed.max(1), -framed.min(1)) <= SILENCE).sum()) * FRAME / SAMPLING_RATE_HZ
