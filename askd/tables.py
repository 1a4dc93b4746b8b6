"""Tables of recordings, read row by row: what is whole becomes a record, everything else a problem with file, row and column.

CSV (quotes as spreadsheets write them), TSV (no quotes needed), JSONL, and Kaldi's ``id value`` lines. Text is UTF-8, with
or without byte order mark, of either line ending. Rows are numbered by their line in the file; the first is 1.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from askd.records import Problem, Record

PATHS = ("path", "audio", "file", "filename", "file_name", "audio_filepath")
TEXTS = ("text", "transcription", "sentence", "transcript")
SPEAKERS = ("speaker", "speaker_id", "client_id")
COLUMNS = ("path", "text", "speaker", "domain")  # that a table may call by names of its own
JSON_LINES = (".jsonl", ".json")


@dataclass
class Found:
    """Collects records and problems while a folder is read; a problem's ``what`` reads "kind: details"."""

    root: Path
    columns: Mapping[str, str] = field(default_factory=dict)  # one of COLUMNS -> how the tables call it; small letters
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # id -> where it was first
    files: dict[str, str] = field(default_factory=dict)  # file -> where it was first

    def where(self, path: Path, row: int | None = None) -> str:
        """"train/metadata.csv, row 3"."""
        return f"{path.relative_to(self.root)}" + (f", row {row}" if row else "")

    def problem(self, where: str, what: str) -> None:
        """Note something wrong."""
        self.problems.append(Problem(where, what))

    def add(
        self, where: str, id: str, text: str, audio: Path | None, speaker: str = "", domain: str = "",
        text_at: str = "", audio_at: str = "",
    ) -> None:
        """Keep one recording, or say all that is wrong with it; ``text_at`` and ``audio_at`` are more exact than ``where``."""
        before, audio_at = len(self.problems), audio_at or where
        if not any(map(str.isalnum, text)):
            self.problem(text_at or where, f"empty transcript: of {id or 'no path either'}")
        if audio is None:
            self.problem(audio_at, "empty path: name an audio file")
        elif not audio.is_file():
            self.problem(audio_at, f"missing audio file: {audio} does not exist")
        elif (first := self.files.setdefault(os.path.abspath(audio), audio_at)) != audio_at:
            self.problem(audio_at, f"duplicate path: {audio.name} is also in {first}")
        elif (first := self.ids.setdefault(id, where)) != where:
            self.problem(where, f"duplicate id: {id} is also in {first}")
        if len(self.problems) == before:
            self.records.append(Record(id, " ".join(text.split()), speaker.strip() or id, audio, where, domain.strip()))

    def text(self, path: Path) -> str:
        """A UTF-8 file; empty, and a problem, when it is not one."""
        try:
            return path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = error.object[: error.start].count(b"\n") + 1
            self.problem(self.where(path, row), f"not UTF-8: byte 0x{error.object[error.start]:02x}; save the file as UTF-8")
        except OSError as error:
            self.problem(self.where(path), f"cannot be read: {error.strerror}")
        return ""

    def lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Row number and content of the lines that are not blank."""
        for row, line in enumerate(self.text(path).split("\n"), 1):  # not splitlines: it cuts at U+2028 as well
            if line.strip():
                yield row, line.strip()

    def keyed(self, path: Path) -> dict[str, tuple[str, str]] | None:
        """Kaldi's lines ``id value``: id -> (where, value); None, and a problem, when the file cannot be read."""
        had, values = len(self.problems), {}
        for row, line in self.lines(path):
            id, _, value = line.replace("\t", " ").partition(" ")
            if id in values:
                self.problem(self.where(path, row), f"duplicate id: {id} is also in {values[id][0]}")
            else:
                values[id] = (self.where(path, row), value.strip())
        return None if len(self.problems) > had and not values else values

    def cells(self, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """Row number and cells of the rows that are not blank. Only commas need quotes; Common Voice has stray ones."""
        quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
        reader = csv.reader(io.StringIO(self.text(path), newline=""), delimiter=delimiter, quoting=quoting, strict=True)
        row = 1
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield row, [cell.strip() if delimiter == "," else _unquoted(cell.strip()) for cell in cells]
                row = reader.line_num + 1
        except csv.Error as error:
            self.problem(self.where(path, row), f"unbalanced quotes: {error}; nothing is read from here on")

    def rows(self, path: Path, needed: Collection[Collection[str]]) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number and values by column, of CSV, TSV (by suffix) or JSONL; one column of each group in ``needed`` is there."""
        if path.suffix.lower() in JSON_LINES:
            for row, line in self.lines(path):
                try:
                    values = {key.lower(): value for key, value in json.loads(line).items()}
                except (ValueError, AttributeError):
                    self.problem(self.where(path, row), "not a JSON object: each line must hold one")
                    continue
                if self._has(path, row, values, needed):  # lists, objects and NaN are no transcripts: as empty
                    yield row, {key: str(value) if isinstance(value, str | int) else "" for key, value in values.items()}
            return
        header: list[str] = []
        for row, cells in self.cells(path, "\t" if path.suffix.lower() == ".tsv" else ","):
            if not header:
                header = [cell.lower() for cell in cells]
                if not self._has(path, row, header, needed):
                    return
            elif any(cells[len(header) :]):
                more = f"{len(cells)}, not {len(header)}; a text with commas needs quotes"
                self.problem(self.where(path, row), f"more cells than columns: {more}")
            elif any("\n" in cell for cell in cells):
                self.problem(self.where(path, row), "line break in a cell: is a quote missing? Write each text in one line")
            else:
                yield row, dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        if not header:
            self._has(path, 1, header, needed)

    def _has(self, path: Path, row: int, columns: Collection[str], needed: Collection[Collection[str]]) -> bool:
        missing = [group for group in needed if not any(name in columns for name in group)]
        for group in missing:
            found = ", ".join(columns) or "nothing"
            semicolons = "; it is separated by semicolons: save it with commas" if len(columns) == 1 and ";" in found else ""
            needs = f"needed is {' or '.join(group)}{semicolons}"
            self.problem(self.where(path, row), f"no column {group[0]}: found {found}; {needs}")
        return not missing

    def table(
        self, path: Path, find: Callable[[str], Path], paths: tuple[str, ...] = PATHS, texts: tuple[str, ...] = TEXTS
    ) -> None:
        """Add the rows of a table that has a path and a text column; files lie where ``find`` says."""
        folder, had, any_row = path.parent.relative_to(self.root), len(self.problems), False
        own = {column: (name,) for column, name in self.columns.items()}
        paths, texts = own.get("path", paths), own.get("text", texts)
        speakers, domains = own.get("speaker", SPEAKERS), own.get("domain", ("domain",))
        needed = [paths, texts, *(own[column] for column in ("speaker", "domain") if column in own)]
        for row, values in self.rows(path, needed):
            any_row, where = True, self.where(path, row)
            path_column, text_column = (next(name for name in names if name in values) for names in (paths, texts))
            name = values[path_column].strip()
            id, audio = (str(folder / name), find(name)) if name else ("", None)
            speaker, domain = (next((values[key] for key in names if values.get(key)), "") for names in (speakers, domains))
            self.add(
                where, values.get("id") or id, values[text_column], audio, speaker, domain,
                f"{where}, column {text_column}", f"{where}, column {path_column}",
            )
        if not any_row and len(self.problems) == had:
            self.problem(self.where(path), "no rows: nothing stands below the header")


def _unquoted(cell: str) -> str:
    """A cell that a writer quoted nevertheless."""
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
    return cell[1:-1].replace('""', '"') if quoted else cell
