"""The teacher's answers, computed once: for every label token its K most probable tokens and the rest of the mass.

The teacher must see its padded 30 s, which costs more than the whole student step on a short clip. So its targets are
kept in the cache, in parts of 64 clips, content-addressed by (teacher's weights, clips with prompt and transcripts, K,
temperature, precision): interrupted work goes on where it stopped, several processes share it, and all methods and seeds
read the same files. Their checksums are taken when they are opened; then they stay mapped into memory: a million clips
cost address space, and each batch its own pages. About 12 kB a clip of 30 tokens at K = 64.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from askd.batches import Batch, Example, collate
from askd.features import FEATURES, FULL_CONTEXT, encode, pad_features
from askd.files import cache_dir, digest, replacing
from askd.losses import IGNORE, topk_log_probs
from askd.progress import progress_bar

PART = 64  # clips a cache file
CHUNK = 256  # tokens whose logits exist at once


class TeacherTargets:
    """Targets of all label tokens of a list of examples, in files that are mapped into memory."""

    def __init__(self, parts: Sequence[dict[str, Tensor]], label_tokens: Sequence[int], temperature: float):
        """
        Args:
            parts: of each `PART` examples in order, the concatenated fields of `TokenTargets`.
            label_tokens: number of label tokens of each example.
            temperature: tau of the stored distributions.
        """
        self.parts, self.temperature = parts, temperature
        self._ends = np.concatenate([np.cumsum(label_tokens[i : i + PART]) for i in range(0, len(label_tokens), PART)])
        self._counts = np.asarray(label_tokens)

    def of(self, batch: Batch) -> "TokenTargets":
        """The targets of a batch's label positions, in row-major order, as ``batch.flat_labels`` gives them."""
        found = self.of_examples(batch.rows)
        return TokenTargets(**{name: value.to(batch.labels.device) for name, value in vars(found).items()})

    def of_examples(self, rows: Sequence[int]) -> "TokenTargets":
        """The targets of some examples, one after the other, on the CPU."""
        spans = [(self.parts[i // PART], int(self._ends[i] - self._counts[i]), int(self._ends[i])) for i in rows]
        fields = {name: torch.cat([part[name][a:b] for part, a, b in spans]) for name in TokenTargets.__dataclass_fields__}
        return TokenTargets(**fields | {"ids": fields["ids"].long(), "log_kept": fields["log_kept"].float()})


@dataclass(frozen=True)
class TokenTargets:
    """Targets of N label tokens of one batch."""

    ids: Tensor  # (N, K)
    log_kept: Tensor  # (N, K)
    log_rest: Tensor  # (N,)
    label_log_prob: Tensor  # (N,)
    argmax_right: Tensor  # (N,)

    def gate(self, kind: str) -> Tensor:
        """Trust in the teacher per token, (N,): 1, 1[argmax = label], or p(label)."""
        if kind == "argmax":
            return self.argmax_right.float()
        if kind == "probability":
            return self.label_log_prob.exp()
        return torch.ones_like(self.label_log_prob)


def weights_digest(model) -> str:
    """Digest of all parameters: two models with equal weights share their cached targets."""
    if hasattr(model, "askd_digest"):  # askd/bigteacher.py has put its weights elsewhere
        return model.askd_digest
    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def label_states(model, batch: Batch, encoded: Tensor | None = None) -> Tensor:
    """The decoder's last hidden states at the label positions only, (N, d), before the vocabulary projection."""
    encoded = encode(model, batch.features) if encoded is None else encoded
    # one row of positions for all: with B of them, several threads add up their gradients in an order that varies
    places = torch.arange(batch.decoder_ids.shape[1], device=batch.decoder_ids.device)[None]  # (1, L)
    hidden = model.model.decoder(
        input_ids=batch.decoder_ids, position_ids=places, encoder_hidden_states=encoded, use_cache=False
    )[0]  # (B, L, d)
    return hidden[batch.labels != IGNORE]


def label_logits(model, batch: Batch, encoded: Tensor | None = None) -> Tensor:
    """Logits of the label positions only, (N, V): the vocabulary projection never sees prompt or padding."""
    return model.proj_out(label_states(model, batch, encoded))


@torch.no_grad()  # not inference_mode: the student's gradient passes through the divergence
def token_targets(
    teacher, batch: Batch, k: int, temperature: float, autocast: torch.dtype | None = None, encoded: Tensor | None = None
) -> TokenTargets:
    """The teacher's answers on one batch, whose features are padded to its 30 s here.

    Args:
        teacher: Whisper in eval mode.
        batch: of any context.
        k, temperature, autocast: as in `teacher_targets`.
        encoded: its encoder's output (B, 1500, d), when that is there already.
    """
    labels = batch.flat_labels  # (N,)
    with torch.autocast(labels.device.type, dtype=autocast, enabled=autocast is not None):
        if encoded is None:
            encoded = encode(teacher, pad_features(batch.features, FULL_CONTEXT))
        hidden = label_states(teacher, batch, encoded)  # (N, d)
        rows = zip(hidden.split(CHUNK), labels.split(CHUNK), strict=True)
        parts = [_answers(teacher.proj_out(states).float(), y, k, temperature) for states, y in rows]
    return TokenTargets(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _answers(logits: Tensor, labels: Tensor, k: int, temperature: float) -> tuple[Tensor, ...]:
    """The fields of `TokenTargets` of a chunk of logits (n, V)."""
    ids, log_kept, log_rest = topk_log_probs(logits, k, temperature, labels)
    label_log_prob = logits.gather(1, labels[:, None])[:, 0] - logits.logsumexp(-1)
    return ids, log_kept, log_rest, label_log_prob, ids[:, 0] == labels


@torch.no_grad()
def teacher_targets(
    teacher, examples: Sequence[Example], k: int = 64, temperature: float = 2.0, batch_size: int = 8,
    autocast: torch.dtype | None = None, progress: bool = False, process: int = 0, processes: int = 1,
) -> TeacherTargets:
    """Run the teacher once over all examples, or map what an earlier run left in the cache.

    Args:
        teacher: Whisper in eval mode, any device; it sees the full 30 s context.
        examples: from `askd.batches.make_examples` with the teacher's own tokenizer.
        k: kept tokens. Default 64 (ours: over 99 % of the mass on most tokens).
        temperature: tau at which the distribution is stored. Default 2 (distil-whisper).
        batch_size: clips a pass.
        autocast: dtype for the matrix products, or None.
        progress: show a progress bar with ETA.
        process, processes: of several processes that share the cache, each computes its share first; call again with the
            defaults, once all are through, to read everything.
    """
    weights = weights_digest(teacher)
    parts: list[dict | None] = []
    with progress_bar(total=len(examples), desc="teacher targets", unit="clip", shown=progress) as bar:
        for start in range(0, len(examples), PART):
            part = examples[start : start + PART]
            told = [(e.clip.sha256, e.tokens) for e in part]
            key = digest(["targets 2", FEATURES, weights, k, temperature, str(autocast), told], 20)
            path = cache_dir() / "targets" / f"{key}.safetensors"
            if processes == 1 or start // PART % processes == process:
                parts.append(_kept(path) or _computed(path, teacher, part, k, temperature, batch_size, autocast))
            bar.update(len(part))
    return TeacherTargets(parts, [e.label_tokens for e in examples], temperature)


def _checksum(fields: dict[str, Tensor]) -> str:
    value = 0
    for name in sorted(fields):
        value = zlib.crc32(fields[name].contiguous().view(torch.uint8).numpy(), value)
    return f"{value:08x}"


def _kept(path: Path) -> dict[str, Tensor] | None:
    """The fields of a part, mapped; None when it is missing, cut or corrupted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            fields = {name: file.get_tensor(name) for name in TokenTargets.__dataclass_fields__}
            return fields if (file.metadata() or {}).get("crc32") == _checksum(fields) else None
    except (OSError, SafetensorError):
        return None


def _computed(path: Path, teacher, examples, k, temperature, batch_size, autocast) -> dict[str, Tensor]:
    from safetensors.torch import save_file

    device, rows = getattr(teacher, "askd_device", None) or next(teacher.parameters()).device, []
    for start in range(0, len(examples), batch_size):
        chosen = examples[start : start + batch_size]
        batch = collate(chosen, range(len(chosen))).to(device)
        rows.append(token_targets(teacher, batch, k, temperature, autocast))
    fields = {name: torch.cat([getattr(row, name) for row in rows]).cpu() for name in TokenTargets.__dataclass_fields__}
    fields |= {"ids": fields["ids"].int(), "log_kept": fields["log_kept"].half()}
    with replacing(path) as scratch:
        save_file(fields, scratch, metadata={"crc32": _checksum(fields)})
    return _kept(path) or fields
