"""The curriculum slider: its numbers are the curriculum's, and what is saved of it is a sentence."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from askd import METHODS
from askd.teaching import committed
from askd.widgets import BY_CLOCK, STILL, curriculum_slider, curriculum_still, drawn, mean_terms, shares

TERMS = {"label": 0.4, "teacher": 0.1, "self-teacher": 0.02}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_terms_are_means_of_what_was_computed():
    curves = [{"ce": [1.0, 3.0], "kl_teacher": [0.5, None], "kl_self": [None, None]},
              {"ce": [2.0, 2.0], "kl_teacher": [1.5, None], "kl_self": [None, 0.2]}]
    assert mean_terms(curves) == pytest.approx({"label": 2.0, "teacher": 1.0, "self-teacher": 0.2})
    large = mean_terms(committed("real/ablation.json", "askd ablate --profile real")["curves"]["askd"])
    assert large["label"] > large["teacher"] > large["self-teacher"] > 0


@pytest.mark.parametrize("s", [0.0, 0.3, 0.6, 1.0])
def test_shares_are_weight_times_term(s):
    w = METHODS["askd"].weights(s)
    found = shares(TERMS, METHODS["askd"], s)
    assert found == pytest.approx({"label": 0.4 * w.label, "teacher": 0.1 * w.teacher, "self-teacher": 0.02 * w.self_teacher})


def test_the_still_figure_adds_up():
    top, bottom = curriculum_still(TERMS, "cosine").axes
    bars = {bar.get_gid(): bar for bar in bottom.patches}
    for s, told in zip(STILL, bottom.texts, strict=True):
        heights = [bars[f"{name} {s:g}"].get_height() for name in TERMS]
        weights = METHODS["askd"].__class__("cosine", 0.8, 0.0, switch=0.6, mu=0.5, gate="argmax").weights(s)
        assert heights == pytest.approx(np.array(list(TERMS.values())) * weights)
        assert told.get_text() == f"{sum(heights):.2f}"
    assert "cosine" in top.get_title(loc="left")


def numbers(page):
    return [float(x) for x in re.findall(r"= (\d\.\d{3})", page)]


def test_the_slider_moves():
    box = curriculum_slider(TERMS)
    s, switch, menu, shown = box.children
    before = numbers(shown.value)
    assert before == pytest.approx([0.6 * 0.4, 0.4 * 0.1, 0, 0.28])  # s = 0.3: half of phase A is over
    s.value = 0.8
    assert numbers(shown.value) == pytest.approx([0.2, 0, 0.01, 0.21]) and "phase B" in shown.value
    switch.value = 1.0
    assert "phase A" in shown.value and numbers(shown.value)[1] > 0
    menu.value = "exponential"
    s.value = 0.3
    assert numbers(shown.value)[1] < before[1]  # falls faster
    assert list(menu.options) == BY_CLOCK == ["linear", "cosine", "exponential", "step", "sigmoid"]


def test_what_is_saved_is_small_and_says_where_to_look():
    bundle = curriculum_slider(TERMS, "adaptive")._repr_mimebundle_()
    assert "run this cell" in bundle["text/plain"] and "VBox" not in bundle["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundle and len(str(bundle)) < 500


def test_the_drawing_is_within_its_frame():
    page = drawn(TERMS, METHODS["askd"], 1.0)
    points = [tuple(map(float, pair.split(","))) for polygon in re.findall(r"points='([^']*)'", page) for pair in polygon.split()]
    assert page.count("<polygon") == 3 and all(0 <= x <= 420 and 0 <= y <= 110 for x, y in points)
