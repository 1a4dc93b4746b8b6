"""Pseudo-labels: a teacher transcribes audio, what is probably wrong is left out, and a student trains on the rest.

    askd pseudolabel --teacher tiny.en --data podcasts/ --out labels/
    askd train --data labels/labels.jsonl --train-clips 5000 --decoder-layers 4 --out runs/mine/podcasts
    askd distill --data labels/labels.jsonl my_recordings/ --out runs/mine/own    # my_recordings/: transcribed by people

    report = pseudolabel(teacher, processor, "podcasts/", "labels/", Filters(min_confidence=0.5))
    clips = askd.load_clips("labels/labels.jsonl", "all")         # `askd train` takes train, 80 %, and dev, 10 %, by hash

The audio needs no transcript. Where there is one, the teacher's is checked against it. Recordings of any length: what is longer
than 30 s is cut in pauses (`askd.segments`), and every segment is judged on its own, before anything is packed or batched.

Folder of labels:
    labels.jsonl        kept: id, path, text, speaker, domain, duration_s, and how it was judged; a table for `askd.load_clips`
    rejected.jsonl      the others, each with its reason
    report.json         settings, counts and hours
    transcripts.jsonl   all that the teacher said, with the log-probability of every token
    audio/              segments of recordings longer than 30 s

The transcripts are content-addressed by (teacher's weights, precision, token limit, recording, times): a killed run goes on from
its last block of 64 segments and ends in the same files, more data costs only what is new, another teacher can use the same
folder, and other filters cost no decoding at all.
"""

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from askd.audio import read_audio
from askd.errors import AskdError, AudioError
from askd.files import digest, only_writer, replacing, write_json
from askd.folders import SHOWN
from askd.labelfilters import DUPLICATE, TEXTS, Filters, judged
from askd.progress import progress_bar
from askd.records import Record
from askd.segments import Segment, cut_records, find_records, segment_errors

BLOCK = 64  # segments decoded between two saves; 120 MB of audio at most
MAX_NEW_TOKENS = 224  # Whisper's own limit, half of its decoder's positions; a 30 s segment of fast speech needs over 128


def pseudolabel(
    teacher, processor, data: str | Path | Sequence[str | Path], out: Path | str, filters: Filters | None = None, *,
    role: str | None = None, clips: int | None = None, text: str = "teacher", batch_size: int = 16, precision: str = "fp32",
    max_new_tokens: int = MAX_NEW_TOKENS, skip_bad: bool = False, audio_root: Path | str | None = None,
    layout: str | None = None, casing: str | None = None, workers: int | None = None, progress: bool = True,
    block: int = BLOCK,
) -> dict:
    """Transcribe recordings, keep the labels that pass the filters, and write the folder of labels.

    Args:
        teacher, processor: from `askd.load_teacher`; it runs on the device it is on.
        data: sources as in `askd.segments.find_records`: folders of bare audio, single files, or what `askd.load_clips` loads.
        out: folder of labels; an unfinished run there goes on.
        filters: default `Filters()`.
        role, clips, audio_root, layout, casing: which recordings, as in `find_records`.
        text: the label is the ``teacher``'s transcript (distil-whisper) or the ``given`` one where the teacher agrees with it.
        batch_size: segments decoded together.
        precision: ``fp32``, or ``bf16`` for autocast.
        max_new_tokens: a transcript is cut there, and rejected.
        skip_bad: leave out recordings and rows that cannot be used, and count them.
        workers: processes that read audio; default the number of cores.
        progress: bars with ETA.
        block: segments decoded between two saves.

    Returns:
        the content of report.json; `report_text` prints it.

    Raises:
        AudioError: recordings that cannot be read, all of them counted and the first 20 named, before the teacher starts.
        ManifestError, UnknownName: as `find_records`.
        RunError: another process writes to ``out``.
        AskdError: a setting out of range.
    """
    from askd.decoding import context_frames
    from askd.targets import weights_digest

    out, filters = Path(out), filters or Filters()
    for name, value, known in (("text", text, TEXTS), ("precision", precision, ("fp32", "bf16"))):
        if value not in known:
            raise AskdError(f"{name} must be {' or '.join(known)}, not {value!r}")
    for name, value in (("batch_size", batch_size), ("max_new_tokens", max_new_tokens), ("block", block)):
        if value < 1:
            raise AskdError(f"{name} must be at least 1, not {value}")
    options = {"audio_root": audio_root, "layout": layout, "casing": casing, "progress": progress}
    names = [data] if isinstance(data, str | Path) else data
    records = _apart([find_records(name, out, role, clips, skip_bad, **options) for name in names])
    settings = {
        "weights": weights_digest(teacher), "precision": precision, "max_new_tokens": max_new_tokens,
        "frames": context_frames(teacher),
    }
    with only_writer(out):
        segments, bad = cut_records(records, out, workers, progress)
        if bad and not (skip_bad and segments):
            hint = "; mend them, or leave them out with skip_bad (--skip-bad)" if segments else ""
            more = [f"and {len(bad) - SHOWN} more"] * (len(bad) > SHOWN)
            raise AudioError("\n  ".join([f"{len(bad)} of {len(records)} recordings cannot be used{hint}:", *bad[:SHOWN], *more]))
        keys = [digest([settings, s.content, s.start, s.end], 24) for s in segments]
        said = _transcribed(
            lambda samples, tick: _decode(teacher, processor, samples, batch_size, precision, max_new_tokens, tick),
            dict(zip(keys, segments, strict=True)), out, block, progress,
        )
        rows = [
            judged(segment, said[key], errors, text)
            for segment, key, errors in zip(segments, keys, _errors(segments, keys, said), strict=True)
        ]
        reasons, taken = [], set()
        for key, row in zip(keys, rows, strict=True):
            reasons.append(filters.reason(row) or (DUPLICATE if key in taken else ""))
            taken |= set() if reasons[-1] else {key}
        report = json.loads(json.dumps({
            "teacher": settings, "filters": asdict(filters), "text": text, "recordings": len(records) - len(bad),
            "left_out": bad, **_counts(rows, reasons),
        }))
        kept = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
        rejected = [{"reason": reason, **row} for row, reason in zip(rows, reasons, strict=True) if reason]
        for name, chosen in (("labels", kept), ("rejected", rejected)):
            with replacing(out / f"{name}.jsonl") as scratch:
                scratch.write_text(_lines(chosen), encoding="utf-8")
        write_json(out / "report.json", report)
    return report


def _apart(sources: Iterable[list[Record]]) -> list[Record]:
    """The records of all sources, each file once; sources of one name are told apart by a number."""
    records, files, turns, again = [], set(), Counter(), 0
    for found in sources:
        turns.update({record.domain for record in found})
        for record in found:
            file, turn = Path(record.audio).resolve(), turns[record.domain]
            if file in files:
                again += 1
            else:
                files.add(file)
                records.append(replace(record, domain=f"{record.domain}-{turn}") if turn > 1 else record)
    if again:
        print(f"{again} recordings are in the data more than once: each is taken once")
    return records


def _decode(teacher, processor, samples: list, batch_size: int, precision: str, max_new_tokens: int, tick: Callable) -> list:
    import torch

    from askd.decoding import transcribe

    device = next(teacher.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        return transcribe(teacher, processor, samples, batch_size, max_new_tokens=max_new_tokens, on_batch=tick)


def _transcribed(decode: Callable, todo: Mapping[str, Segment], out: Path, block: int, progress: bool) -> dict[str, dict]:
    """What the teacher said of every key; what is not in transcripts.jsonl is decoded and added there, block by block."""
    path = out / "transcripts.jsonl"
    said = _read_transcripts(path)
    missing = [key for key in todo if key not in said]
    with (
        progress_bar(total=len(todo), initial=len(todo) - len(missing), desc="label", unit="segment", shown=progress) as bar,
        open(path, "a", encoding="utf-8") as file,
    ):
        for first in range(0, len(missing), block):
            chosen = missing[first : first + block]
            results = decode([read_audio(out / todo[key].path) for key in chosen], bar.update)
            rows = [
                {"key": key, "id": todo[key].id, "text": r.text, "ended": r.ended, "log_probs": list(r.log_probs)}
                for key, r in zip(chosen, results, strict=True)
            ]
            name = digest(rows)
            file.write(_lines({"block": name, **row} for row in rows))
            file.flush()
            os.fsync(file.fileno())
            said |= {row["key"]: row for row in rows}
    return said


def _read_transcripts(path: Path) -> dict[str, dict]:
    """Rows of the whole blocks by key. A block that a crash cut, or that was edited, does not match the digest it carries: it is
    dropped from the file and decoded again as a whole, in the same batches."""
    if not path.is_file():
        return {}
    blocks: dict[str, list[dict]] = {}
    content = path.read_text(encoding="utf-8", errors="replace")
    for line in content.split("\n"):
        try:
            row = json.loads(line)
            blocks.setdefault(row.pop("block"), []).append(row)
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
    whole = {name: rows for name, rows in blocks.items() if digest(rows) == name}
    text = "".join(_lines({"block": name, **row} for row in rows) for name, rows in whole.items())
    if text != content:
        with replacing(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return {row["key"]: row for rows in whole.values() for row in rows}


def _lines(rows: Iterable[Mapping]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _errors(segments: Sequence[Segment], keys: Sequence[str], said: Mapping[str, dict]) -> list[tuple[int, int] | None]:
    """Word errors and reference words of each segment whose recording came with a transcript."""
    errors: list[tuple[int, int] | None] = []
    for _, group in itertools.groupby(zip(segments, keys, strict=True), key=lambda pair: id(pair[0].record)):
        pieces = list(group)
        reference, heard = pieces[0][0].record.text, [said[key]["text"] for _, key in pieces]
        errors += segment_errors(reference, heard) if reference else [None] * len(pieces)
    return errors


def _counts(rows: Sequence[dict], reasons: Sequence[str]) -> dict:
    """Segments and hours by reason, and corpus-level WER against the given transcripts, of all and of the kept."""
    def of(wanted: Callable[[str], bool]) -> dict:
        chosen = [row for row, reason in zip(rows, reasons, strict=True) if wanted(reason)]
        checked = [row for row in chosen if row["words"] is not None]
        words = sum(row["words"] for row in checked)
        wer = round(100 * sum(row["errors"] for row in checked) / words, 2) if words else None
        return {"segments": len(chosen), "hours": round(sum(row["duration_s"] for row in chosen) / 3600, 4), "wer": wer}

    names = [name for name, _ in Counter(filter(None, reasons)).most_common()]
    return {"all": of(lambda r: True), "kept": of(lambda r: not r),
            "rejected": {name: of(lambda r, name=name: r == name) for name in names}}


def report_text(report: Mapping) -> str:
    """The report for a terminal: what was kept and what was rejected why, in segments and hours."""
    def line(name: str, found: Mapping) -> str:
        wer = "" if found["wer"] is None else f"  {found['wer']:6.2f} %"
        return f"  {name:18} {found['segments']:9} {found['hours']:10.2f}{wer}"

    title = f"{'':20} {'segments':>9} {'hours':>10}" + "  WER against given transcripts" * (report["all"]["wer"] is not None)
    lines = [f"{report['recordings']} recordings", title, line("all", report["all"]), line("kept", report["kept"])]
    lines += [line(name, found) for name, found in report["rejected"].items()]
    if bad := report["left_out"]:
        lines.append(f"  left out {len(bad)} recordings: " + "; ".join(bad[:5]) + ("; ..." if len(bad) > 5 else ""))
    if report["kept"]["segments"]:
        lines.append("  a teacher's own labels cannot score it: test on recordings that people transcribed")
    return "\n".join(lines)
