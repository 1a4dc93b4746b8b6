"""Names beside lines instead of legends: spread where they crowd, in colours that can be read."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.colors import to_hex, to_rgb

from askd.methods import DESCRIBED

CONTRAST = 4.5  # of text on white, WCAG 2 AA
End = tuple[float, str, str]  # value at the line's end, name, colour


def contrast(colour: str) -> float:
    """Contrast of a colour with white by WCAG 2: ``1.05 / (L + 0.05)``, L its relative luminance; from 1 to 21."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def readable(colour: str) -> str:
    """The colour for text: darkened, hue kept, until it stands out from white by `CONTRAST`.

    >>> readable("#000000"), readable("#56B4E9"), round(contrast(readable("#56B4E9")), 1)
    ('#000000', '#3c7da2', 4.5)
    """
    share = 1.0
    while contrast(shade := to_hex([share * c for c in to_rgb(colour)])) < CONTRAST:
        share -= 0.005
    return shade


def name_lines(ax: plt.Axes, ends: Sequence[End], gap: float, size: float = 9) -> None:
    """Name each line right of its end, at least ``gap`` of the axis apart, all of them as near to their ends as that allows.

    Args:
        ax: its limits must be final.
        ends: of the lines; each end lies at the right edge of the axes.
        gap: share of the height of the axes.
        size: of the names, points.
    """
    low, high = ax.get_ylim()
    heights = spread([(value - low) / (high - low) for value, *_ in sorted(ends)], gap)
    for y, (value, name, colour) in zip(heights, sorted(ends), strict=True):
        at = (value - low) / (high - low)
        ax.plot([1.0, 1.02, 1.035], [at, y, y], color=colour, linewidth=0.7, transform=ax.transAxes, clip_on=False)
        ax.text(1.045, y, name, color=readable(colour), va="center", fontsize=size, transform=ax.transAxes,
                fontweight="bold" if name == DESCRIBED["askd"] else "normal")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights pushed at least ``gap`` apart: where they crowd, a block around their mean.

    >>> [round(y, 2) for y in spread([0.1, 0.5, 0.5], 0.2)]
    [0.1, 0.4, 0.6]
    """
    blocks: list[list[float]] = []  # of wanted heights; a block's labels stand gap apart around its centre
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _top(blocks[-2], gap) + gap > _top(blocks[-1], gap) - gap * (len(blocks[-1]) - 1) + 1e-12:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_top(block, gap) - gap * (len(block) - 1 - i) for block in blocks for i in range(len(block))]


def _top(block: Sequence[float], gap: float) -> float:
    return sum(block) / len(block) + gap * (len(block) - 1) / 2
