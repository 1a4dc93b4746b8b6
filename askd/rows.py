"""Hypothesis rows: what a model wrote, one JSON line an utterance, from which every metric is computed without the model.

    {"domain": "mine", "id": "a.wav", "speaker": "ann", "reference": "Good morning.", "hypothesis": "Good mourning.",
     "seconds": 1.52, "log_probs": [-0.1, -1.3, -0.2, -0.01], "ended": true, "word_tokens": [1, 2]}

    rows = read_rows("scores/hypotheses/tiny.en.jsonl")
    write_rows("copy.jsonl", rows)

domain, id, reference and hypothesis are needed. ``log_probs`` (nats, of each token and the end), ``ended`` (False: cut at the
token limit), ``word_tokens`` (tokens of each word of the hypothesis) and ``seconds`` are what confidence and calibration need;
files of other programs may lack them. ``log_probs`` and ``word_tokens`` may be empty as well: long recordings have none. A
speaker who is not named is the utterance itself. NeMo's and the Open ASR Leaderboard's manifests (audio_filepath, text,
pred_text, duration) are read too; their domain is the name of the file. Rows of `askd.forced` and `askd.nonspeech` have the
fields of ``NEEDED`` instead.

A file that was cut (a full disk, a broken copy) is refused, and with ``partial=True`` its whole lines are used. Files of
`askd.evaluation.hypotheses` say in ``<name>.meta.json`` how many rows they have, so that a cut between two lines shows as well.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from askd.errors import AskdError, pick
from askd.files import read_json, replacing, write_json

TOKENS = ("confidence", "right", "nll", "brier")  # of forced rows: a number a label token
NEEDED = {  # fields by kind of rows
    "hypotheses": ("domain", "id", "reference", "hypothesis"),
    "forced": ("domain", "id", *TOKENS),
    "nonspeech": ("domain", "id", "reference", "hypothesis", "kind", "level_dbfs", "frames", "own", "seconds", "log_probs",
                  "ended"),
}
NEMO = {"id": "audio_filepath", "reference": "text", "hypothesis": "pred_text", "seconds": "duration"}  # ours: theirs


def read_rows(path: Path | str, partial: bool = False, kind: str | None = None) -> list[dict]:
    """Rows of a hypotheses file, checked.

    Args:
        path: JSONL file.
        partial: of a file that was cut, use the whole lines and say on the terminal how many there are.
        kind: ``hypotheses``, ``forced`` (rows of `askd.forced`) or ``nonspeech`` (of `askd.nonspeech`); None: told by the first
            row's fields.

    Raises:
        AskdError: no such file, not UTF-8, no rows, a line that is cut or not a JSON object, a field that is missing or of
            another type, an utterance twice; file and line are named.
    """
    path = Path(path)
    rows, lines = [], {}
    for number, row in json_lines(path, partial):
        where = f"{path}, line {number}"
        kind = kind or _kind_of(row)
        row = _checked(_ours(row, path.stem), where, pick("kind of rows", kind, NEEDED))
        key = row["domain"], row["id"], row["frames"] if kind == "nonspeech" else ""
        if (first := lines.setdefault(key, number)) != number:
            raise AskdError(f"{where}: {row['id']} of domain {row['domain']} is also in line {first}; every utterance once")
        rows.append(row)
    if not rows:
        raise AskdError(f"{path}: holds no rows")
    _check_count(path, len(rows), partial)
    return rows


def write_rows(path: Path | str, rows: Sequence[dict]) -> None:
    """Write rows as JSONL: the file is whole or not there."""
    with replacing(path) as scratch:
        scratch.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def kept_rows(path: Path | str, meta: Mapping, skip_bad: bool = True) -> tuple[list[dict], list[str]] | None:
    """Rows that `keep_rows` wrote with the same settings, and what was left out; None where there are none or they are damaged.

    Args:
        path: JSONL file.
        meta: everything the rows depend on.
        skip_bad: rows that lack something are taken too.
    """
    try:
        kept = read_json(meta_path(path))
        left_out, _ = kept.pop("left_out", []), kept.pop("rows", None)
        if kept != json.loads(json.dumps(meta)) or (left_out and not skip_bad):
            return None
        return read_rows(path), left_out
    except (OSError, ValueError, AttributeError):
        return None
    except AskdError as error:
        print(f"{error}\nthey are made anew")
        return None


def keep_rows(path: Path | str, rows: Sequence[dict], meta: Mapping, left_out: Sequence[str] = ()) -> None:
    """Write rows, and beside them what they depend on."""
    meta_path(path).unlink(missing_ok=True)  # it must not speak of other rows
    write_rows(path, rows)
    write_json(meta_path(path), {**meta, "left_out": list(left_out), "rows": len(rows)})


def meta_path(path: Path | str) -> Path:
    """Where the settings of a hypotheses file lie: ``tiny.en.jsonl`` -> ``tiny.en.meta.json``."""
    return Path(path).with_suffix(".meta.json")


def json_lines(path: Path | str, partial: bool = False) -> Iterator[tuple[int, dict]]:
    """Line number and object of each line of a JSONL file of any kind; blank lines are passed over.

    The last line may be without its newline, and with ``partial`` may be cut. A cut line elsewhere is damage and refused.

    Raises:
        AskdError: no such file, not UTF-8, a line that is cut or not a JSON object.
    """
    try:
        content = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise AskdError(f"{path}: cannot be read: {error.strerror}") from None
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
    for place, (number, line) in enumerate(lines, 1):
        where, last = f"{path}, line {number}", place == len(lines)
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError as error:
            cut = last and "unexpected end" in error.reason and error.end == len(line)  # inside a letter of several bytes
            if not cut:
                raise AskdError(f"{where}: not UTF-8: byte 0x{line[error.start]:02x}; save the file as UTF-8") from None
        except (ValueError, RecursionError):
            cut = last
        else:
            if not isinstance(row, dict):
                raise AskdError(f"{where}: {line.decode()[:40]} instead of a JSON object in braces")
            yield number, row
            continue
        whole = f"{place - 1} whole line{'s' * (place != 2)}"
        if not cut:
            raise AskdError(f"{where}: not a whole JSON line, and lines follow it: the file is damaged; make or copy it again")
        if not partial:
            hint = f"; the {whole} before it: use them with --partial (partial=True)" if place > 1 else ", and no line before it"
            raise AskdError(f"{where}: not a whole JSON line (cut while it was written or copied?){hint}")
        if place == 1:
            raise AskdError(f"{where}: not a whole JSON line, and there is no other: nothing can be used")
        print(f"{where} is cut and left out; {whole} used")


def _check_count(path: Path, rows: int, partial: bool) -> None:
    try:
        promised = read_json(meta_path(path)).get("rows", rows)
    except (OSError, ValueError, AttributeError):
        return
    if rows != promised:
        said = f"{path}: {rows} rows, but {promised} were written ({meta_path(path).name})"
        if not partial or rows > promised:
            raise AskdError(f"{said}; copy the file again" + ", or use them with --partial (partial=True)" * (rows < promised))
        print(f"{said}; those are used")


def _kind_of(row: dict) -> str:
    return "forced" if "nll" in row else "nonspeech" if "level_dbfs" in row else "hypotheses"


def _ours(row: dict, domain: str) -> dict:
    """A row of a NeMo manifest in our names."""
    if "pred_text" not in row or "hypothesis" in row:
        return row
    return {"domain": domain} | row | {ours: row[theirs] for ours, theirs in NEMO.items() if theirs in row and ours not in row}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_list(value: object, fits: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


NUMBERS = (lambda value: _is_list(value, _is_number), "a list of finite numbers")
FIELDS = {name: (_is_text, "text") for name in ("domain", "id", "speaker", "reference", "hypothesis", "kind", "frames")} | {
    "seconds": (lambda value: _is_number(value) and value >= 0, "a number, 0 or more"),
    "ended": (lambda value: isinstance(value, bool), "true or false"),
    "word_tokens": (lambda value: _is_list(value, lambda n: type(n) is int and n >= 0), "a list of counts"),
} | dict.fromkeys(("log_probs", *TOKENS), NUMBERS)


def _checked(row: dict, where: str, needed: Sequence[str]) -> dict:
    """The row, with its speaker; all that is wrong with it in one error."""
    if missing := [name for name in needed if name not in row]:
        raise AskdError(f"{where}: no {', '.join(missing)}: found {', '.join(row) or 'nothing'}; needed are {', '.join(needed)}")
    if row.get("speaker") in (None, ""):
        row = row | {"speaker": row["id"]}
    if wrong := [f"{name} must be {kind}" for name, (fits, kind) in FIELDS.items() if name in row and not fits(row[name])]:
        raise AskdError(f"{where}: {', '.join(wrong)}")
    if len({len(row[name]) for name in TOKENS if name in needed}) > 1:
        raise AskdError(f"{where}: {', '.join(TOKENS)} differ in length, but each has a number a token")
    if counts := row.get("word_tokens"):
        words, tokens = len(row["hypothesis"].split()), len(row.get("log_probs", ()))
        if len(counts) != words:
            raise AskdError(f"{where}: word_tokens counts {len(counts)} words, but the hypothesis has {words}")
        if sum(counts) > tokens:
            raise AskdError(f"{where}: word_tokens counts {sum(counts)} tokens, but there are {tokens} log_probs")
    return row
