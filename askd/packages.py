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

from filelock import FileLock

from askd.audio import G722, MAX_AUDIO_S, duration_s
from askd.errors import AskdError, pick
from askd.files import cache_dir, replacing
from askd.records import Record


class PackageUnavailable(AskdError):
    """The package archive cannot be reached from this machine."""


def unpacked(package: str) -> Path:
    """Folder with the unpacked Debian package, fetched once; a second process waits for the first.

    Raises:
        PackageUnavailable: no apt here, or no such package.
    """
    folder = cache_dir() / "packages" / package
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_name(f".{package}.lock")):
            if not folder.is_dir():
                _fetch(package, folder)
    return folder


def _fetch(package: str, folder: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PackageUnavailable(f"the Debian package {package!r} needs apt-get and dpkg-deb (Debian, Ubuntu): left out here")
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
            raise PackageUnavailable(f"the Debian package {package!r} could not be fetched ({reason}): left out here")
        with replacing(folder) as target:
            subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(target)], check=True, stdin=subprocess.DEVNULL)


def _asterisk(audio_package: str, suffix: str) -> list[Record]:
    texts = gzip.decompress(
        (unpacked("asterisk-core-sounds-en") / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz").read_bytes()
    ).decode("utf-8")
    sounds = unpacked(audio_package) / "usr/share/asterisk/sounds/en_US_f_Allison"
    recordings, seen = [], set()
    for line in texts.splitlines():
        name, separator, text = line.partition(": ")
        text = text.strip()
        path = sounds / f"{name}{suffix}"
        speakable = separator and not re.search(r"[\[\]*#<>]", text) and len(text.split()) >= 2
        if line.startswith(";") or not speakable or text.lower() in seen or not path.is_file():
            continue
        if duration_s(path) > MAX_AUDIO_S:
            continue
        seen.add(text.lower())
        recordings.append(Record(name.replace("/", "-"), text, "allison", path, f"core-sounds-en.txt, {name}"))
    return recordings


def _pocketsphinx() -> list[Record]:
    folder = unpacked("pocketsphinx-testdata") / "usr/share/pocketsphinx/test/data"
    recordings = []
    for part, transcription in (("cards", "cards.transcription"), ("librivox", "transcription")):
        for line in (folder / part / transcription).read_text(encoding="utf-8").splitlines():
            match = re.fullmatch(r"<s>\s*(.*?)\s*</s>\s*\((.*)\)", line.strip())
            if match:
                text, name = match.groups()
                path = folder / part / f"{name}.wav"
                recordings.append(Record(f"{part}-{name}", text, part, path, f"{part}/{transcription}, {name}"))
    return recordings


PACKAGED: dict[str, Callable[[], list[Record]]] = {
    "asterisk_wideband": lambda: _asterisk("asterisk-core-sounds-en-g722", G722),
    "asterisk_8khz": lambda: _asterisk("asterisk-core-sounds-en-wav", ".wav"),
    "pocketsphinx": _pocketsphinx,
}


def recordings(domain: str) -> list[Record]:
    """All usable recordings of a packaged domain.

    Raises:
        PackageUnavailable: the packages cannot be had on this machine.
        UnknownName: no such packaged domain.
    """
    return pick("packaged domain", domain, PACKAGED)()
