"""Transcribe test sets, keep the raw hypotheses, and make the tables from them.

    clips = read_manifest("my.csv", columns={"path": "wav", "text": "said"})
    report = evaluate_models({"teacher": "tiny.en", "askd": "runs/cpu/students/askd"}, clips, "scores")

One row an utterance, as `askd.rows` describes it. Every number in ``wer.json`` is recomputed from these files, never from a
model. Clips of at most 30 s are decoded in batches; longer recordings one after the other, by `askd.longform`.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from askd.audio import SAMPLING_RATE_HZ, read_audio
from askd.clips import Clip
from askd.decoding import MAX_NEW_TOKENS, Decoded, decoding_settings, transcribe
from askd.domains import all_domains, get_domain, load_clips
from askd.errors import AskdError, AudioError
from askd.files import digest, read_json, write_json
from askd.longform import transcribe_long, way
from askd.progress import progress_bar
from askd.recordings import cannot_be_used, record_clip, usable_clips
from askd.records import Problem
from askd.rows import keep_rows, kept_rows, meta_path
from askd.scoring import normalise
from askd.segments import LONGEST
from askd.targets import weights_digest
from askd.wer import declared_splits, wer_report

BLOCK = 256  # clips read at once
FORMAT = 3  # of the rows: files of another are made anew
COLUMN_HINT = "; name yours with --path-column and --text-column (columns={'path': ..., 'text': ...})"
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


def hypotheses(
    model, processor, clips: Sequence[Clip], path: Path | str | None = None, batch_size: int = 16, progress: bool = False,
    frames: int | str | None = "model", skip_bad: bool = False, max_new_tokens: int = MAX_NEW_TOKENS, how: str = "auto",
) -> list[dict]:
    """Transcribe clips; with ``path``, keep the rows there and read them back when model, clips and options are the same.

    Args:
        model, processor: from `askd.load_teacher`.
        clips: what to transcribe, of any length; with ``path``, no two of one domain and id.
        path: JSONL file; its settings lie beside it in ``<path>.meta.json``.
        batch_size: clips decoded together.
        progress: show a bar with ETA, and one for each long recording.
        frames: audio context, as in `askd.decoding.transcribe`.
        skip_bad: leave out recordings that cannot be read, and say how many.
        max_new_tokens: the transcript of a clip, or of a piece of a long recording, is cut there.
        how: of recordings longer than 30 s, as in `askd.longform`.

    Returns:
        rows of `askd.rows`, in the order of the clips.

    Raises:
        AudioError: a recording cannot be read; it is named.
        AskdError: an utterance twice, or a way that the model cannot go.
    """
    long = any(clip.audio_s * SAMPLING_RATE_HZ > LONGEST for clip in clips)
    meta = {
        "format": FORMAT, "weights": weights_digest(model), "max_new_tokens": max_new_tokens,
        "long": way(model, how, frames) if long else "", **decoding_settings(model, frames),
        "clips": _clips_digest(clips),
    }
    if path is not None:
        _check_names(clips)
        if kept := kept_rows(path, meta, skip_bad):
            _say_left_out(kept[1], len(clips))
            return kept[0]
    rows, bad = [], []
    with progress_bar(total=len(clips), desc="transcribe", unit="clip", shown=progress) as bar:
        for start in range(0, len(clips), BLOCK):  # no more audio in memory than this and one long recording
            block, short, heard = clips[start : start + BLOCK], {}, {}
            for i, clip in enumerate(block):
                try:
                    samples = read_audio(clip.path, max_audio_s=None)
                except AudioError as error:
                    if not skip_bad:
                        raise
                    bad.append(str(error))
                    bar.update()
                    continue
                if len(samples) <= LONGEST:
                    short[i] = samples
                    continue
                name, seconds = Path(clip.id).name, math.ceil(len(samples) / SAMPLING_RATE_HZ)
                with progress_bar(total=seconds, desc=name, unit="s", leave=False, shown=progress) as inner:
                    result = transcribe_long(model, processor, samples, how, batch_size, frames, max_new_tokens, inner.update)
                heard[i] = _row(clip, samples, result)
                bar.update()
            results = transcribe(model, processor, list(short.values()), batch_size, frames, max_new_tokens, bar.update)
            heard |= {i: _row(block[i], short[i], result) for i, result in zip(short, results, strict=True)}
            rows += [heard[i] for i in sorted(heard)]
    _say_left_out(bad, len(clips))
    if path is not None:
        keep_rows(path, rows, meta, bad)
    return rows


def _row(clip: Clip, samples: np.ndarray, result: Decoded) -> dict:
    return {
        "domain": clip.domain, "id": clip.id, "speaker": clip.speaker, "reference": clip.text, "hypothesis": result.text,
        "seconds": round(len(samples) / SAMPLING_RATE_HZ, 3), "log_probs": list(result.log_probs), "ended": result.ended,
        "word_tokens": list(result.word_tokens),
    }


def _check_names(clips: Sequence[Clip]) -> None:
    twice = [key for key, n in Counter((c.domain, c.id) for c in clips).items() if n > 1]
    if twice:
        named = ", ".join(f"{id} of {domain}" for domain, id in twice[:5]) + (", ..." if len(twice) > 5 else "")
        raise AskdError(f"{len(twice)} ids belong to several recordings, so that their rows could not be told apart: {named}; "
                        "give each its own, or rename one of two folders of the same name")


def _say_left_out(bad: Sequence[str], total: int) -> None:
    if bad:
        print(f"left out {len(bad)} of {total} recordings: " + "; ".join(bad[:5]) + ("; ..." if len(bad) > 5 else ""))


def read_manifest(
    path: Path | str, audio_root: Path | str | None = None, skip_bad: bool = False, layout: str | None = None,
    columns: Mapping[str, str] | None = None, progress: bool = False,
) -> list[Clip]:
    """Clips, of any length, of a table or a folder in any layout of `askd.folders`; a column ``domain`` gives each row its own.

    Args:
        path: CSV, TSV or JSONL file with columns ``path,text[,domain,speaker]`` and any others, or a folder.
        audio_root: folder that relative audio paths start from; default the table's own folder.
        skip_bad: leave out what is missing, cannot be read or has no words to score, and say how many.
        layout: where several fit.
        columns: the table's own names of ``path``, ``text``, ``speaker`` and ``domain``, as in ``{"text": "said"}``.
        progress: show a bar while headers are read.

    Raises:
        ManifestError: every problem, with row and column; among them references that normalise to nothing ("[noise]", "um"),
            of which no error rate can be made.
        AudioError: recordings that cannot be opened, with their rows.
    """
    from askd.folders import read_folder, usable_records

    listing = read_folder(path, layout, audio_root=audio_root, columns=columns)
    wordless = {i: _wordless(record.text) for i, record in enumerate(listing.records) if not normalise(record.text)}
    problems = [replace(p, what=p.what + COLUMN_HINT * p.what.startswith("no column")) for p in listing.problems]
    listing = replace(
        listing, records=tuple(record for i, record in enumerate(listing.records) if i not in wordless),
        problems=(*problems, *(Problem(listing.records[i].where, what) for i, what in wordless.items())),
    )
    records, stem = usable_records(listing, skip_bad), Path(path).resolve().stem

    def make(record):
        return record_clip(record.domain or stem, record, max_audio_s=None)

    return usable_clips(records, make, skip_bad, str(path), progress, len(records), max_audio_s=None)


def scored_clips(
    name: str, role: str | None = None, clips: int | None = None, skip_bad: bool = False, progress: bool = False, **options
) -> list[Clip]:
    """Clips of a source to score on, of any length: as `askd.load_clips` gives them, less those whose reference normalises to
    nothing.

    Args:
        name: a declared domain, a folder, or ``hub:ID``.
        role: default as `askd.domains.Domain.scored_role` says.
        clips: how many at most.
        skip_bad, progress, options: as in `askd.load_clips`.

    Raises:
        UnknownName: no such source.
        AskdError: as `askd.load_clips`; a name that only the Hub could know.
        ManifestError: references that normalise to nothing, each with its id.
    """
    from askd.folders import refuse_or_say

    if HUB_ID.fullmatch(name) and not Path(name).exists() and name not in all_domains():
        raise AskdError(f"{name}: no such folder here; a data set of the Hub is named hub:{name}")
    domain = get_domain(name)
    role = role or domain.scored_role
    found = load_clips(domain, role, clips, skip_bad=skip_bad, progress=progress, max_audio_s=None, **options)
    usable = [clip for clip in found if normalise(clip.text)]
    problems = [Problem(f"{clip.domain}, {clip.id}", _wordless(clip.text)) for clip in found if not normalise(clip.text)]
    refuse_or_say(name, problems, len(usable), skip_bad)
    return usable


def _wordless(text: str) -> str:
    return f"empty reference: {text!r} normalises to nothing, there is no word to score"


def evaluate_models(
    models: Mapping[str, object], clips: Sequence[Clip], out: Path | str, batch_size: int = 16, skip_bad: bool = False,
    progress: bool = True, calibration: bool = False, nonspeech: str | None = None, **options,
) -> dict:
    """Score models on the same clips, each compared with the first; write ``out/hypotheses/<name>.jsonl`` and ``out/wer.json``.

    Args:
        models: by name, what `askd.load_teacher` takes, loaded one after the other; or (model, processor).
        clips: from `read_manifest` or `scored_clips`; their domains are the rows of the report.
        out: folder.
        batch_size: clips decoded together.
        skip_bad: leave out recordings that cannot be read, and say how many.
        progress: show bars with ETA.
        calibration: keep teacher-forced answers as well, in ``out/forced``, of the clips of at most 30 s.
        nonspeech: ``small`` or ``full``: keep the answers to these sounds of `askd.sounds` as well, in ``out/nonspeech``.
        options: ``frames``, ``max_new_tokens``, ``how`` of `hypotheses`.

    Returns:
        the content of ``wer.json``, `askd.wer.wer_report`.

    Raises:
        AudioError: recordings that cannot be read; they are named before decoding starts, not after hours of it.
        AskdError: an utterance twice, a way that a model cannot go, or a folder with transcripts of other recordings.
    """
    from askd.forced import forced_rows
    from askd.nonspeech import answers
    from askd.sounds import standard_sounds
    from askd.teacher import load_teacher
    from askd.timings import device_here

    _check_names(clips)
    out, rows = Path(out), {}
    _check_out(out, models, clips)
    if not skip_bad:
        _check_sound(clips, progress)
    if len(models) > 1 and options.get("how", "auto") == "auto" and any(c.audio_s * SAMPLING_RATE_HZ > LONGEST for c in clips):
        options["how"] = "cut"  # the two ways must not be compared
        print("recordings longer than 30 s are cut at quiet places for all models alike (--how sequential: by their timestamps)")
    for name, source in models.items():
        if not isinstance(source, tuple):
            source = load_teacher(source)
            source.model.to(device_here())
        path = out / "hypotheses" / f"{name}.jsonl"
        rows[name] = hypotheses(*source, clips, path, batch_size, progress, skip_bad=skip_bad, **options)
        if calibration:
            short = [clip for clip in clips if clip.audio_s * SAMPLING_RATE_HZ <= LONGEST]
            forced_rows(*source, short, out / "forced" / path.name, batch_size, progress, skip_bad)
        if nonspeech:
            answers(*source, standard_sounds(nonspeech), out / "nonspeech" / path.name, batch_size=batch_size, progress=progress)
    first = next(iter(rows))
    pairs = [(name, first) for name in rows if name != first]
    report = wer_report(rows, pairs, dict.fromkeys(rows, "student"), declared_splits({c.domain for c in clips}))
    write_json(out / "wer.json", report)
    return report


def _check_out(out: Path, models: Mapping[str, object], clips: Sequence[Clip]) -> None:
    """Refuse a folder that holds other models' answers to other clips: they could not be scored together."""
    for path in sorted((out / "hypotheses").glob("*.jsonl")):
        kept = read_json(meta_path(path)) if meta_path(path).is_file() else {}
        if path.stem not in models and kept.get("clips") != _clips_digest(clips):
            raise AskdError(f"{out} holds {path.stem}'s transcripts of other recordings: take another folder, --out FOLDER")


def _clips_digest(clips: Sequence[Clip]) -> str:
    return digest([(c.id, c.domain, c.speaker, c.sha256, c.text) for c in clips])


def _check_sound(clips: Sequence[Clip], progress: bool) -> None:
    """Decode everything once, one recording in memory at a time."""
    bad = []
    for clip in progress_bar(clips, desc="check", unit="clip", shown=progress):
        try:
            read_audio(clip.path, max_audio_s=None)
        except AudioError as error:
            bad.append(str(error))
    if bad:
        raise cannot_be_used(bad, len(clips))
