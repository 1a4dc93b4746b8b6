"""One file from the web: resumed where it broke off, checked, and only then given its name; and unpacking what it holds.

While it is coming the file is ``NAME.part``; that part outlives an interruption, a crash and a reboot, and the next call
asks the server for the rest (HTTP Range). A server that cannot do that sends everything again. An archive that changed at
its home between two calls does not pass the checksum.
"""

import errno
import gzip
import hashlib
import http.client
import os
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from askd.errors import AskdError
from askd.files import replacing
from askd.progress import progress_bar

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG}
BLOCK_BYTES = 1 << 16  # what a broken connection can lose


class DownloadError(AskdError):
    """The file could not be fetched, or is not the file it should be."""


def check_digest(path: Path | str, sha256: str | None = None, md5: str | None = None) -> None:
    """Nothing, or `DownloadError` with both digests."""
    for name, expected in (("sha256", sha256), ("md5", md5)):
        if expected:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, lambda name=name: hashlib.new(name, usedforsecurity=False)).hexdigest()
            if found != expected.lower():
                raise DownloadError(f"{Path(path).name}: {name} is {found}, expected {expected}: damaged or another version")


def download(
    url: str,
    path: Path | str,
    sha256: str | None = None,
    md5: str | None = None,
    progress: bool = False,
    tries: int = 5,
    pause_s: float = 1.0,
    timeout_s: float = 60.0,
) -> Path:
    """Fetch ``url`` to ``path``, going on from ``path.part`` when there is one.

    Args:
        url: http or https address.
        path: where the file goes. When it exists already it is checked and nothing is fetched.
        sha256, md5: hex digests the whole file must have.
        progress: a bar with speed and time left.
        tries: attempts in a row that bring no new byte before giving up (ours).
        pause_s: pause after the first failure; it doubles with each further one (ours).
        timeout_s: longest silence of the server (ours).

    Returns:
        ``path``.

    Raises:
        DownloadError: refused by the server, unreachable, disk full (the part stays); wrong digest (the part is deleted).
    """
    path = Path(path)
    if path.is_file():
        try:
            check_digest(path, sha256, md5)
        except DownloadError as error:
            raise DownloadError(f"{error}; delete {path} to fetch it again") from None
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, most = 0, _size(part)
    while True:
        try:
            _fetch(url, part, progress, timeout_s)
            break
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in DISK_ERRORS:
                raise DownloadError(f"{part}: {error.strerror}; what has come so far is kept") from None
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
                raise DownloadError(f"{url}: the server answers {error.code} {error.reason}") from None
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= tries:
                raise DownloadError(f"{url}: {error} ({tries} tries); {_size(part)} bytes are kept for the next call") from None
            time.sleep(pause_s * 2 ** (failures - 1))
    try:
        check_digest(part, sha256, md5)
    except DownloadError as error:
        part.unlink()
        raise DownloadError(f"{url}: {error}; deleted, the next call starts again") from None
    os.replace(part, path)
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, part: Path, progress: bool, timeout_s: float) -> None:
    """One request: append the missing bytes to ``part``, or write it anew; an OSError when it is not whole afterwards."""
    have = _size(part)
    headers = {"User-Agent": "askd"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing lies beyond what we have
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return
        part.unlink()
        raise ConnectionError("the part is not of this file, starting again") from None
    with response:
        resumed = response.status == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server sent another range, starting again")
        length = response.headers.get("Content-Length")
        total = have * resumed + int(length) if length else None
        bar = progress_bar(total=total, initial=have * resumed, unit="B", unit_scale=True, desc=part.stem, shown=progress)
        with open(part, "ab" if resumed else "wb") as file, bar:
            while block := response.read(BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    if total is not None and _size(part) != total:
        raise ConnectionError(f"the connection broke after {_size(part)} of {total} bytes")


def unpack(archive: Path | str, folder: Path | str, inside: str = ".", convert: Callable[[Path], None] | None = None) -> None:
    """Put the folder ``inside`` of a tar archive at ``folder``, all of it or nothing.

    Args:
        archive: tar file, compressed or not. A broken one is deleted, so that it can be fetched again.
        folder: where the content goes.
        inside: the folder in the archive that is wanted.
        convert: called on the unpacked folder before it gets its name.

    Raises:
        DownloadError: damaged, without the wanted folder, or with members that point outside (tarfile's ``data`` filter);
            no space on the disk, for which the archive is kept.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with replacing(folder) as target, tarfile.open(archive) as tar:
            unpacked = target.with_name("unpacked")
            tar.extractall(unpacked, filter="data")
            if not (unpacked / inside).is_dir():
                raise tarfile.ReadError(f"no folder {inside} in it")
            if convert:
                convert(unpacked / inside)
            os.replace(unpacked / inside, target)
    except tarfile.FilterError as error:
        archive.unlink()
        raise DownloadError(f"{archive.name} is refused and deleted: {error}") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, AskdError, FileNotFoundError) as error:
        archive.unlink()
        raise DownloadError(f"{archive.name} is damaged and deleted: {error}") from None
    except OSError as error:
        raise DownloadError(f"{archive} cannot be unpacked: {error}") from None
