"""Channels: what lies between a mouth and a recogniser. Pure functions of (samples, generator), 16 kHz mono.

Signal-to-noise ratios are in dB over the whole clip: ``SNR = 10 log10(mean(x^2) / mean(n^2))``.
All ranges are ours, chosen so that a person still understands every word.
"""

from collections.abc import Callable

import numpy as np

from askd.audio import SAMPLING_RATE_HZ
from askd.errors import pick

Channel = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def coloured_noise(n: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power with spectral density 1/f^exponent: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequencies = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLING_RATE_HZ), 20.0)  # Hz
    noise = np.fft.irfft(spectrum * frequencies ** (-exponent / 2), n)
    return noise / (noise.std() + 1e-12)


def mix_at_snr(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """``x + g n`` with ``g`` such that the mixture has the given SNR."""
    gain = np.sqrt(np.mean(samples**2) / (np.mean(noise**2) + 1e-12) / 10 ** (snr_db / 10))
    return samples + gain * noise


def clean(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A near microphone: only the level changes (-12 to 0 dB)."""
    return samples * 10 ** (rng.uniform(-12, 0) / 20)


def noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Steady background from white to brown, at 3 to 20 dB SNR."""
    background = coloured_noise(len(samples), rng.uniform(0, 2), rng)
    return clean(mix_at_snr(samples, background, rng.uniform(3, 20)), rng)


def telephone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A land line: 300-3400 Hz, 8 kHz, 8-bit mu-law, a little line noise (20-35 dB)."""
    import soxr
    from scipy.signal import butter, sosfilt

    band = sosfilt(butter(4, [300, 3400], "bandpass", fs=SAMPLING_RATE_HZ, output="sos"), samples)
    band = mix_at_snr(band, coloured_noise(len(band), 0, rng), rng.uniform(20, 35))
    narrow = soxr.resample(band, SAMPLING_RATE_HZ, 8_000)
    peak = np.abs(narrow).max() + 1e-9
    compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow) / peak) / np.log(256)
    decoded = np.round(compressed * 127) / 127
    expanded = np.sign(decoded) * (256 ** np.abs(decoded) - 1) / 255 * peak
    return soxr.resample(expanded, 8_000, SAMPLING_RATE_HZ)


def _reverberate(samples: np.ndarray, rt60_s: float, direct: float, rng: np.random.Generator) -> np.ndarray:
    """Convolve with a direct path and a tail of noise that falls by 60 dB in ``rt60_s`` (Polack's model)."""
    from scipy.signal import fftconvolve

    time_s = np.arange(int(rt60_s * SAMPLING_RATE_HZ)) / SAMPLING_RATE_HZ
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    tail[: int(0.003 * SAMPLING_RATE_HZ)] = 0  # first reflection after 3 ms, 1 m
    tail /= np.sqrt(np.sum(tail**2)) + 1e-12
    tail[0] = direct
    wet = fftconvolve(samples, tail)[: len(samples) + int(0.25 * rt60_s * SAMPLING_RATE_HZ)]
    return wet * np.abs(samples).max() / (np.abs(wet).max() + 1e-9)


def room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A living room or an office: RT60 of 0.2-0.6 s, direct sound 1-2 times the tail."""
    return clean(_reverberate(samples, rng.uniform(0.2, 0.6), rng.uniform(1, 2), rng), rng)


def street(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Never trained on: traffic that swells and fades (brown noise, 0.2-1 Hz, 4-12 dB SNR)."""
    time_s = np.arange(len(samples)) / SAMPLING_RATE_HZ
    swell = 1 + 0.8 * np.sin(2 * np.pi * (rng.uniform(0.2, 1) * time_s + rng.uniform()))
    return clean(mix_at_snr(samples, coloured_noise(len(samples), 1.6, rng) * swell, rng.uniform(4, 12)), rng)


def hall(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Never trained on: a hall, RT60 of 0.8-1.4 s."""
    return clean(_reverberate(samples, rng.uniform(0.8, 1.4), rng.uniform(0.8, 1.4), rng), rng)


def overdriven(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Never trained on: a cheap recorder, clipped at 10-40 % of its peak and low-passed at 3-5 kHz."""
    from scipy.signal import butter, sosfilt

    limit = rng.uniform(0.1, 0.4) * np.abs(samples).max()
    clipped = np.clip(samples, -limit, limit) / limit * 0.5
    return sosfilt(butter(6, rng.uniform(3000, 5000), fs=SAMPLING_RATE_HZ, output="sos"), clipped)


CHANNELS: dict[str, Channel] = {
    channel.__name__: channel
    for channel in (clean, noise, telephone, room, street, hall, overdriven)
}


def get_channel(name: str) -> Channel:
    """The channel called ``name``; `askd.errors.UnknownName` lists the others."""
    return pick("channel", name, CHANNELS)
