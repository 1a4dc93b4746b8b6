"""Figures of a latency report (`askd.latencyreport.compare`)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from askd.errors import AskdError
from askd.figures import COLOURS
from askd.latencyreport import TEST

MARKERS = {"transformers": "o", "generate": "s", "compiled": "^", "ct2": "D", "faster-whisper": "P"}
SIZE = 8.5  # of labels, in points
STUDENTS = (COLOURS["askd"], "#882255", "#999933")  # in turn
PEERS = ("#0072B2", "#009E73", "#CC79A7")  # in turn; the teacher has its colour of all figures


def pareto(report: Mapping, mode: str = "free") -> plt.Figure:
    """Macro WER against median latency at batch 1 on the test clips: a point a model and engine, named; a line through those
    that no other one beats in both.

    Args:
        report: what `askd.latencyreport.compare` returned.
        mode: ``free`` or ``fixed`` token counts.

    Raises:
        AskdError: the report has no such rows.
    """
    rows = [r for r in report["rows"] if r["batch"] == 1 and r["clips"] == TEST and r["mode"] == mode and r["wer"] is not None]
    if not rows:
        raise AskdError(f"this report has no rows of test clips at batch 1 with {mode} token counts: measure them first")
    students = report["students"]
    names = [name for name in dict.fromkeys(row["model"] for row in rows) if name not in ("teacher", *students)]
    colours = {"teacher": COLOURS["teacher"]}
    for group, palette in ((students, STUDENTS), (names, PEERS)):
        colours |= {name: palette[i % len(palette)] for i, name in enumerate(group)}
    figure, ax = plt.subplots(figsize=(7.2, 4), layout="constrained")
    best = front([(row["p50_ms"], row["wer"]) for row in rows])
    ax.plot(*zip(*best, strict=True), color="#BBBBBB", linewidth=1.2, drawstyle="steps-post", zorder=1, gid="front")
    for row in rows:
        ax.plot(row["p50_ms"], row["wer"], MARKERS[row["engine"]], color=colours[row["model"]], markersize=7, zorder=2,
                gid=f"{row['model']} {row['engine']}")
    fast, slow = (end(row["p50_ms"] for row in rows) for end in (min, max))
    ax.set(xscale="log", xlabel="median latency of a clip, ms (batch 1, sound to words)", ylabel="macro word error rate, %",
           title="Down and to the left is better", xlim=(fast / 1.3 / (slow / fast) ** 0.18, slow * 1.3 * (slow / fast) ** 0.25))
    ax.margins(y=0.18)
    ax.set_ylim(bottom=max(0, ax.get_ylim()[0]))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.grid(True, axis="x")
    figure.draw_without_rendering()  # labels are placed in points of the final layout
    _named(ax, rows, colours)
    return figure


def _named(ax: plt.Axes, rows, colours: Mapping[str, str]) -> None:
    """Labels beside the points: right, left, above, below or farther, the first place that is free, or the least crowded one."""
    points = ax.transData.transform([(row["p50_ms"], row["wer"]) for row in rows]) * 72 / ax.figure.dpi  # in points
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in points]
    inside = ax.bbox.extents * 72 / ax.figure.dpi  # left, bottom, right, top
    for row, (x, y) in zip(rows, points, strict=True):
        name = f"{row['model']}, {row['engine']}"
        width, places = 0.52 * SIZE * len(name), {}
        for dx, dy, ha in ((9, 0, "left"), (-9, 0, "right"), (0, 11, "center"), (0, -11, "center"), (6, 20, "left"),
                           (6, -20, "left"), (-6, 20, "right"), (-6, -20, "right")):
            left = x + dx - width * {"left": 0, "right": 1, "center": 0.5}[ha]
            box = (left, left + width, y + dy - SIZE / 2, y + dy + SIZE / 2)
            out = box[0] < inside[0] or box[2] < inside[1] or box[1] > inside[2] or box[3] > inside[3]
            places[dx, dy, ha] = box, out + sum(_overlap(box, other) for other in taken)
        (dx, dy, ha), (box, _) = min(places.items(), key=lambda item: item[1][1])
        taken.append(box)
        ax.annotate(name, (row["p50_ms"], row["wer"]), (dx, dy), textcoords="offset points", ha=ha, va="center", fontsize=SIZE,
                    zorder=1.5, color=colours[row["model"]], bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})


def _overlap(a: tuple, b: tuple) -> bool:
    """Whether two boxes (left, right, bottom, top) share any place."""
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def front(points) -> list[tuple[float, float]]:
    """Points (latency, WER) that no other one beats in both, from fast to accurate.

    >>> front([(1, 9), (2, 5), (3, 5), (3, 7), (9, 1)])
    [(1, 9), (2, 5), (9, 1)]
    """
    best = []
    for point in sorted(set(points)):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best


def scale(found: Mapping) -> plt.Figure:
    """Speed-up by decoder layers at the paper's scale (`askd.latencyshapes.shape_speedup`), a panel a length of the clip, on
    30 s of context and on the clip's own, beside what is published for 30 s."""
    rows = found["rows"]
    lengths = list(dict.fromkeys(row["clips"] for row in rows))
    size = 3.6 * len(lengths), 3.4
    figure, axes = plt.subplots(1, len(lengths), figsize=size, sharey=True, layout="constrained", squeeze=False)
    counts = sorted({row["decoder_layers"] for row in rows}, reverse=True)
    for ax, length in zip(axes[0], lengths, strict=True):
        for context, name in (("full", "30 s of context"), ("clip", "its own context")):
            colour = COLOURS["teacher" if context == "full" else "askd"]
            times = {r["decoder_layers"]: r["times"] for r in rows if (r["clips"], r["context"]) == (length, context)}
            if context == "clip" and length == "30 s":
                continue  # its own context is 30 s
            ax.plot(range(len(counts)), [times[count] for count in counts], "o-", color=colour, gid=f"{length} {context}")
            ax.annotate(name, (len(counts) - 1, times[counts[-1]]), (0, 9), textcoords="offset points", ha="right", color=colour,
                        fontsize=SIZE)
        for published, below in zip(found["published"], (False, True), strict=True):
            ax.axhline(published["times"], color="#999999", linewidth=0.9, linestyle=":")
            if ax is axes[0, 0]:
                who = "Distil-Whisper" if "Distil" in published["what"] else "ASKD"
                ax.annotate(f"{who}, published {published['times']:g}x", (0, published["times"]), (0, -4 if below else 4),
                            textcoords="offset points", va="top" if below else "bottom", fontsize=SIZE - 1, color="#666666")
        ax.set(title=f"a clip of {length}", xlabel="decoder layers of the student", xticks=range(len(counts)), xticklabels=counts)
    axes[0, 0].set(ylabel=f"times as fast as {found['shape']}", yscale="log", yticks=(1, 2, 5, 10, 20), ylim=(0.85, None))
    axes[0, 0].yaxis.set_major_formatter("{x:g}")
    axes[0, 0].minorticks_off()
    return figure
