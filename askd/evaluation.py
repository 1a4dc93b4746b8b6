"""Transcribe test sets, keep the raw hypotheses, and make the tables from them.

One JSON line an utterance: domain, id, speaker, reference, hypothesis, seconds (of audio), log_probs (of each token and
the end), ended. Every number in ``wer.json`` is recomputed from these files, never from a model.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from askd.bootstrap import paired_bootstrap
from askd.clips import Clip
from askd.decoding import MAX_NEW_TOKENS, transcribe
from askd.domains import all_domains
from askd.errors import AskdError, AudioError
from askd.files import digest, read_json, replacing, write_json
from askd.recordings import record_clip, usable_clips
from askd.scoring import domain_table, macro, scorer_name
from askd.targets import weights_digest

BLOCK = 256  # clips read at once


def hypotheses(
    model, processor, clips: Sequence[Clip], path: Path | str | None = None, batch_size: int = 16, progress: bool = False,
    frames: int | str | None = "model", skip_bad: bool = False, max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[dict]:
    """Transcribe clips; with ``path``, keep the rows there and read them back when model and clips are the same.

    Args:
        model, processor: from `askd.load_teacher`.
        clips: what to transcribe.
        path: JSONL file; its settings lie beside it in ``<path>.meta.json``.
        frames: audio context, as in `askd.decoding.transcribe`.
        skip_bad: leave out recordings that cannot be read, and say how many.
        max_new_tokens: a transcript is cut there.

    Raises:
        AudioError: a recording cannot be read; it is named.
    """
    from tqdm.auto import tqdm

    meta = {
        "weights": weights_digest(model), "frames": frames, "max_new_tokens": max_new_tokens,
        "clips": digest([(c.id, c.domain, c.speaker, c.sha256, c.text) for c in clips]),
    }
    if path is not None:
        path = Path(path)
        meta_path = path.with_suffix(".meta.json")
        kept = read_json(meta_path) if path.is_file() and meta_path.is_file() else {}
        bad = kept.pop("left_out", [])
        if kept == meta and (skip_bad or not bad):
            _say_left_out(bad, len(clips))
            return read_rows(path)
    rows, bad = [], []
    with tqdm(total=len(clips), desc="transcribe", unit="clip", disable=not progress) as bar:
        for start in range(0, len(clips), BLOCK):  # no more audio in memory than this
            samples, kept = [], []
            for clip in clips[start : start + BLOCK]:
                try:
                    samples.append(clip.samples())
                    kept.append(clip)
                except AudioError as error:
                    if not skip_bad:
                        raise
                    bad.append(str(error))
                    bar.update()
            results = transcribe(model, processor, samples, batch_size, frames, max_new_tokens, bar.update)
            rows += [
                {
                    "domain": clip.domain, "id": clip.id, "speaker": clip.speaker, "reference": clip.text,
                    "hypothesis": result.text, "seconds": round(len(audio) / 16_000, 3),
                    "log_probs": result.log_probs, "ended": result.ended,
                }
                for clip, audio, result in zip(kept, samples, results, strict=True)
            ]
    _say_left_out(bad, len(clips))
    if path is not None:
        with replacing(path) as scratch:
            scratch.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        write_json(meta_path, meta | {"left_out": bad})
    return rows


def _say_left_out(bad: Sequence[str], total: int) -> None:
    if bad:
        print(f"left out {len(bad)} of {total} recordings: " + "; ".join(bad[:5]) + ("; ..." if len(bad) > 5 else ""))


def read_rows(path: Path | str) -> list[dict]:
    """Rows of a hypotheses file.

    Raises:
        AskdError: a line is not whole JSON; file and line are named.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise AskdError(f"{path}, line {number}: not a whole JSON line (cut while it was written?)") from None
    return rows


def wer_report(
    rows: Mapping[str, Sequence[dict]], roles: Mapping[str, str], pairs: Sequence[tuple[str, str]],
    splits: Mapping[str, str] | None = None, resamples: int = 10_000,
) -> dict:
    """The content of ``wer.json``: tables of all models and paired comparisons, WER in percent.

    Args:
        rows: hypothesis rows by model, all on the same utterances.
        roles: ``teacher``, ``student`` or ``control`` by model.
        pairs: (a, b) to compare, WER(a) - WER(b), in-domain, out-of-domain and over all domains.
        splits: ``in_domain`` or ``out_of_domain`` by domain; default as declared in ``data/domains.yaml``.
    """
    splits = splits or {name: domain.split for name, domain in all_domains().items()}
    models = {}
    for name, model_rows in rows.items():
        table = domain_table(model_rows, splits)
        models[name] = {"role": roles[name], "domains": table, "macro": macro(table)}
    comparisons = []
    for a, b in pairs:
        for split in ("in_domain", "out_of_domain", "all"):
            chosen = [[r for r in rows[name] if split in (splits[r["domain"]], "all")] for name in (a, b)]
            if chosen[0]:
                found = paired_bootstrap(*chosen, resamples=resamples)
                comparisons.append({
                    "a": a, "b": b, "split": split, "delta": found.delta, "ci95": [found.low, found.high],
                    "in_words": found.in_words(a, b),
                })
    return {"scorer": scorer_name(), "unit": "percent", "models": models, "comparisons": comparisons}


def read_manifest(
    path: Path | str, audio_root: Path | str | None = None, skip_bad: bool = False, layout: str | None = None
) -> list[Clip]:
    """Clips of a table or a folder in any layout of `askd.folders`; a column ``domain`` gives each row its own domain.

    Args:
        path: CSV, TSV or JSONL file with columns ``path,text[,domain,speaker]``, or a folder.
        audio_root: folder that relative audio paths start from; default the table's own folder.
        skip_bad: leave out what is missing, cannot be read or has no transcript, and say how many.
        layout: where several fit.

    Raises:
        ManifestError: every problem, with row and column.
        AudioError: a recording cannot be opened.
    """
    from askd.folders import read_folder, usable_records

    records = usable_records(read_folder(path, layout, audio_root=audio_root), skip_bad)
    return usable_clips(records, lambda record: record_clip(record.domain or Path(path).stem, record), skip_bad)


def evaluate_clips(
    model, processor, name: str, clips: Sequence[Clip], out: Path | str, batch_size: int = 16, skip_bad: bool = False,
    progress: bool = True,
) -> dict:
    """Score a model on clips; write ``out/hypotheses/<name>.jsonl`` and ``out/wer.json``; return the report.

    Args:
        clips: from `read_manifest` or `askd.load_clips`; their domains are the rows of the report.
        out: folder.
        skip_bad: leave out recordings that cannot be read, and say how many.

    Raises:
        AudioError: a recording cannot be read; it is named before decoding starts, not after hours of it.
    """
    if not skip_bad:
        for clip in clips:
            clip.samples()
    out = Path(out)
    rows = hypotheses(
        model, processor, clips, out / "hypotheses" / f"{name}.jsonl", batch_size, progress, skip_bad=skip_bad
    )
    declared = all_domains()
    splits = {c.domain: declared[c.domain].split if c.domain in declared else "out_of_domain" for c in clips}
    report = wer_report({name: rows}, {name: "student"}, [], splits)
    write_json(out / "wer.json", report)
    return report
