"""What a recording says and when: text, JSON and subtitles (SRT, WebVTT) from timed parts.

    transcript = askd.transcribe_recording(model, processor, "talk.mp3")
    Path("talk.srt").write_text(as_srt(transcript), encoding="utf-8")
    same = from_json(as_json(transcript))

Subtitles: lines of at most 42 characters, two a cue. A longer part becomes several cues, which share its time in proportion to
their characters: where each begins is a guess, the part's own ends are not. Cues never overlap, and none has no duration.

JSON, version 1:

    {"version": 1, "audio_s": 5.2, "silence_s": 0.0, "how": "cut", "ended": false, "text": "Hello there. And and and",
     "parts": [{"start_s": 0.1, "end_s": 1.3, "text": "Hello there.", "ended": true},
               {"start_s": 2.0, "end_s": 5.1, "text": "And and and", "ended": false}], ...}

``ended`` is false of a part that was cut at its limit of tokens, most often a loop; ``silence_s`` of ``audio_s`` are digital
silence. Whatever `Transcript.about` holds besides (of `askd transcribe`: file, model, settings) stands at the end.
"""

import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise, zip_longest

from askd.errors import AskdError

VERSION = 1
LINE, LINES = 42, 2  # characters a line and lines a cue: what broadcasters allow
SHORTEST_CUE_MS = 700  # a cue stays at least so long where the next one lets it; ours
FIELDS = ("version", "audio_s", "silence_s", "how", "ended", "text", "parts")


@dataclass(frozen=True)
class Part:
    """Something said without a cut in between."""

    start_s: float
    end_s: float
    text: str
    ended: bool = True  # False when cut at the token limit


@dataclass(frozen=True)
class Transcript:
    """A recording's parts in order of time; none overlaps the next."""

    parts: tuple[Part, ...]
    audio_s: float
    silence_s: float  # of them digital silence
    how: str  # sequential or cut, as `askd.longform` says
    about: Mapping[str, object] = field(default_factory=dict)  # as JSON: file, model, ...

    @property
    def text(self) -> str:
        """All of it in one line."""
        return " ".join(part.text for part in self.parts if part.text)

    @property
    def ended(self) -> bool:
        """False when any part was cut at its limit of tokens."""
        return all(part.ended for part in self.parts)


@dataclass(frozen=True)
class Cue:
    """Lines that are on screen together."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


def clock(ms: int, decimal: str = ".") -> str:
    """Milliseconds as hours, minutes and seconds.

    >>> clock(3_723_004)
    '01:02:03.004'
    """
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{decimal}{ms:03}"


def span(part: Part) -> str:
    """``00:00:01.200 --> 00:00:03.000``."""
    return " --> ".join(clock(round(1000 * seconds)) for seconds in (part.start_s, part.end_s))


def as_text(transcript: Transcript, timestamps: bool = False) -> str:
    """One line, or with ``timestamps`` one a part, each after its ``[start --> end]``."""
    if not timestamps:
        return transcript.text + "\n"
    return "".join(f"[{span(part)}] {part.text}\n" for part in transcript.parts if part.text)


def as_json(transcript: Transcript, indent: int | None = 1) -> str:
    """As the module says, with a final newline; ``indent=None`` is one line."""
    values = (VERSION, transcript.audio_s, transcript.silence_s, transcript.how, transcript.ended, transcript.text,
              [asdict(part) for part in transcript.parts])
    return json.dumps(dict(zip(FIELDS, values, strict=True)) | dict(transcript.about), indent=indent, ensure_ascii=False) + "\n"


def from_json(text: str) -> Transcript:
    """The transcript that `as_json` wrote.

    Raises:
        AskdError: not one of ours, damaged, or of another version.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise AskdError(f"a transcript of version {found['version']}, this program reads version {VERSION}")
        parts = tuple(Part(**part) for part in found["parts"])
        about = {name: value for name, value in found.items() if name not in FIELDS}
        return Transcript(parts, found["audio_s"], found["silence_s"], found["how"], about)
    except (ValueError, KeyError, TypeError) as error:
        raise AskdError(f"not a transcript in JSON, or a damaged one ({type(error).__name__}: {error})") from None


def lines_of(text: str) -> list[str]:
    """Break a text into as few lines of at most `LINE` characters as it takes, and those about equally long.

    >>> lines_of("They do not fill one line and then hang over by a word.")
    ['They do not fill one line and', 'then hang over by a word.']
    """
    def broken(width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)

    fewest, longest_word = len(broken(LINE)), max(map(len, text.split()), default=0)
    return next(lines for width in range(min(LINE, max(1, longest_word)), LINE + 1) if len(lines := broken(width)) <= fewest)


def cues(transcript: Transcript) -> list[Cue]:
    """Subtitles of a transcript, in order; each begins no earlier than the one before it ends."""
    found, words = [], [part for part in transcript.parts if part.text]
    for part, following in zip_longest(words, words[1:]):
        lines = lines_of(part.text)
        groups = [tuple(lines[i : i + LINES]) for i in range(0, len(lines), LINES)]
        start = max(round(1000 * part.start_s), found[-1].end_ms if found else 0)
        room = round(1000 * (following.start_s if following else transcript.audio_s))
        end = max(round(1000 * part.end_s), min(start + SHORTEST_CUE_MS * len(groups), room), start + len(groups))
        shares = [0, *accumulate(sum(map(len, group)) for group in groups)]
        times = [start + round((end - start) * share / shares[-1]) for share in shares]
        for group, (begin, finish) in zip(groups, pairwise(times), strict=True):
            begin = max(begin, found[-1].end_ms if found else 0)
            found.append(Cue(begin, max(finish, begin + 1), group))
    return found


def as_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues."""
    return "\n".join(
        f"{number}\n{clock(cue.start_ms, ',')} --> {clock(cue.end_ms, ',')}\n"
        + "".join(line.replace("-->", "→") + "\n" for line in cue.lines)
        for number, cue in enumerate(cues(transcript), 1)
    )


def as_vtt(transcript: Transcript) -> str:
    """WebVTT, for browsers."""
    marks = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    return "WEBVTT\n" + "".join(
        f"\n{clock(cue.start_ms)} --> {clock(cue.end_ms)}\n" + "".join(line.translate(marks) + "\n" for line in cue.lines)
        for cue in cues(transcript)
    )


FORMATS: dict[str, Callable[[Transcript], str]] = {"txt": as_text, "json": as_json, "srt": as_srt, "vtt": as_vtt}
