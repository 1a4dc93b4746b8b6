"""Sounds without a word in them, made here.

    one = sound("pink", level_dbfs=-40, audio_s=3)
    for one in standard_sounds("full"): ...

Sounds are functions of (kind, level, length, seed): noises, hums, tones, telephone signals, chords, clicks; nothing is spoken or
recorded. The level is the root mean square of the whole sound in dBFS (a constant 1 has 0) and changes nothing else, so that its
effect stands alone. Digital silence has no level; the dither of a silent 16-bit recording has its own, -96.3 dBFS. Some of our
training channels lay such noises under speech; a sound without speech was never trained on.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.errors import AskdError, pick

DITHER_DBFS = -96.3  # half a step of 16 bits: 20 log10(0.5 / 2^15)
LEVELS_DBFS = (-60.0, -40.0, -20.0)  # ours: a quiet room, a noisy one, as loud as speech
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Sound:
    """One sound without speech."""

    kind: str
    level_dbfs: float | None  # RMS; None: digital silence
    audio_s: float
    samples: np.ndarray  # (n,), float32 at 16 kHz

    @property
    def id(self) -> str:
        """"pink -40 dBFS 3 s"."""
        level = "" if self.level_dbfs is None else f"{self.level_dbfs:g} dBFS "
        return f"{self.kind} {level}{self.audio_s:g} s"


def _noise(t: np.ndarray, rng: Rng, exponent: float = 0.0, low_hz: float = 20.0, high_hz: float = 8000.0) -> np.ndarray:
    """Gaussian noise of power 1 / f^exponent between two frequencies, nothing outside: 0 white, 1 pink, 2 brown."""
    hz = np.fft.rfftfreq(len(t), 1 / SAMPLING_RATE_HZ)
    gain = np.where((hz >= low_hz) & (hz <= high_hz), np.maximum(hz, low_hz) ** (-exponent / 2), 0.0)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(len(t))) * gain, len(t))


def _sines(t: np.ndarray, rng: Rng, amplitudes: Mapping[float, float]) -> np.ndarray:
    """Sines of frequency -> amplitude, at random phases."""
    return sum(a * np.sin(2 * np.pi * (hz * t + rng.uniform())) for hz, a in amplitudes.items())


def _swelling(t: np.ndarray, rng: Rng, hz: float) -> np.ndarray:
    """0 ... 1 ... 0, once in 1 / hz seconds."""
    return np.sin(np.pi * (hz * t + rng.uniform())) ** 2


def _dtmf(t: np.ndarray, rng: Rng) -> np.ndarray:
    """Dialled digits: pairs of tones (ITU-T Q.23), 0.1 s on and 0.1 s off."""
    slot = (t / 0.2).astype(int)
    low_hz, high_hz = (rng.choice(hz, slot[-1] + 1)[slot] for hz in ((697, 770, 852, 941), (1209, 1336, 1477)))
    return (np.sin(2 * np.pi * low_hz * t) + np.sin(2 * np.pi * high_hz * t)) * (t % 0.2 < 0.1)


def _chords(t: np.ndarray, rng: Rng) -> np.ndarray:
    """Music-like: plucked triads I vi IV V on a drawn root, half a second each."""
    root_hz, into_s = 130.8 * 2 ** (rng.integers(12) / 12), t % 0.5
    semitones = np.array([(0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14)])[(t / 0.5).astype(int) % 4]  # (n, 3)
    phase = 2 * np.pi * root_hz * 2 ** (semitones / 12) * t[:, None]
    return sum(np.sin(k * phase) / k**2 for k in range(1, 6)).sum(1) * np.minimum(into_s / 0.005, 1) * np.exp(-into_s / 0.4)


def _clicks(t: np.ndarray, rng: Rng) -> np.ndarray:
    """Five knocks a second at uneven moments, each a damped ring of 0.8-3 kHz that is over before the next."""
    slot = (t / 0.2).astype(int)
    start_s, hz = rng.uniform(0, 0.1, slot[-1] + 1)[slot], rng.uniform(800, 3000, slot[-1] + 1)[slot]
    into_s = np.maximum(t % 0.2 - start_s, 0)
    return np.exp(-into_s / 0.015) * np.sin(2 * np.pi * hz * into_s)


LEVELLED: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {  # of the time t in seconds, (n,)
    "white": lambda t, rng: _noise(t, rng, 0),
    "pink": lambda t, rng: _noise(t, rng, 1),
    "brown": lambda t, rng: _noise(t, rng, 2),
    "hum": lambda t, rng: _sines(t, rng, {50 * k: 1 / k for k in range(1, 11)}),  # of the mains
    "tone_440": lambda t, rng: _sines(t, rng, {440: 1}),
    "tone_1000": lambda t, rng: _sines(t, rng, {1000: 1}),
    "siren": lambda t, rng: np.sin(2000 * np.pi * t + 1000 * np.sin(np.pi * (t + rng.uniform(0, 2)))),  # 500-1500 Hz in 2 s
    "dial_tone": lambda t, rng: _sines(t, rng, {350: 1, 440: 1}),
    "dtmf": _dtmf,
    "chords": _chords,
    "clicks": _clicks,
    "breath": lambda t, rng: _noise(t, rng, 1, 300, 5000) * (0.1 + _swelling(t, rng, 0.5)),
    "wind": lambda t, rng: _noise(t, rng, 2, 20, 600) * (0.2 + _swelling(t, rng, 0.3) + _swelling(t, rng, 0.7)),
    "fan": lambda t, rng: _noise(t, rng, 1, 50, 3000) * (0.5 + _swelling(t, rng, rng.uniform(15, 40))),  # beats with the blades
}
KINDS = ("silence", "dither", *LEVELLED)


def sound(kind: str, level_dbfs: float | None, audio_s: float, seed: int = 0) -> Sound:
    """One sound; the same arguments give the same samples.

    Args:
        kind: of `KINDS`.
        level_dbfs: RMS of the whole sound; silence and dither have their own and take None.
        audio_s: more than 0 and at most 30 s.
        seed: another seed, another sound of the kind.

    Raises:
        UnknownName: no such kind.
        AskdError: too long, or so loud that its peaks would clip.
    """
    pick("kind of sound", kind, dict.fromkeys(KINDS))
    n = round(audio_s * SAMPLING_RATE_HZ)
    if not 1 <= n <= MAX_AUDIO_S * SAMPLING_RATE_HZ:
        raise AskdError(f"{kind} of {audio_s:g} s: give more than 0 and at most {MAX_AUDIO_S:g} s")
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), n])
    if kind == "silence":
        return Sound(kind, None, audio_s, np.zeros(n, np.float32))
    if kind == "dither":  # triangular, one step to either side, rounded to steps: what a silent 16-bit recording holds
        return Sound(kind, DITHER_DBFS, audio_s, (np.round(rng.triangular(-1, 0, 1, n)) / 2**15).astype(np.float32))
    samples = LEVELLED[kind](np.arange(n) / SAMPLING_RATE_HZ, rng)
    rms = np.sqrt(np.mean(samples**2))
    highest = 20 * np.log10(rms / np.abs(samples).max())
    if level_dbfs is None or not level_dbfs <= highest:  # NaN neither
        raise AskdError(f"{kind} of {audio_s:g} s at {level_dbfs} dBFS: give at most {np.floor(highest):g}, else it clips")
    return Sound(kind, float(level_dbfs), audio_s, (samples * (10 ** (level_dbfs / 20) / rms)).astype(np.float32))


def sounds(kinds: Sequence[str], levels: Sequence[float], lengths: Sequence[float], seed: int = 0) -> list[Sound]:
    """Every kind of `KINDS` at every level (dBFS) and length (s), silence and dither once a length; ``seed`` as in `sound`."""
    return [sound(k, level, s, seed) for k in kinds for level in (levels if k in LEVELLED else [None]) for s in lengths]


SMALL = (
    ("silence", None, 1.0), ("dither", None, 1.0), ("white", -40.0, 1.0), ("pink", -20.0, 2.0), ("hum", -40.0, 1.0),
    ("tone_440", -20.0, 1.0), ("chords", -20.0, 2.0), ("breath", -40.0, 1.0),
)
# Each kind at each level once, at 1, 3 and 10 s in turn, and once at 30 s, so that neither level nor length stands for the other
FULL = (
    *((kind, None, audio_s) for kind in ("silence", "dither") for audio_s in (1.0, 3.0, 10.0, 30.0)),
    *((kind, LEVELS_DBFS[j], (1.0, 3.0, 10.0)[(i + j) % 3]) for i, kind in enumerate(LEVELLED) for j in range(3)),
    *((kind, LEVELS_DBFS[i % 3], 30.0) for i, kind in enumerate(LEVELLED)),
)


def standard_sounds(size: str = "full", seed: int = 0) -> list[Sound]:
    """The sounds of `askd.nonspeech`: "full" (64 of 16 kinds, 1-30 s) or "small" (8 of 8 kinds, 1-2 s)."""
    return [sound(*one, seed) for one in pick("set of sounds", size, {"small": SMALL, "full": FULL})]
