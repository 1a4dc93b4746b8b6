"""Sound of any length -> segments of at most 30 s that a teacher can take.

    records = find_records("podcasts/", out="labels/")           # bare audio, or anything `askd.load_clips` loads
    segments, bad = cut_records(records, "labels/")

A recording of at most 30 s is one segment and stays where it is. A longer one is cut in the middle of the quietest half second
between 15 and 30 s after the last cut, again and again; its pieces lie in ``labels/audio`` as FLAC files named after its
content and their times. Joined again they are the recording: nothing is trimmed, nothing overlaps.

A recording is held in memory while it is cut: 0.5 GB an hour at 16 kHz mono, 2.5 GB at 44.1 kHz stereo (measured).
"""

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from askd.audio import G722, MAX_AUDIO_S, NEEDS_FFMPEG, SAMPLING_RATE_HZ, read_audio, write_flac
from askd.domains import get_domain, load_clips, own_parts
from askd.errors import AskdError, AudioError
from askd.files import replacing, sha256
from askd.folders import LAYOUTS, SUFFIXES, read_folder, sentence_case, usable_records
from askd.parallel import in_parallel
from askd.progress import progress_bar
from askd.recordings import of_role
from askd.records import Record

SOUNDS = (*SUFFIXES, G722, ".aif", ".aiff", ".au", *NEEDS_FFMPEG)  # the last cannot be read; they are named, not passed over
FRAME = SAMPLING_RATE_HZ // 100  # samples, 10 ms
SHORTEST_S = 15.0  # of a piece that is not the last: room to find a pause in. Ours
LAST_S = 5.0  # the last piece is no shorter. Ours
PAUSE_S = 0.5  # over which loudness is averaged: longer than the gaps inside words. Ours
LONGEST = int((MAX_AUDIO_S + 1e-3) * SAMPLING_RATE_HZ)  # samples that askd.audio still takes
OURS = re.compile(r"-[0-9a-f]{12}-\d{5}\.\d\d-\d{5}\.\d\d\.flac")  # how names of pieces end
FEW_FILES = 64  # read in this process: quicker than starting others


@dataclass(frozen=True)
class Segment:
    """At most 30 s of a recording."""

    record: Record
    path: str  # its file: absolute, or relative to the folder of labels
    content: str  # sha256 of the recording's file
    start: int  # samples at 16 kHz
    end: int
    whole: bool  # it is the recording

    @property
    def id(self) -> str:
        """``podcasts/monday.mp3``; of a piece also where it begins, in seconds."""
        name = f"{self.record.domain}/{self.record.id}"
        return name if self.whole else f"{name}#{self.start / SAMPLING_RATE_HZ:.2f}"

    @property
    def audio_s(self) -> float:
        """Duration, seconds."""
        return (self.end - self.start) / SAMPLING_RATE_HZ


def find_records(
    name: str | Path, out: Path | str, role: str | None = None, clips: int | None = None, skip_bad: bool = False,
    audio_root: Path | str | None = None, layout: str | None = None, casing: str | None = None, progress: bool = False,
) -> list[Record]:
    """The recordings of one source, with the transcripts it has; sound of your own files is not opened yet.

    Args:
        name: a folder that no layout of `askd.folders` fits: every audio file in it and below, without transcripts; one audio
            file; or a folder, table, ``hub:ID`` or declared domain with transcripts.
        out: the folder of labels; pieces that a run left there, or in another such folder, are passed over.
        role: ``train``, ``dev``, ``test`` or ``all``; None is ``train``, or all of a folder of yours that has no split.
        clips: at most so many recordings; synthetic domains need it.
        skip_bad, audio_root, layout, casing: as in `askd.load_clips`.
        progress: show a bar.

    Raises:
        UnknownName: no such domain or folder.
        ManifestError: rows that cannot be used.
        AskdError: there is no audio in it, or no such role.
    """
    domain = get_domain(name)
    if not domain.path:
        found = load_clips(domain, role or "train", clips, skip_bad=skip_bad, audio_root=audio_root, casing=casing,
                           progress=progress)
        return [Record(c.id, c.text, c.speaker, Path(c.path), domain=c.domain) for c in found]
    path, parts = Path(domain.path), own_parts(domain.path)
    role = role or ("train" if "train" in parts else "all")
    if role not in domain.roles:
        raise AskdError(f"{name} has no part {role!r}, only {', '.join(domain.roles)}")
    part = parts.get(role, path)
    layout = layout or domain.layout or None
    if layout is None and _is_bare(path, parts):
        records = _bare_audio(part, Path(out))
    else:
        records = usable_records(read_folder(part, layout), skip_bad)
        _say_unnamed(part, records, Path(out))
    if role != "all" and role not in parts:
        records = of_role(records, role)
    if (casing or domain.casing) == "sentence":
        records = [replace(r, text=sentence_case(r.text)) for r in records]
    order = np.random.default_rng(0).permutation(len(records))[:clips]  # a few of many are drawn from everywhere
    return [replace(records[i], domain=domain.name) for i in sorted(order)]


def _is_bare(path: Path, parts: dict[str, Path]) -> bool:
    if path.is_file():
        return path.suffix.lower() in SOUNDS
    return not any(known.fits(folder) for folder in (path, *parts.values()) for known in LAYOUTS.values())


def _bare_audio(path: Path, out: Path) -> list[Record]:
    """Every audio file in and below a folder, except hidden ones and our own; who speaks is not known."""
    top = path if path.is_dir() else path.parent
    names = [(p, p.relative_to(top)) for p in ([path] if path.is_file() else sound_files(path, out))]
    records = [Record(str(n), "", str(n), p) for p, n in names]
    if not records:
        raise AskdError(f"{path}: no transcripts in a known layout, and no audio files ({', '.join(SOUNDS)}) in it or below")
    return records


def sound_files(folder: Path, out: Path | None = None) -> list[Path]:
    """Audio files in and below a folder, but for hidden ones and the pieces in ``out`` or another folder of labels."""
    own = out and out.resolve()

    def ours(path: Path) -> bool:
        labels = path.resolve().parent.parent
        return bool(OURS.search(path.name)) and path.resolve().parent.name == "audio" and (
            labels == own or (labels / "transcripts.jsonl").is_file())

    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUNDS and p.is_file())
    return [p for p in found if not ours(p) and not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def _say_unnamed(folder: Path, records: Sequence[Record], out: Path) -> None:
    """Where tables name recordings, files that none of them names are passed over, but not in silence."""
    named = {os.path.realpath(record.audio) for record in records}
    if folder.is_dir() and (lost := [p for p in sound_files(folder, out) if os.path.realpath(p) not in named]):
        print(f"{folder}: {len(lost)} audio files that no table names are passed over, as {lost[0].relative_to(folder)}; to "
              "label them, put them into a folder without a table")


def frame_energy(samples: np.ndarray, over_s: float) -> np.ndarray:
    """Energy of the 10 ms frames of a sound, summed over ``over_s`` seconds around each: (n // 160,)."""
    if not (frames := len(samples) // FRAME):
        return np.zeros(0, np.float32)
    framed = samples[: frames * FRAME].reshape(frames, FRAME)
    energy = np.einsum("fn,fn->f", framed, framed)  # (frames,) without a copy of the sound
    return np.convolve(energy, np.ones(int(100 * over_s)), "same")[:frames]


def cut_points(samples: np.ndarray) -> list[int]:
    """Where to cut a recording: ``[0, ..., n]``, at most 30 s apart, each cut in the quietest half second within reach.

    The energy of 10 ms frames is summed over half a second; of the frames from 15 to 30 s after the last cut, and at least
    5 s before the end, the one with the least is the cut.

    Args:
        samples: (n,) at 16 kHz.

    Returns:
        positions in samples; ``[0, n]`` of a recording that need not be cut.
    """
    loudness = frame_energy(samples, PAUSE_S)
    frames, points = len(loudness), [0]
    while len(samples) - points[-1] > LONGEST:
        last = points[-1] // FRAME
        high = min(last + int(100 * MAX_AUDIO_S), frames - int(100 * LAST_S))
        low = last + int(100 * SHORTEST_S)
        points.append((high - int(loudness[low : high + 1][::-1].argmin())) * FRAME)  # of equally quiet ones the last
    return [*points, len(samples)]


def cut_records(
    records: Sequence[Record], out: Path | str, workers: int | None = None, progress: bool = False
) -> tuple[list[Segment], list[str]]:
    """Decode every recording, cut those longer than 30 s into ``out/audio``.

    Args:
        records: from `find_records`.
        out: folder of labels.
        workers: processes; default the number of cores.
        progress: show a bar with ETA.

    Returns:
        segments in the order of the records, and what is wrong with recordings that cannot be read, each named.
    """
    jobs = [(os.path.abspath(record.audio), Path(os.path.abspath(out))) for record in records]
    results = in_parallel(_cut, jobs, workers if len(jobs) >= FEW_FILES else 1)
    segments, bad = [], []
    for record, (content, pieces, fault) in zip(
        records, progress_bar(results, "read", shown=progress, total=len(jobs), unit="file"), strict=True
    ):
        segments += [Segment(record, path, content, start, end, len(pieces) == 1) for path, start, end in pieces]
        bad += [fault] if fault else []
    return segments, bad


def _cut(job: tuple[str, Path]) -> tuple[str, list[tuple[str, int, int]], str]:
    """Digest of a recording, its pieces (path, start, end), and what is wrong with it."""
    source, out = job
    try:
        samples = read_audio(source, max_audio_s=None)
        content = sha256(source)
    except AudioError as error:
        return "", [], str(error)
    points = cut_points(samples)
    if len(points) == 2:
        return content, [(source, 0, len(samples))], ""
    stem = re.sub(r"[^\w-]+", "-", Path(source).stem)[:40]
    pieces = []
    for start, end in itertools.pairwise(points):
        name = f"audio/{stem}-{content[:12]}-{start / SAMPLING_RATE_HZ:08.2f}-{end / SAMPLING_RATE_HZ:08.2f}.flac"
        if not (out / name).is_file():
            with replacing(out / name) as scratch:
                write_flac(scratch, samples[start:end])
        pieces.append((name, start, end))
    return content, pieces, ""


def segment_errors(reference: str, hypotheses: Sequence[str]) -> list[tuple[int, int]]:
    """Word errors and reference words of each segment of a recording whose transcript is known only as a whole.

    The joined hypotheses are aligned with the reference; each aligned word counts for the segment that its hypothesis lies in.
    Words missing where two segments meet count for both: it cannot be known whose they were. Of one segment the result is
    that of `askd.scoring.word_errors`.

    Args:
        reference: transcript of the whole recording.
        hypotheses: of its segments, in order.
    """
    import jiwer

    from askd.scoring import normalise

    heard = [normalise(text).split() for text in hypotheses]
    owner = [i for i, words in enumerate(heard) for _ in words]
    if not (reference := normalise(reference)):
        return [(len(words), 0) for words in heard]
    if not owner:
        return [(len(reference.split()),) * 2 for _ in heard]
    errors, words = np.zeros(len(heard), int), np.zeros(len(heard), int)
    for chunk in jiwer.process_words(reference, " ".join(w for ws in heard for w in ws)).alignments[0]:
        if chunk.type == "delete":
            at, missing = chunk.hyp_start_idx, chunk.ref_end_idx - chunk.ref_start_idx
            for i in {owner[max(0, at - 1)], owner[min(at, len(owner) - 1)]}:
                errors[i] += missing
                words[i] += missing
        for position in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
            errors[owner[position]] += chunk.type != "equal"
            words[owner[position]] += chunk.type != "insert"
    return list(zip(errors.tolist(), words.tolist(), strict=True))
