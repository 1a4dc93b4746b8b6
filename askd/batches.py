"""Clips -> training examples -> batches. Which clips a step sees is a pure function of (seed, step).

Axes: ``B`` utterances, ``L`` tokens, ``M`` mel bands, ``T`` mel frames (10 ms).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from askd.clips import Clip
from askd.decoding import prompt_ids
from askd.errors import AskdError
from askd.features import pad_features
from askd.featurestore import FeatureStore
from askd.losses import IGNORE


@dataclass(frozen=True)
class Example:
    """One clip, ready to train on. Its features stay on disk until a batch wants them."""

    clip: Clip
    store: FeatureStore
    row: int  # in the store
    tokens: tuple[int, ...]  # prompt, text, end
    prompt: int  # number of prompt tokens

    @property
    def frames(self) -> int:
        """Mel frames T of the clip."""
        return self.store.frames[self.row]

    @property
    def features(self) -> Tensor:
        """(M, T) float32, read from disk."""
        return self.store.read(self.row)

    @property
    def label_tokens(self) -> int:
        """Tokens that are scored: the text and the end."""
        return len(self.tokens) - self.prompt


@dataclass(frozen=True)
class Batch:
    """One padded batch. Input ``decoder_ids[:, i]`` predicts ``labels[:, i]``."""

    features: Tensor  # (B, M, T)
    decoder_ids: Tensor  # (B, L)
    labels: Tensor  # (B, L), IGNORE on the prompt and the padding
    rows: tuple[int, ...]  # positions in the list of examples

    @property
    def flat_labels(self) -> Tensor:
        """(N,) the labels that are scored, row after row."""
        return self.labels[self.labels != IGNORE]

    def to(self, device) -> "Batch":
        """The same batch on ``device``."""
        pinned = self.features.is_pinned()
        return Batch(*(t.to(device, non_blocking=pinned) for t in (self.features, self.decoder_ids, self.labels)), self.rows)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; a DataLoader calls this."""
        return Batch(*(t.pin_memory() for t in (self.features, self.decoder_ids, self.labels)), self.rows)


def make_examples(
    clips: Sequence[Clip], model, processor, progress: bool = False, skip_bad: bool = False
) -> list[Example]:
    """Read, featurise and tokenise clips, each once.

    Args:
        clips: what to train or score on.
        model, processor: whose mel bands, prompt and tokens are used.
        progress: show a bar with ETA.
        skip_bad: leave out clips whose sound cannot be read or whose transcript does not fit, and say how many.

    Raises:
        AudioError: a recording cannot be read; it is named.
        AskdError: a transcript is empty or longer than the decoder's 448 positions; the clip is named.
    """
    prompt = len(prompt_ids(model))
    store = FeatureStore(clips, model.config.num_mel_bins, skip_bad, progress)
    examples, bad = [], []
    for row, clip in enumerate(store.usable):
        try:
            examples.append(Example(clip, store, row, encode_text(model, processor, clip.text), prompt))
        except AskdError as error:
            bad.append(f"{clip.id}: {error}")
    if bad and not skip_bad:
        raise AskdError("; ".join(bad[:5]))
    if bad:
        print(f"left out {len(bad)} of {len(clips)} transcripts: " + "; ".join(bad[:5]))
    return examples


def encode_text(model, processor, text: str) -> tuple[int, ...]:
    """Prompt, text (with Whisper's own leading space) and end as tokens.

    Raises:
        AskdError: the text is empty, or longer than the decoder's positions.
    """
    text = text.strip()
    if not text:
        raise AskdError("empty transcript")
    ids = processor.tokenizer(" " + text, add_special_tokens=False).input_ids
    tokens = (*prompt_ids(model), *ids, model.generation_config.eos_token_id)
    if len(tokens) > model.config.max_target_positions:
        raise AskdError(f"{len(tokens)} tokens, more than the decoder's {model.config.max_target_positions}")
    return tokens


def collate(
    examples: Sequence[Example], rows: Sequence[int], frames: int | None = None, pad_frames: int = 0
) -> Batch:
    """Pad the chosen examples into one batch.

    Args:
        examples, rows: the whole list and the positions to take from it.
        frames: audio context; default the longest clip plus ``pad_frames``.
        pad_frames: frames of trailing silence, so that a student learns to end before the context does.
    """
    chosen = [examples[i] for i in rows]
    if frames is None:
        frames = max(e.frames for e in chosen) + pad_frames
    length = max(len(e.tokens) for e in chosen) - 1
    ends = torch.tensor([e.tokens[-1] for e in chosen])
    decoder_ids = ends[:, None].repeat(1, length)  # (B, L)
    labels = torch.full((len(chosen), length), IGNORE)  # (B, L)
    for i, e in enumerate(chosen):
        tokens = torch.tensor(e.tokens)
        decoder_ids[i, : len(tokens) - 1] = tokens[:-1]
        labels[i, e.prompt - 1 : len(tokens) - 1] = tokens[e.prompt :]
    return Batch(pad_features([e.features for e in chosen], frames), decoder_ids, labels, tuple(int(i) for i in rows))


def batch_plan(lengths: Sequence[int], batch_size: int, steps: int, seed: int) -> list[np.ndarray]:
    """The rows of every step: epochs of shuffled clips, bucketed by length so that little is padding.

    Within an epoch clips are shuffled, cut into pools of 16 batches, sorted by length inside each pool, and the batches
    are shuffled again. Every clip comes once an epoch, except up to ``batch_size - 1`` that an epoch leaves out, others
    each time.
    """
    lengths = np.asarray(lengths)
    if len(lengths) < batch_size:
        raise AskdError(f"{len(lengths)} clips are fewer than one batch of {batch_size}")
    plan: list[np.ndarray] = []
    epoch = 0
    while len(plan) < steps:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths))
        order = order[: len(order) // batch_size * batch_size]  # before lengths count, or the longest would be left out
        pools = [order[i : i + 16 * batch_size] for i in range(0, len(order), 16 * batch_size)]
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        plan += [batches[i] for i in rng.permutation(len(batches))]
        epoch += 1
    return plan[:steps]
