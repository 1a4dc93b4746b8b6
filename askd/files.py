"""Where things lie on disk, and writing them so that a crash loses nothing.

The cache (weights, synthesised speech, teacher targets) is ``$ASKD_CACHE`` or ``~/.cache/askd``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from askd.errors import RunError


def cache_dir() -> Path:
    """``$ASKD_CACHE`` or ``~/.cache/askd``; made when missing."""
    path = Path(os.environ.get("ASKD_CACHE") or Path.home() / ".cache" / "askd")
    path.mkdir(parents=True, exist_ok=True)
    return path


def project_dir() -> Path:
    """The checkout: the folder that holds ``notebooks/`` and ``runs/``."""
    return Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Sentences and domain recipes: beside the package in a checkout, inside it in a wheel."""
    inside = Path(__file__).resolve().parent / "data"
    return inside if inside.is_dir() else project_dir() / "data"


def sha256(path: Path | str) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: object, length: int = 12) -> str:
    """Short hex digest of anything JSON can hold; equal values give equal digests."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Write to a temporary neighbour, then rename: ``path`` is either whole or not there.

    Works for files and folders. After an exception nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    target = scratch / path.name
    try:
        yield target
        if path.is_dir():
            old = scratch / "old"
            os.replace(path, old)
        os.replace(target, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path | str, value: object) -> None:
    """Write JSON atomically, indented, with a final newline."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> object:
    """Read JSON written by `write_json`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


_held = []  # lock files of this process


def _let_go_in_child() -> None:
    """A forked worker that outlives a killed parent for a moment must not hold its folder."""
    for file in _held:
        file.close()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextlib.contextmanager
def only_writer(folder: Path | str) -> Iterator[None]:
    """Hold ``folder`` for this process; a second writer is refused with the holder's pid.

    Raises:
        RunError: another living process holds the folder.
    """
    import fcntl

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        for attempt in range(5):  # `askd runs` holds it for a moment to see whether anybody does
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.1 * (attempt < 4))
        else:
            file.seek(0)
            raise RunError(
                f"{folder} is being written by process {file.read().strip() or '?'}; "
                "wait for it, stop it, or choose another run folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        _held.append(file)
        try:
            yield
        finally:
            _held.remove(file)
