"""Recordings on disk: point at a folder, or at a table, and get its records. Transcripts are read, sound is not.

    listing = read_folder("my_recordings/")
    records = usable_records(listing)          # or one error that names every bad row

    audiofolder   metadata.csv or metadata.jsonl with file_name and text, audio beside or below; sub-folders may have their own
    kaldi         wav.scp and text, utt2spk if there is one; or sub-folders of that kind
    librispeech   SPEAKER/CHAPTER/*.trans.txt, audio beside
    ljspeech      metadata.csv of lines id|raw|normalised without a header, and wavs/ID.wav: one speaker; normalised is taken
    common_voice  train.tsv, dev.tsv, test.tsv with path and sentence, and clips/ beside; or one of these tables
    csv           one CSV, TSV or JSONL file with path and text, optionally speaker, domain, id; NeMo manifests are such files

Paths are relative to the table they stand in (Kaldi: or to one of the two folders above). `askd.foldercheck` decodes the
recordings as well.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from askd.audio import NEEDS_FFMPEG
from askd.errors import ManifestError, UnknownName, pick
from askd.records import Problem, Record
from askd.tables import COLUMNS, JSON_LINES, PATHS, TEXTS, Found

SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")  # tried in this order where a layout gives an id and no file name
TABLES = ("audiofolder", "common_voice", "csv")  # layouts whose columns have names
SHOWN = 20  # problems that an error message lists


@dataclass(frozen=True)
class Listing:
    """What a folder holds: recordings whose row is whole and whose file is there; everything else is a problem."""

    path: Path
    layout: str
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Layout:
    """One way to lay out recordings on disk."""

    needs: str
    fits: Callable[[Path], bool]
    read: Callable[[Found, Path, str | None, Path | None], None]  # found, folder, part, audio root


def read_folder(
    path: Path | str, layout: str | None = None, part: str | None = None, audio_root: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Listing:
    """Read the transcripts and file names of a folder or a table; decode nothing.

    Args:
        path: a folder, or a CSV, TSV or JSONL file.
        layout: a name in ``LAYOUTS``; None finds out.
        part: ``train``, ``dev`` or ``test``: that table of a Common Voice folder, or that sub-folder; None reads all.
        audio_root: folder that relative audio paths start from; default where the layout keeps its audio.
        columns: how the tables call ``path``, ``text``, ``speaker`` or ``domain``, as in ``{"text": "said"}``.

    Raises:
        ManifestError: nothing there, no layout fits, or several do; the message lists what each needs and what was found.
        UnknownName: no such layout, or a key of ``columns`` that is none of these.
    """
    path = Path(os.path.abspath(path))
    root = Path(os.path.abspath(audio_root)) if audio_root else None
    if not path.exists():
        raise ManifestError(f"{path}: cannot be read, there is no such file or folder")
    if part and path.is_dir() and not _fits_common_voice(path) and path.name != part:
        if not (path / part).is_dir():
            raise ManifestError(f"{path} has no part {part!r}: neither a folder of that name nor Common Voice tables")
        path = path / part
    if layout:
        fitting = [layout] if pick("layout", layout, LAYOUTS).fits(path) else []
    else:
        fitting = [name for name, known in LAYOUTS.items() if known.fits(path)]
    if len(fitting) != 1:
        raise ManifestError(_no_layout(path, layout, fitting))
    columns = {column: name.strip().lower() for column, name in (columns or {}).items()}
    if unknown := columns.keys() - set(COLUMNS):
        raise UnknownName("column", ", ".join(sorted(unknown)), COLUMNS)
    if columns and fitting[0] not in TABLES:
        raise ManifestError(f"{path}: layout {fitting[0]} has no named columns, so {', '.join(columns)} cannot be chosen")
    found = Found(path if path.is_dir() else path.parent, columns)
    LAYOUTS[fitting[0]].read(found, path, part, root)
    if not found.records and not found.problems:
        found.problem(path.name, "no rows: its tables are empty")
    return Listing(path, fitting[0], tuple(found.records), tuple(found.problems))


def _no_layout(path: Path, layout: str | None, fitting: list[str]) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir()) if path.is_dir() else [path.name]
    seen = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "nothing"
    needs = "".join(f"\n  {name:13} {known.needs}" for name, known in LAYOUTS.items())
    what = f"layout {layout} does not fit" if layout else "no layout fits"
    if fitting:
        what = f"several layouts fit, {' and '.join(fitting)}; name yours, as in `--layout {fitting[0]}` (layout={fitting[0]!r})"
    return f"{path}: {what}. Found: {seen}. Known layouts:{needs}"


def usable_records(listing: Listing, skip_bad: bool = False) -> list[Record]:
    """The records of a listing that has no problems; with ``skip_bad``, the others are left out and counted on the terminal.

    Raises:
        ManifestError: there are problems (all are counted, the first 20 shown), or nothing usable is left.
    """
    refuse_or_say(listing.path, listing.problems, len(listing.records), skip_bad, f" ({listing.layout})")
    return list(listing.records)


def refuse_or_say(
    what: Path | str, problems: Sequence[Problem], usable: int, skip_bad: bool = False, layout: str = ""
) -> None:
    """Refuse what has problems; with ``skip_bad`` count them on the terminal instead, if any recording is left.

    Raises:
        ManifestError: as `usable_records`.
    """
    if not problems:
        return
    kinds = by_kind(problems)
    if skip_bad and usable:
        print(f"{what}: left out {kinds}; {usable} recordings are left")
        return
    more = len(problems) - SHOWN
    shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN]) + (f"\n  and {more} more" if more > 0 else "")
    hint = "; mend them, or leave them out with skip_bad (--skip-bad)" if usable else "; no recording is usable"
    raise ManifestError(f"{what}{layout}: {kinds}{hint}{shown}")


def by_kind(problems: Iterable[Problem]) -> str:
    """"3 problems (2 missing audio file, 1 empty transcript)"."""
    counts = Counter(problem.what.partition(":")[0] for problem in problems)
    total = counts.total()
    return f"{total} problem{'s' * (total != 1)} ({', '.join(f'{n} {kind}' for kind, n in counts.most_common())})"


def sentence_case(text: str) -> str:
    """``HE SAID I'LL GO`` -> ``He said I'll go.``, for corpora in capitals, or in lower case without punctuation.

    An approximation: names stay in lower case, and no comma or question mark is put in. Text in mixed case keeps its capitals
    and gets only a first capital and a full stop. I, I'm, I'll, I'd and I've are capitalised.
    """
    text = text.strip()
    if text.isupper() or text.islower():
        text = re.sub(r"(?<![\w'’.-])i(?=$|[^\w.'’-]|\.$|\.\s|['’](m|ll|d|ve)\b)", "I", text.lower())
    text = re.sub(r"(^\W*|[.!?…]\s+)(\w)", lambda found: found[1] + found[2].upper(), text)
    return text + "." if text and text.rstrip("\"'”’)")[-1:] not in tuple(".!?…,;:-–—") else text


def _below(folder: Path, *names: str, depth: int = 2) -> list[Path]:
    """Files of these names in a folder or in sub-folders, not deeper: a wrong path must not read a whole disk."""
    return sorted(file for name in names for up in range(depth + 1) for file in folder.glob("*/" * up + name) if file.is_file())


def _first_line(path: Path) -> str:
    with open(path, "rb") as file:
        return file.readline(10_000).decode("utf-8-sig", errors="replace").lower()


def _in_any_format(path: Path) -> Path:
    """The file, or its namesake in another format: corpora are often converted without a new table."""
    suffixes = [s for suffix in (*SUFFIXES, *NEEDS_FFMPEG) for s in (suffix, suffix.upper())]  # the last: to say what to do
    namesakes = [path.with_suffix(suffix) for suffix in suffixes] + [path.with_name(path.name + suffix) for suffix in suffixes]
    return next((file for file in (path, *namesakes) if file.is_file()), path)


def _metadata(path: Path) -> list[Path]:
    return [file for file in _below(path, "metadata.csv", "metadata.jsonl") if not _fits_ljspeech(file.parent)]


def _audiofolder(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    for file in _metadata(path):
        found.table(file, (root or file.parent).joinpath, ("file_name",))


def _kaldi(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    for scp in _below(path, "wav.scp"):
        folder = scp.parent
        if (folder / "segments").exists():
            found.problem(
                found.where(folder / "segments"),
                "segments are not supported: cut the audio into one file an utterance, list these in wav.scp, remove segments",
            )
            continue
        wavs, texts = found.keyed(scp), found.keyed(folder / "text")
        speakers = found.keyed(folder / "utt2spk") if (folder / "utt2spk").exists() else {}
        if wavs is None or texts is None or speakers is None:
            continue
        for id, (where, text) in texts.items():
            at, name = wavs.get(id, ("", ""))
            if not at:
                found.problem(where, f"no audio: {id} is not in wav.scp")
            elif name.endswith("|"):
                found.problem(
                    at, f"a command, not a file: of {id}; run it once, as in `sph2pipe -f wav a.sph > a.wav`, and list a.wav here"
                )
            elif speakers and id not in speakers:
                found.problem(where, f"no speaker: {id} is not in utt2spk")
            else:
                starts = [root] if root else [folder, folder.parent, folder.parent.parent]  # recipes write paths from their top
                audio = next((start / name for start in starts if (start / name).is_file()), starts[0] / name) if name else None
                speaker = speakers.get(id, ("", ""))[1]
                found.add(where, str(folder.relative_to(path) / id), text, audio, speaker, audio_at=at)
        for id in wavs:
            if id not in texts:
                found.problem(wavs[id][0], f"no transcript: {id} is not in text")


def _transcripts(path: Path) -> list[Path]:
    return _below(path, "*.trans.txt", depth=3)


def _librispeech(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    known = set()
    for file in _transcripts(path):
        for id, (where, text) in (found.keyed(file) or {}).items():
            known.add(file.with_name(id))
            found.add(where, id, text, _in_any_format(file.with_name(id + SUFFIXES[0])), file.parent.parent.name)
    for audio in sorted(file for file in path.rglob("[!.]*") if file.suffix.lower() in SUFFIXES):
        if audio.with_suffix("") not in known:
            found.problem(found.where(audio), "no transcript: in no .trans.txt beside it")


def _fits_ljspeech(path: Path) -> bool:
    table = path / "metadata.csv"
    return table.is_file() and "|" in (line := _first_line(table)) and "file_name" not in line


def _ljspeech(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    table = path / "metadata.csv"
    for row, cells in found.cells(table, "|"):
        where, id = found.where(table, row), cells[0]
        if len(cells) < 2:
            found.problem(where, "no column 2: each line must be id|raw|normalised, or id|text")
            continue
        text = next((cell for cell in cells[2:0:-1] if cell), "")
        audio = _in_any_format((root or path / "wavs") / f"{id}.wav") if id else None
        found.add(where, id, text, audio, path.name, text_at=f"{where}, column 2", audio_at=f"{where}, column 1")


def _fits_common_voice(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".tsv" and (path.parent / "clips").is_dir() and "sentence" in _first_line(path)
    return (path / "clips").is_dir() and any((path / f"{part}.tsv").is_file() for part in ("train", "dev", "test"))


def _common_voice(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    folder = root or (path if path.is_dir() else path.parent) / "clips"
    tables = [path] if path.is_file() else [path / f"{name}.tsv" for name in ([part] if part else ("train", "dev", "test"))]
    for table in tables:
        if part or table.is_file():
            found.table(table, lambda name: _in_any_format(folder / name), ("path",), ("sentence",))


def _csv(found: Found, path: Path, part: str | None, root: Path | None) -> None:
    found.table(path, (root or path.parent).joinpath)


def _fits_csv(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (".csv", ".tsv", *JSON_LINES) and not _fits_common_voice(path)


_HAS_TEXT = f"and {' | '.join(TEXTS)}"
LAYOUTS = {
    "audiofolder": Layout(
        f"metadata.csv or metadata.jsonl with columns file_name {_HAS_TEXT}", lambda path: bool(_metadata(path)), _audiofolder
    ),
    "kaldi": Layout("wav.scp and text, utt2spk if there is one", lambda path: bool(_below(path, "wav.scp")), _kaldi),
    "librispeech": Layout("SPEAKER/CHAPTER/*.trans.txt, audio beside", lambda path: bool(_transcripts(path)), _librispeech),
    "ljspeech": Layout("metadata.csv of lines id|raw|normalised without a header, and wavs/", _fits_ljspeech, _ljspeech),
    "common_voice": Layout(
        "train.tsv, dev.tsv, test.tsv (or one of them) with path and sentence, clips/ beside", _fits_common_voice, _common_voice
    ),
    "csv": Layout(
        f"the path of a CSV, TSV or JSONL file, not of its folder, with columns {' | '.join(PATHS)} {_HAS_TEXT}", _fits_csv, _csv
    ),
}
