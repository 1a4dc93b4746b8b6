r"""The two-phase curriculum: which of the three losses counts how much, at each step.

    L(s) = w_label CE(y, q) + w_teacher D(p_teacher || q) + w_self D(p_self || q),     s = step / total steps

    phase A, s <  switch:  w_teacher = lambda(s), decaying;  w_self = 0
    phase B, s >= switch:  w_teacher = lambda_end;           w_self = mu(s)
    w_label is what is left of ``total``, which is 1 unless a recipe declares another sum.

*Paper* (abstract of arXiv 2601.19919): the dependency on the teacher decays as training progresses, and a
self-distillation phase follows. *Ours*: everything else: the shape of lambda, both weights, the switch, the self-teacher.
The recipes that are compared lie in `askd.methods`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from askd.divergences import get_divergence
from askd.errors import AskdError, pick
from askd.pace import Pace
from askd.schedules import get_schedule

GATES = ("none", "argmax", "probability")
SELF_TEACHERS = ("ema", "snapshot", "previous_epoch")
NUMBERS = ("lambda_start", "lambda_end", "switch", "mu", "mu_start", "patience", "self_temperature", "label_smoothing", "anneal",
           "total", "refresh")
LAST_QUARTER = 0.75  # of phase A; from there on an adaptive weight is brought down to its end, whatever the gap. Ours
SWITCHES = ("step", "plateau")


class Weights(NamedTuple):
    """Weights of the three losses; they sum to the curriculum's ``total``."""

    label: float
    teacher: float
    self_teacher: float

    def without_self(self) -> "Weights":
        """The same while there is no self-teacher yet: its share goes to the label."""
        return Weights(self.label + self.self_teacher, self.teacher, 0.0)


@dataclass(frozen=True)
class Curriculum:
    """A method of distillation.

    Args:
        schedule: shape of lambda over phase A, one of `askd.schedules.SCHEDULES`. Default linear (ours).
        lambda_start, lambda_end: teacher's weight at s = 0 and from the switch on (a constant one falls there at once). Default
            0.8 (distil-whisper's paper) and 0 (ours).
        switch: progress at which phase B begins; 1 means never. Default 0.6 (ours).
        mu: self-teacher's weight at the end of phase B. Default 0.5 (ours).
        self_teacher: ``ema`` of the weights, a ``snapshot`` at the switch, or the student of the ``previous_epoch`` (PS-KD).
            Default ema (ours).
        gate: trust the teacher on every label token (``none``), where its best token is the label (``argmax``), or in
            proportion to the probability it gives the label (``probability``). Default argmax (ours).
        mu_start: self-teacher's weight at the switch. Default None: mu throughout (ours); PS-KD starts from 0.
        self_schedule: shape between mu_start and mu. Default linear (PS-KD).
        switch_by: ``step``: at ``switch``; ``plateau``: when the dev cross-entropy has found no new minimum in ``patience``
            looks, at ``switch`` at the latest. Default step (ours).
        patience: looks at the dev clips. Default 3 (ours).
        divergence: D, one of `askd.divergences.DIVERGENCES`. Default forward_kl (Hinton et al.; distil-whisper).
        refresh: share of the run after which ``previous_epoch`` takes the student of then. Default 0: at the end of each pass
            over the clips (PS-KD).
        self_temperature: tau of the self-teacher's term. Default None: as the teacher's; PS-KD has none, that is 1.
        label_smoothing: epsilon of CE. Default 0.
        anneal: tau_max of Annealing-KD: with divergence logit_mse, the teacher's logits are scaled by
            Phi = 1 - (tau - 1)/tau_max, tau falling from tau_max to 1 over phase A. Default 0: no scaling.
        total: sum of the three weights. Default 1; distil-whisper's are 1.8.

    Raises:
        AskdError: a field out of range, or weights that leave [0, 1] or do not sum to ``total``; the field is named.
        UnknownName: no such schedule, gate, self-teacher, divergence or way to switch.
    """

    schedule: str = "linear"
    lambda_start: float = 0.8
    lambda_end: float = 0.0
    switch: float = 0.6
    mu: float = 0.5
    self_teacher: str = "ema"
    gate: str = "argmax"
    mu_start: float | None = None
    self_schedule: str = "linear"
    switch_by: str = "step"
    patience: int = 3
    divergence: str = "forward_kl"
    self_temperature: float | None = None
    label_smoothing: float = 0.0
    anneal: float = 0.0
    total: float = 1.0
    refresh: float = 0.0

    def __post_init__(self):
        for name in NUMBERS:
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        get_schedule(self.schedule)
        get_schedule(self.self_schedule)
        get_divergence(self.divergence)
        pick("gate", self.gate, dict.fromkeys(GATES))
        pick("self-teacher", self.self_teacher, dict.fromkeys(SELF_TEACHERS))
        pick("way to switch", self.switch_by, dict.fromkeys(SWITCHES))
        for name in ("lambda_start", "lambda_end", "switch", "mu", "mu_start", "refresh"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise AskdError(f"curriculum: {name} must lie in [0, 1], not {value}")
        if not 0 <= self.label_smoothing < 1:
            raise AskdError(f"curriculum: label_smoothing must lie in [0, 1), not {self.label_smoothing}")
        if self.self_temperature is not None and self.self_temperature <= 0:
            raise AskdError(f"curriculum: self_temperature must be positive, not {self.self_temperature}")
        if self.patience < 1 or self.patience != int(self.patience):
            raise AskdError(f"curriculum: patience must be a whole number of looks, at least 1, not {self.patience}")
        if self.schedule == "adaptive" and self.lambda_start == 0:
            raise AskdError("curriculum: schedule adaptive follows the teacher's divergence, which lambda_start 0 never computes")
        if self.self_schedule == "adaptive":
            raise AskdError("curriculum: self_schedule goes by time; adaptive measures the gap to the teacher")
        if self.anneal and (self.anneal < 1 or self.divergence != "logit_mse"):
            raise AskdError(f"curriculum: anneal {self.anneal} is tau_max, at least 1, and scales logits: divergence logit_mse")
        if self.total <= 0:
            raise AskdError(f"curriculum: total, the sum of the weights, must be positive, not {self.total}")
        self._check_sums()

    def _check_sums(self) -> None:
        """What the others leave of ``total`` for the label lies in [0, 1]: at the ends of both phases, since all is monotone."""
        corners = [("A", w, 0.0) for w in self._ends] if self.switch > 0 else []
        if self._may_switch:
            corners += [("B", self.lambda_end, mu) for mu in (self._mu_a, self._mu_b)]
        for phase, teacher, own in corners:
            label = self.total - teacher - own
            if not -1e-9 <= label <= 1 + 1e-9:
                raise AskdError(
                    f"curriculum: teacher {teacher} and self-teacher {own} leave {label:.3g} of total {self.total} for the label "
                    f"in phase {phase}: no weight in [0, 1]; change lambda_start, lambda_end, mu or total"
                )

    @property
    def _may_switch(self) -> bool:
        return self.switch < 1 or self.switch_by == "plateau"

    @property
    def _ends(self) -> tuple[float, float]:
        return self.lambda_start, get_schedule(self.schedule)(1.0, self.lambda_start, self.lambda_end)

    @property
    def _mu_a(self) -> float:
        return self.mu if self.mu_start is None else self.mu_start

    @property
    def _mu_b(self) -> float:
        return get_schedule(self.self_schedule)(1.0, self._mu_a, self.mu)

    def weights(self, s: float, pace: Pace | None = None) -> Weights:
        """The three weights at progress ``s`` (clamped to [0, 1]).

        Pure: the same for the same arguments, so a resumed run sees the same. ``pace`` is what ``adaptive`` and ``plateau``
        have seen so far; without it the gap counts as unclosed and no plateau has come. The teacher's weight is continuous at
        the switch, but for a constant one, and where a plateau ends phase A before its schedule is through.
        """
        if self.phase(s, pace) == "A":
            time = max(0.0, s) / self.switch
            if self.schedule == "adaptive":
                closed = pace.closed if pace else 0.0
                time = max(closed, (time - LAST_QUARTER) / (1 - LAST_QUARTER))
            teacher = get_schedule(self.schedule)(time, self.lambda_start, self.lambda_end)
            return Weights(self._left(teacher, 0.0), teacher, 0.0)
        begun = self._switched(pace)
        own = get_schedule(self.self_schedule)((s - begun) / (1 - begun) if begun < 1 else 1.0, self._mu_a, self.mu)
        return Weights(self._left(self.lambda_end, own), self.lambda_end, own)

    def _left(self, teacher: float, own: float) -> float:
        return min(1.0, max(0.0, self.total - teacher - own))

    def _switched(self, pace: Pace | None) -> float:
        if self.switch_by == "plateau" and pace is not None and pace.switched is not None:
            return min(self.switch, pace.switched)
        return self.switch

    def phase(self, s: float, pace: Pace | None = None) -> str:
        """``A`` before the switch, ``B`` from it on; ``A`` to the end when the switch is 1 and no plateau comes."""
        at = self._switched(pace)
        return "A" if max(0.0, s) < at or at == 1 else "B"

    def scale(self, s: float, pace: Pace | None = None) -> float:
        """Phi of Annealing-KD at progress ``s``: from 1/tau_max at the start to 1 at the switch; 1 without ``anneal``."""
        if not self.anneal or self.phase(s, pace) == "B":
            return 1.0
        tau = get_schedule("linear")(s / self.switch if self.switch else 1.0, self.anneal, 1.0)
        return 1 - (tau - 1) / self.anneal

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's targets are used at all."""
        return (self.switch > 0 and max(self._ends) > 0) or (self._may_switch and self.lambda_end > 0)

    @property
    def needs_self_teacher(self) -> bool:
        """Whether phase B may come and has weight."""
        return self._may_switch and max(self._mu_a, self._mu_b) > 0


def _number(name: str, value) -> float | None:
    """What YAML gives, such as the string 1e-2, as a number; None stays where it has a meaning."""
    if value is None and name in ("mu_start", "self_temperature"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise AskdError(f"curriculum: {name} must be a number, not {value!r}")
    return value if isinstance(value, int | float) else number

