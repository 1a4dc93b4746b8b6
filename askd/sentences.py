"""The sentences that are spoken: plain text files, one topic each, written for this project.

Every sentence belongs to one split for ever, by a hash of its words: the split of a sentence does not change when
others are added, and a sentence that stood in two topics would still fall into one split.
"""

import functools
import hashlib
import re

from askd.errors import UnknownName, pick
from askd.files import data_dir

SPLITS = {"train": (0, 84), "dev": (84, 90), "test": (90, 100)}  # percent of the hash range, ours


def split_of(sentence: str) -> str:
    """``train``, ``dev`` or ``test``, from the words alone (case and punctuation do not count)."""
    words = re.sub(r"[^a-z ]", "", sentence.lower()).strip()
    bucket = int(hashlib.sha256(words.encode()).hexdigest(), 16) % 100
    return next(name for name, (low, high) in SPLITS.items() if low <= bucket < high)


def topics() -> list[str]:
    """The topics that have a file in ``data/sentences``."""
    return sorted(path.stem for path in (data_dir() / "sentences").glob("*.txt"))


@functools.cache
def sentences(topic: str, split: str | None = None) -> tuple[str, ...]:
    """The sentences of a topic in file order; ``split=None`` gives all of them.

    Raises:
        UnknownName: no such topic or split.
    """
    path = data_dir() / "sentences" / f"{topic}.txt"
    if not path.is_file():
        raise UnknownName("topic", topic, topics())
    lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    if split is None:
        return lines
    pick("split", split, SPLITS)
    return tuple(line for line in lines if split_of(line) == split)
