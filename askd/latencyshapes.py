"""The speed-up at the paper's scale, without the paper's weights: random ones and forced token counts.

    found = shape_speedup("large-v2", decoder_layers=[32, 16, 8, 4, 2], audio_s=[5, 30], repeats=3)
    print(as_text(found))

Latency does not depend on the values of the weights. One model is made, and every student is a view of it with its first
decoder layers, so that large-v2 in bfloat16 needs its 3.1 GB once. The teacher hears 30 s; each student hears 30 s, as published,
and the clip's own length, as our students do.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from askd.audio import MAX_AUDIO_S, SAMPLING_RATE_HZ
from askd.decoding import use_clip_context
from askd.engines import Transformers
from askd.errors import AskdError, pick
from askd.flops import matmul_rate
from askd.latency import TOKENS_PER_S, machine, measure
from askd.notebook import table
from askd.teacher import SOURCES, Recogniser, generation_config
from askd.timings import free_memory

SHAPES = {  # width, layers of encoder and decoder, heads, mel bands, vocabulary, languages
    "tiny.en": (384, 4, 6, 80, 51864, 99), "tiny": (384, 4, 6, 80, 51865, 99), "base": (512, 6, 8, 80, 51865, 99),
    "small": (768, 12, 12, 80, 51865, 99), "medium": (1024, 24, 16, 80, 51865, 99),
    "large-v2": (1280, 32, 20, 80, 51865, 99), "large-v3": (1280, 32, 20, 128, 51866, 100),
}
PUBLISHED = (  # what others report; their hardware and protocols are not ours
    {"what": "Distil-Whisper, large-v2, 2 of 32 decoder layers, 30 s (arXiv 2311.00430)", "times": 5.8},
    {"what": "ASKD, hardware, batch and decoding not stated in the abstract (arXiv 2601.19919)", "times": 5.0},
)


def shape_config(shape: str):
    """`transformers.WhisperConfig` of a size of Whisper.

    Raises:
        UnknownName: no such size.
    """
    from transformers import WhisperConfig

    width, layers, heads, bands, vocabulary, _ = pick("shape", shape, SHAPES)
    return WhisperConfig(
        vocab_size=vocabulary, d_model=width, num_mel_bins=bands, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        suppress_tokens=None, begin_suppress_tokens=None,
    )


def parameters(config) -> int:
    """Number of weights; the vocabulary is one matrix for both ends."""
    d, ffn = config.d_model, config.encoder_ffn_dim
    attention, feed, norm = 4 * d * d + 3 * d, 2 * d * ffn + ffn + d, 2 * d  # keys have no bias
    encoder = config.encoder_layers * (attention + feed + 2 * norm) + 3 * config.num_mel_bins * d + d + 3 * d * d + d
    decoder = config.decoder_layers * (2 * attention + feed + 3 * norm)
    tables = d * (config.vocab_size + config.max_target_positions + config.max_source_positions)
    return encoder + decoder + tables + 2 * norm


def random_whisper(shape: str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"):
    """A Whisper of the given size with random weights, in eval mode, ready for forced token counts.

    Raises:
        UnknownName: no such size.
        AskdError: it does not fit into the free memory.
    """
    from transformers import WhisperForConditionalGeneration

    config = shape_config(shape)
    needed = parameters(config) * dtype.itemsize
    if needed > 0.9 * (free := free_memory()):
        raise AskdError(f"{shape} needs {needed / 1e9:.1f} GB for its weights, {free / 1e9:.1f} GB are free: take a smaller "
                        "shape, or end what else is running")
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model = model.to(dtype).to_empty(device=device)
    model.tie_weights()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.fill_(float(name.endswith("weight")))
            else:
                weight.normal_(0, 0.02, generator=generator)
    first_special = 50256 if config.vocab_size == 51864 else 50257
    source = replace(SOURCES["base"], first_special=first_special, languages=SHAPES[shape][-1])
    nothing = {"suppress_ids": None, "suppress_ids_begin": None, "alignment_heads": None}
    model.generation_config = generation_config(source, nothing)
    return model.eval()


def shared(module: nn.Module) -> nn.Module:
    """A module of the same parts, in which some can be replaced, and hooks added, without changing the original. Weights are
    shared."""
    twin = copy.copy(module)
    twin._modules, twin._forward_pre_hooks = dict(module._modules), module._forward_pre_hooks.copy()
    return twin


def cut_view(model, decoder_layers: int, clip_context: bool = False):
    """The same Whisper with its first ``decoder_layers`` decoder layers, sharing its weights.

    Raises:
        AskdError: more layers than there are, or none.
    """
    there = len(model.model.decoder.layers)
    if not 1 <= decoder_layers <= there:
        raise AskdError(f"decoder layers must lie in [1, {there}], not {decoder_layers}")
    view = shared(model)
    view.model = shared(model.model)
    view.model.decoder = shared(model.model.decoder)
    view.model.decoder.layers = nn.ModuleList(list(model.model.decoder.layers)[:decoder_layers])
    view.config = copy.copy(model.config)
    view.config.decoder_layers = decoder_layers
    if clip_context:
        use_clip_context(view)
    return view


def fast_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """bfloat16 on a GPU, and where this CPU multiplies faster in it; else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return max((torch.bfloat16, torch.float32), key=lambda dtype: matmul_rate(dtype, n=1024, seconds=0.1))


def shape_speedup(
    shape: str = "large-v2", decoder_layers: Sequence[int] | None = None, audio_s: Sequence[float] = (5, 30),
    repeats: int = 3, dtype: torch.dtype | None = None, device: torch.device | str | None = None, progress: bool = False,
) -> dict:
    """Time a whole Whisper on 30 s against views of it with fewer decoder layers, interleaved, batch 1, forced token counts.

    Args:
        shape: a name in `SHAPES`.
        decoder_layers: of the students; the teacher has all. Default all, a half, a quarter, ... down to 2.
        audio_s: lengths of the clip, at most 30 s; 3.5 tokens are written a second.
        repeats: rounds that count, after one that warms up.
        dtype: default `fast_dtype`.
        device: default a GPU when there is one.

    Returns:
        shape, dtype, device, rows (decoder_layers, context full or clip, millions of weights, those of `askd.latency.measure`,
        times: as fast as the teacher on its 30 s), published, machine.

    Raises:
        UnknownName: no such shape.
        AskdError: layers that are not there, a clip that is too long, or too little memory.
    """
    layers = shape_config(shape).decoder_layers
    for length in audio_s:
        if not 0 < length <= MAX_AUDIO_S:
            raise AskdError(f"a clip must be longer than 0 and at most {MAX_AUDIO_S:g} s, not {length:g} s")
    decoder_layers = decoder_layers or [layers >> i for i in range(layers.bit_length()) if layers >> i >= 2]
    for count in decoder_layers:
        if not 1 <= count <= layers:
            raise AskdError(f"{shape} has {layers} decoder layers: a student can keep 1 to {layers} of them, not {count}")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or fast_dtype(device)
    model = random_whisper(shape, dtype, device)
    views = {(layers, "full"): cut_view(model, layers)}
    contexts = ("full", "clip")
    views |= {(count, context): cut_view(model, count, context == "clip") for count in decoder_layers for context in contexts}
    engines = [Transformers(Recogniser(view, None), f"{count} {context}") for (count, context), view in views.items()]
    noise, rows = np.random.default_rng(0).normal(0, 0.1, int(MAX_AUDIO_S * SAMPLING_RATE_HZ)).astype(np.float32), []
    for length in audio_s:
        clip, tokens = noise[: int(length * SAMPLING_RATE_HZ)], max(2, round(TOKENS_PER_S * length))
        measured = measure(engines, [clip], 1, [tokens], repeats, warmup=1, label=f"{length:g} s", progress=progress)
        for (count, context), view, row in zip(views, views.values(), measured, strict=True):
            rows.append({
                "decoder_layers": count, "context": context, "millions": round(parameters(view.config) / 1e6),
                **{name: value for name, value in row.items() if name != "model"},
                "times": round(measured[0]["mean_ms"] / row["mean_ms"], 2),
            })
    return {"shape": shape, "dtype": str(dtype).removeprefix("torch."), "device": device.type, "rows": rows,
            "published": list(PUBLISHED), "machine": machine()}


def as_text(found: Mapping) -> str:
    """The table, with what others published below it."""
    fields = {"decoder_layers": "decoder layers", "context": "context", "millions": "M weights", "clips": "clip",
              "tokens": "tokens", "encoder_ms": "encoder ms", "p50_ms": "p50 ms", "times": "times the teacher"}
    computer = found["machine"]
    where = computer["gpu"] if found["device"] == "cuda" else f"{computer['cpu']}, {computer['threads']} threads"
    lines = [f"{found['shape']}, random weights, {found['dtype']}, batch 1, {where}",
             table(list(fields.values()), [[row[field] for field in fields] for row in found["rows"]], digits=2)]
    lines += [f"*paper*: {each['times']:g}x, {each['what']}" for each in found["published"]]
    return "\n".join(lines)
