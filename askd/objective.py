r"""The objective of one batch: the curriculum's three weights times the three losses.

    L(s) = w_label CE(y, q) + w_teacher tau^2 D(p_teacher^tau || q^tau) + w_self tau^2 D(p_self^tau || q^tau)

The logits are made from the decoder's hidden states chunk by chunk (`askd.chunks`): all N x V of them never exist at once.
"""

from typing import NamedTuple

import torch

from askd import losses
from askd.chunks import chunked_loss
from askd.curriculum import Curriculum, Weights


class States(NamedTuple):
    """What a model knows before its vocabulary projection: logits = hidden @ weight.T."""

    hidden: torch.Tensor  # (N, d) at the label positions
    weight: torch.Tensor  # (V, d)


def objective(
    student: States, labels: torch.Tensor, weights: Weights, curriculum: Curriculum, temperature: float, targets=None,
    self_teacher: States | None = None, scale: float = 1.0, autocast: torch.dtype | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """L = w_label CE + w_teacher D(teacher || student) + w_self D(self || student); terms of weight 0 are not computed.

    Args:
        student: its states; the gradient flows into both.
        labels: (N,) of the label positions.
        weights: of the three terms, from `Curriculum.weights`.
        curriculum: divergence, gate, label smoothing.
        temperature: tau.
        targets: `askd.targets.TokenTargets`, needed when w_teacher > 0.
        self_teacher: its states, needed when w_self > 0.
        scale: Phi of Annealing-KD, `Curriculum.scale`.
        autocast: dtype of the matrix products, or None; softmaxes are fp32 all the same.

    Returns:
        the loss, and each raw (unweighted) term as a number.
    """
    name = curriculum.divergence
    own = {"scale": scale} if name == "logit_mse" else {}
    gate = targets.gate(curriculum.gate) if weights.teacher > 0 else None  # (N,)
    self_temperature = curriculum.self_temperature or temperature
    past = None
    if weights.self_teacher > 0:
        past = States(*(t.detach().to(autocast or t.dtype) for t in self_teacher))  # cast once, not for every chunk

    def terms(logits: torch.Tensor, rows: slice) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of a chunk, (n, V): its mean loss and its raw terms."""
        y, total, raw = labels[rows], logits.new_zeros((), dtype=torch.float32), {}
        if weights.label > 0:
            raw["ce"] = losses.cross_entropy(logits, y, curriculum.label_smoothing)
            total = total + weights.label * raw["ce"]
        if weights.teacher > 0:
            told = (targets.ids[rows], targets.log_kept[rows], targets.log_rest[rows])  # (n, K), (n, K), (n,)
            raw["kl_teacher"] = losses.topk_distillation(logits, *told, y, name, temperature, gate[rows], **own)
            total = total + weights.teacher * raw["kl_teacher"]
        if weights.self_teacher > 0:
            own_logits = past.hidden[rows] @ past.weight.T  # (n, V)
            raw["kl_self"] = losses.distillation(logits, own_logits, y, name, self_temperature)
            total = total + weights.self_teacher * raw["kl_self"]
        return total, raw

    return chunked_loss(student.hidden, student.weight, terms, autocast=autocast)
