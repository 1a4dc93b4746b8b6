r"""What a recogniser writes when nobody speaks: answers to the sounds of `askd.sounds`.

    found = {name: answers(model, processor, standard_sounds("full"), f"results/nonspeech/{name}.jsonl") for name, ...}
    found = report(found, pairs=[("askd", "teacher")])
    found["models"]["teacher"]["full"]["non_empty_share"]        # {"value": ..., "ci95": [..., ...]}, percent of sounds

The right answer to every sound is nothing. What counts as an answer is what `askd.scoring.normalise` leaves, without stray
punctuation: "[BLANK_AUDIO]", "(music)" and "..." are nothing, "you" and "Thank you." are hallucinations. A loop of ". . ." holds
no word either; ``cut_share`` shows it. The model is measured, not what a program makes of it: Whisper's own drops an answer whose
no-speech probability is above 0.6 and whose mean log-probability is below -1.

Each sound is heard in two contexts: "clip", its own length and the half second of silence that `askd.decoding` adds, and "full",
padded to Whisper's 30 s. The kinds are the blocks of the bootstrap: an interval speaks of other kinds of sound.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten

import numpy as np

from askd.decoding import MAX_NEW_TOKENS, TAIL, Decoded, context_frames, decoding_settings, transcribe
from askd.errors import pick
from askd.features import FULL_CONTEXT, mel_frames
from askd.files import digest
from askd.intervals import Draws, Estimate
from askd.panel import Rows, panel, per_seed, same_utterances
from askd.progress import progress_bar
from askd.rows import keep_rows, kept_rows
from askd.scoring import normalise
from askd.sounds import Sound
from askd.targets import weights_digest

CONTEXTS = {"clip": None, "full": FULL_CONTEXT}  # ``frames`` of `askd.decoding.transcribe`


def answers(
    model, processor, sounds: Sequence[Sound], path: Path | str | None = None, frames: Sequence[str] = ("clip", "full"),
    batch_size: int = 16, progress: bool = False, max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[dict]:
    """Transcribe sounds; with ``path``, keep the rows there and read them back when model and sounds are the same.

    Args:
        model, processor: from `askd.load_teacher`.
        sounds: from `askd.sounds`.
        path: JSONL file; its settings lie beside it in ``<path>.meta.json``.
        frames: audio contexts of `CONTEXTS`, one after the other.
        batch_size: sounds decoded together.
        progress: show a progress bar.
        max_new_tokens: an answer is cut there.

    Returns:
        one row a context and sound: hypothesis rows with ``kind``, ``level_dbfs``, ``frames`` and ``own`` (it is the context
        that the model is used with) besides.
    """
    meta = {
        "weights": weights_digest(model), "max_new_tokens": max_new_tokens, "contexts": list(frames), **decoding_settings(model),
        "sounds": digest([(s.id, zlib.crc32(s.samples.tobytes())) for s in sounds]),
    }
    if path and (kept := kept_rows(path, meta)):
        return kept[0]
    groups: dict[int, list[int]] = {}  # by length: in one batch a longer sound would pad the shorter
    for i, one in enumerate(sounds):
        groups.setdefault(len(one.samples), []).append(i)
    heard: dict[tuple[int, int], list[Decoded]] = {}  # by samples and context: a sound of 30 s has but one context
    rows = []
    with progress_bar(total=len(sounds) * len(frames), desc="non-speech", unit="sound", shown=progress) as bar:
        for name in frames:
            context, results = pick("context", name, CONTEXTS), {}
            for n, group in groups.items():
                key = n, context or min(mel_frames(n) + TAIL, FULL_CONTEXT)
                if key not in heard:
                    chosen = [sounds[i].samples for i in group]
                    heard[key] = transcribe(model, processor, chosen, batch_size, context, max_new_tokens)
                results |= dict(zip(group, heard[key], strict=True))
                bar.update(len(group))
            own = context == context_frames(model)
            rows += [_row(one, results[i], name, own) for i, one in enumerate(sounds)]
    if path:
        keep_rows(path, rows, meta)
    return rows


def _row(one: Sound, result: Decoded, frames: str, own: bool) -> dict:
    return {
        "domain": "nonspeech", "id": one.id, "speaker": one.kind, "reference": "", "hypothesis": result.text,
        "seconds": one.audio_s, "log_probs": result.log_probs, "ended": result.ended,
        "kind": one.kind, "level_dbfs": one.level_dbfs, "frames": frames, "own": own,
    }


def words(hypothesis: str) -> list[str]:
    """The words of an answer after normalisation; what holds no letter or digit is none ("..." normalises to ".")."""
    return [word for word in normalise(hypothesis).split() if any(map(str.isalnum, word))]


MEASURES = {  # measure -> numerator, denominator, scale
    "non_empty_share": ("non_empty", "sounds", 100), "mean_words": ("words", "sounds", 1), "cut_share": ("cut", "sounds", 100),
    "confidence": ("confidence", "non_empty", 1),
}
GROUPS = {"by_kind": "kind", "by_level": "level_dbfs", "by_length": "seconds"}


def _counts(rows: Rows) -> dict[str, np.ndarray]:
    """What `MEASURES` are made of, of each sound: (n,)."""
    written = np.array([len(words(row["hypothesis"])) for row in rows])
    return {
        "sounds": np.ones(len(rows)), "words": written, "non_empty": written > 0, "cut": np.array([not r["ended"] for r in rows]),
        # of the tokens and the end, exp(mean log p): exp of Whisper's avg_logprob
        "confidence": np.exp([np.mean(row["log_probs"]) for row in rows]) * (written > 0),
    }


def _shares(seeds: Sequence[Rows], field: str) -> dict[str, dict]:
    """Percent of sounds with an answer by a field of the rows, the mean over seeds: ``{value: {"share", "sounds"}}``."""
    groups: dict[str, list[bool]] = {}
    for row in (row for rows in seeds for row in rows):
        value = "none" if row[field] is None else row[field] if field == "kind" else f"{row[field]:g}"
        groups.setdefault(value, []).append(bool(words(row["hypothesis"])))
    return {name: {"share": round(100 * float(np.mean(g)), 1), "sounds": len(g) // len(seeds)} for name, g in groups.items()}


def _of_context(rows: Rows, context: str) -> list[Mapping]:
    return [row for row in rows if (row.get("own") if context == "own" else row["frames"] == context)]


def _measured(counted: Mapping[str, np.ndarray], draws: Draws, domains: Collection[str]) -> dict[str, Estimate]:
    return {name: draws.ratio(counted[a], counted[b], domains, scale=scale) for name, (a, b, scale) in MEASURES.items()}


def report(
    answers: Mapping[str, Rows | Sequence[Rows]], pairs: Sequence[tuple[str, str]], resamples: int = 10_000, seed: int = 0
) -> dict:
    """How often, how long and how surely each model answers to nothing, in each context.

    Args:
        answers: rows by model from `answers`, all of the same sounds and contexts; of several training seeds, a list of them.
        pairs: (a, b) to compare: a minus b.
        resamples, seed: of the bootstrap.

    Returns:
        ``{"sounds", "kinds", "models": {name: {context: {measure: {"value", "ci95"}, "frequent": [[answer, count], ...],
        "by_kind", "by_level", "by_length": {value: {"share", "sounds"}}}}}, "comparisons": [{"a", "b", "split", "measure",
        "delta", "ci95", "p"}]}``; a comparison's split is its context. Contexts: clip, full, and "own", the one each model is
        used with. Measures: ``non_empty_share`` and ``cut_share`` (ran into the token limit) in percent of sounds,
        ``mean_words`` of all sounds, ``confidence`` (0 to 1) of the answers that hold a word, None without any. Levels in dBFS,
        "none" for digital silence; lengths in seconds; the ten most frequent answers, normalised and shortened.

    Raises:
        AskdError: the models did not hear the same sounds.
    """
    models: dict[str, dict] = {name: {} for name in answers}
    comparisons, first = [], per_seed(next(iter(answers.values())))[0]
    for context in (*dict.fromkeys(row["frames"] for row in first), "own"):
        rows = {name: [_of_context(one, context) for one in per_seed(given)] for name, given in answers.items()}
        if context == "own" and not all(one for seeds in rows.values() for one in seeds):
            continue  # a model was not asked in its own context
        same_utterances(rows)
        draws = Draws(next(iter(rows.values()))[0], resamples, seed)
        measured = {name: [partial(_measured, _counts(one), draws) for one in seeds] for name, seeds in rows.items()}
        found = panel(measured, draws, {context: ["nonspeech"]}, pairs, digits=3)
        comparisons += found["comparisons"]
        for name, seeds in rows.items():
            said = Counter(" ".join(words(row["hypothesis"])) for one in seeds for row in one)
            models[name][context] = found["models"][name]["splits"][context] | {
                "frequent": [[shorten(text, 60, placeholder=" ..."), n] for text, n in said.most_common(11) if text][:10],
                **{by: _shares(seeds, field) for by, field in GROUPS.items()},
            }
    return {
        "sounds": len({row["id"] for row in first}), "kinds": len({row["kind"] for row in first}), "models": models,
        "comparisons": comparisons,
    }
