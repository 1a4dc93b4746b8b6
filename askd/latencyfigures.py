"""Figures of a latency report (`askd.latencyreport.compare`)."""

from collections.abc import Mapping

import matplotlib.pyplot as plt

from askd.errors import AskdError
from askd.figures import COLOURS
from askd.latencyreport import TEST

MARKERS = {"transformers": "o", "generate": "s", "compiled": "^", "ct2": "D", "faster-whisper": "P"}
PEERS = ("#0072B2", "#009E73", "#CC79A7")  # in turn; teacher and student have their colours of all figures


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
    names = [name for name in dict.fromkeys(row["model"] for row in rows) if name not in ("teacher", "student")]
    colours = {"teacher": COLOURS["teacher"], "student": COLOURS["askd"]}
    colours |= {name: PEERS[i % len(PEERS)] for i, name in enumerate(names)}
    figure, ax = plt.subplots(figsize=(7.2, 4), layout="constrained")
    best = front([(row["p50_ms"], row["wer"]) for row in rows])
    ax.plot(*zip(*best, strict=True), color="#BBBBBB", linewidth=1.2, drawstyle="steps-post", zorder=1, gid="front")
    for row in rows:
        ax.plot(row["p50_ms"], row["wer"], MARKERS[row["engine"]], color=colours[row["model"]], markersize=7, zorder=2,
                gid=f"{row['model']} {row['engine']}")
    ax.set(xscale="log", xlabel="median latency of a clip, ms (batch 1, sound to words)", ylabel="macro word error rate, %",
           title="Down and to the left is better")
    ax.margins(x=0.22, y=0.18)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(True, axis="x")
    _named(ax, rows, colours)
    return figure


def _named(ax: plt.Axes, rows, colours: Mapping[str, str]) -> None:
    """Labels beside the points, pushed up where two of one height and nearby latency would overlap."""
    low, high = ax.get_ylim()
    gap, placed = 0.055 * (high - low), []
    for row in sorted(rows, key=lambda row: (row["wer"], row["p50_ms"])):
        y = row["wer"]
        while any(abs(y - other) < gap and max(row["p50_ms"], x) / min(row["p50_ms"], x) < 2.5 for x, other in placed):
            y += gap / 2
        placed.append((row["p50_ms"], y))
        ax.annotate(f"{row['model']}, {row['engine']}", (row["p50_ms"], y), (8, 0), textcoords="offset points", va="center",
                    fontsize=8.5, color=colours[row["model"]])
    ax.set_ylim(low, max(high, gap + max(y for _, y in placed)))


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
