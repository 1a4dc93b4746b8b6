"""Checkpoints that survive kill -9, a full disk and bit rot: one file each, its checksum in its name.

    checkpoints/step-00000150-9f2c41d07be1.pt       the newest
    checkpoints/step-00000100-51c0aa37e2d4.pt       the one before it

A file appears under its name by one rename, when all of it is on the disk, so name and content cannot disagree unless
the disk is at fault; then the one before it serves.
"""

import io
import os
import re
import tempfile
import zlib
from pathlib import Path

import torch

from askd.errors import RunError

KEPT = 2
NAME = re.compile(r"step-(\d{8})-([0-9a-f]{8})\.pt")


class _Checked(io.RawIOBase):
    """A file that takes the CRC-32 of what is written to it."""

    def __init__(self, file):
        self.file, self.crc32 = file, 0

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        return self.file.write(data)


def _crc32(path: Path) -> int:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def checkpoints(folder: Path | str) -> list[Path]:
    """The checkpoints of a run folder, newest first."""
    return sorted((p for p in (Path(folder) / "checkpoints").glob("step-*.pt") if NAME.fullmatch(p.name)), reverse=True)


def save_checkpoint(folder: Path | str, step: int, state: dict, keep: int = KEPT) -> Path:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) and drop all but the newest ``keep`` checkpoints.

    Raises:
        OSError: the disk is full; the older checkpoints are still there.
    """
    place = Path(folder) / "checkpoints"
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob(".writing-*"):  # of a killed process
        left.unlink()
    with tempfile.NamedTemporaryFile(prefix=".writing-", dir=place, delete=False) as file:
        try:
            checked = _Checked(file)
            torch.save(state, checked)
            file.flush()
            os.fsync(file.fileno())
            path = place / f"step-{step:08d}-{checked.crc32:08x}.pt"
            os.replace(file.name, path)
        except BaseException as error:
            Path(file.name).unlink(missing_ok=True)
            # torch hides a full disk behind a complaint of its own
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None
    for old in checkpoints(folder)[keep:]:
        old.unlink()
    return path


def load_checkpoint(folder: Path | str, device: torch.device | str = "cpu") -> dict | None:
    """The newest whole checkpoint, or None when there is none at all. A damaged one is named and passed over.

    Raises:
        RunError: there are checkpoints and all are damaged.
    """
    there, complaints = checkpoints(folder), []
    for path in there:
        if f"{_crc32(path):08x}" == NAME.fullmatch(path.name)[2]:
            if complaints:
                print(f"{complaints[0]}: going on from the one before it, {path.name}")
            return torch.load(path, map_location=device, weights_only=True)
        complaints.append(f"{path} is damaged (its checksum is wrong)")
    if there:
        raise RunError(f"{'; '.join(complaints)}: delete {folder} to start this run from its beginning")
    return None
