r"""Distillation losses: pure functions of logits and labels.

Axes: ``B`` utterances, ``L`` tokens, ``V`` vocabulary, ``K`` kept teacher tokens, ``...`` any leading axes (B, L or N).

Every loss is a **masked token mean**: the sum over label positions divided by their number. Positions whose label is
``IGNORE`` (padding, the prompt) count neither above nor below the bar, so a loss does not depend on how an utterance
was padded or batched. Softmaxes run in float32 whatever the logits are.

    q = softmax(student logits),   p = softmax(teacher logits),   x^tau = softmax(logits / tau)
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100  # label of a position that is not scored; PyTorch's and transformers' convention


def _label_rows(labels: Tensor, *per_token: Tensor) -> tuple[Tensor, ...]:
    """Keep the label positions only: labels (N,), and each tensor (N, ...). Raises when there is none."""
    keep = labels != IGNORE
    if not keep.any():
        raise ValueError("no label position: every label is IGNORE, the mean over tokens is not defined")
    if keep.all() and labels.ndim == 1:  # selected before the projection already: nothing to copy
        return (labels, *per_token)
    return (labels[keep], *(tensor[keep] for tensor in per_token))


def cross_entropy(student_logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    r"""Mean negative log-likelihood of the labels.

        CE = - 1/N sum_n log q_n(y_n)

    Args:
        student_logits: (..., V).
        labels: (...), token ids, `IGNORE` where not scored.
        label_smoothing: epsilon; the target becomes ``(1 - eps) onehot + eps / V``. Default 0 (ours).

    Returns:
        scalar, nats per token.

    Raises:
        ValueError: no label position.
    """
    labels, logits = _label_rows(labels, student_logits)  # (N,), (N, V)
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def forward_kl(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float = 2.0, gate: Tensor | None = None
) -> Tensor:
    r"""Forward Kullback-Leibler divergence, teacher to student, over the whole vocabulary.

        KL = tau^2 / N sum_n g_n sum_v p_n^tau(v) (log p_n^tau(v) - log q_n^tau(v))

    ``tau^2`` keeps the gradient's scale when the temperature changes (Hinton et al., arXiv 1503.02531, section 2.1).

    Args:
        student_logits: (..., V).
        teacher_logits: (..., V); no gradient flows into them.
        labels: (...), `IGNORE` where not scored.
        temperature: tau > 0. Default 2 (distil-whisper).
        gate: (...), weight of each token's divergence in [0, 1]; N still counts every label position. Default all ones.

    Returns:
        scalar, nats per token.

    Raises:
        ValueError: tau <= 0, or no label position.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    gate = torch.ones(labels.shape, device=labels.device) if gate is None else gate
    _, student, teacher, gate = _label_rows(labels, student_logits, teacher_logits, gate)  # (N, V), (N, V), (N,)
    log_q = F.log_softmax(student.float() / temperature, dim=-1)  # (N, V)
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=-1)  # (N, V)
    per_token = (log_p.exp() * (log_p - log_q)).sum(-1)  # (N,)
    return temperature**2 * (gate * per_token).mean()


def topk_log_probs(logits: Tensor, k: int, temperature: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    r"""Compress a teacher's distribution: its ``k`` most probable tokens and one bucket for the rest.

    Args:
        logits: (..., V).
        k: kept tokens, 1 <= k < V.
        temperature: tau of the softmax.

    Returns:
        ids (..., K) int64, log p^tau of them (..., K), and the log of the remaining mass (...); they sum to one.

    Raises:
        ValueError: k out of range.
    """
    if not 1 <= k < logits.shape[-1]:
        raise ValueError(f"k must lie in [1, {logits.shape[-1] - 1}], not {k}")
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)  # (..., V)
    kept, ids = log_p.topk(k, dim=-1)  # (..., K)
    return ids, kept, _log_rest(kept)


def _log_rest(log_kept: Tensor) -> Tensor:
    """log(1 - sum exp(log_kept)), floored at the smallest mass that float32 can tell from zero."""
    rest = 1 - log_kept.exp().sum(-1)  # (...)
    return rest.clamp_min(1e-7).log()


def topk_forward_kl(
    student_logits: Tensor, ids: Tensor, log_kept: Tensor, log_rest: Tensor, labels: Tensor,
    temperature: float = 2.0, gate: Tensor | None = None,
) -> Tensor:
    r"""`forward_kl` against a compressed teacher: K tokens and the rest as one event.

        KL = tau^2 / N sum_n g_n [ sum_k p_k (log p_k - log q_k) + p_rest (log p_rest - log q_rest) ]

    A lower bound of the full KL (merging events can only lose information), and equal to it as K -> V.

    Args:
        student_logits: (..., V).
        ids, log_kept, log_rest: of the teacher, from `topk_log_probs` at the same temperature; (..., K), (..., K), (...).
        labels, temperature, gate: as in `forward_kl`.

    Returns:
        scalar, nats per token.
    """
    gate = torch.ones(labels.shape, device=labels.device) if gate is None else gate
    _, student, ids, log_kept, log_rest, gate = _label_rows(labels, student_logits, ids, log_kept, log_rest, gate)
    scaled = student.float() / temperature  # (N, V)
    log_q = scaled.gather(-1, ids) - scaled.logsumexp(-1, keepdim=True)  # (N, K)
    log_p = log_kept.float()
    per_token = (log_p.exp() * (log_p - log_q)).sum(-1)  # (N,)
    per_token = per_token + log_rest.exp() * (log_rest - _log_rest(log_q))  # (N,)
    return temperature**2 * (gate * per_token).mean()
