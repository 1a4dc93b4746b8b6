"""Where a training step spends its time, and how far it is from what the machine's matrix products allow.

    data       waiting for the batch            decoder     forward and backward, the vocabulary projection with it
    teacher    teacher and self-teacher         loss        softmaxes and divergences, forward and backward
    encoder    forward and backward             optimiser   gradient norm, AdamW, EMA

The backward pass is cut where the gradient reaches the logits and where it reaches the encoder's output.
"""

import time
from collections.abc import Sequence

import torch

PARTS = ("data", "teacher", "encoder", "decoder", "loss", "optimiser", "other")
SAMPLED = 20  # on a GPU one step in so many is timed in parts: each mark has to wait for the device. Ours


class StepClock:
    """A stopwatch with named parts. ``begin`` a step, ``mark`` the end of each part, ``row`` gives the seconds."""

    def __init__(self, device: torch.device):
        self.device, self.on = device, True
        self.begin(0)

    def begin(self, step: int) -> None:
        """Start the clock of a step."""
        self.on = self.device.type == "cpu" or step % SAMPLED == 1  # step 0 of a run warms up
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.began = self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """The time since the last mark went into ``part``."""
        if not self.on:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part] += now - self.last
        self.last = now

    def mark_gradient(self, tensor: torch.Tensor, part: str) -> None:
        """Mark ``part`` when the backward pass has reached ``tensor``."""
        if self.on and tensor.requires_grad:
            tensor.register_hook(lambda _: self.mark(part))

    def row(self) -> dict[str, float]:
        """``seconds`` of the step so far and, where they were timed, of its parts."""
        total = time.perf_counter() - self.began
        return {"seconds": total} | ({part: seconds for part, seconds in self.seconds.items()} if self.on else {})


def shares(rows: Sequence[dict]) -> dict[str, float]:
    """Share of each part in the timed steps' seconds; sums to one (what no mark covered is ``other``)."""
    timed = [row for row in rows if "decoder" in row]
    total = sum(row["seconds"] for row in timed)
    if not total:
        return {}
    out = {part: sum(row[part] for row in timed) / total for part in PARTS}
    out["other"] += 1 - sum(out.values())
    return out
