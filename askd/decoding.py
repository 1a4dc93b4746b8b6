"""Batched greedy decoding with a KV cache, the same loop for teacher and student.

The same tokens as transformers' ``generate`` (tested), with three things that it does not give: an audio context of
any length, the log-probability of every token, and nothing done per token but one decoder step.
"""

import functools
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.errors import AskdError
from askd.features import FEATURES, FULL_CONTEXT, encode, log_mels, pad_features
from askd.files import digest

SPREAD = 100  # frames: a clip is padded to at most 1 s more than its own length on the clip's own context. Ours
TAIL = 50  # frames of silence after the clip on its own context: a student told to stop by silence needs some. Ours, on dev
MAX_NEW_TOKENS = 128  # about 30 s of fast speech; a loop is cut here. Ours
MARK = re.compile(r"<\|.*\|>")  # how all of Whisper's special tokens look; none of them is text


@dataclass(frozen=True)
class Decoded:
    """One transcript: its text, its tokens (without prompt and end) and the log-probability of each, in nats."""

    text: str
    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    ended: bool  # False when cut at the token limit
    word_tokens: tuple[int, ...]  # number of tokens of each word of text.split(), from `tokens_per_word`


def prompt_ids(model) -> list[int]:
    """Start tokens: start of transcript, [language, task,] no timestamps."""
    config = model.generation_config
    ids = [config.decoder_start_token_id]
    if getattr(config, "is_multilingual", False):
        language = getattr(config, "language", None) or "en"
        ids += [config.lang_to_id[f"<|{language}|>"], config.task_to_id[getattr(config, "task", None) or "transcribe"]]
    return [*ids, config.no_timestamps_token_id]


def context_frames(model) -> int | None:
    """The audio context a model wants: 3000 frames (30 s) for a stock Whisper, None (the clip's own) for our students."""
    return None if getattr(model.config, "askd_context", "full") == "clip" else FULL_CONTEXT


def decoding_settings(model, frames: int | str | None = "model") -> dict:
    """What an answer depends on besides weights and sound, for the keys of kept answers; as JSON."""
    config = model.generation_config
    return {
        "frames": context_frames(model) if frames == "model" else frames, "tail": TAIL, "spread": SPREAD, "features": FEATURES,
        "prompt": prompt_ids(model), "never": digest([config.suppress_tokens, config.begin_suppress_tokens]),
    }


def use_clip_context(model) -> None:
    """Mark a student as trained on the clip's own length; kept in its config.json, ignored by other programs."""
    model.config.askd_context = "clip"


def decoder_step(model, tokens: Tensor, encoded: Tensor, cache) -> Tensor:
    """Next-token logits (B, V) after feeding ``tokens`` (B, n); the cache grows by n."""
    hidden = model.model.decoder(tokens, None, encoded, cache, use_cache=True).last_hidden_state  # (B, n, d)
    return model.proj_out(hidden[:, -1])  # (B, V)


def new_cache():
    """An empty KV cache for self- and cross-attention."""
    from transformers import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def in_context(features: Sequence[Tensor], frames: int | None) -> Tensor:
    """Pad clips (M, T_i) to ``frames``; None is the longest clip and `TAIL` of silence."""
    return pad_features(features, frames or min(FULL_CONTEXT, max(f.shape[-1] for f in features) + TAIL))


def penalties(model, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """What is added to the logits of the first and of every later token: (V,) each, -inf where a token must not be written.

    Args:
        model: anything with the ``config`` and ``generation_config`` of a Whisper: transformers', `askd.onnxmodel.OnnxWhisper`.
        device: where they are needed.
    """
    config = model.generation_config
    penalty = torch.zeros(model.config.vocab_size, device=device)
    penalty[_ids(config, "suppress_tokens", device)] = -torch.inf
    penalty[config.no_timestamps_token_id + 1 :] = -torch.inf  # no timestamps were asked for
    first_penalty = penalty.clone()
    first_penalty[_ids(config, "begin_suppress_tokens", device)] = -torch.inf
    return first_penalty, penalty


def _ids(config, name: str, device: torch.device | str) -> Tensor:
    return torch.tensor(getattr(config, name, None) or [], dtype=torch.long, device=device)


@torch.inference_mode()
def greedy(
    model, features: Tensor, max_new_tokens: int = MAX_NEW_TOKENS, fixed_tokens: bool = False, encoded: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy search.

    Args:
        model: Whisper in eval mode.
        features: (B, M, T) log-mel; T is the audio context.
        max_new_tokens: limit of new tokens.
        fixed_tokens: go on to the limit whatever comes (for timing at equal work).
        encoded: the encoder's output (B, T/2, d), when it is there already.

    Returns:
        new tokens (B, n), with the end token from an utterance's end on; their log-probabilities (B, n).
    """
    device, end = features.device, model.generation_config.eos_token_id
    first_penalty, penalty = penalties(model, device)
    encoded = encode(model, features) if encoded is None else encoded  # (B, T/2, d)
    cache = new_cache()
    batch = len(features)
    tokens = torch.tensor([prompt_ids(model)] * batch, device=device)  # (B, P)
    running = torch.ones(batch, dtype=torch.bool, device=device)
    out_tokens, out_log_probs = [], []
    for position in range(max_new_tokens):
        logits = decoder_step(model, tokens, encoded, cache).float()  # (B, V)
        best = (logits + (first_penalty if position == 0 else penalty)).argmax(-1)  # (B,)
        log_prob = logits.gather(1, best[:, None])[:, 0] - logits.logsumexp(-1)  # (B,)
        best = torch.where(running, best, end)
        out_tokens.append(best)
        out_log_probs.append(torch.where(running, log_prob, 0.0))
        running = running & (best != end)
        if not fixed_tokens and not running.any():
            break
        tokens = best[:, None]
    return torch.stack(out_tokens, 1), torch.stack(out_log_probs, 1)


def transcribe(
    model, processor, samples: Sequence, batch_size: int = 16, frames: int | str | None = "model",
    max_new_tokens: int = MAX_NEW_TOKENS, on_batch: Callable[[int], None] | None = None,
) -> list[Decoded]:
    """Transcribe clips of at most 30 s, in batches of similar length, results in the order given.

    Args:
        model, processor: from `askd.load_teacher`.
        samples: arrays (n,), float32 at 16 kHz.
        batch_size: clips decoded together.
        frames: audio context; "model" asks the model, None is the longest clip of each batch, a number is that many frames.
        max_new_tokens: limit of new tokens.
        on_batch: called with the number of clips finished, for progress.

    Raises:
        AskdError: a clip is longer than 30 s; `askd.transcribe_recording` takes any length.
    """
    if (longest := max(map(len, samples), default=0)) > MAX_AUDIO_S * SAMPLING_RATE_HZ:
        raise AskdError(f"a clip of {longest / SAMPLING_RATE_HZ:.1f} s: Whisper hears {MAX_AUDIO_S:g} s at once; for longer "
                        "recordings use askd.transcribe_recording")
    frames = context_frames(model) if frames == "model" else frames
    device = next(model.parameters()).device
    features = log_mels(samples, model.config.num_mel_bins)
    order = sorted(range(len(features)), key=lambda i: features[i].shape[-1])
    results: list[Decoded | None] = [None] * len(features)
    end = model.generation_config.eos_token_id
    lengths, spread = [f.shape[-1] for f in features], SPREAD if frames is None else FULL_CONTEXT
    for chosen in similar_batches(order, lengths, batch_size, spread):
        batch = in_context([features[i] for i in chosen], frames).to(device)
        tokens, log_probs = (x.tolist() for x in greedy(model, batch, max_new_tokens))
        for i, ids, scores in zip(chosen, tokens, log_probs, strict=True):
            n = ids.index(end) if end in ids else len(ids)
            text = processor.tokenizer.decode(ids[:n], skip_special_tokens=True).strip()
            results[i] = Decoded(
                text, tuple(ids[:n]), tuple(round(x, 4) for x in scores[: n + 1]), end in ids,
                tokens_per_word(processor.tokenizer, ids[:n], text),
            )
        if on_batch:
            on_batch(len(chosen))
    return results


@functools.cache
def _byte_of_symbol() -> dict[str, int]:
    """The byte that each character of a byte-level BPE token stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {symbol: byte for byte, symbol in bytes_to_unicode().items()}


def _token_bytes(token: str | None) -> bytes:
    """The bytes that a token adds to the text: none for marks and for ids without a token."""
    if token is None or MARK.fullmatch(token):
        return b""
    byte_of = _byte_of_symbol()
    return bytes(byte_of[c] for c in token) if all(c in byte_of for c in token) else token.encode()  # else: added by hand


def _characters(content: bytes) -> tuple[str, list[int]]:
    """``content.decode(errors="replace")``, and after a leading 0 the byte at which each of its characters ends."""
    text, ends, start = "", [0], 0
    while start < len(content):
        try:
            whole, invalid = content[start:].decode(), 0
        except UnicodeDecodeError as error:
            whole, invalid = content[start : start + error.start].decode(), error.end - error.start
        text += whole
        for character in whole:
            ends.append(ends[-1] + len(character.encode()))
        if invalid:
            text += "\N{REPLACEMENT CHARACTER}"
            ends.append(ends[-1] + invalid)
        start = ends[-1]
    return text, ends


def tokens_per_word(tokenizer, tokens: Sequence[int], text: str) -> tuple[int, ...]:
    """Number of tokens of each word of a transcript; word i has the tokens after those of the words before it.

    A word ends with the token that holds its last byte. Tokens of spaces count to the word that follows, those after the last
    word to none; of two words that share a token the first has it, the second may have none.

    Args:
        tokenizer: Whisper's, a byte-level BPE: a token may be a piece of a character.
        tokens: without prompt and end.
        text: what they were decoded to, stripped, spaces before punctuation cleaned up or not.

    Returns:
        as many numbers as ``text.split()`` has words; their sum is at most ``len(tokens)``.
    """
    pieces = [_token_bytes(token) for token in tokenizer.convert_ids_to_tokens(list(tokens))]
    token_ends = list(accumulate(map(len, pieces)))
    written, byte_ends = _characters(b"".join(pieces))
    at, boundaries = 0, [0]  # characters of `written` that are behind us; tokens that the words so far have
    for word in text.split():
        for character in word:
            at = written.find(character, at) + 1 or at
        boundaries.append(bisect_left(token_ends, byte_ends[at]) + (at > 0))
    return tuple(b - a for a, b in pairwise(boundaries))


def similar_batches(order: Sequence[int], lengths: Sequence[int], batch_size: int, spread: int) -> list[list[int]]:
    """Cut clips sorted by length into batches whose longest is at most ``spread`` frames longer than the shortest."""
    batches: list[list[int]] = []
    for i in order:
        if batches and len(batches[-1]) < batch_size and lengths[i] - lengths[batches[-1][0]] <= spread:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
