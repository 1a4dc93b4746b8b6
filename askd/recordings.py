"""Real recordings: records of any source -> clips, with what cannot be used named or counted."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from askd.audio import MAX_AUDIO_S, duration_s, read_audio
from askd.clips import Clip, make_clip
from askd.errors import AudioError
from askd.files import sha256
from askd.progress import progress_bar
from askd.records import Record

PIECE = re.compile(r"#\d+\.\d\d$")  # how `askd.segments` ends the id of a piece: where it begins, in seconds
SHOWN = 20  # recordings that an error message lists
MANY_SPEAKERS = 10  # from so many on, a folder without a split is split by speaker. Ours


def record_clip(domain: str, record: Record, max_audio_s: float | None = MAX_AUDIO_S) -> Clip:
    """The clip of a record: a file stays where it is, embedded audio is decoded into the cache once.

    Args:
        domain, record: what it is.
        max_audio_s: longest embedded audio; None takes any (files of any length are taken: `Clip.samples` refuses them).

    Raises:
        AudioError: the recording cannot be opened; it is named.
    """
    about = (record.id, record.speaker, record.text)
    if isinstance(record.audio, bytes):
        key = {"content": hashlib.sha256(record.audio).hexdigest(), "about": about}
        try:
            return make_clip(domain, key, *about, lambda: read_audio(record.audio, max_audio_s))
        except AudioError as error:
            raise AudioError(f"{record.where}: {error}") from None
    return Clip(
        record.id, domain, record.speaker, record.text, duration_s(record.audio), str(record.audio), sha256(record.audio)
    )


def usable_clips(
    records: Iterable[Record], make: Callable[[Record], Clip], skip_bad: bool = False, what: str = "recordings",
    progress: bool = False, total: int | None = None, max_audio_s: float | None = MAX_AUDIO_S,
) -> list[Clip]:
    """Clips of records.

    Args:
        records, make: what there is, and how a record becomes a clip.
        skip_bad: decode everything, leave out what cannot be used, name and count it. Without it only headers are read here
            and a file that breaks off shows when it is decoded, before training or scoring starts.
        what: how the recordings are called in messages.
        progress, total: show a bar with ETA.
        max_audio_s: with ``skip_bad``, longer ones cannot be used; None: any length can.

    Raises:
        AudioError: recordings that cannot be opened: all of a list, the first of a stream, each with its row.
    """
    clips, bad = [], []
    for record in progress_bar(records, desc=what, unit="clip", total=total, shown=progress):
        try:
            clip = make(record)
            if skip_bad:
                read_audio(clip.path, max_audio_s)
            clips.append(clip)
        except AudioError as error:
            where, message = getattr(record, "where", ""), str(error)
            bad.append(message if message.startswith(where) else f"{where}: {message}")
            if not skip_bad and not isinstance(records, Sequence):
                break  # the rest of a stream may be hours away
    if bad and not skip_bad:
        raise cannot_be_used(bad, len(records) if isinstance(records, Sequence) else None)
    if bad:
        shown = "; ".join(bad[:5]) + ("; ..." if len(bad) > 5 else "")
        print(f"{what}: left out {len(bad)} of {len(bad) + len(clips)} recordings: {shown}")
    return clips


def cannot_be_used(bad: Sequence[str], total: int | None) -> AudioError:
    """The error that names recordings; of many the first 20. ``total`` is None where it is not known."""
    hint = "mend them, or leave them out with skip_bad (--skip-bad)"
    if total is None:
        return AudioError(f"{bad[0]}; {hint}")
    more = [f"and {len(bad) - SHOWN} more"] * (len(bad) > SHOWN)
    return AudioError("\n  ".join([f"{len(bad)} of {total} recordings cannot be used; {hint}:", *bad[:SHOWN], *more]))


def of_role(records: Sequence[Record], role: str) -> list[Record]:
    """Train (80 %), dev (10 %) or test (10 %) of recordings that have no split: by a hash of `grouped`'s groups, so that of few
    groups none may fall to dev or test."""
    group, buckets = grouped(records), {"train": range(8), "dev": (8,), "test": (9,)}[role]
    return [record for record in records if int(hashlib.sha256(group(record).encode()).hexdigest(), 16) % 10 in buckets]


def grouped(records: Sequence[Record]) -> Callable[[Record], str]:
    """What must stay together in a split: the speaker; with fewer than `MANY_SPEAKERS`, the recording and all its pieces."""
    if len({record.speaker for record in records}) >= MANY_SPEAKERS:
        return lambda record: record.speaker
    return lambda record: PIECE.sub("", record.id)
