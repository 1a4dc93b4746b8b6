"""Figures of an ablation: how far each method gets, what the curriculum weighs, how fast each one learns.

    from askd.files import read_json
    ablation = read_json("runs/cpu-ablation/results/ablation.json")
    ablation_wer(ablation), terms_over_training(ablation["curves"]), dev_wer_over_steps(ablation["curves"])

Colours are `askd.figures.COLOURS`. Over several seeds a line is the mean, a band reaches from the lowest to the highest.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from askd.ablationtables import COLUMNS, means, over
from askd.directlabels import End, name_lines, readable
from askd.figures import COLOURS, TERM_COLOURS, label

PANELS = {name: title for name, title in COLUMNS.items() if name != "all"}
TERMS = {  # weight, term, name, colour as in askd.figures.training_curves
    "ce": ("w_label", "label CE", TERM_COLOURS["label"]), "kl_teacher": ("w_teacher", "teacher", TERM_COLOURS["teacher"]),
    "kl_self": ("w_self", "self-teacher", TERM_COLOURS["self-teacher"]),
}
FAR = 1.5  # a teacher further away than so many widths of all intervals is named at the edge: the students stay apart. Ours


def ablation_wer(ablation: Mapping) -> plt.Figure:
    """Macro WER of every method with 95 % intervals, in, out of domain and on real speech, the lowest out of domain on top.

    Args:
        ablation: the content of ``ablation.json``; the teacher is a dashed line and its interval shaded, or it is named at the
            edge when it lies far away.
    """
    models = ablation["wer"]
    splits = [split for split in PANELS if split in means(ablation)]
    by = "out_of_domain" if "out_of_domain" in splits else splits[0]
    names = sorted(ablation["methods"], key=lambda name: models[name]["macro"][by]["value"])
    size = max(9, 2.8 * len(splits)), 0.31 * len(names) + 1.25
    figure, axes = plt.subplots(1, len(splits), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for ax, split in zip(axes[0], splits, strict=True):
        found = {name: models[name]["macro"][split] for name in names}
        ends = [end for entry in found.values() for end in (entry["value"], *(entry["ci95"] or ()))]
        for y, (name, entry) in enumerate(found.items()):
            ax.plot(entry["ci95"] or [entry["value"]] * 2, [y, y], color=COLOURS[name], linewidth=2.5, solid_capstyle="butt",
                    gid=f"{name} ci95")
            ax.plot(entry["value"], y, "o", color=COLOURS[name], markersize=6, gid=name)
            ax.text(1.02, y, f"{entry['value']:.1f}", transform=ax.get_yaxis_transform(), va="center", fontsize=8.5,
                    color="#333333")
        ax.set_title(PANELS[split], fontsize=10, pad=17)
        _teacher(ax, models["teacher"]["macro"].get(split), min(ends), max(ends))
        ax.grid(False, axis="y")
        ax.grid(True, axis="x")
        ax.locator_params(axis="x", nbins=5)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    axes[0, 0].set_yticks(range(len(names)), [label(name) for name in names])
    for name, tick in zip(names, axes[0, 0].get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if name == "askd" else "normal")
    figure.supxlabel(f"macro word error rate, % (bars, shaded for the teacher: 95 % CI over {over(ablation)})", fontsize=9)
    return figure


def _teacher(ax: plt.Axes, entry: Mapping | None, low: float, high: float) -> None:
    """The teacher as a dashed line where that leaves the students apart, else its number at the edge; limits around all."""
    value, width = entry["value"] if entry else None, max(high - low, 0.1)
    if value is not None and low - FAR * width <= value <= high + FAR * width:
        ax.axvline(value, color=COLOURS["teacher"], linestyle="--", linewidth=1.2, zorder=1, gid="teacher")
        ci95 = entry["ci95"] or [value, value]
        ax.axvspan(*ci95, color=COLOURS["teacher"], alpha=0.12, linewidth=0, zorder=0, gid="teacher ci95")
        low, high = min(low, ci95[0]), max(high, ci95[1])
        margin = 0.08 * max(high - low, 0.1)
        ax.set_xlim(low - margin, high + margin)
        share = (value - ax.get_xlim()[0]) / np.diff(ax.get_xlim())[0]
        side, where = "right" if share > 0.5 else "left", value
        text = f"teacher {value:.1f}"
        ax.annotate(text, (where, 1), (2 if side == "left" else -2, 3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha=side, va="bottom", fontsize=8.5, color=COLOURS["teacher"])
        return
    ax.set_xlim(low - 0.08 * width, high + 0.08 * width)
    if value is not None:
        right = value > high
        ax.annotate(f"teacher {value:.1f} \u2192" if right else f"\u2190 teacher {value:.1f}", (float(right), 1), (0, 3),
                    xycoords="axes fraction", textcoords="offset points", ha="right" if right else "left", va="bottom",
                    fontsize=8.5, color=COLOURS["teacher"], gid="teacher")


def terms_over_training(curves: Mapping[str, Sequence[Mapping]], method: str = "askd", title: str = "") -> plt.Figure:
    """The three weights of one method over training, the terms they weigh, and what of the loss each one makes up.

    Args:
        curves: ``ablation.json``'s; each seed's ``step``, weights and terms.
        method: whose.
        title: default the method's name.
    """
    seeds = curves[method]
    figure, axes = plt.subplots(3, 1, figsize=(7.2, 7), sharex=True, height_ratios=(2, 3, 3), layout="constrained")
    weights, raw, weighted = axes
    figure.suptitle(title or label(method), x=0.01, ha="left", fontsize=12, fontweight="bold")
    places: list[list[End]] = [[], [], []]
    for term, (weight, name, colour) in TERMS.items():
        ws, ts = (np.array([[np.nan if v is None else v for v in one[key]] for one in seeds], float) for key in (weight, term))
        parts = (ws, np.where(ws > 0, ts, np.nan), ws * np.where(ws > 0, ts, np.nan))  # (seeds, points) each
        for ax, values, ends in zip(axes, parts, places, strict=True):
            ends += _band(ax, seeds[0]["step"], values, name, colour)
    loss = np.array([[np.nan if v is None else v for v in one["loss"]] for one in seeds], float)
    places[2] += _band(weighted, seeds[0]["step"], loss, "loss", "#000000", ":")
    weights.set(ylabel="weight", title="Weights")
    raw.set(ylabel="nats a token", title="Terms", ylim=(0, None))
    weighted.set(ylabel="nats a token", title="Weight times term: what the loss is made of", ylim=(0, None), xlabel="step")
    weights.set_ylim(-0.03, max(1.0, weights.get_ylim()[1]))
    for one in {one.get("switch") for one in seeds} - {None}:
        for ax in axes:
            ax.axvline(one, color="black", linewidth=0.8, linestyle=":", gid="switch")
        weights.annotate("switch", (one, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8.5)
    for ax, ends, gap in zip(axes, places, (0.14, 0.085, 0.085), strict=True):
        name_lines(ax, ends, gap)
        ax.set_xlim(0, seeds[0]["step"][-1])
    return figure


def dev_wer_over_steps(curves: Mapping[str, Sequence[Mapping]]) -> plt.Figure:
    """WER of the dev clips over training: a line a method, the mean of its seeds, a band from the lowest to the highest.

    Args:
        curves: ``ablation.json``'s; methods without a dev WER are left out.
    """
    figure, ax = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    ends = dev_lines(ax, curves)
    last = max((x for line in ax.lines for x in line.get_xdata()), default=0)
    ax.set(xlabel="step", ylabel="macro WER of the dev clips, %", xlim=(0, max(last, 1)))
    ax.locator_params(axis="x", integer=True)
    name_lines(ax, ends, 0.048)
    return figure


def dev_lines(ax: plt.Axes, curves: Mapping[str, Sequence[Mapping]]) -> list[End]:
    """Draw the dev WER of every method that has one; the ends of the lines."""
    ends = []
    for method in (name for name in COLOURS if name in curves):
        looks = [{look["step"]: look["dev_wer"] for look in one["dev"] if look["dev_wer"] is not None} for one in curves[method]]
        steps = sorted(set.intersection(*map(set, looks)))
        if steps:
            values = np.array([[one[step] for step in steps] for one in looks])  # (seeds, steps)
            ends += _band(ax, steps, values, label(method), COLOURS[method], "-o", method, 4 if method == "askd" else 2)
    return ends


def _band(
    ax: plt.Axes, steps: Sequence[int], values: np.ndarray, name: str, colour: str, style: str = "-", gid: str = "",
    front: int = 2,
) -> list[End]:
    """Mean of the seeds and their range; the value, name and colour of the line's end, [] where nothing is known."""
    known = np.isfinite(values).all(0)
    if not known.any():
        return []
    x, values = np.asarray(steps)[known], values[:, known]
    mean = values.mean(0)
    if len(values) > 1:
        ax.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.12, linewidth=0, zorder=1)
    alone = {"marker": "o"} if len(x) == 1 else {}
    ax.plot(x, mean, style, color=colour, markersize=3.5, zorder=front, linewidth=2.4 if front > 2 else 1.6, gid=gid or name,
            clip_on=False, **alone)
    if x[-1] < steps[-1]:  # it stops where its weight does: named above its middle
        i = len(x) // 2
        ax.annotate(name, (x[i], mean[max(0, i - 2) : i + 3].max()), (0, 5), textcoords="offset points", ha="center",
                    va="bottom", color=readable(colour), fontsize=9)
        return []
    return [(float(mean[-1]), name, colour)]
