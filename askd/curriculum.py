r"""The two-phase curriculum: which of the three losses counts how much, at each step.

    L(s) = w_label CE(y, q) + w_teacher KL(p_teacher || q) + w_self KL(p_self || q),     s = step / total steps

    phase A, s <  switch:  w_teacher = lambda(s), decaying;  w_label = 1 - lambda(s);         w_self = 0
    phase B, s >= switch:  w_teacher = lambda_end;           w_label = 1 - mu - lambda_end;   w_self = mu

*Paper* (abstract of arXiv 2601.19919): the dependency on the teacher decays as training progresses, and a
self-distillation phase follows. *Ours*: everything else: the shape of lambda, both weights, the switch, the self-teacher.
"""

from dataclasses import dataclass
from typing import NamedTuple

from askd.errors import AskdError, pick
from askd.schedules import get_schedule

GATES = ("none", "argmax", "probability")
SELF_TEACHERS = ("ema", "snapshot")


class Weights(NamedTuple):
    """Weights of the three losses; they sum to one."""

    label: float
    teacher: float
    self_teacher: float


@dataclass(frozen=True)
class Curriculum:
    """A method of distillation.

    Args:
        schedule: shape of lambda over phase A, one of `askd.schedules.SCHEDULES`. Default linear (ours).
        lambda_start, lambda_end: teacher's weight at s = 0 and from the switch on. Default 0.8 (distil-whisper's paper) and 0.
        switch: progress at which phase B begins; 1 means never. Default 0.6 (ours).
        mu: self-teacher's weight in phase B. Default 0.5 (ours).
        self_teacher: ``ema`` of the weights, or a ``snapshot`` at the switch. Default ema (ours).
        gate: trust the teacher on every label token (``none``), where its best token is the label (``argmax``), or in
            proportion to the probability it gives the label (``probability``). Default argmax (ours).

    Raises:
        AskdError: a field out of range, named.
        UnknownName: no such schedule, gate or self-teacher.
    """

    schedule: str = "linear"
    lambda_start: float = 0.8
    lambda_end: float = 0.0
    switch: float = 0.6
    mu: float = 0.5
    self_teacher: str = "ema"
    gate: str = "argmax"

    def __post_init__(self):
        get_schedule(self.schedule)
        pick("gate", self.gate, dict.fromkeys(GATES))
        pick("self-teacher", self.self_teacher, dict.fromkeys(SELF_TEACHERS))
        for name in ("lambda_start", "lambda_end", "switch", "mu"):
            if not 0 <= getattr(self, name) <= 1:
                raise AskdError(f"curriculum: {name} must lie in [0, 1], not {getattr(self, name)}")
        if self.switch < 1 and self.mu + self._lambda_b > 1:
            raise AskdError(f"curriculum: mu {self.mu} + teacher {self._lambda_b} exceed 1 in phase B")

    @property
    def _lambda_b(self) -> float:
        return get_schedule(self.schedule)(1.0, self.lambda_start, self.lambda_end)

    def weights(self, s: float) -> Weights:
        """The three weights at progress ``s`` (clamped to [0, 1]); pure, so a resumed run sees the same."""
        if self.phase(s) == "A":
            teacher = get_schedule(self.schedule)(s / self.switch, self.lambda_start, self.lambda_end)
            return Weights(1 - teacher, teacher, 0.0)
        return Weights(1 - self.mu - self._lambda_b, self._lambda_b, self.mu)

    def phase(self, s: float) -> str:
        """``A`` before the switch, ``B`` from it on; ``A`` to the end when the switch is 1."""
        return "A" if s < self.switch or self.switch == 1 else "B"

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's targets are used at all."""
        return max(self.lambda_start, self._lambda_b) > 0

    @property
    def needs_self_teacher(self) -> bool:
        """Whether phase B exists and has weight."""
        return self.switch < 1 and self.mu > 0


METHODS: dict[str, Curriculum] = {
    "ce_only": Curriculum("constant", 0.0, 0.0, switch=1.0, mu=0.0, gate="none"),
    "constant_kd": Curriculum("constant", 0.8, 0.8, switch=1.0, mu=0.0, gate="none"),
    "decay_only": Curriculum("linear", 0.8, 0.0, switch=0.6, mu=0.0, gate="argmax"),
    "self_kd_only": Curriculum("constant", 0.0, 0.0, switch=0.6, mu=0.5, gate="none"),
    "askd": Curriculum("linear", 0.8, 0.0, switch=0.6, mu=0.5, gate="argmax"),
}


def get_method(name: str) -> Curriculum:
    """The named recipe; `askd.errors.UnknownName` lists the others."""
    return pick("method", name, METHODS)
