r"""Where a model listens while it writes: cross-attention and probability of every label token of one clip.

    model, processor = load_teacher("tiny.en")
    seen = {"teacher": listen(model, processor, clip)}
    listening_figure(picture(clip, label_words(model, processor, clip), seen))       # askd.attentionfigures

The reference is fed (teacher forcing), so that all models answer for the same tokens and their rows can be compared:

    A_{n,t} = 1/H sum_h softmax_t(q_{n,h} k_{t,h} / sqrt(d_h)),   sum_t A_{n,t} = 1

over H heads that follow the sound. As a file, for a figure that needs no model (about a minute):

    python -m askd.attention --out data/results/real/blindspot.json \
        teacher=tiny.en constant_kd=runs/real-ablation/seed-0:constant_kd askd=runs/real-ablation/seed-0:askd

Axes: ``N`` label tokens, ``F`` encoder positions (20 ms), ``M`` mel bands, ``T`` mel frames (10 ms).
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from askd.batches import collate, make_examples
from askd.clips import Clip
from askd.decoding import SPREAD, TAIL, context_frames
from askd.errors import AskdError
from askd.features import FULL_CONTEXT, encode, log_mel
from askd.losses import IGNORE

POSITION_S = 0.02  # one encoder position
CELL = 2  # encoder positions (and mel bands; mel frames: twice as many) averaged into a cell of a stored picture
Heads = Sequence[tuple[int, int]]  # (decoder layer, head)


@dataclass(frozen=True)
class Heard:
    """One model's answers to the N label tokens of a clip."""

    said: tuple[str, ...]  # (N,) its best tokens, readable
    p_label: tuple[float, ...]  # (N,) probability of the label
    p_said: tuple[float, ...]  # (N,) of its best token
    attention: tuple[tuple[float, ...], ...]  # (N, F); rows sum to one over the whole context, which may be longer than the clip


@contextmanager
def _eager(model) -> Iterator[None]:
    """The fused kernels keep no attention weights: plain ones for a moment."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def following_heads(model, teacher=None) -> Heads:
    """The heads that follow the sound: OpenAI's list where the model still has the layers it speaks of, else all heads of the
    last half of the decoder (what OpenAI's whisper takes for a model without a list).

    Args:
        model: whose.
        teacher: of a student, whose list it lost; the student's heads are its teacher's where it kept all decoder layers.
    """
    layers, known = model.config.decoder_layers, model.generation_config.alignment_heads
    if teacher is not None and teacher.config.decoder_layers == layers:
        known = teacher.generation_config.alignment_heads
    if known:
        return [(layer, head) for layer, head in known]
    return [(layer, head) for layer in range(layers // 2, layers) for head in range(model.config.decoder_attention_heads)]


@torch.inference_mode()
def listen(model, processor, clip: Clip, heads: Heads | None = None) -> Heard:
    """Feed the reference and look where the model listens at each of its tokens.

    Args:
        model, processor: from `askd.load_teacher`. It hears the context that it wants, as in `askd.forced`.
        clip: at most 30 s.
        heads: default `following_heads` of the model; to compare a student with its teacher, give `following_heads` both.

    Raises:
        AudioError, AskdError: as `askd.batches.make_examples`; or a head that the model does not have.
    """
    from askd.teaching import words

    heads = following_heads(model) if heads is None else heads
    there = model.config.decoder_layers, model.config.decoder_attention_heads
    if not heads or any(layer >= there[0] or head >= there[1] for layer, head in heads):
        raise AskdError(f"attention: heads {list(heads)}: the model has {there[0]} decoder layers of {there[1]} heads")
    examples, device = make_examples([clip], model, processor), next(model.parameters()).device
    own = min(FULL_CONTEXT, -(-(examples[0].frames + TAIL) // SPREAD) * SPREAD)
    batch = collate(examples, [0], context_frames(model) or own).to(device)
    with _eager(model):
        encoded = encode(model, batch.features)  # (1, F, d)
        out = model.model.decoder(
            input_ids=batch.decoder_ids, encoder_hidden_states=encoded, use_cache=False, output_attentions=True
        )
    asked = batch.labels[0] != IGNORE  # (L,)
    attention = torch.stack([out.cross_attentions[layer][0, head, asked] for layer, head in heads]).mean(0)  # (N, F)
    p = model.proj_out(out.last_hidden_state[0, asked]).float().softmax(-1)  # (N, V)
    best = p.max(-1)
    return Heard(
        tuple(words(processor, best.indices)), tuple(p.gather(1, batch.flat_labels[:, None])[:, 0].tolist()),
        tuple(best.values.tolist()), tuple(map(tuple, attention.tolist())),
    )


def label_words(model, processor, clip: Clip) -> list[str]:
    """The N label tokens of a clip, readable."""
    from askd.batches import encode_text
    from askd.decoding import prompt_ids
    from askd.teaching import words

    return words(processor, encode_text(model, processor, clip.text)[len(prompt_ids(model)):])


def picture(clip: Clip, labels: Sequence[str], seen: Mapping[str, Heard]) -> dict:
    """All that `askd.teaching.listening_figure` draws, small enough to commit: averaged over cells of 40 ms, rounded.

    Args:
        clip: which was heard.
        labels: (N,), from `label_words`.
        seen: by model.

    Returns:
        ``{"audio_s", "text", "domain", "id", "labels", "mel" (M/2, cells), "models": {name: Heard as a dict}}``.
    """
    mel = log_mel(clip.samples()).numpy()  # (M, T)
    frames = 2 * CELL
    cells = mel.shape[1] // frames
    blocks = mel[:, : cells * frames].reshape(mel.shape[0] // CELL, CELL, cells, frames).mean((1, 3))  # (M/2, cells)
    models = {}
    for name, heard in seen.items():
        rows = np.array(heard.attention)[:, : cells * CELL]  # (N, F of the clip)
        thin = rows.reshape(len(rows), cells, CELL).sum(-1)  # (N, cells): what the clip got of each row
        models[name] = {"said": list(heard.said), "p_label": _short(heard.p_label), "p_said": _short(heard.p_said),
                        "attention": [_short(row) for row in thin]}
    return {"audio_s": round(clip.audio_s, 2), "text": clip.text, "domain": clip.domain, "id": clip.id,
            "cell_s": CELL * POSITION_S, "labels": list(labels), "mel": [_short(row, 2) for row in blocks], "models": models}


def _short(values, digits: int = 3) -> list[float]:
    return [round(float(x), digits) for x in values]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture of one clip as several models hear it: ``python -m askd.attention NAME=MODEL ... --out FILE``."""
    from askd.domains import load_clips
    from askd.files import write_json
    from askd.finished import named_model
    from askd.runs import provenance
    from askd.teacher import load_teacher
    from askd.teaching import hardest

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL", help="the teacher first; models as in askd transcribe")
    parser.add_argument("--domain", default="formant_telephone")
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=20, help="of these the teacher's hardest is taken (default: 20)")
    parser.add_argument("--out", required=True)
    asked = parser.parse_args(arguments)
    names = dict(one.split("=", 1) for one in asked.models)
    teacher, processor = load_teacher(named_model(next(iter(names.values()))))
    clip = hardest(teacher, processor, load_clips(asked.domain, asked.split, asked.clips), asked.domain, among=asked.clips)
    seen = {}
    for name, model in names.items():
        student, its = load_teacher(named_model(model))
        seen[name] = listen(student, its, clip, following_heads(student, teacher))
    about = {"models": names, "chosen": f"of {asked.clips} {asked.split} clips of {asked.domain} the one on whose label tokens "
             "the teacher's best token is wrong most often", **provenance()}
    write_json(asked.out, picture(clip, label_words(teacher, processor, clip), seen) | {"provenance": about})


if __name__ == "__main__":
    main()
