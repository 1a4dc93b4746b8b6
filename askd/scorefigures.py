"""Figures of the evaluation panel: each draws one report of ``results/`` and needs no model.

    from askd.files import read_json
    from askd.scorefigures import in_and_out
    run.save_figure(in_and_out(read_json(run.results / "wer.json")), "in_and_out")

One row a model, one colour a model (`askd.figures.COLOURS`; others are black), the number above its dot, bars are 95 % confidence
intervals. What a report lacks (None, NaN, a split without domains) is written as "n/a", never drawn as zero.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from askd.errors import AskdError
from askd.figures import COLOURS, label

INK, FAINT = "#333333", "#777777"
SPLITS = {"in_domain": "in-domain", "out_of_domain": "out-of-domain"}
CONTEXTS = {"clip": "heard in its own length", "full": "padded to 30 s"}
HALLUCINATIONS = {
    "insertion_rate": "words inserted,\n% of words said", "repeated_5grams_per_1000_words": "5-gram repeats,\nper 1,000 words",
    "compressed_share": "texts that loop,\n% of clips", "early_end_share": "ended too early,\n% of clips",
    "cut_share": "cut at the limit,\n% of clips",
}
Found = tuple[float, float, float]  # value, low, high


def _order(names: Iterable[str]) -> list[str]:
    """Teacher first, then the methods in the order of `COLOURS`, then others as given."""
    known = list(COLOURS)
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def _colour(name: str) -> str:
    return COLOURS.get(name, "#000000")


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _estimate(entry: Mapping | None) -> Found | None:
    """``{"value", "ci95"}`` as a tuple; without an interval low = value = high; None when nothing is known."""
    if not entry or not _known(entry["value"]):
        return None
    value, ends = entry["value"], entry.get("ci95") or ()
    return (value, *ends) if ends and all(map(_known, ends)) else (value, value, value)


def _of_split(report: Mapping, split: str, measure: str) -> dict[str, Mapping | None]:
    """One measure of every model."""
    return {name: (model["splits"].get(split) or {}).get(measure) for name, model in report["models"].items()}


def _number(value: float, digits: int = 1, signed: bool = False) -> str:
    """
    >>> _number(402.1), _number(33.26), _number(0.0), _number(0.456, 2, signed=True)
    ('402', '33.3', '0', '+0.46')
    """
    return f"{value:{'+' if signed else ''}.{0 if abs(value) >= 99.95 else digits}f}".replace("-", "\u2212") if value else "0"


def _limits(ax: plt.Axes, values: Sequence[float], signed: bool = False) -> None:
    """From zero, or with room on both sides of it; some width even when all are zero."""
    low, high = min([0, *values]), max([0, *values])
    high = high if high > low else 1
    width = high - low
    ax.set_xlim(low - 0.08 * width if low < 0 or signed else 0, high + 0.08 * width)


def _rows(ax: plt.Axes, names: Sequence[str], ticks: int = 5) -> None:
    """A row for each name, from the top."""
    ax.set(ylim=(len(names) - 0.45, -0.65))
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0, pad=8)  # a dot at zero stays clear of the names
    ax.spines["left"].set_visible(False)
    ax.grid(False, axis="y")
    ax.grid(True, axis="x")
    ax.locator_params(axis="x", nbins=ticks)


def _panels(count: int, names: Sequence[str], head: float, ticks: int = 5, **more) -> tuple[plt.Figure, Sequence[plt.Axes]]:
    """Panels side by side with a row a model, named on the left; ``head`` inches are for titles and axes."""
    figure, axes = plt.subplots(1, count, figsize=(8.4, 0.36 * len(names) + head), layout="constrained", squeeze=False, **more)
    for i, ax in enumerate(axes[0]):
        _rows(ax, [label(name) for name in names], ticks)
        ax.tick_params(axis="y", labelleft=i == 0)
    return figure, axes[0]


def _whiskers(ax: plt.Axes, names: Sequence[str], entries: Mapping[str, Mapping | None], signed: bool = False) -> list[float]:
    """Dot, bar and number of each model; returns all that was drawn, for limits that panels share."""
    estimates, drawn = [_estimate(entries.get(name)) for name in names], []
    digits = 1 if max((abs(found[0]) for found in estimates if found), default=1) >= 1 else 2
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}  # behind text: no line runs through it
    for y, (name, found) in enumerate(zip(names, estimates, strict=True)):
        if found is None:
            ax.text(0.03, y, "n/a", transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=FAINT, bbox=white)
            continue
        value, low, high = found
        ax.plot([low, high], [y, y], color=_colour(name), linewidth=2.5, solid_capstyle="butt", clip_on=False, gid=f"{name} ci95")
        ax.plot(value, y, "D" if name == "teacher" else "o", color=_colour(name), markersize=6, clip_on=False, zorder=4, gid=name)
        ax.annotate(_number(value, digits, signed), (value, y), (0, 5.5), textcoords="offset points", ha="center", va="bottom",
                    fontsize=8, color=INK, bbox=white)
        drawn += found
    _limits(ax, drawn, signed)
    return drawn


def in_and_out(wer: Mapping) -> plt.Figure:
    """Macro WER of every model in and out of domain, on one scale; the dotted line out of domain is what was lost.

    Args:
        wer: the content of ``wer.json``.
    """
    names = _order(wer["models"])
    figure, axes = _panels(2, names, 1.3, sharex=True)
    drawn, inside = [], {}
    for ax, (split, title) in zip(axes, SPLITS.items(), strict=True):
        found = {name: {"value": model["macro"].get(split), "ci95": (model.get("macro_ci95") or {}).get(split)}
                 for name, model in wer["models"].items()}
        drawn += _whiskers(ax, names, found)
        ax.set_title(title, fontsize=10)
        for y, name in enumerate(names):
            if name in inside and (here := _estimate(found[name])):
                ax.plot([inside[name], here[0]], [y, y], ":o", color=_colour(name), linewidth=1, markersize=4, markevery=[0],
                        markerfacecolor="white", zorder=1.5, clip_on=False, gid=f"{name} loss")
        inside |= {name: at[0] for name in names if (at := _estimate(found[name]))}
    _limits(axes[0], drawn)
    figure.supxlabel("macro word error rate, % (bars: 95 % CI; dotted: from the in-domain rate)", fontsize=9)
    return figure


def inheritance(blindspots: Mapping) -> plt.Figure:
    """Of the words the teacher gets wrong, the share each student gets wrong identically, and what chance would give.

    Args:
        blindspots: the report of `askd.blindspots`.
    """
    names = [name for name in _order(blindspots["models"]) if name != "teacher"]
    figure, axes = _panels(2, names, 1.75, sharex=True)
    drawn = []
    for ax, (split, title) in zip(axes, SPLITS.items(), strict=True):
        drawn += _whiskers(ax, names, _of_split(blindspots, split, "inherited_share"))
        expected = _of_split(blindspots, split, "expected_share")
        for y, name in enumerate(names):
            if chance := _estimate(expected[name]):
                ax.plot(chance[0], y, "o", markerfacecolor="white", markeredgecolor=INK, markersize=6, clip_on=False, zorder=3,
                        gid=f"{name} expected")
                drawn.append(chance[0])
        ax.set_title(title, fontsize=10, fontweight="normal")
    _limits(axes[0], drawn)
    figure.suptitle("Of the words the teacher gets wrong, how many does the student get wrong identically?",
                    x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel("% of the teacher's wrong words (dot: found, bars: 95 % CI; hollow: expected without knowing the teacher)",
                     fontsize=9)
    return figure


def reliability(calibration: Mapping, split: str = "all") -> plt.Figure:
    """Of the tokens a model is 90 % sure of, are 90 % right? One diagram a model, above the share of tokens in each bin.

    Args:
        calibration: the report of `askd.calibration`.
        split: ``in_domain``, ``out_of_domain`` or ``all``.
    """
    names = _order(calibration["models"])
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(2 * rows, columns, figsize=(2.8 * columns, 2.2 * rows + 0.4), sharex=True, squeeze=False,
                                height_ratios=[5, 1] * rows, layout="constrained")
    for ax in axes.flat:
        ax.set_visible(False)
    ece, over = (_of_split(calibration, split, measure) for measure in ("ece", "over_confidence"))
    for i, name in enumerate(names):
        top, bottom = axes[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]
        _diagram(top, bottom, name, (calibration["models"][name].get("reliability") or {}).get(split) or [])
        top.tick_params(labelleft=i % columns == 0)
        bottom.tick_params(labelbottom=i + columns >= len(names))
        top.set_title(label(name), fontsize=10, pad=20)
        notes = [f"ECE {_number(found[0])}" for found in [_estimate(ece[name])] if found]
        notes += [f"over-confidence {_number(found[0], signed=True)}" for found in [_estimate(over[name])] if found]
        top.annotate(", ".join(notes) or "n/a", (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=8,
                     color=INK)  # above a dot at 100 %
    axes[0, 0].text(97, 5, "over-confident", fontsize=8, color=FAINT, ha="right", style="italic")
    figure.supxlabel("confidence in the token, %\n(dot size and bars: share of tokens)", fontsize=9)
    figure.supylabel("tokens that are right, %", fontsize=9)
    return figure


def _diagram(top: plt.Axes, bottom: plt.Axes, name: str, bins: Sequence[Mapping]) -> None:
    """Accuracy over confidence, dots as large as their bin, above the share of tokens in each bin."""
    top.fill_between([0, 100], [0, 100], color="#F3F3F3", linewidth=0, zorder=0)
    top.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8)
    full = [b for b in bins if b["count"] and _known(b["confidence"]) and _known(b["accuracy"])]
    share = np.array([b["count"] for b in full]) / max(1, sum(b["count"] for b in full))
    x, y = [b["confidence"] for b in full], [b["accuracy"] for b in full]
    top.plot(x, y, color=_colour(name), linewidth=1, gid=name)
    top.scatter(x, y, 6 + 150 * share, color=_colour(name), clip_on=False, zorder=3)
    top.set(xlim=(0, 100), ylim=(0, 100), xticks=(0, 50, 100), yticks=(0, 50, 100))
    bottom.bar([100 * b["low"] for b in full], 100 * share, [100 * (b["high"] - b["low"]) for b in full], align="edge",
               color=_colour(name))
    bottom.set(ylim=(0, 100), yticks=())
    for ax in (top, bottom):
        ax.set_visible(True)
        ax.grid(False)


def nonspeech(report: Mapping) -> plt.Figure:
    """How many sounds without a word got words, over all and kind by kind, in both contexts of `askd.nonspeech`.

    Args:
        report: its report.
    """
    names = _order(report["models"])
    cells = {c: [report["models"][name].get(c) or {} for name in names] for c in CONTEXTS}
    cells = {c: row for c, row in cells.items() if any(row)}
    kinds = list(dict.fromkeys(kind for row in cells.values() for cell in row for kind in cell.get("by_kind", {})))
    shares = np.array([[[(cell.get("by_kind", {}).get(kind) or {}).get("share") for kind in kinds] for cell in row]
                       for row in cells.values()], float)  # (contexts, models, kinds), NaN where nothing was heard
    order = np.argsort(-np.nansum(shares, (0, 1)), kind="stable")  # what is answered most comes first
    height = (0.3 * len(names) + 0.55) * len(cells) + 1
    figure, axes = plt.subplots(len(cells), 2, figsize=(8.4, height), squeeze=False, width_ratios=(1, 2), sharex="col",
                                layout="constrained")
    for (left, right), (context, row), table in zip(axes, cells.items(), shares[:, :, order], strict=True):
        _rows(left, [label(name) for name in names])
        _whiskers(left, names, {name: cell.get("non_empty_share") for name, cell in zip(names, row, strict=True)})
        left.set_title(CONTEXTS[context], fontsize=10)
        right.pcolormesh(np.ma.masked_invalid(table), cmap="Greys", vmin=-10, vmax=125, edgecolors="white", linewidth=1)
        right.set(ylim=(len(names) + 0.05, -0.15), yticks=())
        right.set_xticks(np.arange(len(kinds)) + 0.5, [kinds[i].replace("_", " ") for i in order], rotation=60, ha="right",
                         rotation_mode="anchor", fontsize=8)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
        right.grid(False)
    axes[0, 1].set_title("kind by kind (pale: none of its sounds, dark: all)", fontsize=9, fontweight="normal")
    left.set_xlim(0, 105)
    left.set_xlabel("wordless sounds that got words,\n% (bars: 95 % CI)", fontsize=9)
    return figure


def hallucination(report: Mapping, split: str = "all") -> plt.Figure:
    """What a model writes that nobody said, and what it leaves out: one panel a measure.

    Args:
        report: the report of `askd.hallucination`.
        split: ``in_domain``, ``out_of_domain`` or ``all``.
    """
    names = _order(report["models"])
    figure, axes = _panels(len(HALLUCINATIONS), names, 1.5, 3)
    for ax, (measure, title) in zip(axes, HALLUCINATIONS.items(), strict=True):
        _whiskers(ax, names, _of_split(report, split, measure))
        ax.set_title(title, fontsize=8.5)
    figure.supxlabel(f"{SPLITS.get(split, 'all domains')} (bars: 95 % CI)", fontsize=9)
    return figure


def claims(claims: Mapping) -> plt.Figure:
    """The abstract's claims at a glance, a panel each.

    Args:
        claims: the content of ``claims.json``, from `askd.claims`; a vertical line stands at a claim's ``reference``.
    """
    panels = claims["claims"]
    names = _order(dict.fromkeys(name for claim in panels for name in claim["models"]))
    figure, axes = _panels(max(1, len(panels)), names, 1.85, 3)
    for ax, claim in zip(axes, panels, strict=False):
        reference = claim.get("reference")
        drawn = _whiskers(ax, names, claim["models"], signed=reference == 0)
        if reference is not None:
            ax.axvline(reference, color="black", linewidth=0.8, zorder=1, gid="reference")
            _limits(ax, [*drawn, reference], signed=True)
        ax.set_title(textwrap.fill(claim["title"], 80 // len(panels)), fontsize=8.5)
        ax.set_xlabel(claim["unit"], fontsize=9)
    figure.supxlabel("bars: 95 % CI", fontsize=9)
    return figure


def domain_differences(wer: Mapping, a: str, b: str) -> plt.Figure:
    """WER of ``a`` minus WER of ``b`` in every domain; filled where Holm's adjusted p is below 0.05; macros at the bottom.

    Args:
        wer: the content of ``wer.json``.
        a, b: a pair of its ``domain_comparisons``.

    Raises:
        AskdError: the two were not compared.
    """
    rows = [row for row in wer["domain_comparisons"] if (row["a"], row["b"]) == (a, b)]
    if not rows:
        pairs = sorted({f"{row['a']} minus {row['b']}" for row in wer["domain_comparisons"]})
        raise AskdError(f"{a} minus {b} was not measured domain by domain: choose among {', '.join(pairs) or 'none'}")
    domains = wer["models"][a]["domains"]
    groups = {title: sorted((row for row in rows if domains[row["domain"]]["split"] == split), key=lambda row: row["delta"])
              for split, title in SPLITS.items()}
    groups["macro"] = [row | {"domain": row["split"]} for row in wer["comparisons"] if (row["a"], row["b"]) == (a, b)]
    lines = [line for title, found in groups.items() if found for line in ({"domain": title}, *found)]
    figure, ax = plt.subplots(figsize=(8.4, 0.22 * len(lines) + 1), layout="constrained")
    _rows(ax, [line["domain"].replace("_", " ") for line in lines], 8)
    drawn = []
    for y, (line, tick) in enumerate(zip(lines, ax.get_yticklabels(), strict=True)):
        tick.set(fontsize=9, fontweight="normal" if "delta" in line else "bold")
        if found := _estimate({"value": line.get("delta"), "ci95": line.get("ci95")}):
            p, winner = line.get("p_holm", line.get("p")), a if found[0] < 0 else b
            colour = _colour(winner) if found[0] else INK
            ax.plot(found[1:], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            ax.plot(found[0], y, "o", color=colour, markerfacecolor=colour if _known(p) and p < 0.05 else "white", markersize=6,
                    gid=line["domain"])
            ax.text(1.06, y, _number(found[0], signed=True), transform=ax.get_yaxis_transform(), ha="right", va="center",
                    fontsize=8, color=INK)
            drawn += found
    ax.axvline(0, color="black", linewidth=0.8)
    _limits(ax, drawn, signed=True)
    ax.set_title(f"\u2190 {label(a)} better", loc="left", fontsize=10, color=_colour(a))
    ax.set_title(f"{label(b)} better \u2192", loc="right", fontsize=10, color=_colour(b))
    figure.supxlabel("difference of word error rates, points (bars: 95 % CI; filled: p < 0.05, Holm over domains)", fontsize=9)
    return figure
