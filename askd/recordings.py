"""Real recordings: records of any source -> clips, with what cannot be used named or counted."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence

from askd.audio import duration_s, read_audio
from askd.clips import Clip, make_clip
from askd.errors import AudioError
from askd.files import sha256
from askd.records import Record

PIECE = re.compile(r"#\d+\.\d\d$")  # how `askd.segments` ends the id of a piece: where it begins, in seconds
MANY_SPEAKERS = 10  # from so many on, a folder without a split is split by speaker. Ours


def record_clip(domain: str, record: Record) -> Clip:
    """The clip of a record: a file stays where it is, embedded audio is decoded into the cache once.

    Raises:
        AudioError: the recording cannot be opened; it is named.
    """
    about = (record.id, record.speaker, record.text)
    if isinstance(record.audio, bytes):
        key = {"content": hashlib.sha256(record.audio).hexdigest(), "about": about}
        try:
            return make_clip(domain, key, *about, lambda: read_audio(record.audio))
        except AudioError as error:
            raise AudioError(f"{record.where}: {error}") from None
    return Clip(
        record.id, domain, record.speaker, record.text, duration_s(record.audio), str(record.audio), sha256(record.audio)
    )


def usable_clips(
    records: Iterable[Record], make: Callable[[Record], Clip], skip_bad: bool = False, what: str = "recordings",
    progress: bool = False, total: int | None = None,
) -> list[Clip]:
    """Clips of records.

    Args:
        records, make: what there is, and how a record becomes a clip.
        skip_bad: decode everything, leave out what cannot be used, name and count it. Without it only headers are read here
            and a file that breaks off shows when it is decoded, before training or scoring starts.
        what: how the recordings are called in messages.
        progress, total: show a bar with ETA.

    Raises:
        AudioError: a recording cannot be opened; it is named.
    """
    from tqdm.auto import tqdm

    clips, bad = [], []
    for record in tqdm(records, desc=what, unit="clip", total=total, disable=not progress):
        try:
            clip = make(record)
            if skip_bad:
                clip.samples()
            clips.append(clip)
        except AudioError as error:
            if not skip_bad:
                raise
            bad.append(str(error))
    if bad:
        shown = "; ".join(bad[:5]) + ("; ..." if len(bad) > 5 else "")
        print(f"{what}: left out {len(bad)} of {len(bad) + len(clips)} recordings: {shown}")
    return clips


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
