"""Students: a teacher with fewer layers, initialised from the layers it keeps.

    student = make_student(teacher, decoder_layers=2)               # first and last of 4
    student = make_student(teacher, decoder_layers=[0, 3])          # the same, by hand
"""

import copy
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from torch import nn

from askd.errors import AskdError


def spread(teacher_layers: int, student_layers: int) -> list[int]:
    """Evenly spaced teacher layers, first and last among them (distil-whisper's initialisation); one layer takes the last.

    >>> spread(6, 2), spread(32, 4), spread(4, 4)
    ([0, 5], [0, 10, 20, 31], [0, 1, 2, 3])
    """
    if not 1 <= student_layers <= teacher_layers:
        raise AskdError(f"student layers must lie in [1, {teacher_layers}], not {student_layers}")
    if student_layers == 1:
        return [teacher_layers - 1]
    kept = np.linspace(0, teacher_layers - 1, student_layers, dtype=int).tolist()
    return [*kept[:-1], teacher_layers - 1]


def _mapping(layers: int | Sequence[int] | None, teacher_layers: int, part: str) -> list[int]:
    if layers is None:
        return list(range(teacher_layers))
    if isinstance(layers, int):
        return spread(teacher_layers, layers)
    layers = list(layers)
    if not layers or not all(0 <= i < teacher_layers for i in layers):
        raise AskdError(f"{part} layers must be numbers from 0 to {teacher_layers - 1}, not {layers}")
    return layers


def make_student(teacher, decoder_layers: int | Sequence[int] | None = 2, encoder_layers: int | Sequence[int] | None = None):
    """A new Whisper with the chosen layers of ``teacher``; everything else is copied.

    Args:
        teacher: `transformers.WhisperForConditionalGeneration`; it is not changed.
        decoder_layers: how many (spread evenly), which (a list of teacher layers, repeats allowed), or None for all.
            Default 2 (distil-whisper).
        encoder_layers: the same for the encoder. Default all: cutting it costs far more accuracy (distil-whisper's Table 18).

    Returns:
        `transformers.WhisperForConditionalGeneration` with weights of its own.

    Raises:
        AskdError: a layer the teacher does not have.
    """
    student = copy.deepcopy(teacher)
    for part, layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        module = getattr(student.model, part)
        kept = _mapping(layers, len(module.layers), part)
        module.layers = nn.ModuleList(copy.deepcopy(module.layers[i]) for i in kept)
        for i, layer in enumerate(module.layers):  # each attention files its KV cache under its own number
            layer.self_attn.layer_idx = i
            if part == "decoder":
                layer.encoder_attn.layer_idx = i
        setattr(student.config, f"{part}_layers", len(kept))
    student.config.num_hidden_layers = student.config.encoder_layers
    # Word-timestamp heads are numbered by the teacher's layers: they would point at the wrong ones.
    student.generation_config.alignment_heads = None
    return student.train()


def save_model(model, processor, folder: Path | str) -> None:
    """Write a plain transformers folder (safetensors) that `askd.load_teacher` and the ASR pipeline read."""
    rows, state = {}, {}  # safetensors is row-major, and tied weights are one tensor
    for name, value in model.state_dict().items():
        state[name] = rows.setdefault((value.data_ptr(), value.shape), value.contiguous())
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval().save_pretrained(folder, state_dict=state)
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):  # a full disk, in safetensors' words
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from None
        raise
    finally:
        for module, training in modes:
            module.training = training
    processor.save_pretrained(folder)
