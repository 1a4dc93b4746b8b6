r"""How far the student's distribution is from the teacher's: pure functions of log-probabilities, one number a token.

Axes: ``...`` any leading axes (N label tokens), ``E`` events that sum to one: the whole vocabulary, or K kept tokens and one
bucket for the rest. The teacher ``p`` comes first, then the student ``q``; ``askd.losses`` makes both of logits at a
temperature, in float32, and takes the masked mean.

Every one is zero where p = q and never negative. They differ in what they punish: `forward_kl` a student that misses what
the teacher says (it covers all modes), `reverse_kl` one that says what the teacher would not (it seeks one mode);
`jensen_shannon` lies between, `skew_kl` is a forward KL that stays bounded, `decoupled_kd` weighs the teacher's confidence
in the label and its opinion on all other tokens apart, and `logit_mse` compares logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from askd.errors import pick

if TYPE_CHECKING:  # names of divergences are checked where nothing is computed: torch takes a second to import
    from torch import Tensor


def forward_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    r"""KL(p || q) = sum_e p_e (log p_e - log q_e): Hinton et al., arXiv 1503.02531, up to the teacher's entropy.

    Args:
        log_p: (..., E), teacher.
        log_q: (..., E), student.

    Returns:
        (...), nats.
    """
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def reverse_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    r"""KL(q || p) = sum_e q_e (log q_e - log p_e): MiniLLM, arXiv 2306.08543. Arguments as in `forward_kl`."""
    return forward_kl(log_q, log_p)


def jensen_shannon(log_p: Tensor, log_q: Tensor, beta: float = 0.5) -> Tensor:
    r"""Generalised Jensen-Shannon divergence of GKD, arXiv 2306.13649.

        JSD_beta = beta KL(p || m) + (1 - beta) KL(q || m),   m = beta p + (1 - beta) q

    At most H(beta), the entropy of a coin with that bias: log 2 at 1/2, where it is symmetric. For small beta it behaves as
    beta KL(p || q), for beta near 1 as (1 - beta) KL(q || p).

    Args:
        log_p, log_q: as in `forward_kl`.
        beta: the teacher's share of the mixture, 0 < beta < 1. Default 0.5 (TRL's GKD trainer).

    Returns:
        (...), nats.

    Raises:
        ValueError: beta out of range.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta of jensen_shannon must lie between 0 and 1, not {beta}")
    log_m = _log_mixture(log_p, log_q, beta)  # (..., E)
    return beta * forward_kl(log_p, log_m) + (1 - beta) * forward_kl(log_q, log_m)


def skew_kl(log_p: Tensor, log_q: Tensor, skew: float = 0.1) -> Tensor:
    r"""Skew KL of DistiLLM, arXiv 2402.03898: KL(p || skew p + (1 - skew) q).

    At most -log skew, so no token that the student rules out takes over the gradient; skew 0 is `forward_kl`.

    Args:
        log_p, log_q: as in `forward_kl`.
        skew: the teacher's share of the mixture, 0 <= skew < 1. Default 0.1 (DistiLLM's code).

    Returns:
        (...), nats.

    Raises:
        ValueError: skew out of range.
    """
    if not 0 <= skew < 1:
        raise ValueError(f"skew of skew_kl must lie in [0, 1), not {skew}")
    if skew == 0:
        return forward_kl(log_p, log_q)
    return forward_kl(log_p, _log_mixture(log_p, log_q, skew))


def decoupled_kd(log_p: Tensor, log_q: Tensor, place: Tensor, alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    r"""Decoupled knowledge distillation, arXiv 2203.08679.

        DKD  = alpha TCKD + beta NCKD
        TCKD = KL of the coins {label, not label}:  (p_y, 1 - p_y) against (q_y, 1 - q_y)
        NCKD = sum_{e != y} p^_e (log p^_e - log q^_e),   p^_e = p_e / (1 - p_y)

    KL(p || q) is TCKD + (1 - p_y) NCKD: the surer the teacher is of the label, the less it teaches about all other tokens.
    DKD undoes that. ``1 - p_y`` is summed in log space over the other events, so a label with all the mass is no division
    by zero.

    Args:
        log_p, log_q: as in `forward_kl`; E >= 2.
        place: (...), int64, which of the E events is the label.
        alpha: weight of TCKD, >= 0. Default 1 (mdistiller, the paper's code).
        beta: weight of NCKD, >= 0. Default 8 (mdistiller, for CIFAR-100).

    Returns:
        (...), nats.

    Raises:
        ValueError: alpha or beta negative.
    """
    from torch import cat

    for name, value in (("alpha", alpha), ("beta", beta)):
        if not value >= 0:
            raise ValueError(f"{name} of decoupled_kd must not be negative, not {value}")
    place = place[..., None]  # (..., 1)
    others_p, others_q = (x.scatter(-1, place, -math.inf) for x in (log_p, log_q))  # (..., E)
    log_not_p, log_not_q = (x.logsumexp(-1, keepdim=True) for x in (others_p, others_q))  # (..., 1)
    coin_p = cat([log_p.gather(-1, place), log_not_p], -1)  # (..., 2)
    coin_q = cat([log_q.gather(-1, place), log_not_q], -1)  # (..., 2)
    # the label's own difference is finite here, and weighs nothing
    difference = (log_p - log_not_p) - (log_q - log_not_q)  # (..., E)
    nckd = ((others_p - log_not_p).exp() * difference).sum(-1)  # (...)
    return alpha * forward_kl(coin_p, coin_q) + beta * nckd


def logit_mse(log_p: Tensor, log_q: Tensor, scale: float = 1.0) -> Tensor:
    r"""Mean squared error of centred log-probabilities.

        MSE = 1/E sum_e (c(log q)_e - scale c(log p)_e)^2,   c(x)_e = x_e - mean(x)

    A softmax does not see a constant added to all logits, and neither does this: centred, log-probabilities at temperature
    tau are centred logits over tau, and ``tau^2 MSE`` is the squared error of centred logits whatever tau is.

    Args:
        log_p, log_q: as in `forward_kl`.
        scale: Phi of Annealing-KD (arXiv 2104.07163), which grows to 1 and so sharpens the target from uniform
            to the teacher's, 0 <= scale <= 1. Default 1, plain regression on logits.

    Returns:
        (...), squared nats.

    Raises:
        ValueError: scale out of range.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"scale of logit_mse must lie in [0, 1], not {scale}")
    centred_p, centred_q = (x - x.mean(-1, keepdim=True) for x in (log_p, log_q))  # (..., E)
    return (centred_q - scale * centred_p).square().mean(-1)


def _log_mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share p + (1 - share) q), of log-probabilities too small to be exponentiated as well."""
    return (log_p + math.log(share)).logaddexp(log_q + math.log1p(-share))


DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (forward_kl, reverse_kl, jensen_shannon, skew_kl, decoupled_kd, logit_mse)
}


def get_divergence(name: str) -> Callable[..., Tensor]:
    """The function of that name; `UnknownName` lists what exists."""
    return pick("divergence", name, DIVERGENCES)
