"""A clip: one utterance on disk. And the cache that clips are made into.

    cache/speech/<domain>/<key>.flac    the sound, 16 kHz mono 16 bit
    cache/speech/<domain>/<key>.json    what it is, and the checksum of the sound

The key is a digest of everything the clip depends on (recipe, text, voice, seed, versions of the engines), so a changed
recipe is another file and a longer list of clips makes only what is new. Both files appear by rename and hold the same
bytes whoever writes them: two processes may make the same clip at once.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from askd.audio import SAMPLING_RATE_HZ, read_audio, write_flac
from askd.files import cache_dir, digest, replacing, sha256


@dataclass(frozen=True)
class Clip:
    """One utterance on disk."""

    id: str
    domain: str
    speaker: str
    text: str
    audio_s: float
    path: str
    sha256: str  # of the file

    def samples(self) -> np.ndarray:
        """(n,) float32 at 16 kHz.

        Raises:
            AudioError: the file cannot be used; it is named.
        """
        return read_audio(self.path)


def _paths(domain: str, recipe: object) -> tuple[Path, Path]:
    stem = cache_dir() / "speech" / domain / digest(recipe, 24)
    return stem.with_suffix(".flac"), stem.with_suffix(".json")


def cached_clip(domain: str, recipe: object) -> Clip | None:
    """The clip of a recipe, or None when it was never made or does not match its checksum."""
    sound, description = _paths(domain, recipe)
    try:
        clip = Clip(**json.loads(description.read_text(encoding="utf-8")))
        return replace(clip, path=str(sound)) if sha256(sound) == clip.sha256 else None
    except (OSError, ValueError, TypeError):
        return None


def make_clip(
    domain: str, recipe: object, clip_id: str, speaker: str, text: str, make: Callable[[], np.ndarray]
) -> Clip:
    """Take the clip from the cache, or make and keep it.

    Args:
        domain: name of its domain.
        recipe: everything the sound depends on, as JSON can hold it.
        clip_id, speaker, text: what it is.
        make: returns its samples (n,) at 16 kHz; called only when the clip is not there.
    """
    cached = cached_clip(domain, recipe)
    if cached is not None:
        return cached
    samples = np.asarray(make(), np.float32)
    sound, description = _paths(domain, recipe)
    with replacing(sound) as scratch:
        write_flac(scratch, samples)
        checksum = sha256(scratch)
    clip = Clip(clip_id, domain, speaker, text, len(samples) / SAMPLING_RATE_HZ, sound.name, checksum)
    with replacing(description) as scratch:
        scratch.write_text(json.dumps(asdict(clip), ensure_ascii=False), encoding="utf-8")
    return replace(clip, path=str(sound))
