r"""Things to move in a notebook: the curriculum at any point of training (ipywidgets), and the same as a still figure.

    terms = mean_terms(committed("real/ablation.json", "askd ablate --profile real")["curves"]["askd"])
    curriculum_still(terms, "linear")                      # a figure: six points of training, complete without a kernel
    curriculum_slider(terms, "linear")                     # the same under two sliders and a menu; needs a running kernel

Both show, at progress s, the three weights and what each term then adds to the loss:

    L(s) = w_label(s) CE + w_teacher(s) KL_T + w_self(s) KL_S        (the KLs with their tau^2)

The terms are held fixed, so that only the weights move.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from askd.curriculum import Curriculum
from askd.figures import TERM_COLOURS, weight_bands
from askd.methods import METHODS
from askd.schedules import SCHEDULES

TERMS = {"label": "ce", "teacher": "kl_teacher", "self-teacher": "kl_self"}  # weight: its term in a log
SYMBOLS = {"label": "CE", "teacher": "KL_T", "self-teacher": "KL_S"}
BY_CLOCK = [name for name in SCHEDULES if name not in ("adaptive", "constant")]  # those that depend on s alone and end at 0
STILL = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8)  # of `curriculum_still`
WIDTH, HEIGHT = 420, 110  # of the slider's drawing, pixels


def mean_terms(curves: Sequence[Mapping]) -> dict[str, float]:
    """Mean of each raw term over the steps at which it was computed and over the seeds, nats a token, by the weight's name.

    Args:
        curves: of one method, from ``ablation.json`` or `askd.ablationreport.curve`.
    """
    values = {name: [v for one in curves for v in one[term] if v is not None] for name, term in TERMS.items()}
    return {name: float(np.mean(of)) if of else 0.0 for name, of in values.items()}


def shares(terms: Mapping[str, float], curriculum: Curriculum, s: float) -> dict[str, float]:
    """What each term adds to the loss at progress s, nats a token: weight times term; their sum is L(s)."""
    return {name: weight * terms[name] for name, weight in zip(TERMS, curriculum.weights(s), strict=True)}


def curriculum_still(terms: Mapping[str, float], schedule: str = "linear", at: Sequence[float] = STILL) -> plt.Figure:
    """The weights of ASKD over training with some points marked, and below what the loss is made of at each of them.

    Args:
        terms: by weight, nats a token, of `mean_terms`.
        schedule: of phase A.
        at: progress of each bar.
    """
    curriculum = replace(METHODS["askd"], schedule=schedule)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.6, 4.6), sharex=True, height_ratios=(3, 4), layout="constrained")
    s = np.linspace(0, 1, 601)
    weight_bands(top, s, np.array([curriculum.weights(x) for x in s]).T)
    top.set(ylabel="weight", title=f"Weights of ASKD, schedule {schedule}", xlim=(-0.06, 1.06))
    for x in at:
        top.axvline(x, color="black", linewidth=0.8, linestyle=":")
        base, parts = 0.0, shares(terms, curriculum, x)
        for name, part in parts.items():
            bottom.bar(x, part, 0.09, bottom=base, color=TERM_COLOURS[name], alpha=0.85, gid=f"{name} {x:g}")
            base += part
        bottom.annotate(f"{base:.2f}", (x, base), (0, 2), textcoords="offset points", ha="center", fontsize=9)
    bottom.set(xlabel="progress s", ylabel="nats a token", title="Weight times term: what the loss is made of there",
               xticks=at, ylim=(0, 1.15 * max(terms.values())))
    return figure


def curriculum_slider(terms: Mapping[str, float], schedule: str = "linear"):
    """Sliders for progress s and the switch s_1 and a menu of schedules; weights, products and their sum follow.

    Args:
        terms: as in `curriculum_still`.
        schedule: chosen at first.

    Returns:
        an ``ipywidgets.VBox``; what is saved of it is one sentence, since it needs a running kernel.
    """
    import ipywidgets

    class Moved(ipywidgets.VBox):
        """Saved without a kernel it says where to look instead of naming its own parts."""

        def _repr_mimebundle_(self, **kwargs):
            found = super()._repr_mimebundle_(**kwargs) or {}
            return found | {"text/plain": "(a slider: run this cell in JupyterLab to move it; the figure above shows six points)"}

    style = {"description_width": "90px"}
    first = schedule if schedule in BY_CLOCK else "linear"
    s = ipywidgets.FloatSlider(0.3, min=0, max=1, step=0.01, description="progress s", style=style)
    switch = ipywidgets.FloatSlider(METHODS["askd"].switch, min=0.2, max=1, step=0.05, description="switch s\u2081", style=style)
    menu = ipywidgets.Dropdown(options=BY_CLOCK, value=first, description="schedule", style=style)
    shown = ipywidgets.HTML()

    def move(_=None) -> None:
        shown.value = drawn(terms, replace(METHODS["askd"], schedule=menu.value, switch=switch.value), s.value)

    for control in (s, switch, menu):
        control.observe(move, "value")
    move()
    return Moved([s, switch, menu, shown])


def drawn(terms: Mapping[str, float], curriculum: Curriculum, s: float) -> str:
    """HTML of one position: the weights over training with a line at s, and the loss in numbers."""
    grid = np.linspace(0, 1, 121)
    tops = np.cumsum(np.array([curriculum.weights(x) for x in grid]), 1)  # (121, 3)
    below, areas = np.zeros(len(grid)), []
    for top, colour in zip(tops.T, TERM_COLOURS.values(), strict=True):
        edge = [*zip(grid, top, strict=True), *reversed(list(zip(grid, below, strict=True)))]
        points = " ".join(f"{WIDTH * x:.0f},{HEIGHT * (1 - y):.1f}" for x, y in edge)
        areas.append(f"<polygon points='{points}' fill='{colour}' fill-opacity='0.85'/>")
        below = top
    line = f"<line x1='{WIDTH * s:.0f}' x2='{WIDTH * s:.0f}' y1='0' y2='{HEIGHT}' stroke='black' stroke-width='2'/>"
    parts, weights = shares(terms, curriculum, s), curriculum.weights(s)
    rows = "".join(
        f"<tr><td style='text-align:left'><span style='color:{TERM_COLOURS[name]}'>\u25a0</span> {name}</td><td>{weight:.2f}</td>"
        f"<td>\u00d7 {terms[name]:.3f} ({SYMBOLS[name]})</td><td>= {parts[name]:.3f}</td></tr>"
        for name, weight in zip(TERMS, weights, strict=True)
    )
    total = f"<tr><td colspan='3' style='text-align:left'><b>L(s = {s:.2f}), phase {curriculum.phase(s)}</b></td>"
    svg = f"<svg width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}'>{''.join(areas)}{line}</svg>"
    return f"{svg}<table>{rows}{total}<td><b>= {sum(parts.values()):.3f} nats</b></td></tr></table>"
