"""The README's first picture: the numbers of the ablation, and a title that says no more than its intervals."""

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from askd.directlabels import CONTRAST, contrast, readable
from askd.figures import COLOURS, TERM_COLOURS, label
from askd.hero import finding, hero
from askd.teaching import committed


@pytest.fixture(scope="module")
def ablation():
    return committed("real/ablation.json", "askd ablate --profile real")


def lines(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def test_numbers_are_the_ablations(ablation):
    figure = hero(ablation)
    figure.canvas.draw()
    weights, everywhere, dev, real = figure.axes
    for ax, split in ((everywhere, "all"), (real, "real")):
        for name, model in ablation["wer"].items():
            entry = model["macro"][split]
            assert lines(ax)[name].get_xdata()[0] == entry["value"]
            assert list(lines(ax)[f"{name} ci95"].get_xdata()) == entry["ci95"]
            assert to_hex(lines(ax)[name].get_color()).upper() == COLOURS[name]
            assert f"{entry['value']:.1f}" in [text.get_text() for text in ax.texts]
            assert entry["ci95"][0] >= 0 and entry["ci95"][1] < ax.get_xlim()[1]
        assert ax.get_xlim() == everywhere.get_xlim()
    for name, seeds in ablation["curves"].items():
        last = [one["dev"][-1]["dev_wer"] for one in seeds]
        assert lines(dev)[name].get_ydata()[-1] == pytest.approx(sum(last) / len(last))
    assert lines(weights)["switch"].get_xdata()[0] == lines(dev)["switch"].get_xdata()[0] == pytest.approx(120)
    assert {text.get_text() for text in weights.texts} == set(TERM_COLOURS)
    assert "25 domains" in everywhere.get_title(loc="left") and "10 domains" in real.get_title(loc="left")
    texts = [text for ax in figure.axes for text in ax.texts]
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    plt.close(figure)


@pytest.mark.parametrize(("kd", "ce", "told"), [
    ((-3.8, [-6.1, -1.2]), (-0.1, [-1.5, 1.7]), "ASKD: 3.8 points of WER below constant KD, level with labels alone (CE only)"),
    ((-3.8, [-7.1, 0.2]), (2.0, [1.0, 3.0]), "ASKD: level with constant KD, 2.0 points of WER above labels alone (CE only)"),
])
def test_the_title_says_no_more_than_the_intervals(kd, ce, told):
    pairs = zip(("constant_kd", "ce_only"), (kd, ce), strict=True)
    rows = [{"a": "askd", "b": b, "split": "all", "delta": delta, "ci95": ci95} for b, (delta, ci95) in pairs]
    assert finding({"comparisons": rows}) == told
    assert finding({"comparisons": []}) == label("askd")


def test_names_in_colour_can_be_read():
    for colour in (*COLOURS.values(), *TERM_COLOURS.values()):
        shade = readable(colour)
        assert contrast(shade) >= CONTRAST
        assert shade.upper() == colour or contrast(colour) < CONTRAST  # no darker than it must be
    assert contrast("#FFFFFF") == pytest.approx(1) and contrast("#000000") == pytest.approx(21)
