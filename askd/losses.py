r"""Distillation losses: pure functions of logits and labels.

Axes: ``B`` utterances, ``L`` tokens, ``V`` vocabulary, ``K`` kept teacher tokens, ``...`` any leading axes (B, L or N).

Every loss is a **masked token mean**: the sum over label positions divided by their number. Positions whose label is
``IGNORE`` (padding, the prompt) count neither above nor below the bar, so a loss does not depend on how an utterance
was padded or batched. Softmaxes run in float32 whatever the logits are.

    q = softmax(student logits),   p = softmax(teacher logits),   x^tau = softmax(logits / tau)

How far q is from p is measured by any of `askd.divergences`, over the whole vocabulary (`distillation`) or over the
teacher's K most probable tokens and a bucket for the rest (`topk_log_probs`, `topk_distillation`).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from askd.divergences import decoupled_kd, get_divergence, logit_mse
from askd.errors import AskdError

IGNORE = -100  # label of a position that is not scored; PyTorch's and transformers' convention
SMALLEST_REST = 1e-7  # mass of a rest bucket that float32 can tell from zero


def cross_entropy(student_logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    r"""Mean negative log-likelihood of the labels.

        CE = - 1/N sum_n log q_n(y_n)

    Args:
        student_logits: (..., V).
        labels: (...), token ids, `IGNORE` where not scored.
        label_smoothing: epsilon in [0, 1); the target becomes ``(1 - eps) onehot + eps / V``. Default 0 (ours).

    Returns:
        scalar, nats per token.

    Raises:
        ValueError: label_smoothing out of range, or no label position.

    >>> round(float(cross_entropy(torch.zeros(3, 4), torch.tensor([0, 2, IGNORE]))), 4)  # ln 4: one of four tokens, a guess
    1.3863
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must lie in [0, 1), not {label_smoothing}")
    labels, logits = _label_rows(labels, student_logits)  # (N,), (N, V)
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def distillation(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, divergence: str = "forward_kl",
    temperature: float = 2.0, gate: Tensor | None = None, **own: float,
) -> Tensor:
    r"""Divergence of the student from the teacher over the whole vocabulary.

        D = tau^2 / N sum_n g_n D(p_n^tau, q_n^tau)

    ``tau^2`` keeps the gradient's scale when the temperature changes (Hinton et al., arXiv 1503.02531, section 2.1).

    Args:
        student_logits: (..., V).
        teacher_logits: (..., V); no gradient flows into them.
        labels: (...), `IGNORE` where not scored.
        divergence: name in `askd.divergences.DIVERGENCES`. Default forward KL (distil-whisper).
        temperature: tau > 0. Default 2 (distil-whisper).
        gate: (...), weight of each token's divergence in [0, 1]; N still counts every label position. Default all ones.
        own: the divergence's own parameters: beta, skew, alpha, scale.

    Returns:
        scalar, nats per token (squared nats of logit_mse).

    Raises:
        UnknownName: no such divergence.
        ValueError: tau <= 0, a parameter of the divergence out of range, or no label position.
        AskdError: teacher and student have different vocabularies.
    """
    measure = get_divergence(divergence)
    _check_temperature(temperature)
    if student_logits.shape[-1] != teacher_logits.shape[-1]:
        raise AskdError(
            f"the student has {student_logits.shape[-1]} tokens and its teacher {teacher_logits.shape[-1]}: they need the "
            "same vocabulary, so make the student from this teacher, or choose a teacher of the same kind (.en or multilingual)"
        )
    labels, student, teacher, gate = _label_rows(labels, student_logits, teacher_logits, gate)  # (N, V), (N, V), (N,)
    log_q = F.log_softmax(student.float() / temperature, dim=-1)  # (N, V)
    log_p = F.log_softmax(teacher.detach().float() / temperature, dim=-1)  # (N, V)
    per_token = _measured(measure, log_p, log_q, labels, own)  # (N,)
    return temperature**2 * _gated_mean(per_token, gate)


def topk_log_probs(
    logits: Tensor, k: int, temperature: float = 2.0, labels: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Compress a teacher's distribution: its ``k`` most probable tokens and one bucket for the rest.

    Args:
        logits: (..., V).
        k: kept tokens, 1 <= k < V.
        temperature: tau > 0 of the softmax.
        labels: (...), `IGNORE` allowed. A label that is not among the k takes the place of the k-th, when k >= 2: its own
            probability is kept always, and so is the most probable token. Default None: the k most probable tokens.

    Returns:
        ids (..., K) int64, the most probable first, log p^tau of them (..., K), descending, and the log of the remaining
        mass (...); they sum to one.

    Raises:
        ValueError: k or tau out of range.
    """
    if not 1 <= k < logits.shape[-1]:
        raise ValueError(f"k must lie in [1, {logits.shape[-1] - 1}], not {k}")
    _check_temperature(temperature)
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)  # (..., V)
    kept, ids = log_p.topk(k, dim=-1)  # (..., K)
    if labels is not None and k > 1:
        kept, ids = _with_label(log_p, kept, ids, labels)
    return ids, kept, _log_rest(kept)


def topk_distillation(
    student_logits: Tensor, ids: Tensor, log_kept: Tensor, log_rest: Tensor, labels: Tensor,
    divergence: str = "forward_kl", temperature: float = 2.0, gate: Tensor | None = None, **own: float,
) -> Tensor:
    r"""`distillation` against a compressed teacher, over K + 1 events: K tokens and the rest as one.

        D = tau^2 / N sum_n g_n D((p_k, p_rest), (q_k, q_rest)),   q_rest = 1 - sum_k q_k

    Of KL, reverse KL, Jensen-Shannon and skew KL this is a lower bound of the full divergence (merging events can only lose
    information), and equal to it at K = V - 1. For `decoupled_kd` a label that was not kept is the rest bucket. `logit_mse`
    compares the K kept logits alone: a bucket has none.

    Args:
        student_logits: (..., V).
        ids, log_kept, log_rest: of the teacher, from `topk_log_probs` at the same temperature; (..., K), (..., K), (...).
        labels, divergence, temperature, gate, own: as in `distillation`.

    Returns:
        scalar, nats per token (squared nats of logit_mse).

    Raises:
        UnknownName, ValueError: as `distillation`.
    """
    measure = get_divergence(divergence)
    _check_temperature(temperature)
    labels, student, ids, log_kept, log_rest, gate = _label_rows(labels, student_logits, ids, log_kept, log_rest, gate)
    scaled = student.float() / temperature  # (N, V)
    log_q = scaled.gather(-1, ids) - scaled.logsumexp(-1, keepdim=True)  # (N, K)
    log_p = log_kept.detach().float()  # (N, K)
    if measure is not logit_mse:
        log_q = torch.cat([log_q, _log_rest(log_q)[:, None]], -1)  # (N, K + 1)
        log_p = torch.cat([log_p, log_rest.detach().float()[:, None]], -1)  # (N, K + 1)
    per_token = _measured(measure, log_p, log_q, _places(ids, labels), own)  # (N,)
    return temperature**2 * _gated_mean(per_token, gate)


def _label_rows(labels: Tensor, *per_token: Tensor | None) -> tuple[Tensor | None, ...]:
    """Keep the label positions only: labels (N,), and each tensor (N, ...). Raises when there is none."""
    keep = labels != IGNORE
    count = int(keep.sum())  # the one wait for the device
    if count == 0:
        raise ValueError("no label position: every label is IGNORE, the mean over tokens is not defined")
    if count == keep.numel() and labels.ndim == 1:  # selected before the projection already: nothing to copy
        return (labels, *per_token)
    return (labels[keep], *(None if tensor is None else tensor[keep] for tensor in per_token))


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")


def _measured(measure: Callable[..., Tensor], log_p: Tensor, log_q: Tensor, place: Tensor, own: dict) -> Tensor:
    """The divergence of each token, (N,); only one of them asks where the label is."""
    if measure is decoupled_kd:
        own = {"place": place, **own}
    return measure(log_p, log_q, **own)


def _gated_mean(per_token: Tensor, gate: Tensor | None) -> Tensor:
    return per_token.mean() if gate is None else (gate * per_token).mean()


def _with_label(log_p: Tensor, kept: Tensor, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Kept log-probabilities and ids, both (..., K), with the label in the last place where it is in none."""
    label = labels.clamp_min(0)[..., None]  # (..., 1)
    missing = ((labels != IGNORE) & (ids != label).all(-1))[..., None]  # (..., 1)
    last = torch.where(missing, log_p.gather(-1, label), kept[..., -1:])  # (..., 1)
    return torch.cat([kept[..., :-1], last], -1), torch.cat([ids[..., :-1], torch.where(missing, label, ids[..., -1:])], -1)


def _places(ids: Tensor, labels: Tensor) -> Tensor:
    """Which of the K + 1 events each label is, (N,): its index among ids (N, K), or K, the rest."""
    here = ids == labels[:, None]  # (N, K)
    return torch.where(here.any(-1), here.int().argmax(-1), ids.shape[-1])


def _log_rest(log_kept: Tensor) -> Tensor:
    """log(1 - sum exp(log_kept)), floored at `SMALLEST_REST`."""
    rest = 1 - log_kept.exp().sum(-1)  # (...)
    return rest.clamp_min(SMALLEST_REST).log()
