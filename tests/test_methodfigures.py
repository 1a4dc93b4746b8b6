"""Figures of an ablation: the right numbers at the right place, names that do not touch, one colour a method."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from askd.directlabels import spread
from askd.figures import COLOURS, label
from askd.methodfigures import ablation_wer, dev_wer_over_steps, terms_over_training
from askd.methods import METHODS, get_method

THREE = ("ce_only", "constant_kd", "askd")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def ablation(methods=tuple(METHODS), seeds=3, real=True, teacher=36.0):
    """ablation.json, as far as figures read it; the WER of a method is its place in line."""
    splits = {"in_domain": 10, "out_of_domain": 30, "all": 20} | ({"real": 25} if real else {})
    domains = {"a": {"split": "in_domain", "real": False}, "b": {"split": "out_of_domain", "real": False}}
    if real:
        splits["real_out_of_domain"] = 35
        domains |= {"c": {"split": "in_domain", "real": True}, "d": {"split": "out_of_domain", "real": True}}
    wer = {"teacher": {"domains": domains, "macro": {s: {"value": teacher, "ci95": [teacher - 5, teacher + 4]} for s in splits}}}
    wer |= {m: {"macro": {s: {"value": v + i, "ci95": [v + i - 2, v + i + 3]} for s, v in splits.items()}}
            for i, m in enumerate(methods)}
    return {"methods": list(methods), "seeds": list(range(seeds)), "wer": wer, "settings": {"clips_seed": None},
            "curves": {m: [curve(m, seed, i) for seed in range(seeds)] for i, m in enumerate(methods)}}


def curve(method, seed, place=0, steps=50):
    one = {key: [] for key in ("step", "w_label", "w_teacher", "w_self", "ce", "kl_teacher", "kl_self", "loss")}
    for step in range(1, steps + 1):
        w = get_method(method).weights((step - 1) / steps)
        ce, teacher, own = 2 + seed, 1.0, 0.5
        values = (step, w.label, w.teacher, w.self_teacher, ce if w.label else None, teacher if w.teacher else None,
                  own if w.self_teacher else None, w.label * ce + w.teacher * teacher + w.self_teacher * own)
        for key, value in zip(one, values, strict=True):
            one[key].append(value)
    dev = [{"step": step, "dev_ce": 1.0, "dev_wer": 60 / step + place + seed} for step in (10, 30, 50)]
    return one | {"dev": dev, "switch": 31 if get_method(method).switch == 0.6 else None}


def lines(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def test_every_method_has_a_colour_of_its_own():
    assert set(COLOURS) == {"teacher", *METHODS} and len(set(COLOURS.values())) == len(COLOURS)
    assert "#000000" not in COLOURS.values()  # of models that are no method


@pytest.mark.parametrize(("methods", "seeds", "real"), [(tuple(METHODS), 3, True), (THREE, 1, False)])
def test_error_rates_and_their_intervals(methods, seeds, real):
    made = ablation(methods, seeds, real)
    figure = ablation_wer(made)
    splits = ["in_domain", "out_of_domain", *["real", "real_out_of_domain"] * real]
    titles = ["in-domain", "out-of-domain", "real speech", "real, never trained on"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == titles[: len(splits)]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [label(m) for m in methods]  # by the WER out of domain
    for ax, split in zip(figure.axes, splits, strict=True):
        for y, name in enumerate(methods):
            entry, dot, bar = made["wer"][name]["macro"][split], lines(ax)[name], lines(ax)[f"{name} ci95"]
            assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (entry["value"], y)
            assert list(bar.get_xdata()) == entry["ci95"]
            assert to_hex(dot.get_color()).upper() == COLOURS[name]
            assert ax.get_xlim()[0] < entry["ci95"][0] and entry["ci95"][1] < ax.get_xlim()[1]
    assert figure.get_supxlabel().endswith("CI over utterances)" if seeds == 1 else f"CI over utterances and {seeds} seeds)")
    figure.canvas.draw()


def test_seeds_that_change_only_the_order_are_called_so():
    figure = ablation_wer(ablation(THREE, 2) | {"settings": {"clips_seed": 0}})
    assert "utterances and 2 training orders of the same clips" in figure.get_supxlabel()
    assert "seed" not in figure.get_supxlabel()


@pytest.mark.parametrize(("teacher", "arrow"), [(500.0, "teacher 500.0 \u2192"), (36.0, None), (11.0, None)])
def test_a_teacher_far_away_leaves_the_students_apart(teacher, arrow):
    ax = ablation_wer(ablation(THREE, teacher=teacher)).axes[1]
    if arrow:
        assert "teacher" not in lines(ax) and ax.get_xlim()[1] < 50 and arrow in [t.get_text() for t in ax.texts]
        assert not ax.patches
    elif teacher == 36.0:
        assert lines(ax)["teacher"].get_xdata()[0] == teacher
        (shade,) = ax.patches
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == (31, 40) and shade.get_gid() == "teacher ci95"
        assert ax.get_xlim()[0] < 28 and ax.get_xlim()[1] > 40
    else:
        assert "\u2190 teacher 11.0" in [t.get_text() for t in ax.texts]


def test_weights_terms_and_their_products():
    made = ablation(THREE)
    weights, raw, weighted = terms_over_training(made["curves"]).axes
    steps = np.arange(1, 51)
    wanted = np.array([get_method("askd").weights((step - 1) / 50) for step in steps])  # (50, 3)
    for i, (name, mean) in enumerate((("label CE", 3.0), ("teacher", 1.0), ("self-teacher", 0.5))):
        on = wanted[:, i] > 0
        assert np.allclose(lines(weights)[name].get_ydata(), wanted[:, i])
        assert list(lines(raw)[name].get_xdata()) == steps[on].tolist() and np.allclose(lines(raw)[name].get_ydata(), mean)
        assert np.allclose(lines(weighted)[name].get_ydata(), wanted[on, i] * mean)
    total = sum(np.interp(steps, lines(weighted)[n].get_xdata(), lines(weighted)[n].get_ydata(), left=0, right=0)
                for n in ("label CE", "teacher", "self-teacher"))
    assert np.allclose(lines(weighted)["loss"].get_ydata(), total)
    assert [lines(ax)["switch"].get_xdata()[0] for ax in (weights, raw, weighted)] == [31] * 3
    assert "switch" not in lines(terms_over_training(made["curves"], "constant_kd").axes[0])


def test_dev_wer_is_the_mean_of_seeds_within_their_range():
    made = ablation()
    made["curves"]["ps_kd"][0]["dev"] = []  # one seed without: no mean of all
    (ax,) = dev_wer_over_steps(made["curves"]).axes
    assert set(lines(ax)) == set(METHODS) - {"ps_kd"}
    for i, name in enumerate(METHODS):
        if name != "ps_kd":
            assert list(lines(ax)[name].get_xdata()) == [10, 30, 50]
            assert np.allclose(lines(ax)[name].get_ydata(), [60 / step + i + 1 for step in (10, 30, 50)])
    assert len(ax.collections) == len(METHODS) - 1 and {t.get_text() for t in ax.texts} == {label(m) for m in METHODS} - {"PS-KD"}


@pytest.mark.parametrize("close", [1.0, 0.0])
def test_names_do_not_touch(close):
    """As many lines as methods, that end far apart, and all in one point."""
    made = ablation()
    for i, seeds in enumerate(made["curves"].values()):
        for one in seeds:
            one["dev"] = [{"step": s, "dev_ce": 1.0, "dev_wer": 20 - 10 * s / 50 + close * i} for s in (10, 50)]
    figure = dev_wer_over_steps(made["curves"])
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(METHODS) and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    tight = figure.get_tightbbox()
    assert all(box.x1 <= tight.x1 * figure.dpi + 1 for box in boxes)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=14), st.floats(0.01, 0.2))
def test_spread(heights, gap):
    """In order, at least the gap apart, and where nothing crowds not moved at all; the mean stays."""
    heights = sorted(heights)
    found = spread(heights, gap)
    assert len(found) == len(heights) and np.mean(found) == pytest.approx(np.mean(heights))
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(found))
    if all(b - a >= gap for a, b in itertools.pairwise(heights)):
        assert found == pytest.approx(heights)
