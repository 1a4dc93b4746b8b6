"""``askd data check FOLDER``: every transcript read, every recording decoded, every fault at once with file and row.

    report = check_folder("my_recordings/")
    print(report.as_text())                    # every problem, and the first of each kind of warning; report.ok: no problems

Problems keep a recording out of training: what `askd.folders` finds, and audio that is unreadable, empty, cut short, not finite
or longer than the model's window. Warnings ask for a look: recordings that could be meant so, and often are not.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ, duration_s, is_g722, read_audio
from askd.errors import AudioError
from askd.folders import SUFFIXES, Listing, read_folder
from askd.parallel import in_parallel
from askd.progress import progress_bar
from askd.records import Problem, Record

SILENCE_DBFS = -60.0  # peak; ours: below the noise of a quiet room
CLIPPED_SHARE = 0.001  # of samples within 0.1 % of full scale; ours
MIN_RATE_HZ = 8_000  # telephone; ours
CHARS_PER_S = (1.0, 35.0)  # ours: hurried read English stays below 25
WARNINGS_SHOWN = 4  # of each kind
FEW_FILES = 64  # decoded in this process: quicker than starting others


@dataclass(frozen=True)
class FolderReport:
    """What a folder holds and what is wrong with it."""

    path: Path
    layout: str
    recordings: int  # good ones
    audio_s: float
    speakers: int
    rates_hz: dict[int, int]  # recordings by sampling rate
    formats: dict[str, int]  # recordings by format
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """No problems; warnings do not count."""
        return not self.problems

    def as_text(self, all_warnings: bool = False) -> str:
        """The report for a terminal: every problem; of each kind of warning the first 4, or all of them."""
        counts = [", ".join(f"{n} {name}" for name, n in sorted(kind.items())) for kind in (self.formats, self.rates_hz)]
        lines = [
            f"{self.path} ({self.layout})",
            f"  {self.recordings} good recordings, {self.audio_s / 3600:.2f} h, {self.speakers} speakers",
            *([f"  {counts[0]}; by Hz: {counts[1]}"] if self.recordings else []),
            *_grouped("problem", self.problems),
            *_grouped("warning", self.warnings, None if all_warnings else WARNINGS_SHOWN),
            "  no problems" if self.ok else "  mend these, or leave them out with --skip-bad",
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Heard:
    """One decoded file."""

    fault: str = ""  # "kind: details" when it cannot be used
    audio_s: float = 0.0
    rate_hz: int = 0
    format: str = ""
    peak: float = 0.0
    clipped: float = 0.0  # share of samples
    content: str = ""  # digest of the samples: the same sound in two formats is the same sound


def check_folder(
    path: Path | str, layout: str | None = None, max_audio_s: float = MAX_AUDIO_S, workers: int | None = None,
    progress: bool = True, part: str | None = None, audio_root: Path | str | None = None,
) -> FolderReport:
    """Find everything that is wrong with a folder of recordings, in one go.

    Args:
        path, layout, part, audio_root: as in `askd.folders.read_folder`.
        max_audio_s: longer recordings are problems.
        workers: processes that decode; default the number of cores.
        progress: show a bar.

    Raises:
        ManifestError: the layout is not known; rows and recordings at fault are in the report instead.
    """
    listing = read_folder(path, layout, part, audio_root)
    jobs = [(record.audio, max_audio_s) for record in listing.records]
    problems, warnings = list(listing.problems), _unlisted(listing)
    good: list[tuple[Record, _Heard]] = []

    def read(heard: Iterable[_Heard]) -> None:
        bar = progress_bar(heard, total=len(jobs), desc="decode", unit="file", shown=progress)
        for record, found in zip(listing.records, bar, strict=True):
            if found.fault:
                problems.append(Problem(record.where, found.fault))
            else:
                good.append((record, found))
                warnings.extend(Problem(record.where, what) for what in _oddities(record, found))

    read(in_parallel(_hear, jobs, workers if len(jobs) >= FEW_FILES else 1, chunk=16))
    warnings += _repeated(good)
    return FolderReport(
        listing.path, listing.layout, len(good), sum(heard.audio_s for _, heard in good),
        len({record.speaker for record, _ in good}), dict(Counter(heard.rate_hz for _, heard in good)),
        dict(Counter(heard.format for _, heard in good)), tuple(problems), tuple(warnings),
    )


def _hear(job: tuple[Path, float]) -> _Heard:
    """Decode one file. Nothing escapes: a check that dies of one strange file has checked nothing."""
    path, max_audio_s = job
    try:
        audio_s = duration_s(path)  # the header first: an hour of sound need not be decoded to be refused
        if audio_s > max_audio_s + 1e-3:
            return _Heard(f"too long: {path.name} lasts {audio_s:.1f} s; at most {max_audio_s:g} s fit, cut it first")
        rate_hz, kind = _format(path)
        samples = read_audio(path, max_audio_s)
    except AudioError as error:
        return _Heard(f"{'truncated' if ': truncated' in str(error) else 'unusable audio'}: {error}")
    except Exception as error:
        return _Heard(f"unusable audio: {path}: {type(error).__name__}: {error}")
    size = np.abs(samples)
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    return _Heard("", len(samples) / SAMPLING_RATE_HZ, rate_hz, kind, float(size.max()), float((size >= 0.999).mean()), digest)


def _format(path: Path) -> tuple[int, str]:
    """Sampling rate and format."""
    import soundfile

    if is_g722(path):
        return SAMPLING_RATE_HZ, "G722"
    info = soundfile.info(str(path))
    return info.samplerate, f"{info.format} {info.subtype}" + (f" {info.channels} channels" if info.channels > 1 else "")


def _oddities(record: Record, heard: _Heard) -> Iterable[str]:
    name, pace = record.audio.name, len(record.text) / heard.audio_s
    if heard.peak < 10 ** (SILENCE_DBFS / 20):
        yield f"silence: the peak of {name} is below {SILENCE_DBFS:g} dBFS"
    if heard.clipped > CLIPPED_SHARE:
        yield f"clipping: {100 * heard.clipped:.1f} % of {name} at full scale"
    if heard.rate_hz < MIN_RATE_HZ:
        yield f"low sampling rate: {name} at {heard.rate_hz} Hz; speech needs {MIN_RATE_HZ} Hz"
    if not CHARS_PER_S[0] <= pace <= CHARS_PER_S[1]:
        yield f"improbable pace: {pace:.1f} characters/s in {name}; does the transcript belong to it?"
    if any(map(str.isdigit, record.text)):
        yield f"digits in transcript: {record.text[:60]!r}; is it what Whisper would write?"
    if record.text.isupper() and len(record.text) > 3:
        yield f"capitals: {record.text[:60]!r}; Whisper writes sentences, `--casing sentence` (casing='sentence') too"


def _repeated(good: Sequence[tuple[Record, _Heard]]) -> Iterable[Problem]:
    first: dict[str, Record] = {}
    for record, heard in good:
        other = first.setdefault(heard.content, record)
        if other is not record:
            same = "same audio twice" if other.text == record.text else "same audio with another transcript"
            yield Problem(record.where, f"{same}: {record.audio.name} sounds like {other.audio.name} ({other.where})")


def _unlisted(listing: Listing) -> list[Problem]:
    """Audio that no row names, in layouts whose folders hold nothing else."""
    if listing.layout not in ("audiofolder", "ljspeech"):
        return []
    named = {record.audio for record in listing.records}
    lost = sorted(p for p in listing.path.rglob("[!.]*") if p.suffix.lower() in SUFFIXES and p not in named)
    bad = " ".join(problem.what for problem in listing.problems)  # a row at fault names its file there
    return [Problem(str(p.relative_to(listing.path)), "no row: no table names this file") for p in lost if p.name not in bad]


def _grouped(word: str, found: Sequence[Problem], limit: int | None = None) -> Iterable[str]:
    kinds: dict[str, list[Problem]] = {}
    for problem in found:
        kinds.setdefault(problem.what.partition(":")[0], []).append(problem)
    for kind, of_kind in kinds.items():
        yield f"  {len(of_kind)} {word}{'s' * (len(of_kind) != 1)}: {kind}"
        yield from (f"    {problem}" for problem in of_kind[:limit])
        if limit and len(of_kind) > limit:
            yield f"    and {len(of_kind) - limit} more (--all shows them)"
