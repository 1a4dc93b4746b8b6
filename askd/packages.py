"""Real, transcribed human speech that Debian and Ubuntu keep in their package archives.

Fetched with ``apt-get download`` (no root needed) and unpacked with ``dpkg-deb -x`` into the cache. Where there is no
apt, `PackageUnavailable` says so and the domain is left out of the tables.
"""

import functools
import gzip
import os
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

APT_LIMIT_S = 120  # of each call of apt-get; ours: the largest package here comes in seconds
ARCHIVE, NO_ANSWER = "", "no answer in"
_failed: dict[str, str] = {}  # package -> message; ARCHIVE, as a whole -> complaint of apt-get


class PackageUnavailable(AskdError):
    """The package archive cannot be reached from this machine."""


def unpacked(package: str) -> Path:
    """Folder with the unpacked Debian package, fetched once; a second process waits for the first.

    A process does not try again what failed, and no package at all once the archive could not be reached.

    Raises:
        PackageUnavailable: no apt here, no answer, no such package, or a damaged one.
    """
    folder = cache_dir() / "packages" / package
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_name(f".{package}.lock")), tempfile.TemporaryDirectory() as scratch:
            if not folder.is_dir():
                if package in _failed:
                    raise PackageUnavailable(_failed[package])
                try:
                    unpack_deb(_fetch(package, scratch), folder)
                except PackageUnavailable as error:
                    _failed[package] = str(error)
                    raise
    return folder


def unpack_deb(archive: Path, folder: Path) -> None:
    """Unpack a Debian package, all of it or nothing.

    Raises:
        PackageUnavailable: it is damaged.
    """
    with replacing(folder) as target:
        result = subprocess.run(
            ["dpkg-deb", "-x", str(archive), str(target)], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if result.returncode:
            raise PackageUnavailable(f"the Debian package {archive.name} is damaged ({_last(result.stderr)}): left out here")


def _fetch(package: str, scratch: str) -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PackageUnavailable(f"the Debian package {package!r} needs apt-get and dpkg-deb (Debian, Ubuntu): left out here")
    complaint = _failed.get(ARCHIVE) or _apt("download", package, scratch=scratch)
    if complaint and not _unreachable(complaint):
        _update()
        complaint = _apt("download", package, scratch=scratch)
    for archive in Path(scratch).glob("*.deb"):
        return archive
    if _unreachable(complaint):
        _failed[ARCHIVE] = complaint
    raise PackageUnavailable(f"the Debian package {package!r} could not be fetched ({_last(complaint)}): left out here")


def _apt(*arguments: str, scratch: str | None = None) -> str:
    """Run apt-get in English; what it complains of, empty when all went well."""
    try:
        result = subprocess.run(
            ["apt-get", *arguments], cwd=scratch, env={**os.environ, "LC_ALL": "C"}, timeout=APT_LIMIT_S,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"{NO_ANSWER} {APT_LIMIT_S} s"
    return (result.stderr or f"exit {result.returncode}") if result.returncode else ""


@functools.cache
def _update() -> None:
    """Fetch the lists of packages, which a fresh container lacks; once a process is enough."""
    _apt("update", "-qq")


def _unreachable(complaint: str) -> bool:
    """No answer at all; a file that has moved (404) or changed says nothing about others."""
    return bool(re.search(f"{NO_ANSWER}|Could not (connect|resolve)|failure resolving|Unable to connect|timed out", complaint))


def _last(complaint: str) -> str:
    return (complaint.strip().splitlines() or ["no reason given"])[-1]


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
    "asterisk_street": lambda: _asterisk("asterisk-core-sounds-en-wav", ".wav"),  # askd.domains lets a street be heard
    "pocketsphinx": _pocketsphinx,
}


def recordings(domain: str) -> list[Record]:
    """All usable recordings of a packaged domain.

    Raises:
        PackageUnavailable: the packages cannot be had on this machine.
        UnknownName: no such packaged domain.
    """
    return pick("packaged domain", domain, PACKAGED)()
