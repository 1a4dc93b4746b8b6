"""The teacher's answers, computed once: for every label token its K most probable tokens and the rest of the mass.

The teacher must see its padded 30 s, which costs more than the whole student step on a short clip. So its targets are
cached, in parts that are content-addressed by (teacher's weights, clips and transcripts, K, temperature): interrupted
work goes on where it stopped, and all methods and seeds share them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from askd.batches import Batch, Example, collate
from askd.features import FULL_CONTEXT, encode
from askd.files import cache_dir, digest, replacing
from askd.losses import IGNORE, topk_log_probs

PART = 64  # clips a cache file


@dataclass(frozen=True)
class TeacherTargets:
    """Targets of all label tokens, concatenated over the examples in order; ``offsets`` says where each begins."""

    ids: Tensor  # (N, K) int32
    log_kept: Tensor  # (N, K) float16, log p^tau
    log_rest: Tensor  # (N,) float32
    label_log_prob: Tensor  # (N,) float32, log p(y) at temperature 1
    argmax_right: Tensor  # (N,) bool, whether the teacher's best token is the label
    offsets: Tensor  # (examples + 1,) int64
    temperature: float

    def of(self, batch: Batch) -> "TokenTargets":
        """The targets of a batch's label positions, in row-major order, as ``labels[labels != IGNORE]`` gives them."""
        index = torch.cat([torch.arange(int(self.offsets[i]), int(self.offsets[i + 1])) for i in batch.rows])
        device = batch.labels.device
        return TokenTargets(
            self.ids[index].long().to(device), self.log_kept[index].float().to(device), self.log_rest[index].to(device),
            self.label_log_prob[index].to(device), self.argmax_right[index].to(device),
        )


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
    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def label_logits(model, batch: Batch, encoded: Tensor | None = None) -> Tensor:
    """Logits of the label positions only, (N, V): the vocabulary projection never sees prompt or padding."""
    encoded = encode(model, batch.features) if encoded is None else encoded
    hidden = model.model.decoder(input_ids=batch.decoder_ids, encoder_hidden_states=encoded, use_cache=False)[0]  # (B, L, d)
    return model.proj_out(hidden[batch.labels != IGNORE])


@torch.inference_mode()
def teacher_targets(
    teacher, examples: Sequence[Example], k: int = 64, temperature: float = 2.0, batch_size: int = 8,
    autocast: torch.dtype | None = None, progress: bool = False,
) -> TeacherTargets:
    """Run the teacher once over all examples, or read what an earlier run left in the cache.

    Args:
        teacher: Whisper in eval mode, any device; it sees the full 30 s context.
        examples: from `askd.batches.make_examples` with the teacher's own tokenizer.
        k: kept tokens. Default 64 (ours: over 99 % of the mass on most tokens).
        temperature: tau at which the distribution is stored. Default 2 (distil-whisper).
        batch_size: clips a pass.
        autocast: dtype for the matrix products, or None.
        progress: show a progress bar with ETA.
    """
    from safetensors.torch import load_file, save_file
    from tqdm.auto import tqdm

    weights = weights_digest(teacher)
    device = next(teacher.parameters()).device
    parts = []
    with tqdm(total=len(examples), desc="teacher targets", unit="clip", disable=not progress) as bar:
        for start in range(0, len(examples), PART):
            part = examples[start : start + PART]
            key = digest([weights, k, temperature, str(autocast), [(e.clip.sha256, e.tokens) for e in part]], 20)
            path = cache_dir() / "targets" / f"{key}.safetensors"
            try:
                parts.append(load_file(path))
            except Exception:  # missing, or damaged by a crash: made again
                rows = [
                    _run(teacher, part[i : i + batch_size], k, temperature, device, autocast)
                    for i in range(0, len(part), batch_size)
                ]
                parts.append({name: torch.cat([row[name] for row in rows]) for name in rows[0]})
                with replacing(path) as scratch:
                    save_file(parts[-1], scratch)
            bar.update(len(part))
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    lengths = torch.tensor([0] + [e.label_tokens for e in examples])
    return TeacherTargets(**joined, offsets=lengths.cumsum(0), temperature=temperature)


def _run(teacher, examples, k, temperature, device, autocast) -> dict[str, Tensor]:
    batch = collate(examples, range(len(examples)), frames=FULL_CONTEXT).to(device)
    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        logits = label_logits(teacher, batch).float()  # (N, V)
    labels = batch.labels[batch.labels != IGNORE]  # (N,)
    ids, log_kept, log_rest = topk_log_probs(logits, k, temperature)
    label_log_prob = logits.log_softmax(-1).gather(1, labels[:, None])[:, 0]
    out = {
        "ids": ids.int(), "log_kept": log_kept.half(), "log_rest": log_rest,
        "label_log_prob": label_log_prob, "argmax_right": ids[:, 0] == labels,
    }
    return {name: value.cpu().contiguous() for name, value in out.items()}
