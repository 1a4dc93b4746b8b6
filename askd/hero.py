"""The first picture of the README: what ASKD listens to, what comes of it while it trains, and on test clips.

    from askd.files import read_json
    hero(read_json("data/results/real/ablation.json"))
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np

from askd.ablationtables import means, over, repeats
from askd.curriculum import Curriculum
from askd.directlabels import name_lines, readable
from askd.figures import COLOURS, label, weight_bands
from askd.methodfigures import dev_lines

SPLITS = {"all": "On test clips: all {} domains", "real": "Real speech alone: {} domains"}
SIZE = 12.5  # of its type, points at a width of 10.8 inches: it is shown smaller


def hero(ablation: Mapping) -> plt.Figure:
    """Weights of ASKD above the dev WER of every method, over the steps; beside them the test WER with 95 % intervals.

    Args:
        ablation: the content of ``ablation.json`` with methods ``askd``, ``constant_kd`` and ``ce_only``.
    """
    curves, curriculum = ablation["curves"], Curriculum(**ablation["curricula"]["askd"])
    steps = curves["askd"][0]["step"][-1]
    with plt.rc_context({"font.size": SIZE, "axes.titlesize": SIZE + 0.5}):
        figure, axes = plt.subplots(2, 2, figsize=(10.8, 6.2), width_ratios=(6, 5), height_ratios=(4, 5), layout="constrained")
        (weights, dev), tests = axes.T
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
        figure.suptitle(finding(ablation), x=0.01, ha="left", fontsize=SIZE + 2.5, fontweight="bold")
        s = np.linspace(0, 1, 601)
        weight_bands(weights, s * steps, np.array([curriculum.weights(x) for x in s]).T, SIZE)
        weights.set(title="What ASKD listens to: weights of its loss", xlim=(0, steps), yticks=(0, 0.5, 1))
        weights.tick_params(labelbottom=False)
        for ax in (weights, dev):
            if curriculum.switch < 1:
                ax.axvline(curriculum.switch * steps, color="black", linewidth=0.9, linestyle=":", gid="switch")
        ends = dev_lines(dev, curves)
        dev.set(title="Word error rate on dev clips, %", xlabel="training step", xlim=(0, steps))
        dev.locator_params(axis="x", integer=True, nbins=5)
        name_lines(dev, ends, 0.1, SIZE)
        names = sorted(ablation["wer"], key=lambda name: -ablation["wer"][name]["macro"]["all"]["value"])
        for ax, (split, title) in zip(tests, SPLITS.items(), strict=True):
            _test_dots(ax, {name: ablation["wer"][name]["macro"].get(split) for name in names})
            ax.set_title(title.format(means(ablation).get(split, "no")))
            ax.set_xlim(0, 1.16 * max(x for line in tests[0].lines for x in line.get_xdata()))  # one scale, room for numbers
        tests[1].set_xlabel("macro word error rate, %")
        for ax in axes.flat:
            ax.tick_params(labelsize=SIZE)
        lines = f" Lines: mean of {repeats(ablation)}, bands: their range." if len(ablation["seeds"]) > 1 else ""
        figure.supxlabel(f"constant KD: the teacher's weight stays. CE only: labels alone, no teacher.{lines}\n"
                         f"Bars: 95 % intervals over {over(ablation)}.", x=0.01, ha="left", fontsize=SIZE - 2.5, color="#555555")
    return figure


def _test_dots(ax: plt.Axes, found: Mapping[str, Mapping | None]) -> None:
    """A row a model: dot, interval, number."""
    for y, (name, entry) in enumerate(found.items()):
        if entry:
            low, high = entry["ci95"] or [entry["value"]] * 2
            ax.plot([low, high], [y, y], color=COLOURS[name], linewidth=3.5, solid_capstyle="butt", gid=f"{name} ci95")
            ax.plot(entry["value"], y, "D" if name == "teacher" else "o", color=COLOURS[name], markersize=9, gid=name)
            ax.annotate(f"{entry['value']:.1f}", (high, y), (7, 0), textcoords="offset points", va="center",
                        color=readable(COLOURS[name]), fontweight="bold" if name == "askd" else "normal")
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_yticks(range(len(found)), [label(name) for name in found])
    for name, tick in zip(found, ax.get_yticklabels(), strict=True):
        tick.set(color=readable(COLOURS[name]), fontweight="bold" if name == "askd" else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x")


def finding(ablation: Mapping) -> str:
    """ASKD against constant KD and against labels alone over all test domains, no more than the intervals carry."""
    told = {"constant_kd": "constant KD", "ce_only": "labels alone (CE only)"}
    deltas = {c["b"]: c for c in ablation["comparisons"] if c["a"] == "askd" and c["split"] == "all"}
    parts = []
    for b, name in told.items():
        if b in deltas:
            (low, high), delta = deltas[b]["ci95"], deltas[b]["delta"]
            apart = low > 0 or high < 0
            size = f"{abs(delta):.1f} points of WER {'below' if delta < 0 else 'above'} {name}"
            parts.append(size if apart else f"level with {name}")
    return f"{label('askd')}: {', '.join(parts)}" if parts else label("askd")
