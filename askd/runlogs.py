"""The logs of a training run: a JSON line a step.

    metrics.jsonl   what was computed: bit for bit the same however often the run was killed
    speed.jsonl     how long it took, by part
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from askd.errors import RunError
from askd.files import replacing

LOGS = ("metrics.jsonl", "speed.jsonl")


@contextlib.contextmanager
def open_logs(folder: Path, write: bool = True) -> Iterator[list[Callable[[dict], object]]]:
    """A function for each of `LOGS` that appends a row, whole and at once; they do nothing when ``write`` is false."""
    with contextlib.ExitStack() as stack:
        if not write:
            yield [lambda row: None for _ in LOGS]
            return
        files = [stack.enter_context(open(folder / name, "a", encoding="utf-8", buffering=1)) for name in LOGS]
        yield [lambda row, file=file: file.write(json.dumps(row) + "\n") for file in files]


def cut_logs(folder: Path, steps: int) -> None:
    """Keep the rows of the first ``steps`` steps: what a killed run wrote after its last checkpoint comes again."""
    for path in (folder / name for name in LOGS):
        if path.is_file():
            rows = [row for row in read_rows(path) if row["step"] <= steps]
            with replacing(path) as scratch:
                scratch.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path | str) -> list[dict]:
    """The whole rows of a log that may be missing, growing or cut, by step."""
    rows = {}
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
            rows[int(row["step"])] = row
        except (ValueError, TypeError, KeyError):
            continue  # a line being written, or cut by a crash
    return [rows[step] for step in sorted(rows)]


def read_metrics(folder: Path | str) -> list[dict]:
    """The rows of a run's metrics.jsonl.

    Raises:
        RunError: there is no such run.
    """
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise RunError(f"{path} is not there: train this student first")
    return read_rows(path)


def read_speed(folder: Path | str) -> list[dict]:
    """The rows of a run's speed.jsonl: step, seconds and, where they were timed, the seconds of each part; [] without one."""
    return read_rows(Path(folder) / "speed.jsonl")
