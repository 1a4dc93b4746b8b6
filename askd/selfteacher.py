r"""The self-teacher: an earlier or smoother copy of the student that teaches it in phase B. No gradient enters it.

* EMA: ``theta' <- m theta' + (1 - m) theta`` after every step (Tarvainen & Valpola, arXiv 1703.01780).
* snapshot: the student as it was at the phase switch, frozen.
"""

import copy

import torch
from torch import nn

from askd.errors import AskdError


class SelfTeacher:
    """A frozen copy of the student, kept in ``.model``.

    Args:
        student: the model to follow.
        kind: ``ema`` or ``snapshot``.
        momentum: m of the EMA. Default 0.99 (mean teacher's starting value).
    """

    def __init__(self, student: nn.Module, kind: str = "ema", momentum: float = 0.99):
        if not 0 <= momentum < 1:
            raise AskdError(f"momentum must lie in [0, 1), not {momentum}")
        self.kind, self.momentum = kind, momentum
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    @torch.no_grad()
    def follow(self, student: nn.Module, phase: str) -> None:
        """Call after every optimiser step. The EMA moves always; the snapshot follows until phase B begins."""
        momentum = self.momentum if self.kind == "ema" else (0.0 if phase == "A" else 1.0)
        if momentum == 1:
            return
        pairs = zip(self.model.parameters(), student.parameters(), strict=True)
        moving = [(own, new.detach()) for own, new in pairs if new.requires_grad]  # the others never differ
        torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - momentum)
