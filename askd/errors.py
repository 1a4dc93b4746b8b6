"""Errors that say what is wrong, where, and what to do next."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

Value = TypeVar("Value")


class AskdError(Exception):
    """Anything the user can mend. The command line prints the message alone, without a traceback."""


class UnknownName(AskdError):
    """A teacher, schedule, domain, method or profile that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        near = get_close_matches(str(name), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        self.made_of = (kind, name, known)
        super().__init__(f"unknown {kind} {name!r}{hint}: known are {', '.join(known) or 'none'}")

    def __reduce__(self):
        return type(self), self.made_of  # so that it survives the way back from a worker process


class AudioError(AskdError):
    """A recording that cannot be used: unreadable, empty, truncated or not finite."""


class ManifestError(AskdError):
    """A table of recordings with a missing column, an empty transcript or a wrong encoding."""


class CacheError(AskdError):
    """A cached file that does not match its checksum and could not be rebuilt."""


class TrainingDiverged(AskdError):
    """The loss is not finite; the last good checkpoint is kept."""


class RunError(AskdError):
    """A run folder that is in use, incomplete, or of another configuration."""


def reason(error: BaseException) -> str:
    """The first line of what an error of another package says, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def pick(kind: str, name: str, options: Mapping[str, Value]) -> Value:
    """``options[name]``, or `UnknownName` that lists what exists."""
    if not isinstance(name, str) or name not in options:
        raise UnknownName(kind, name, options)
    return options[name]
