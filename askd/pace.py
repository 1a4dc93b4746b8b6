r"""What a curriculum learns from the run itself: how far the student has come to its teacher, and whether it still improves.

    gap closed    c = 1 - min_{t' <= t} EMA_t'(d) / EMA_FIRST(d),  d the divergence from the teacher; drives schedule ``adaptive``
    plateau       ``patience`` looks at the dev clips in a row without a new minimum; ends phase A with ``switch_by: plateau``

Both are monotone, both are part of every checkpoint, and both see numbers that are the same on all processes. So a resumed run
keeps its pace.
"""

from dataclasses import asdict, dataclass

MEMORY = 0.9  # of the divergence's EMA; a step's own value is too noisy. Ours
FIRST = 10  # steps whose average is the gap at the start. Ours


@dataclass
class Pace:
    """State of a run's pace.

    Args:
        average: EMA of the divergence from the teacher, not yet divided by its ``weight``, 1 - MEMORY^steps.
        steps: how many it has seen.
        first: the EMA after `FIRST` steps, against which the gap is measured; 0 before.
        closed: share of the gap that is closed, 0 at the start, never falling, at most 1.
        best, stale: lowest dev cross-entropy, and looks since then.
        switched: progress at which a plateau ended phase A; None while it has not.
    """

    average: float = 0.0
    weight: float = 0.0
    steps: int = 0
    first: float = 0.0
    closed: float = 0.0
    best: float = float("inf")
    stale: int = 0
    switched: float | None = None

    def learnt(self, divergence: float) -> None:
        """Take in one step's raw divergence from the teacher, in nats a token."""
        self.average = MEMORY * self.average + (1 - MEMORY) * divergence
        self.weight = MEMORY * self.weight + (1 - MEMORY)
        self.steps += 1
        now = self.average / self.weight
        if self.steps >= FIRST and not self.first:
            self.first = now
        if self.first > 0:
            self.closed = min(1.0, max(self.closed, 1 - now / self.first))

    def looked(self, dev_ce: float, progress: float, patience: int) -> None:
        """Take in the dev cross-entropy at ``progress``; after ``patience`` looks without a new minimum, phase A is over."""
        if dev_ce < self.best:
            self.best, self.stale = dev_ce, 0
            return
        self.stale += 1
        if self.stale >= patience and self.switched is None:
            self.switched = progress

    def state(self) -> dict:
        """For a checkpoint."""
        return asdict(self)
