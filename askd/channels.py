"""Channels: what lies between a mouth and a recogniser. 16 kHz mono float32 in and out, peaks below 1.

    trained on      clean noise babble telephone mobile codec room              (`TRAINED`)
    never           street hall overdriven farfield interferer                  (`UNSEEN`)

Filters and coloured noise are audiomentations, rooms are pyroomacoustics (image sources), codecs are libsndfile's own
encoders and decoders. A channel is a pure function of (samples, generator): the same input and seed give the same bits in
any process, the input stays as it was, and so does the state of ``random`` and ``numpy.random``.

    from askd.channels import get_channel
    heard = get_channel("telephone")(samples, np.random.default_rng(0), speaker)

``speaker`` says something with another voice each time it is called; only babble and interferer call it. The end of the
speech is never cut: rooms keep a tail, and a codec's delay or padding lengthens the clip.
Signal-to-noise ratios are in dB over the whole clip: ``SNR = 10 log10(mean(x^2) / mean(n^2))``. All ranges are ours.
"""

import contextlib
import io
import random
from collections.abc import Callable, Iterator

import numpy as np

from askd.audio import SAMPLING_RATE_HZ
from askd.errors import pick

Speaker = Callable[[np.random.Generator], np.ndarray]  # speech of somebody else, mono float32 at 16 kHz
Channel = Callable[[np.ndarray, np.random.Generator, Speaker], np.ndarray]

PEAK = 0.99  # ours: room for the rounding to 16 bits
IMAGE_ORDER = 20  # ours: 11,521 image sources, 10 ms of one core; by then echoes are dense enough to pass for noise
SOUND_M_PER_S = 343.0
CODECS = (  # format, subtype, rate_hz, range of libsndfile's compression level
    ("MP3", "MPEG_LAYER_III", 16_000, (0.85, 0.96)),  # 16-32 kbit/s
    ("OGG", "OPUS", 16_000, (0.92, 0.995)),  # 9-27; the dearest, 100-170 ms for 5 s
    ("OGG", "VORBIS", 16_000, (0.8, 1.0)),  # 32-42, as low as it goes
    ("WAV", "IMA_ADPCM", 16_000, None),  # 64
    ("WAV", "G721_32", 8_000, None),  # 32
    ("WAV", "NMS_ADPCM_16", 8_000, None),  # 16
)


@contextlib.contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """audiomentations draws from the global generators: seed them from ``rng``, then put them back."""
    before, before_np = random.getstate(), np.random.get_state()
    seed = int(rng.integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_np)


def _transform(kind: str, samples: np.ndarray, rng: np.random.Generator, other: dict | None = None, **fixed) -> np.ndarray:
    """A transform of audiomentations whose ranges ``min_x ... max_x`` are the one value given as ``x``."""
    import audiomentations

    ranges = {f"{end}_{name}": value for name, value in fixed.items() for end in ("min", "max")}
    with _seeded(rng):
        transform = getattr(audiomentations, kind)(**ranges, **(other or {}), p=1.0)
        return transform(np.asarray(samples, np.float32), SAMPLING_RATE_HZ)


def mix_at_snr(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """``x + g n`` with ``g`` such that the mixture has the given SNR."""
    gain = np.sqrt(np.mean(samples**2) / (np.mean(noise**2) + 1e-12) / 10 ** (snr_db / 10))
    return samples + gain * noise


def coloured_noise(n: int, db_per_octave: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power whose spectrum falls by ``db_per_octave``: 0 white, -3 pink, -6 brown; nothing below 50 Hz."""
    added = _transform("AddColorNoise", np.ones(n), rng, {"n_fft": 1024}, snr_db=0, f_decay=db_per_octave) - 1
    # It takes DC for 1 Hz, where brown noise would hold nearly all its power
    noise = _transform("HighPassFilter", added, rng, cutoff_freq=50, rolloff=24)
    return noise / (noise.std() + 1e-9)


def _fan(n: int, rng: np.random.Generator) -> np.ndarray:
    """A machine: coloured noise that beats with the blades, and the hum of 50 or 60 Hz mains with its harmonics."""
    time_s = np.arange(n) / SAMPLING_RATE_HZ
    blades = 1 + rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * (rng.uniform(8, 25) * time_s + rng.uniform()))
    mains_hz = 50 * rng.integers(1, 3) if rng.uniform() < 0.5 else 60 * rng.integers(1, 3)
    hum = sum(np.sin(2 * np.pi * (k * mains_hz * time_s + rng.uniform())) / k for k in range(1, 9))
    return coloured_noise(n, rng.uniform(-6, -2), rng) * blades + rng.uniform(0.2, 1) * hum


def _bursts(n: int, rng: np.random.Generator) -> np.ndarray:
    """Clicks, keys and knocks: short decaying noises, one to four a second, over a faint background."""
    level = np.full(n, 0.03)
    for start in rng.integers(0, n, size=1 + int(rng.uniform(1, 4) * n / SAMPLING_RATE_HZ)):
        decay_s = np.exp(rng.uniform(np.log(0.002), np.log(0.06)))
        time_s = np.arange(min(n - start, int(8 * decay_s * SAMPLING_RATE_HZ))) / SAMPLING_RATE_HZ
        level[start : start + len(time_s)] += rng.uniform(0.3, 1) * np.exp(-time_s / decay_s)
    return coloured_noise(n, rng.uniform(-5, 0), rng) * level


NOISES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": lambda n, rng: coloured_noise(n, 0, rng),
    "pink": lambda n, rng: coloured_noise(n, -3, rng),
    "brown": lambda n, rng: coloured_noise(n, -6, rng),
    "fan": _fan,
    "bursts": _bursts,
}


def _levelled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The way out of every channel: a gain of -12 to 0 dB; peaks beyond `PEAK` are scaled down, never clipped."""
    samples = samples * (10 ** (rng.uniform(-12, 0) / 20))
    return (samples * (PEAK / max(PEAK, np.abs(samples).max()))).astype(np.float32)


def clean(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A near microphone: only the level changes (-12 to 0 dB)."""
    return _levelled(samples, rng)


def noise(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A background of one of the kinds in `NOISES`, at 3 to 20 dB SNR."""
    kind = list(NOISES.values())[rng.integers(len(NOISES))]
    return _levelled(mix_at_snr(samples, kind(len(samples), rng), rng.uniform(3, 20)), rng)


def _talker(n: int, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """``n`` samples of somebody else at unit power, from a drawn moment on, again from the start when the speech ends."""
    speech = np.asarray(speaker(rng), np.float64)
    speech = np.resize(np.roll(speech, -int(rng.integers(len(speech)))), n)
    return speech / (np.sqrt(np.mean(speech**2)) + 1e-9)


def babble(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Three to six others talk at once, at levels within 6 dB; 3 to 18 dB SNR."""
    crowd = sum(10 ** (rng.uniform(-6, 0) / 20) * _talker(len(samples), rng, speaker) for _ in range(rng.integers(3, 7)))
    return _levelled(mix_at_snr(samples, crowd, rng.uniform(3, 18)), rng)


def through_codec(
    samples: np.ndarray, file_format: str, subtype: str, rate_hz: int, compression_level: float | None = None
) -> np.ndarray:
    """Encode and decode in memory, at ``rate_hz``; the answer is 16 kHz again, and as long as the input or longer.

    Args:
        samples: shape (n,), at 16 kHz; any level, since it is encoded near full scale.
        file_format, subtype: names of libsndfile (``soundfile.available_formats()``).
        rate_hz: of the encoded file.
        compression_level: 0 (best) to 1 (smallest) for MP3, Opus and Vorbis.
    """
    import soundfile
    import soxr

    peak = np.abs(samples).max() + 1e-9
    scaled = soxr.resample((samples * (0.9 / peak)).astype(np.float32), SAMPLING_RATE_HZ, rate_hz)
    encoded = io.BytesIO()
    settings = dict(compression_level=compression_level, bitrate_mode="CONSTANT" if file_format == "MP3" else None)
    with soundfile.SoundFile(encoded, "w", rate_hz, 1, subtype, format=file_format, **settings) as file:
        for start in range(0, len(scaled), rate_hz):  # by the second: libvorbis keeps a whole block on the stack
            file.write(scaled[start : start + rate_hz])
    encoded.seek(0)
    decoded, _ = soundfile.read(encoded, dtype="float32")
    return soxr.resample(decoded, rate_hz, SAMPLING_RATE_HZ) * (peak / 0.9)


def _line(samples: np.ndarray, low_hz: float, high_hz: float, rng: np.random.Generator) -> np.ndarray:
    """The band of a telephone, 24 dB per octave, with a little noise (20-35 dB)."""
    centre_hz, fraction = (low_hz + high_hz) / 2, 2 * (high_hz - low_hz) / (high_hz + low_hz)
    band = _transform("BandPassFilter", samples, rng, center_freq=centre_hz, bandwidth_fraction=fraction, rolloff=24)
    return mix_at_snr(band, coloured_noise(len(band), 0, rng), rng.uniform(20, 35))


def telephone(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A land line: 300-3400 Hz, 8 kHz, 8-bit mu-law or A-law (G.711), a little line noise."""
    law = ("ULAW", "ALAW")[rng.integers(2)]
    return _levelled(through_codec(_line(samples, 300, 3400, rng), "WAV", law, 8_000), rng)


def mobile(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A mobile phone of the first digital kind: 200-3600 Hz, 8 kHz, GSM 06.10 full rate at 13 kbit/s."""
    return _levelled(through_codec(_line(samples, 200, 3600, rng), "WAV", "GSM610", 8_000), rng)


def codec(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A lossy codec of `CODECS` at a low bit rate: MP3, Opus, Vorbis or ADPCM."""
    file_format, subtype, rate_hz, levels = CODECS[rng.integers(len(CODECS))]
    return _levelled(through_codec(samples, file_format, subtype, rate_hz, levels and rng.uniform(*levels)), rng)


def _decay_s(response: np.ndarray) -> float:
    """RT60 of all but the direct sound, by Schroeder's ``E(t) = int_t^inf h^2``: twice the time from -5 to -35 dB."""
    energy = np.cumsum(response[: SAMPLING_RATE_HZ // 250 : -1] ** 2)[::-1]
    start, stop = (int(np.argmax(energy < energy[0] * 10 ** (-db / 10))) for db in (5, 35))
    return 2 * max(stop - start, 1) / SAMPLING_RATE_HZ


def room_impulse_response(rt60_s: float, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a shoebox room with the given reverberation time; the direct sound comes 1 ms after its start.

    Image sources (Allen and Berkley 1979, pyroomacoustics) up to `IMAGE_ORDER`, then Gaussian noise that decays by
    60 dB in ``rt60_s`` (Polack 1988), which spares the 400,000 sources of a hall's tail. Sabine's formula gives the absorption
    of the walls, and as no shoebox decays quite as Sabine says, the whole is tilted by ``10^(-3t(1/T - 1/T_measured))``.

    Args:
        rt60_s: 0.2-1.4 s; above 0.5 s the room grows with it.
        distance_m: from mouth to microphone, up to 6 m.
        rng: draws size and place.

    Returns:
        shape (n,), float64, a little longer than ``rt60_s``.
    """
    import pyroomacoustics

    size_m = max(1.0, rt60_s / 0.5) * rng.uniform((3.5, 3.0, 2.4), (7.0, 5.0, 3.2))
    size_m[:2] = np.maximum(size_m[:2], (distance_m + 1.2, 0.5 * distance_m + 1.2))
    angle = rng.uniform(-0.3, 0.3)
    step_m = distance_m * np.array((np.cos(angle), np.sin(angle), 0.0))
    room_for = size_m - np.abs(step_m) - 1.0  # half a metre from every wall
    mouth = 0.5 + np.maximum(-step_m, 0) + rng.uniform(size=3) * np.minimum(room_for, (np.inf, np.inf, 1.2))

    pyroomacoustics.constants.set("num_threads", 1)  # threads add up in another order, and clips run in parallel anyway
    walls = pyroomacoustics.Material(pyroomacoustics.inverse_sabine(rt60_s, size_m)[0])
    shoebox = pyroomacoustics.ShoeBox(size_m, SAMPLING_RATE_HZ, materials=walls, max_order=IMAGE_ORDER)
    shoebox.add_source(mouth)
    shoebox.add_microphone(mouth + step_m)
    shoebox.compute_rir()
    direct = pyroomacoustics.constants.get("frac_delay_length") // 2 + round(distance_m / SOUND_M_PER_S * SAMPLING_RATE_HZ)
    time_s = np.arange(int(1.1 * rt60_s * SAMPLING_RATE_HZ)) / SAMPLING_RATE_HZ
    early = np.zeros(len(time_s))
    simulated = shoebox.rir[0][0][direct - SAMPLING_RATE_HZ // 1000 :][: len(early)]
    early[: len(simulated)] = simulated
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    # Images are complete until the first of the next order arrives, across the shortest side
    complete_s = (IMAGE_ORDER * size_m.min() - distance_m) / SOUND_M_PER_S
    faded = np.clip((complete_s - time_s) / (0.3 * complete_s), 0, 1)  # 1 before 70 % of that, 0 after
    joint = (faded > 0) & (faded < 1)
    if joint.any():
        tail *= np.sqrt(np.sum(early[joint] ** 2) / (np.sum(tail[joint] ** 2) + 1e-12))
        early = np.sqrt(faded) * early + np.sqrt(1 - faded) * tail
    return early * 10 ** (-3 * time_s * (1 / rt60_s - 1 / _decay_s(early)))


def _reverberate(samples: np.ndarray, rt60_s: float, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """At the microphone, with half the reverberation time (30 dB) kept after the end; the peak stays what it was."""
    from scipy.signal import fftconvolve

    wet = fftconvolve(samples, room_impulse_response(rt60_s, distance_m, rng))
    wet = wet[: len(samples) + int(0.5 * rt60_s * SAMPLING_RATE_HZ)]
    return wet * (np.abs(samples).max() / (np.abs(wet).max() + 1e-9))


def room(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """A living room or an office: RT60 of 0.2-0.6 s, half a metre to two metres away."""
    return _levelled(_reverberate(samples, rng.uniform(0.2, 0.6), rng.uniform(0.5, 2), rng), rng)


def street(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Never trained on: traffic that swells and fades at 0.2-1 Hz, 4-12 dB SNR."""
    time_s = np.arange(len(samples)) / SAMPLING_RATE_HZ
    swell = 1 + 0.8 * np.sin(2 * np.pi * (rng.uniform(0.2, 1) * time_s + rng.uniform()))
    return _levelled(mix_at_snr(samples, coloured_noise(len(samples), -4.5, rng) * swell, rng.uniform(4, 12)), rng)


def hall(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Never trained on: a hall, RT60 of 0.8-1.4 s, one to three metres away."""
    return _levelled(_reverberate(samples, rng.uniform(0.8, 1.4), rng.uniform(1, 3), rng), rng)


def overdriven(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Never trained on: a cheap recorder, clipped at 10-40 % of its peak and low-passed at 3-5 kHz."""
    limit = rng.uniform(0.1, 0.4) * np.abs(samples).max()  # of the peak; ClippingDistortion counts samples instead
    clipped = np.clip(samples, -limit, limit) * (0.5 / (limit + 1e-9))
    return _levelled(_transform("LowPassFilter", clipped, rng, cutoff_freq=rng.uniform(3000, 5000), rolloff=36), rng)


def farfield(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Never trained on: three to six metres from the microphone (RT60 0.3-0.7 s), with ambient noise at 8-18 dB SNR."""
    wet = _reverberate(samples, rng.uniform(0.3, 0.7), rng.uniform(3, 6), rng)
    return _levelled(mix_at_snr(wet, coloured_noise(len(wet), rng.uniform(-6, -2), rng), rng.uniform(8, 18)), rng)


def interferer(samples: np.ndarray, rng: np.random.Generator, speaker: Speaker) -> np.ndarray:
    """Never trained on: one competing talker, 6-14 dB below."""
    return _levelled(mix_at_snr(samples, _talker(len(samples), rng, speaker), rng.uniform(6, 14)), rng)


_TRAINED: tuple[Channel, ...] = (clean, noise, babble, telephone, mobile, codec, room)
_UNSEEN: tuple[Channel, ...] = (street, hall, overdriven, farfield, interferer)
TRAINED, UNSEEN = (tuple(channel.__name__ for channel in group) for group in (_TRAINED, _UNSEEN))
CHANNELS: dict[str, Channel] = {channel.__name__: channel for channel in (*_TRAINED, *_UNSEEN)}


def get_channel(name: str) -> Channel:
    """The channel called ``name``; `askd.errors.UnknownName` lists the others."""
    return pick("channel", name, CHANNELS)
