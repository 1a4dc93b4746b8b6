r"""Schedules of a weight: pure functions of progress ``s`` in [0, 1].

Each goes from ``start`` at s = 0 to ``end`` at s = 1, exactly at both ends, monotone and within [start, end].
Progress outside [0, 1] is clamped, so a resumed or overlong run stays at the end value.
"""

import math
from collections.abc import Callable

from askd.errors import pick

Schedule = Callable[[float, float, float], float]


def _clamp(s: float) -> float:
    return min(1.0, max(0.0, s))


def _between(start: float, end: float, share: float) -> float:
    """start + (end - start) share, exact at both ends and never outside them in floating point."""
    value = start * (1 - share) + end * share
    return min(max(value, min(start, end)), max(start, end))


def constant(s: float, start: float, end: float) -> float:
    """``start`` throughout: plain distillation. ``end`` is not used."""
    return start


def linear(s: float, start: float, end: float) -> float:
    """``start + (end - start) s``."""
    return _between(start, end, _clamp(s))


def cosine(s: float, start: float, end: float) -> float:
    """``end + (start - end) (1 + cos(pi s)) / 2``: slow, fast, slow."""
    return _between(start, end, (1 - math.cos(math.pi * _clamp(s))) / 2)


def exponential(s: float, start: float, end: float, floor: float = 1e-2) -> float:
    """A geometric fall from ``start`` to ``end``, shifted to end exactly: ``share = (1 - floor^s) / (1 - floor)``.

    ``floor`` is the ratio between the slope at the end and at the start (ours); a plain start (end/start)^s cannot end at 0.
    """
    return _between(start, end, (1 - floor ** _clamp(s)) / (1 - floor))


def step(s: float, start: float, end: float, steps: int = 4) -> float:
    """``steps`` equal falls, at s = 1/steps, 2/steps, ..., 1 (the number is ours)."""
    return _between(start, end, math.floor(_clamp(s) * steps + 1e-9) / steps)


def sigmoid(s: float, start: float, end: float, steepness: float = 10.0) -> float:
    """A logistic fall around s = 1/2, stretched to hit both ends exactly (steepness is ours)."""
    low, high = 1 / (1 + math.exp(steepness / 2)), 1 / (1 + math.exp(-steepness / 2))
    return _between(start, end, (1 / (1 + math.exp(-steepness * (_clamp(s) - 0.5))) - low) / (high - low))


def adaptive(s: float, start: float, end: float) -> float:
    """Linear in ``s``, which here is not time: it is the share of the gap to the teacher that the student has closed.

    `askd.pace.Pace` measures it, as 1 - (smallest EMA of the teacher's divergence so far) / (that of the first steps), so that
    it never falls back. A student that keeps all its teacher's layers starts without a gap, and noise is all there is to see;
    `askd.curriculum` brings the weight to its end in the last quarter of phase A in any case. *Ours*: the abstract of arXiv
    2601.19919 says "adaptive" and not what to.
    """
    return _between(start, end, _clamp(s))


SCHEDULES: dict[str, Schedule] = {
    function.__name__: function for function in (constant, linear, cosine, exponential, step, sigmoid, adaptive)
}


def get_schedule(name: str) -> Schedule:
    """The schedule called ``name``; `askd.errors.UnknownName` lists the others."""
    return pick("schedule", name, SCHEDULES)
