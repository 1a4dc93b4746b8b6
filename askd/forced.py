r"""Teacher-forced answers: how sure a model is of each token, and of how many with right.

The reference is fed token by token, so all models answer the same questions, however badly they would have gone on by
themselves. At each label token (the text and the end) the model's whole distribution p over V tokens is judged:

    confidence = max_v p(v)        right = 1[argmax_v p(v) = y]
    nll = -log p(y), nats          brier = sum_v (p(v) - 1[v = y])^2 = sum_v p(v)^2 - 2 p(y) + 1, between 0 and 2

    rows = forced_rows(model, processor, clips, "runs/cpu/results/forced/askd.jsonl")
    tokens = {name: np.concatenate([row[name] for row in rows]) for name in ("confidence", "right", "nll", "brier")}
    print(askd.calibration.measures(**tokens))

The text is fed as it is written. A transcript in a corpus' own style (all capitals, no punctuation) asks for tokens that no
Whisper would write, and counts them as wrong: compare models on it, and do not read its accuracy as one minus WER. The
distribution is the model's own, before greedy decoding forbids any token.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from askd.audio import SAMPLING_RATE_HZ
from askd.batches import collate, make_examples
from askd.clips import Clip
from askd.decoding import SPREAD, TAIL, context_frames, decoding_settings, similar_batches
from askd.errors import AskdError
from askd.features import FULL_CONTEXT
from askd.files import digest
from askd.progress import progress_bar
from askd.rows import TOKENS, keep_rows, kept_rows
from askd.segments import LONGEST
from askd.targets import label_logits, weights_digest

FORMAT = 1  # of the rows: files of another are made anew
DIGITS = 5


def forced_rows(
    model, processor, clips: Sequence[Clip], path: Path | str | None = None, batch_size: int = 16, progress: bool = False,
    skip_bad: bool = False,
) -> list[dict]:
    """Feed the references and judge the answers; with ``path``, keep the rows and read them back for same model and clips.

    Each model hears the context it wants: a stock Whisper 30 s, our students the clip and at least `TAIL` frames of silence,
    rounded up to whole seconds by the clip's own length, so that a row does not depend on the clips it was batched with.

    Args:
        model, processor: from `askd.load_teacher`; weights in float32.
        clips: what to ask about, at most 30 s each.
        path: JSONL file; its settings lie beside it in ``<path>.meta.json``.
        batch_size: clips a pass.
        progress: show bars with ETA.
        skip_bad: leave out clips that cannot be read, are too long or have a transcript that does not fit; say how many.

    Returns:
        one row a clip, in the order given: ``{domain, id, speaker, confidence, right, nll, brier}``, the last four lists over
        its label tokens.

    Raises:
        AudioError: a recording cannot be read; it is named.
        AskdError: a clip is longer than 30 s, or its transcript is empty or longer than the decoder's positions; or the
            model's answer is not finite. The clip is named. Or no clip is left.
    """
    meta = {
        "format": FORMAT, "weights": weights_digest(model), **decoding_settings(model),
        "clips": digest([(c.id, c.domain, c.speaker, c.sha256, c.text) for c in clips]),
    }
    if path is not None and (kept := kept_rows(path, meta, skip_bad)):
        if kept[1]:
            print(f"left out {len(kept[1])} of {len(clips)} clips: {_some(kept[1])}")
        return kept[0]
    rows = _answers(model, processor, clips, batch_size, progress, skip_bad)
    if not rows:
        raise AskdError(f"none of {len(clips)} clips could be answered: nothing is left to measure calibration on")
    if path is not None:
        answered = {(row["domain"], row["id"]) for row in rows}
        left_out = [clip.id for clip in clips if (clip.domain, clip.id) not in answered]
        keep_rows(path, rows, meta, left_out)
    return rows


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


def _answers(model, processor, clips: Sequence[Clip], batch_size: int, progress: bool, skip_bad: bool) -> list[dict]:
    long = [clip.id for clip in clips if clip.audio_s * SAMPLING_RATE_HZ > LONGEST]
    if long:
        message = f"longer than 30 s, so that their references cannot be fed: {_some(long)}"
        if not skip_bad:
            raise AskdError(f"{message}; cut them into segments, or leave them out with skip_bad")
        print(f"left out {len(long)} of {len(clips)} clips, {message}")
        clips = [clip for clip in clips if clip.audio_s * SAMPLING_RATE_HZ <= LONGEST]
    if not clips:
        return []
    examples = make_examples(clips, model, processor, progress, skip_bad)
    full, device = context_frames(model), next(model.parameters()).device
    contexts = [full or min(FULL_CONTEXT, -(-(e.frames + TAIL) // SPREAD) * SPREAD) for e in examples]
    order = sorted(range(len(examples)), key=lambda i: (contexts[i], examples[i].label_tokens))
    rows: list[dict | None] = [None] * len(examples)
    with progress_bar(total=len(examples), desc="teacher-forced", unit="clip", shown=progress) as bar:
        for chosen in similar_batches(order, contexts, batch_size, spread=0):
            batch = collate(examples, chosen, contexts[chosen[0]]).to(device)
            with torch.inference_mode():
                judged = judge(label_logits(model, batch).float(), batch.flat_labels)
            counts = [examples[i].label_tokens for i in chosen]
            of_clips = zip(*(judged[name].cpu().split(counts) for name in TOKENS), strict=True)
            for i, values in zip(chosen, of_clips, strict=True):
                rows[i] = _row(examples[i].clip, dict(zip(TOKENS, values, strict=True)))
            bar.update(len(chosen))
    return rows


def _row(clip: Clip, judged: dict[str, Tensor]) -> dict:
    if not all(values.isfinite().all() for values in judged.values()):
        raise AskdError(f"{clip.id}: the model's answer is not a finite number; its weights are damaged or training diverged")
    about = {"domain": clip.domain, "id": clip.id, "speaker": clip.speaker}
    return about | {name: [round(x, DIGITS) for x in values.tolist()] for name, values in judged.items()}


def judge(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Confidence, right, nll and brier of N answers, by the equations at the head of this module.

    Args:
        logits: (N, V) float32; overwritten, since a second copy may not fit.
        labels: (N,).

    Returns:
        `askd.rows.TOKENS`, each (N,); ``right`` is int64.
    """
    best = logits.argmax(-1)  # (N,)
    log_norm = logits.logsumexp(-1, keepdim=True)  # (N, 1)
    log_probs = logits.sub_(log_norm)  # (N, V)
    nll = -log_probs.gather(1, labels[:, None])[:, 0]  # (N,)
    probs = log_probs.exp_()  # (N, V)
    confidence = probs.gather(1, best[:, None])[:, 0]  # (N,)
    brier = torch.linalg.vecdot(probs, probs) - 2 * (-nll).exp() + 1  # (N,)
    return {"confidence": confidence.clamp(max=1), "right": (best == labels).long(), "nll": nll.clamp(min=0),
            "brier": brier.clamp(min=0)}
