"""ONNX: encoder and decoder with a cache of keys and values, as two graphs, checked in onnxruntime.

    write_onnx(model, processor, "shipped-onnx")
    check_onnx(model, processor, "shipped-onnx", samples)["same_words"]

What the graphs take and give is said in `askd.onnxmodel`, which runs them. Every axis that varies is free: utterances, frames
(so that the encoder may hear the clip's own length), tokens. Weights are float32, in ``encoder.onnx.data`` and
``decoder.onnx.data`` beside their graphs. optimum has no release for transformers 5, so this is `torch.onnx.export`.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from askd.decoding import context_frames, decoder_step, greedy, in_context
from askd.errors import AskdError, reason
from askd.features import FULL_CONTEXT, encode, log_mel
from askd.onnxmodel import OnnxWhisper, names
from askd.progress import progress_bar

CLOSE = 0.05  # nats between the log-probabilities of each token in the two engines. Ours; measured: under 0.001
TOKENS = 64  # of the transcript that is compared


def need_onnx() -> None:
    """Complain before anything is loaded.

    Raises:
        AskdError: a package is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise AskdError(f"this export needs {error.name}, which is not installed: pip install 'askd[export]'") from None


class _Encoder(torch.nn.Module):
    """features (B, M, T) -> keys and values of each decoder layer's cross-attention, (B, H, T/2, d/H)."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        encoded = encode(self.model, features)  # (B, T/2, d)
        attentions = [layer.encoder_attn for layer in self.model.model.decoder.layers]
        return tuple(
            project(encoded).unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
            for attention in attentions for project in (attention.k_proj, attention.v_proj)
        )


class _Decoder(torch.nn.Module):
    """tokens (B, n), keys and values so far, those of the encoder -> logits (B, V), keys and values with those of the tokens."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, past: tuple[Tensor, ...], cross: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        from transformers import DynamicCache, EncoderDecoderCache

        cache = EncoderDecoderCache(*(DynamicCache(list(zip(kv[::2], kv[1::2], strict=True))) for kv in (past, cross)))
        logits = decoder_step(self.model, tokens, cross[0], cache)  # cross[0]: any tensor, the cache holds what is used
        return logits, *(tensor for layer in cache.self_attention_cache.layers for tensor in (layer.keys, layer.values))


def write_onnx(model, processor, out: Path | str, progress: bool = False) -> None:
    """Write both graphs, their weights, config and tokenizer.

    Args:
        model, processor: from `askd.load_teacher`, float32.
        out: folder that exists.
        progress: show a bar with ETA.

    Raises:
        AskdError: torch cannot export it.
    """
    out, config = Path(out), model.config
    layers, heads, width = config.decoder_layers, config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
    batch, tokens, past, positions = map(torch.export.Dim, ("batch", "tokens", "past", "positions"))
    frames = torch.export.Dim("frames", max=FULL_CONTEXT)

    def kv(length: int) -> tuple[Tensor, ...]:  # no example axis is 0 or 1: torch would take those for constants
        return tuple(torch.zeros(2, heads, length, width) for _ in range(2 * layers))

    graphs = {
        "encoder": (_Encoder(model), (torch.zeros(2, config.num_mel_bins, 200),), ["features"], names("cross", layers),
                    ({0: batch, 2: frames},)),
        "decoder": (_Decoder(model), (torch.zeros(2, 4, dtype=torch.long), kv(3), kv(50)),
                    ["tokens", *names("past", layers), *names("cross", layers)], ["logits", *names("present", layers)],
                    ({0: batch, 1: tokens}, ({0: batch, 2: past},) * (2 * layers), ({0: batch, 2: positions},) * (2 * layers))),
    }
    for name, (module, example, takes, gives, free) in progress_bar(graphs.items(), "ONNX", shown=progress, unit="graph"):
        try:
            with torch.no_grad(), _quiet():
                torch.onnx.export(module.eval(), example, out / f"{name}.onnx", input_names=takes, output_names=gives,
                                  dynamic_shapes=free, dynamo=True, external_data=True, verbose=False)
        except Exception as error:  # of a package that is not ours: its classes are not promised
            raise AskdError(f"torch cannot export the {name}: {type(error).__name__}: {reason(error)}") from error
        _without_traces(out / f"{name}.onnx")
    config.save_pretrained(out)
    model.generation_config.save_pretrained(out)
    processor.save_pretrained(out)


def _without_traces(path: Path) -> None:
    """Take out of a graph what torch writes for debugging: the source lines of every node, with paths of this machine."""
    import onnx

    whole = onnx.load(path, load_external_data=False)
    graph = whole.graph
    for part in (whole, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
    onnx.save(whole, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.onnx warns of operators of packages that are not used here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_onnx(model, processor, exported: Path | str, samples: np.ndarray) -> dict:
    """Decode one clip greedily in onnxruntime and in torch, on the context that the model wants.

    Each token's log-probability must agree up to the first place where the two choose differently, that one included: there a
    near tie may fall either way, a wrong graph may not.

    Args:
        model, processor: of the original.
        exported: folder of `write_onnx`.
        samples: (n,), float32 at 16 kHz, at most 30 s.

    Returns:
        ``log_prob_difference``, the largest, in nats; ``text`` of the export, ``same_words`` as transformers.

    Raises:
        AskdError: they do not agree.
    """
    from askd.scoring import normalise

    features = in_context([log_mel(samples, model.config.num_mel_bins)], context_frames(model))  # (1, M, T)
    tokens, log_probs = (found[0].numpy() for found in greedy(model, features, TOKENS))
    graphs = OnnxWhisper(exported, torch.get_num_threads())
    theirs, their_log_probs = (found[0] for found in graphs.greedy(features.numpy(), TOKENS))
    shared = min(len(tokens), len(theirs))
    differing = np.flatnonzero(tokens[:shared] != theirs[:shared])
    compared = shared if not len(differing) else differing[0] + 1
    gap = float(np.abs(log_probs[:compared] - their_log_probs[:compared]).max())
    if not gap < CLOSE:
        raise AskdError(f"the graphs do not agree with the model: log-probabilities differ by {gap:.3f} nats, less than {CLOSE} "
                        "was expected; please report it with the versions of torch, onnxscript and onnxruntime")
    texts = [processor.tokenizer.decode(ids.tolist(), skip_special_tokens=True).strip() for ids in (theirs, tokens)]
    return {"log_prob_difference": round(gap, 7), "same_words": normalise(texts[0]) == normalise(texts[1]), "text": texts[0]}
