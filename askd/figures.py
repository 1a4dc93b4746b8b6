"""Figures of the notebooks and the README: one style, one colour per method, everywhere (Okabe-Ito palette)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator

from askd.curriculum import Curriculum
from askd.directlabels import name_lines, readable
from askd.methods import DESCRIBED

COLOURS = {
    "teacher": "#555555", "ce_only": "#56B4E9", "label_smoothing": "#0072B2", "constant_kd": "#E69F00",
    "distil_whisper_paper": "#999933", "distil_whisper_code": "#661100", "annealing_kd": "#332288", "ps_kd": "#7F3C8D",
    "decay_only": "#009E73", "self_kd_only": "#CC79A7", "reversed": "#117733", "finetuned_teacher": "#003F5C", "askd": "#D55E00",
}  # the rest of Okabe-Ito and Tol's muted colours: the two nearest are 13.5 apart in CIELAB, to the colour-blind as well
TERM_COLOURS = {"label": "#56B4E9", "teacher": "#999999", "self-teacher": "#D55E00"}  # of the loss: weights and terms alike


def use_style() -> None:
    """Apply ``askd.mplstyle``."""
    plt.style.use(Path(__file__).with_name("askd.mplstyle"))


use_style()


def label(name: str) -> str:
    """How a model is called in figures."""
    return DESCRIBED.get(name, name.replace("_", " "))


def save(figure, path: Path) -> None:
    """Write PNG and SVG beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".png"))
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _smooth(values: Sequence[float], width: int) -> np.ndarray:
    """Centred moving mean that shortens at the ends."""
    values = np.asarray(values, float)
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def spectrograms(titles: Sequence[str], features: Sequence) -> plt.Figure:
    """Log-mel spectrograms in a grid, one a domain, on one time axis."""
    columns = 2 if len(titles) <= 8 else 3
    rows = -(-len(titles) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8.4, 1.2 * rows), sharex=True, sharey=True, layout="constrained")
    longest = max(f.shape[-1] for f in features) / 100
    for ax in axes.flat:
        ax.set_visible(False)
    for ax, title, clip in zip(axes.flat, titles, features, strict=False):
        ax.set_visible(True)
        clip = np.asarray(clip)[:, : clip.shape[-1] // 8 * 8]
        blocks = clip.reshape(clip.shape[0] // 2, 2, -1, 8).mean((1, 3))  # 2 bands x 80 ms: a small file, harmonics still show
        extent = (0, clip.shape[-1] / 100, 0, clip.shape[0])
        ax.imshow(blocks, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
        ax.set_title(title, fontsize=9)
        ax.set(xlim=(0, longest), yticks=[])
        ax.grid(False)
    figure.supxlabel("seconds", fontsize=9)
    figure.supylabel("mel band", fontsize=9)
    return figure


def temperature_curves(logits: Sequence[float], temperatures: Sequence[float], words: Sequence[str]) -> plt.Figure:
    """One next-token distribution at several temperatures."""
    figure, ax = plt.subplots(figsize=(7.2, 2.8), layout="constrained")
    width = 0.8 / len(temperatures)
    for i, tau in enumerate(temperatures):
        scaled = np.exp(np.asarray(logits) / tau - np.max(logits) / tau)
        ax.bar(np.arange(len(words)) + i * width, scaled / scaled.sum(), width, label=f"temperature {tau:g}", color=f"C{i}")
    ax.set_xticks(np.arange(len(words)) + 0.4 - width / 2, words)
    ax.set_ylabel("probability")
    ax.legend()
    return figure


def weight_bands(ax: plt.Axes, x: Sequence[float], bands: np.ndarray, size: float = 9) -> None:
    """The three weights over each other, each named in the middle of its area where it is wide enough.

    Args:
        ax: of time against weight.
        x: (points,).
        bands: (3, points): weight of label, teacher, self-teacher.
        size: of the names, points.
    """
    ax.stackplot(x, bands, colors=list(TERM_COLOURS.values()), alpha=0.85, linewidth=0)
    for name, band, top in zip(TERM_COLOURS, bands, np.cumsum(bands, 0), strict=True):
        i = int(np.searchsorted(np.cumsum(band), band.sum() / 2))  # half of the band's area lies left of it
        if i < len(band) and band[i] > 0.15:
            ax.text(x[i], top[i] - band[i] / 2, name, ha="center", va="center", fontsize=size)
    ax.set_ylim(0, max(1.0, float(bands.sum(0).max())))
    ax.grid(False)


def weights_and_dev(curriculum: Curriculum, logs: Mapping[str, Sequence[Mapping]]) -> plt.Figure:
    """The three weights of one curriculum above the dev cross-entropy of several methods."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.6, 5), sharex=True, height_ratios=(1, 2), layout="constrained")
    s = np.linspace(0, 1, 401)
    weight_bands(top, s, np.array([curriculum.weights(x) for x in s]).T)
    top.set(ylabel="weight", title="What the student listens to (ASKD)")
    ends = []
    for name, rows in logs.items():
        points = [(row["step"] / rows[-1]["step"], row["dev_ce"]) for row in rows if "dev_ce" in row]
        if points:
            bottom.plot(*zip(*points, strict=True), color=COLOURS.get(name), marker="o", markersize=3, clip_on=False)
            ends.append((points[-1][1], label(name), COLOURS.get(name, "#000000")))
    bottom.set(xlabel="progress s = step / total steps", ylabel="nats a token", xlim=(0, 1))
    bottom.set_title("How well it predicts: dev cross-entropy, lower is better")
    name_lines(bottom, ends, 0.07)
    if curriculum.switch < 1:
        for ax in (top, bottom):
            ax.axvline(curriculum.switch, color="black", linewidth=0.8, linestyle=":")
    return figure


def loss_curves(logs: Mapping[str, Sequence[Mapping]], terms: Mapping[str, str]) -> plt.Figure:
    """Training terms (a panel each) of several methods, smoothed; a line that stops early stops where its weight does."""
    figure, axes = plt.subplots(1, len(terms), figsize=(max(5, 4.4 * len(terms)), 3), layout="constrained", squeeze=False)
    for ax, (key, title) in zip(axes[0], terms.items(), strict=True):
        ends, last = [], max((rows[-1]["step"] for rows in logs.values() if rows), default=1)
        for name, rows in logs.items():
            points = [(r["step"], r[key]) for r in rows if key in r]
            if points:
                steps, values = zip(*points, strict=True)
                means = _smooth(values, max(1, len(values) // 15))
                ax.plot(steps, means, color=COLOURS.get(name), gid=name)
                ends.append((float(means[-1]), label(name), COLOURS.get(name, "#000000")))
        ax.set(xlabel="step", title=title, ylim=(0, None), xlim=(None, last))
        ax.locator_params(axis="x", integer=True, nbins=6)
        name_lines(ax, ends, 0.085)
    axes[0][0].set_ylabel("nats a token")
    return figure


def wer_by_domain(report: Mapping, models: Sequence[str] | None = None) -> plt.Figure:
    """WER of every model in every domain: one row a domain, one dot a model, in-domain above out-of-domain."""
    models = list(models or report["models"])
    tables = {name: report["models"][name]["domains"] for name in models}
    first = tables[models[0]]
    domains = sorted(first, key=lambda d: (first[d]["split"] != "out_of_domain", first[d]["wer"]))
    figure, ax = plt.subplots(figsize=(8.4, 0.36 * len(domains) + 1.3), layout="constrained")
    for y, domain in enumerate(domains):
        values = [tables[name][domain]["wer"] for name in models]
        ax.plot([min(values), max(values)], [y, y], color="#DDDDDD", linewidth=5, solid_capstyle="round", zorder=1)
    for name in models:
        big = name in ("teacher", "askd")
        ax.scatter(
            [tables[name][d]["wer"] for d in domains], range(len(domains)), label=label(name), zorder=3 if big else 2,
            color=COLOURS.get(name, "#000000"), s=60 if big else 26, marker="D" if name == "teacher" else "o",
        )
    inside = sum(first[d]["split"] != "out_of_domain" for d in domains)
    ax.set_ylim(-0.7, len(domains) - 0.3)
    if 0 < inside < len(domains):
        boundary = len(domains) - inside - 0.5
        ax.axhline(boundary, color="#777777", linewidth=0.8)
        middles = {"trained on (in-domain)": (boundary + len(domains) - 0.5) / 2, "never trained on": (boundary - 0.5) / 2}
        for text, y in middles.items():
            ax.text(1.01, y, text, fontsize=9.5, va="center", color="#555555", transform=ax.get_yaxis_transform(), rotation=270)
    ax.set_yticks(range(len(domains)), [d.replace("_", " ") for d in domains])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlabel="word error rate, % (lower is better)", xlim=(0, None))
    ax.grid(False, axis="y")
    ax.grid(True, axis="x")
    figure.legend(loc="outside upper left", ncols=min(6, len(models)), fontsize=9.5, handletextpad=0.1, columnspacing=1.2)
    return figure


def differences(report: Mapping, b: str = "teacher") -> plt.Figure:
    """Macro WER of every model minus model ``b``, with 95 % intervals, one panel a split."""
    splits = {"in_domain": "in-domain", "out_of_domain": "out-of-domain", "all": "all domains"}
    rows = [c for c in report["comparisons"] if c["b"] == b]
    names = list(dict.fromkeys(c["a"] for c in rows))
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 0.36 * len(names) + 1.3), sharey=True, sharex=True, layout="constrained")
    for ax, (split, title) in zip(axes, splits.items(), strict=True):
        for c in rows:
            if c["split"] == split:
                y, (low, high) = names.index(c["a"]), c["ci95"]
                ax.plot([low, high], [y, y], color=COLOURS.get(c["a"]), linewidth=2.5, solid_capstyle="butt")
                ax.plot(c["delta"], y, "o", color=COLOURS.get(c["a"]), gid=c["a"])
                ax.annotate(f"{c['delta']:+.1f}".replace("-", "\u2212"), (c["delta"], y), (0, 5), textcoords="offset points",
                            ha="center", va="bottom", fontsize=8, color="#333333")
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_title(title, fontsize=10)
        ax.grid(False, axis="y")
        ax.grid(True, axis="x")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0].set_ylim(len(names) - 0.45, -0.65)
    axes[0].set_yticks(range(len(names)), [label(n) for n in names])
    figure.supxlabel(f"WER minus {label(b)}'s, points (left of 0: fewer errors; bars: 95 % CI, paired bootstrap)", fontsize=9)
    return figure


def latency_bars(rows: Sequence[Mapping], teacher: str, student: str) -> plt.Figure:
    """Encoder and decoder time of teacher and student by clip length, batch 1, fixed token count."""
    chosen = [r for r in rows if r["batch"] == 1 and r["mode"] == "fixed" and r["clips"] != "test set"]
    lengths = sorted({r["audio_s"] for r in chosen})
    figure, ax = plt.subplots(figsize=(7.2, 3.9), layout="constrained")
    for offset, name in ((-0.2, teacher), (0.2, student)):
        found = {r["audio_s"]: r for r in chosen if r["model"] == name}
        encoder = np.array([found[x]["encoder_ms"] for x in lengths])
        total = np.array([found[x]["p50_ms"] for x in lengths])
        x = np.arange(len(lengths)) + offset
        ax.bar(x, encoder, 0.36, color=COLOURS.get(name), label=f"{label(name)}: encoder")
        ax.bar(x, total - encoder, 0.36, bottom=encoder, color=COLOURS.get(name), alpha=0.45, label=f"{label(name)}: decoder")
        for xi, t in zip(x, total, strict=True):
            ax.text(xi, t, f"{t:.0f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(lengths)), [f"{x:g} s" for x in lengths])
    margin = max(0.5, 1.6 - 0.4 * len(lengths))  # one length alone is no wall
    ax.set(xlabel="length of the clip", ylabel="median latency, ms", xlim=(-margin, len(lengths) - 1 + margin))
    ax.set_title("Batch 1, equal token counts")
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, handlelength=1.2, columnspacing=1.2)
    return figure


def training_curves(rows: Sequence[Mapping], speed_rows: Sequence[Mapping] = (), title: str = "") -> plt.Figure:
    """One run over its steps: loss and raw terms, dev cross-entropy, the three weights, learning rate, shares of the step time.

    Args:
        rows: of metrics.jsonl, at least one.
        speed_rows: of speed.jsonl; without them the last panel says so.
        title: of the whole figure, the run's name.
    """
    mosaic = [["loss", "dev"], ["loss", "weights"], ["time", "rate"]]
    figure, axes = plt.subplot_mosaic(mosaic, figsize=(10.4, 7), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    _loss_panel(axes["loss"], rows)
    _dev_panel(axes["dev"], rows)
    _time_panel(axes["time"], speed_rows)
    thin = rows[:: len(rows) // 1000 + 1]
    steps = np.array([row["step"] for row in thin])
    bands = np.array([[row[key] for row in thin] for key in ("w_label", "w_teacher", "w_self")])  # (3, steps)
    weight_bands(axes["weights"], steps, bands)
    axes["weights"].set_title("Weights of the loss terms")
    axes["rate"].plot(steps, [row["rate"] for row in thin], color="#0072B2")
    axes["rate"].set(ylim=(0, 1.05), title="Learning rate, share of its peak")
    switches = [row["step"] for row, before in zip(rows[1:], rows, strict=False) if row["phase"] != before["phase"]]
    for name in ("loss", "dev", "weights", "rate"):
        axes[name].set(xlim=(0, rows[-1]["step"]), xlabel="step")
        axes[name].locator_params(axis="x", nbins=6, integer=True)
        for step in switches:
            axes[name].axvline(step, color="black", linewidth=0.8, linestyle=":")
    return figure


def _loss_panel(ax: plt.Axes, rows: Sequence[Mapping]) -> None:
    """Loss and its terms: every step faint, the moving mean over it, named where it ends."""
    terms = {"loss": ("#000000", "loss"), "ce": (TERM_COLOURS["label"], "label CE"),
             "kl_teacher": (TERM_COLOURS["teacher"], "teacher KL"), "kl_self": (TERM_COLOURS["self-teacher"], "self KL")}
    ends = []
    for key, (colour, name) in terms.items():
        points = [(row["step"], row[key]) for row in rows if row.get(key, 0) > 0]  # a logarithmic scale has no zero
        if points:
            x, y = np.array(points).T
            mean, every = _smooth(y, max(1, len(y) // 15)), len(x) // 500 + 1
            ax.plot(x, y, color=colour, alpha=0.2, linewidth=0.8, rasterized=len(x) > 1000)
            ax.plot(x[::every], mean[::every], color=colour, marker=None if len(x) > 2 else ".")
            if x[-1] < rows[-1]["step"]:  # ends in the middle of the others: named below its first half
                i = len(x) // 4
                ax.annotate(name, (x[i], mean[i]), (2, -10), textcoords="offset points", color=readable(colour), va="top")
            else:
                ends.append((float(np.log10(mean[-1])), name, colour))
    ax.set(yscale="log", ylabel="nats a token", title="Loss and its terms")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    gap, last = 0.045 * float(np.diff(np.log10(ax.get_ylim()))[0]), -np.inf
    for height, name, colour in sorted(ends):
        last = max(height, last + gap)
        ax.text(1.015, 10**last, name, color=readable(colour), va="center", transform=ax.get_yaxis_transform())


def _dev_panel(ax: plt.Axes, rows: Sequence[Mapping]) -> None:
    """Dev cross-entropy with its lowest value marked."""
    ax.set(title="Dev cross-entropy", ylabel="nats a token")
    points = [(row["step"], row["dev_ce"]) for row in rows if row.get("dev_ce") is not None]
    if not points:
        ax.set(yticks=[])
        ax.text(0.5, 0.5, "no dev clips scored", transform=ax.transAxes, ha="center", color="#777777")
        return
    ax.plot(*zip(*points, strict=True), color="#0072B2", marker="o", markersize=3)
    step, value = min(points, key=lambda point: point[1])
    ax.plot(step, value, marker="*", markersize=13, color="#D55E00", clip_on=False, zorder=3)
    ax.margins(y=0.3)
    side, shift = ("right", -9) if step > rows[-1]["step"] / 2 else ("left", 9)
    ax.annotate(f"best {value:.4g} at step {step}", (step, value), (shift, -4), textcoords="offset points", ha=side, va="top",
                color="#D55E00")


def _time_panel(ax: plt.Axes, speed_rows: Sequence[Mapping]) -> None:
    """Shares of the step time, a bar each."""
    from askd.stepclock import shares

    parts = shares(speed_rows)
    ax.set(xlabel="% of the step time", title="Where a step's time goes: not recorded", xlim=(0, 100), yticks=[])
    ax.grid(False)
    if parts:
        ax.set_title(f"Where a step's {np.mean([row['seconds'] for row in speed_rows]):.3g} s go")
        bars = ax.barh(list(parts), [100 * share for share in parts.values()], color="#009E73")
        ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
        ax.set(xlim=(0, 110 * max(parts.values())), yticks=range(len(parts)))
        ax.invert_yaxis()
