"""espeak-ng through ctypes: rule-driven formant synthesis, every English accent and speaker variant it ships.

The library keeps state from one utterance to the next, and seeds its noise with the clock; `samples` undoes both, so that
a clip depends on its arguments alone. Words per minute and pitch are espeak-ng's own units (``speak_lib.h``).
"""

import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from askd.errors import AskdError, pick

WORDS_PER_MINUTE = (130, 201)  # ours: 0.75 to 1.15 times espeak's own 175
PITCH = (25, 76)  # ours: of 0-99 with 50 as the variant's own; about four semitones either way
_SYNCHRONOUS, _RATE, _PITCH, _UTF8 = 0x02, 1, 3, 1  # espeak_ng/speak_lib.h


@functools.cache
def accents() -> dict[str, str]:
    """English accents of the installed build: code -> voice file, as in ``{"en-gb": "en", "en-us-nyc": "en-US-nyc"}``."""
    import espeakng_loader

    found = {}
    for path in sorted(Path(espeakng_loader.get_data_path()).glob("lang/*/en*")):
        found[re.search(r"^language\s+(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)[1]] = path.name
    found.pop("en-shaw", None)  # a script, not an accent: it spells Latin letters out
    return found


@functools.cache
def variants() -> frozenset[str]:
    """Speaker variants of the installed build: ``m1``, ``f3``, ``klatt2``, ``linda``, ..."""
    import espeakng_loader

    return frozenset(path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir())


def samples(voice: str, text: str, words_per_minute: int, pitch: int, seed: int) -> tuple[np.ndarray, int]:
    """int16 samples (n,) and their rate in Hz.

    Oscillator phases outlive an utterance: loading the library anew (6 ms) clears them. Every start seeds the noise
    generator with the clock's second: ``seed`` replaces that.

    Raises:
        AskdError: the library does not start.
    """
    import _ctypes

    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        if rate_hz <= 0 or library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise AskdError(f"espeak-ng did not start as {voice!r}: pip install --force-reinstall espeakng-loader")
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


def espeak_voice(variant: str) -> Callable[[str, np.random.Generator], tuple[np.ndarray, int]]:
    """``ACCENT`` or ``ACCENT+VARIANT`` -> ``(text, rng) -> (samples, rate_hz)``.

    Raises:
        UnknownName: an accent or variant that this build does not have (the library itself would fall back in silence).
    """
    accent, plus, speaker = variant.partition("+")
    voice = pick("espeak accent", accent, accents()) + plus + speaker
    if plus:
        pick("espeak variant", speaker, dict.fromkeys(variants()))

    def speak(text: str, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        words_per_minute, pitch, seed = (int(rng.integers(*limits)) for limits in (WORDS_PER_MINUTE, PITCH, (0, 2**31)))
        sound, rate_hz = samples(voice, text, words_per_minute, pitch, seed)
        return sound / np.float32(32768), rate_hz

    return speak
