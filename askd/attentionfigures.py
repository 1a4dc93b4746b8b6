"""One clip as several models hear it: spectrogram, cross-attention and the probability of every token, a column a model.

    listening_figure(read_json("data/results/real/blindspot.json"))      # of `askd.attention`; needs no model
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from askd.directlabels import readable
from askd.figures import COLOURS, label

WRONG = "#C0392B"
SHADE = "#FBE3DF"  # behind a row whose best token is not the label


def listening_figure(heard: Mapping, models: Sequence[str] | None = None) -> plt.Figure:
    """What was said, where each model listens at each token of it, and how probable it finds that token.

    Args:
        heard: of `askd.attention.picture`: N label tokens, M mel rows, C cells of ``cell_s`` seconds.
        models: which and in which order; default all. Rows are the label tokens, the same in every column; on a shaded row
            the model's best token, written in red, is not the label.
    """
    models = list(models or heard["models"])
    n, cells, cell_s = len(heard["labels"]), len(heard["mel"][0]), heard["cell_s"]
    heights = (1.1, 0.27 * n)
    figure, axes = plt.subplots(2, 2 * len(models), figsize=(1.3 + 3.5 * len(models), sum(heights) + 1.1), layout="constrained",
                                width_ratios=(5, 2.4) * len(models), height_ratios=heights, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, wspace=0.01)
    figure.suptitle(f"\u201c{heard['text']}\u201d", x=0.01, ha="left", fontsize=12, fontweight="bold")
    span = (0, cells * cell_s)
    for i, name in enumerate(models):
        model, colour = heard["models"][name], COLOURS.get(name, "#000000")
        (sound, none), (where, sure) = axes[:, 2 * i : 2 * i + 2]
        none.set_visible(False)
        sound.imshow(np.array(heard["mel"]), origin="lower", aspect="auto", extent=(*span, 0, 1), cmap="magma", gid="mel")
        wrong = [y for y in range(n) if model["said"][y] != heard["labels"][y]]
        sound.set(yticks=[], ylabel="mel bands" if i == 0 else "")
        sound.set_title(f"{label(name)}: {n - len(wrong)} of {n} tokens right", color=readable(colour), fontsize=11)
        _attention(where, np.array(model["attention"]), span, colour, name)
        _probabilities(sure, model, wrong, colour, name)
        for ax in (where, sure):
            for y in wrong:
                ax.axhspan(y - 0.5, y + 0.5, color=SHADE, linewidth=0, zorder=0)
        where.set_yticks(range(n), heard["labels"] if i == 0 else [""] * n, fontsize=9.5)
        sound.tick_params(labelbottom=False)
        sound.set_xlim(span)
    figure.supxlabel("left: seconds, the darker the more the model listens there; right: probability of the token, given those "
                     "before it; red: what the model would write instead", fontsize=9)
    return figure


def _attention(ax: plt.Axes, rows: np.ndarray, span: tuple[float, float], colour: str, name: str) -> None:
    """Rows (N, C), each to its own maximum, from transparent to the model's colour."""
    shown = rows / np.maximum(rows.max(1, keepdims=True), 1e-9)
    fade = LinearSegmentedColormap.from_list(name, [(1, 1, 1, 0), readable(colour)])
    ax.imshow(shown, aspect="auto", extent=(*span, len(rows) - 0.5, -0.5), cmap=fade, vmin=0, vmax=1, interpolation="nearest",
              zorder=2, gid=f"{name} attention")
    ax.set(xlim=span, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    ax.grid(True, axis="x")


def _probabilities(ax: plt.Axes, model: Mapping, wrong: Sequence[int], colour: str, name: str) -> None:
    """A bar a label token; beside it, where the model would write another one, that one."""
    places = np.arange(len(model["p_label"]))
    ax.barh(places, model["p_label"], 0.62, color=colour, zorder=2, gid=f"{name} label")
    for y in wrong:
        p = model["p_label"][y]
        ax.text(max(p, 0) + 0.05, y, model["said"][y], color=WRONG, fontsize=8.5, va="center", zorder=3, clip_on=True)
    ax.set(xlim=(0, 1.02), ylim=(len(places) - 0.5, -0.5), xticks=(0.5, 1), yticks=[])
    ax.grid(False)
