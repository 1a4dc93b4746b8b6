"""Speculative decoding: the student drafts, its teacher checks several tokens in one pass. The words are the teacher's.

    found = speculate(teacher, student, samples)
    found.tokens == plain(teacher, samples).tokens                    # always, up to ties of rounding
    found.accepted / found.drafted, found.total_s

    for each round: the student writes k tokens one by one; the teacher reads all of them at once; those that it would have
    written too stay, and after them comes one of its own

It is transformers' assisted generation (`model.generate(assistant_model=...)`, 5.24), batch 1. The teacher hears 30 s. The draft
needs an encoder's output of its own, unless encoders are the same: a student on the clip's own context runs its own, for a
fraction of the teacher's time; one with the teacher's encoder (frozen in training) is given the teacher's output.

transformers drops ``begin_suppress_tokens`` when it has an assistant, and lets teacher and draft share the processors that count
positions; so `_Rules` says itself what a first token may not be.
"""

import copy
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from askd.decoding import MAX_NEW_TOKENS, context_frames, in_context, penalties, prompt_ids
from askd.engines import check_batch
from askd.errors import AskdError
from askd.features import FULL_CONTEXT, encode, log_mels
from askd.latencyshapes import shared
from askd.notebook import table
from askd.progress import progress_bar

DRAFTED = 5  # tokens the student writes before the teacher checks; transformers' default of 20 is for slower teachers. Ours


class Spoken(NamedTuple):
    """One transcript of the teacher, with or without a draft."""

    tokens: list[int]  # without prompt and end
    total_s: float  # sound to tokens
    encoder_s: float  # of both models
    rounds: int  # passes of the teacher's decoder
    drafted: int  # tokens that the student proposed
    accepted: int  # of them, those that the teacher would have written


class _Rules:
    """What may not be written, by position alone, so that teacher and draft can share it."""

    def __init__(self, model):
        self.first, self.later = penalties(model, model.device)
        self.begin = len(prompt_ids(model))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores + (self.first if input_ids.shape[1] == self.begin else self.later)


def same_encoder(teacher, student) -> bool:
    """Whether both have the same encoder, weight for weight."""
    ours, theirs = (dict(model.model.encoder.state_dict()) for model in (student, teacher))
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == theirs[name].shape and torch.equal(ours[name].to(theirs[name]), theirs[name]) for name in ours
    )


@torch.inference_mode()
def plain(teacher, samples: np.ndarray, max_new_tokens: int = MAX_NEW_TOKENS) -> Spoken:
    """The teacher alone, in the same search: what a draft has to be as right as and faster than.

    Args:
        teacher: Whisper in eval mode.
        samples: (n,), float32 at 16 kHz, at most 30 s.
        max_new_tokens: limit.
    """
    return _search(teacher, None, samples, max_new_tokens, DRAFTED, None)


@torch.inference_mode()
def speculate(
    teacher, student, samples: np.ndarray, max_new_tokens: int = MAX_NEW_TOKENS, drafted: int = DRAFTED,
    shares_encoder: bool | None = None,
) -> Spoken:
    """The teacher's transcript, drafted by the student.

    Args:
        teacher, student: Whispers of one vocabulary in eval mode, on one device.
        samples: (n,), float32 at 16 kHz, at most 30 s.
        max_new_tokens: limit.
        drafted: tokens of a draft.
        shares_encoder: draft from the teacher's encoder output; default when the encoders are the same (asked every time, so say
            it when you call often).

    Raises:
        AskdError: vocabularies or start tokens differ, ``drafted`` below 1, or a clip that is empty or too long.
    """
    if drafted < 1:
        raise AskdError(f"drafted must be at least 1 token, not {drafted}")
    if teacher.config.vocab_size != student.config.vocab_size or prompt_ids(teacher) != prompt_ids(student):
        raise AskdError(f"teacher and student do not speak the same tokens ({teacher.config.vocab_size} and "
                        f"{student.config.vocab_size}): a draft must come from a student of this teacher")
    if shares_encoder is None:
        shares_encoder = same_encoder(teacher, student)
    return _search(teacher, student, samples, max_new_tokens, drafted, shares_encoder)


def _search(teacher, student, samples, max_new_tokens, drafted, shares_encoder) -> Spoken:
    from transformers import LogitsProcessorList
    from transformers.modeling_outputs import BaseModelOutput

    check_batch([samples], None)
    rows: list[int] = []  # tokens fed in each pass of the teacher's decoder
    start = time.perf_counter()
    features = log_mels([samples], teacher.config.num_mel_bins)
    encoded = encode(teacher, _placed(features, FULL_CONTEXT, teacher))  # (1, 1500, d)
    options = {}
    if student is not None:
        heard = encoded
        if not shares_encoder:
            own = log_mels([samples], student.config.num_mel_bins)
            heard = encode(student, _placed(own, context_frames(student), student))
        options = {"assistant_model": _draft(student, heard, drafted)}
    _synchronise(teacher)
    middle = time.perf_counter()
    hook = teacher.model.decoder.register_forward_pre_hook(lambda _, args, kwargs: rows.append(_length(args, kwargs)),
                                                           with_kwargs=True)
    try:
        out = teacher.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded), max_new_tokens=max_new_tokens, num_beams=1,
            do_sample=False, logits_processor=LogitsProcessorList([_Rules(teacher)]), force_unique_generate_call=True, **options,
        )[0].tolist()
    finally:
        hook.remove()
    _synchronise(teacher)
    total_s, end = time.perf_counter() - start, teacher.generation_config.eos_token_id
    out = out[len(prompt_ids(teacher)) :]
    proposed = sum(rows) - len(rows) - len(prompt_ids(teacher)) + 1
    steps = out.index(end) + 1 if end in out else len(out)
    return Spoken(out[: steps - (end in out)], total_s, middle - start, len(rows), proposed, max(0, steps - len(rows)))


def _length(args: Sequence, kwargs: dict) -> int:
    return (args[0] if args else kwargs["input_ids"]).shape[1]


def _placed(features, frames: int | None, model) -> Tensor:
    return in_context(features, frames).to(model.device, model.dtype)


def _synchronise(model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _draft(student, encoded: Tensor, drafted: int):
    """The student as transformers wants an assistant, sharing its weights: a known encoder output, a number of tokens."""
    from transformers.modeling_outputs import BaseModelOutput

    draft = shared(student)
    draft.model = shared(student.model)
    draft.model.decoder = shared(student.model.decoder)  # so that passes of the teacher are told apart when it drafts for itself
    draft.model.encoder = shared(student.model.encoder)  # transformers reads its strides, and calls it
    draft.model.encoder.forward = lambda input_features=None, **_: BaseModelOutput(last_hidden_state=encoded)
    draft.config = copy.copy(student.config)
    draft.config.num_hidden_layers = student.config.decoder_layers  # of which transformers makes the draft's cache
    draft.generation_config = copy.deepcopy(student.generation_config)
    draft.generation_config.update(num_assistant_tokens=drafted, num_assistant_tokens_schedule="constant",
                                   assistant_confidence_threshold=0.0)
    return draft


def measure_speculative(
    teacher, student, clips: Sequence[np.ndarray], repeats: int = 3, drafted: int = DRAFTED, progress: bool = False
) -> dict:
    """Teacher alone and with the student's draft, in turns; batch 1, free-running.

    Args:
        teacher, student: as in `speculate`.
        clips: arrays (n,), float32 at 16 kHz.
        repeats: rounds that count, after one that warms up.
        drafted: tokens of a draft.

    Returns:
        clips, drafted, same_tokens (number of clips), acceptance (share of drafted tokens), tokens_per_round, plain_ms and
        speculative_ms (means), decoder_plain_ms and decoder_speculative_ms, speedup, decoder_speedup, shares_encoder.
    """
    if not len(clips):
        raise AskdError("no clips to transcribe: speculative decoding is timed on at least one")
    shares = same_encoder(teacher, student)
    alone, helped = [], []
    for round_ in progress_bar(range(1 + repeats), desc="speculative", unit="round", shown=progress):
        for clip in clips:
            pair = plain(teacher, clip), speculate(teacher, student, clip, drafted=drafted, shares_encoder=shares)
            if round_:
                alone.append(pair[0])
                helped.append(pair[1])
    total = [float(np.mean([s.total_s for s in group])) for group in (alone, helped)]
    decoder = [float(np.mean([s.total_s - s.encoder_s for s in group])) for group in (alone, helped)]
    n = len(clips)
    return {
        "clips": n, "draft_tokens": drafted, "shares_encoder": shares,
        "same_tokens": sum(a.tokens == b.tokens for a, b in zip(alone[:n], helped[:n], strict=True)),
        "acceptance": round(sum(s.accepted for s in helped) / max(1, sum(s.drafted for s in helped)), 3),
        "tokens_per_round": round(sum(len(s.tokens) + 1 for s in helped) / sum(s.rounds for s in helped), 2),
        "plain_ms": round(1e3 * total[0], 2), "speculative_ms": round(1e3 * total[1], 2),
        "decoder_plain_ms": round(1e3 * decoder[0], 2), "decoder_speculative_ms": round(1e3 * decoder[1], 2),
        "speedup": round(total[0] / total[1], 2), "decoder_speedup": round(decoder[0] / decoder[1], 2),
    }


def as_text(found: dict) -> str:
    """What `measure_speculative` found, to read."""
    rows = [["teacher alone", found["plain_ms"], found["decoder_plain_ms"], None],
            ["drafted by the student", found["speculative_ms"], found["decoder_speculative_ms"], found["speedup"]]]
    encoder, drafts = "the teacher's encoder" if found["shares_encoder"] else "its own encoder", found["draft_tokens"]
    return (
        f"{table(['batch 1', 'total ms', 'decoder ms', 'times'], rows, digits=2)}\n"
        f"same tokens in {found['same_tokens']} of {found['clips']} clips; drafts of {drafts} tokens on {encoder}: "
        f"{100 * found['acceptance']:.0f} % accepted, {found['tokens_per_round']:.1f} tokens a pass of the teacher"
    )
