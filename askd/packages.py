"""Real, transcribed human speech that Debian and Ubuntu keep in their package archives.

Fetched with ``apt-get download`` (no root needed) and unpacked with ``dpkg-deb -x`` into the cache. Where there is no
apt, `PackageUnavailable` says so and the domain is left out of the tables.
"""

import gzip
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ, read_audio, to_16khz_mono
from askd.errors import AskdError, pick
from askd.files import cache_dir, replacing

Recording = tuple[str, str, str, Callable[[], np.ndarray]]  # id, speaker, text, samples


class PackageUnavailable(AskdError):
    """The package archive cannot be reached from this machine."""


def _unpacked(package: str) -> Path:
    """Folder with the unpacked package, fetched once."""
    folder = cache_dir() / "packages" / package
    if folder.is_dir():
        return folder
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PackageUnavailable(f"real speech of {package!r} needs apt-get and dpkg-deb (Debian, Ubuntu): left out here")
    with tempfile.TemporaryDirectory() as scratch:
        for attempt in ("download", "update and download"):
            result = subprocess.run(
                ["apt-get", "download", package], cwd=scratch, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            archives = list(Path(scratch).glob("*.deb"))
            if archives:
                break
            if attempt == "download":  # a fresh container has no package lists yet
                subprocess.run(["apt-get", "update", "-qq"], capture_output=True, stdin=subprocess.DEVNULL)
        else:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PackageUnavailable(f"real speech of {package!r} could not be fetched ({reason}): left out here")
        with replacing(folder) as target:
            subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(target)], check=True, stdin=subprocess.DEVNULL)
    return folder


def _read_g722(path: Path) -> np.ndarray:
    """G.722 at 64 kbit/s, two samples a byte at 16 kHz (ITU-T G.722), decoded by FFmpeg through PyAV."""
    import av

    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate(frames, axis=1)[0].astype(np.float32) / 32768
    return to_16khz_mono(samples, SAMPLING_RATE_HZ)


def _asterisk(audio_package: str, suffix: str, read: Callable[[Path], np.ndarray]) -> list[Recording]:
    texts = gzip.decompress(
        (_unpacked("asterisk-core-sounds-en") / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz").read_bytes()
    ).decode("utf-8")
    sounds = _unpacked(audio_package) / "usr/share/asterisk/sounds/en_US_f_Allison"
    recordings, seen = [], set()
    for line in texts.splitlines():
        name, separator, text = line.partition(": ")
        text = text.strip()
        path = sounds / f"{name}{suffix}"
        speakable = separator and not re.search(r"[\[\]*#<>]", text) and len(text.split()) >= 2
        if line.startswith(";") or not speakable or text.lower() in seen or not path.is_file():
            continue
        audio_s = path.stat().st_size / (8_000 if suffix == ".g722" else 16_000)  # bytes a second of either format
        if audio_s > MAX_AUDIO_S:
            continue
        seen.add(text.lower())
        recordings.append((name.replace("/", "-"), "allison", text, lambda path=path: read(path)))
    return recordings


def _pocketsphinx() -> list[Recording]:
    folder = _unpacked("pocketsphinx-testdata") / "usr/share/pocketsphinx/test/data"
    recordings = []
    for part, transcription in (("cards", "cards.transcription"), ("librivox", "transcription")):
        for line in (folder / part / transcription).read_text(encoding="utf-8").splitlines():
            match = re.fullmatch(r"<s>\s*(.*?)\s*</s>\s*\((.*)\)", line.strip())
            if match:
                text, name = match.groups()
                path = folder / part / f"{name}.wav"
                recordings.append((f"{part}-{name}", part, text, lambda path=path: read_audio(path)))
    return recordings


PACKAGED: dict[str, Callable[[], list[Recording]]] = {
    "asterisk_wideband": lambda: _asterisk("asterisk-core-sounds-en-g722", ".g722", _read_g722),
    "asterisk_8khz": lambda: _asterisk("asterisk-core-sounds-en-wav", ".wav", read_audio),
    "pocketsphinx": _pocketsphinx,
}


def recordings(domain: str) -> list[Recording]:
    """All usable recordings of a packaged domain: (id, speaker, text, function that reads the samples).

    Raises:
        PackageUnavailable: the packages cannot be had on this machine.
        UnknownName: no such packaged domain.
    """
    return pick("packaged domain", domain, PACKAGED)()
