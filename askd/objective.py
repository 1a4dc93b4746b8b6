r"""The objective of one batch: the curriculum's three weights times the three losses.

    L(s) = w_label CE(y, q) + w_teacher tau^2 KL(p_teacher^tau || q^tau) + w_self tau^2 KL(p_self^tau || q^tau)
"""

import torch

from askd import losses
from askd.curriculum import Curriculum, Weights


def objective(
    logits: torch.Tensor, labels: torch.Tensor, weights: Weights, curriculum: Curriculum, temperature: float,
    targets=None, self_logits: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """L = w_label CE + w_teacher KL(teacher || student) + w_self KL(self || student); terms of weight 0 are not computed.

    Args:
        logits, labels: (N, V) and (N,) of the label positions.
        weights: of the three terms, from `Curriculum.weights`.
        targets: `askd.targets.TokenTargets`, needed when w_teacher > 0.
        self_logits: (N, V), needed when w_self > 0.

    Returns:
        the loss, and each raw (unweighted) term as a number.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    terms = {}
    if weights.label > 0:
        term = losses.cross_entropy(logits, labels)
        total, terms["ce"] = total + weights.label * term, term.item()
    if weights.teacher > 0:
        gate = targets.gate(curriculum.gate)
        term = losses.topk_forward_kl(
            logits, targets.ids, targets.log_kept, targets.log_rest, labels, temperature, gate
        )
        total, terms["kl_teacher"] = total + weights.teacher * term, term.item()
    if weights.self_teacher > 0:
        term = losses.forward_kl(logits, self_logits, labels, temperature)
        total, terms["kl_self"] = total + weights.self_teacher * term, term.item()
    return total, terms
