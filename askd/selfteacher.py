r"""The self-teacher: an earlier or smoother copy of the student that teaches it. No gradient enters it.

* EMA: ``theta' <- m theta' + (1 - m) theta`` after every step (Tarvainen & Valpola, arXiv 1703.01780).
* snapshot: the student as it was at the phase switch, frozen.
* previous epoch: the student as it was at the end of the last whole pass over the clips (PS-KD, Kim et al., arXiv 2006.12000,
  who store its answers; a vocabulary of 51,865 makes that 200 kB a token, so the model itself is kept).
"""

import copy

import torch
from torch import nn

from askd.errors import AskdError


class SelfTeacher:
    """A frozen copy of the student, kept in ``.model``.

    Args:
        student: the model to follow.
        kind: ``ema``, ``snapshot`` or ``previous_epoch``.
        momentum: m of the EMA. Default 0.99 (mean teacher's starting value).
        epoch_steps: steps of one pass over the clips, for ``previous_epoch``.
    """

    def __init__(self, student: nn.Module, kind: str = "ema", momentum: float = 0.99, epoch_steps: int = 1):
        if not 0 <= momentum < 1:
            raise AskdError(f"momentum must lie in [0, 1), not {momentum}")
        self.kind, self.momentum, self.epoch_steps = kind, momentum, max(1, epoch_steps)
        self.model = copy.deepcopy(student).eval().requires_grad_(False)

    def ready(self, step: int) -> bool:
        """Whether it has something to teach at 0-based ``step``: a previous epoch must have been."""
        return self.kind != "previous_epoch" or step >= self.epoch_steps

    @torch.no_grad()
    def follow(self, student: nn.Module, phase: str, step: int) -> None:
        """Call after optimiser step ``step`` (0-based). The EMA moves always, the snapshot until phase B begins, the previous
        epoch when an epoch ends."""
        if self.kind == "previous_epoch":
            momentum = 0.0 if (step + 1) % self.epoch_steps == 0 else 1.0
        else:
            momentum = self.momentum if self.kind == "ema" else (0.0 if phase == "A" else 1.0)
        if momentum == 1:
            return
        pairs = zip(self.model.parameters(), student.parameters(), strict=True)
        moving = [(own, new.detach()) for own, new in pairs if new.requires_grad]  # the others never differ
        torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - momentum)
