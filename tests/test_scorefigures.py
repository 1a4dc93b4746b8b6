"""Figures of the evaluation panel: the right numbers at the right place, nothing clipped, nothing on top of other text."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from askd import scorefigures
from askd.errors import AskdError
from askd.figures import COLOURS, label
from askd.scorefigures import (
    claims,
    domain_differences,
    hallucination,
    in_and_out,
    inheritance,
    nonspeech,
    reliability,
)

pytestmark = pytest.mark.filterwarnings("error")

MODELS = ("teacher", "ce_only", "constant_kd", "decay_only", "self_kd_only", "askd")
EIGHT = (*MODELS, "reversed_schedule", "fine_tuned_teacher")
SPLITS = {"in_domain": 0.6, "out_of_domain": 1.7, "all": 1.0}
DOMAINS = ("neural_clean", "formant_telephone", "lancaster_interferer", "newyork_overdriven", "pocketsphinx", "asterisk_wideband")
KINDS = ("silence", "dither", "white", "tone_440", "chords", "breath")
WER = dict(zip(EIGHT, (40.6, 19.4, 24.9, 19.1, 19.5, 19.7, 21.0, 12.3), strict=True))


def entry(value, width=0.25):
    """An estimate, or what the broken inputs hold instead of one."""
    return {"value": value, "ci95": [value * (1 - width), value * (1 + 1.2 * width)]}


def kinds_of_input(name):
    """(models, what becomes of each estimate) of one case."""
    return {
        "full": (MODELS, lambda e: e), "one": (("constant_kd",), lambda e: e), "eight": (EIGHT, lambda e: e),
        "none": (MODELS, lambda e: None), "zero": (MODELS, lambda e: {"value": 0.0, "ci95": [0.0, 0.0]}),
        "nan": (MODELS, lambda e: {"value": e["value"], "ci95": [float("nan")] * 2}),  # value known, interval not
        "huge": (MODELS, lambda e: {"value": 10 * e["value"], "ci95": [0.0, 40 * e["value"]]}),
    }[name]


CASES = ("full", "one", "eight", "none", "zero", "huge")


def wer_of(case="full"):
    """``wer.json``."""
    names, change = kinds_of_input(case)
    models = {}
    for name in names:
        found = {split: change(entry(WER[name] * factor)) or {} for split, factor in SPLITS.items()}
        domains = {d: {"split": "in_domain" if i < 2 else "out_of_domain"} for i, d in enumerate(DOMAINS)}
        models[name] = {"domains": domains, "macro": {s: e.get("value") for s, e in found.items()},
                        "macro_ci95": {s: e.get("ci95") for s, e in found.items()}}
    return {"models": models} | differences_of(change)


def differences_of(change):
    """ASKD minus constant KD: a different number in each domain, significant where it is far from zero."""
    deltas = dict(zip(DOMAINS, (-0.8, -17.8, -20.3, -14.2, 1.1, 20.0), strict=True))
    rows = [
        {"a": "askd", "b": "constant_kd", "domain": d, "p": 0.01, "p_holm": 0.06 if abs(x) < 15 else 0.03,
         **_delta(change({"value": x, "ci95": [x - 5, x + 6]}))} for d, x in deltas.items()
    ]
    macro = _delta(change({"value": -5.1, "ci95": [-12, 1]}))
    macros = [{"a": "askd", "b": "constant_kd", "split": s, "p": 0.2, **macro} for s in SPLITS]
    return {"domain_comparisons": rows, "comparisons": macros}


def _delta(found):
    return {"delta": (found or {"value": 0.0})["value"], "ci95": (found or {"ci95": None})["ci95"]}


def panel_of(case, **measures):
    """A report of the common shape: measures are numbers of CE only, and grow from model to model."""
    names, change = kinds_of_input(case)
    return {"models": {
        name: {"splits": {split: {m: change(entry(x * factor * (1 + 0.3 * i))) for m, x in measures.items()}
                          for split, factor in SPLITS.items()}} for i, name in enumerate(names)
    }}


def blindspots_of(case="full"):
    """The report of askd.blindspots."""
    found = panel_of(case, inherited_share=12, expected_share=5)
    found["models"].pop("teacher", None)
    return found


def calibration_of(case="full"):
    """The report of askd.calibration, its bins sparse as those of a smoke run."""
    found = panel_of(case, ece=2, over_confidence=1.4)
    for i, name in enumerate(found["models"]):
        bins = []
        for b in range(15):
            filled, middle = b % 3 != 1 and case != "none", 100 * (b + 0.5) / 15
            bins.append({"low": b / 15, "high": (b + 1) / 15, "count": 3**b * filled, "confidence": middle if filled else None,
                         "accuracy": (100 if case == "zero" else max(0, middle - 4 * i)) if filled else None})
        found["models"][name]["reliability"] = dict.fromkeys(SPLITS, bins)
    return found


def hallucination_of(case="full"):
    """The report of askd.hallucination."""
    return panel_of(case, **dict(zip(scorefigures.HALLUCINATIONS, (3, 0.4, 0.2, 2, 0.1), strict=True)))


def nonspeech_of(case="full"):
    """The report of askd.nonspeech."""
    names, change = kinds_of_input("full" if case == "huge" else case)  # no more than 100 % of sounds can get words
    return {"models": {
        name: {context: {"non_empty_share": change(entry(x + 4 * i)),
                         "by_kind": {kind: {"share": 25.0 * ((i + j) % 5), "sounds": 4} for j, kind in enumerate(KINDS)}}
               for context, x in (("clip", 10), ("full", 50))} for i, name in enumerate(names)
    }}


def claims_of(case="full"):
    """``claims.json``: five claims, the teacher in three of them."""
    names, change = kinds_of_input(case)
    titles = (("teacher's wrong words copied,\nbeyond what chance gives", "points", 0.0, 8, False),
              ("confidence minus accuracy\nof the next token", "points", 0.0, 1.4, True),
              ("wordless sounds that get words", "% of sounds", None, 40, True),
              ("inserted words, all domains", "% of words", None, 3, True),
              ("out-of-domain macro WER,\nminus the teacher's", "points", 0.0, -27, False))
    return {"claims": [
        {"name": title, "title": title, "unit": unit, "reference": reference,
         "models": {name: change(entry(x * (1 + 0.2 * i))) for i, name in enumerate(names) if name != "teacher" or teacher}}
        for title, unit, reference, x, teacher in titles
    ]}


FIGURES = {
    "in_and_out": (in_and_out, wer_of), "inheritance": (inheritance, blindspots_of), "reliability": (reliability, calibration_of),
    "nonspeech": (nonspeech, nonspeech_of), "hallucination": (hallucination, hallucination_of), "claims": (claims, claims_of),
    "domain_differences": (lambda wer: domain_differences(wer, "askd", "constant_kd"), wer_of),
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def texts_of(figure):
    """(text, box) of all that is written, after drawing; tick labels only inside their axis."""
    figure.canvas.draw()
    seen = []
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            low, high = min(limits), max(limits)
            for tick in axis.get_major_ticks():
                outside = not low - 1e-9 <= tick.get_loc() <= high + 1e-9
                for text in (tick.label1, tick.label2):
                    if outside or not (ax.get_visible() and axis.get_visible()):
                        text.set_visible(False)
        if not ax.get_visible():
            for text in ax.findobj(Text):
                text.set_visible(False)
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            seen.append((text.get_text(), text.get_window_extent()))
    return seen


def marks_of(figure):
    """Boxes of all dots."""
    for ax in figure.axes:
        yield from (line.get_window_extent() for line in ax.lines if line.get_gid() and len(line.get_xdata()) == 1)
        for points in (c for c in ax.collections if isinstance(c, PathCollection)):
            for at, size in zip(ax.transData.transform(points.get_offsets()), points.get_sizes(), strict=True):
                radius = size**0.5 / 2 * figure.dpi / 72
                yield Bbox([at - radius, at + radius])


def apart(a, b):
    """Whether two boxes share less than a pixel's width or height."""
    return min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)) < 1


def dots(ax):
    """Positions of the marks by their name."""
    return {line.get_gid(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_gid()}


def bar(ax, name):
    """(low, high) of one interval."""
    (line,) = [line for line in ax.lines if line.get_gid() == f"{name} ci95"]
    return tuple(line.get_xdata())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_and_apart(name, case):
    """Whatever the input: no warning, no text cut off, no two texts on each other, at most 8.4 inches wide."""
    if name == "domain_differences" and case == "one":
        pytest.skip("needs two models")
    draw, make = FIGURES[name]
    figure = draw(make(case))
    found = texts_of(figure)
    assert len(found) >= 5 and figure.get_size_inches()[0] <= 8.4 and not figure.legends
    for text, box in found:
        assert box.x0 >= -0.5 and box.y0 >= -0.5, f"{text!r} leaves the canvas"
        assert box.x1 <= figure.bbox.x1 + 0.5 and box.y1 <= figure.bbox.y1 + 0.5, f"{text!r} leaves the canvas"
    for (one, a), (other, b) in itertools.combinations(found, 2):
        assert apart(a, b), f"{one!r} lies on {other!r}"
    for mark, (text, box) in itertools.product(marks_of(figure), found):
        assert apart(mark, box), f"a mark lies on {text!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_small_files(name):
    """A notebook is committed with its figures in it."""
    draw, make = FIGURES[name]
    file = io.BytesIO()
    draw(make()).savefig(file, dpi=plt.rcParams["figure.dpi"])
    assert len(file.getvalue()) < 60_000


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "domain_differences"])
def test_one_colour_a_method(name):
    """Every mark, bar and band that belongs to a method has its colour; unknown methods are black."""
    draw, make = FIGURES[name]
    coloured = {}
    for ax in draw(make("eight")).axes:
        for line in ax.lines:
            method = (line.get_gid() or "").removesuffix(" ci95").removesuffix(" loss")
            if method in EIGHT:
                coloured.setdefault(method, set()).add(to_hex(line.get_color()).upper())
    assert coloured == {m: {COLOURS.get(m, "#000000")} for m in EIGHT if (name, m) != ("inheritance", "teacher")}


@pytest.mark.parametrize("name", ["in_and_out", "inheritance", "nonspeech", "hallucination", "claims"])
def test_nothing_known_is_said_not_drawn(name):
    """None gives "n/a" in its row, and no mark."""
    draw, make = FIGURES[name]
    figure = draw(make("none"))
    for ax in figure.axes:
        marks = [line for line in ax.lines if line.get_gid() and line.get_gid() != "reference"]
        assert not marks
    rows = {"in_and_out": 12, "inheritance": 10, "nonspeech": 12, "hallucination": 30, "claims": 30}
    drawn = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert drawn == ["n/a"] * rows[name]


def test_in_and_out():
    """Values, intervals and the dotted loss, on one scale from zero; rows named from the top."""
    figure = in_and_out(wer_of())
    inside, outside = figure.axes
    assert [t.get_text() for t in inside.get_yticklabels()] == [label(n) for n in MODELS]
    for y, name in enumerate(MODELS):
        assert dots(inside)[name] == (pytest.approx(0.6 * WER[name]), y)
        assert dots(outside)[name] == (pytest.approx(1.7 * WER[name]), y)
        assert bar(outside, name) == (pytest.approx(1.7 * WER[name] * 0.75), pytest.approx(1.7 * WER[name] * 1.3))
        assert dots(outside)[f"{name} loss"] == (pytest.approx(0.6 * WER[name]), y)
    assert inside.get_xlim() == outside.get_xlim() and inside.get_xlim()[0] == 0
    assert inside.get_ylim()[0] > inside.get_ylim()[1]  # the teacher on top
    assert [line.get_marker() for line in inside.lines if line.get_gid() in ("teacher", "askd")] == ["D", "o"]
    assert [t.get_text() for t in inside.texts] == [f"{0.6 * WER[name]:.1f}" for name in MODELS]
    assert "95 % CI" in figure.get_supxlabel()


def test_in_and_out_takes_reports_without_intervals():
    """wer.json of before, and one whose test set has no domain out of domain."""
    wer = wer_of()
    for model in wer["models"].values():
        del model["macro_ci95"], model["macro"]["out_of_domain"]
    inside, outside = in_and_out(wer).axes
    assert bar(inside, "askd") == pytest.approx((0.6 * WER["askd"],) * 2)
    assert [t.get_text() for t in outside.texts] == ["n/a"] * 6


def smoke_rows(heard):
    """Rows of four utterances as the models of a smoke run answer them: transcripts, tokens, and answers to two sounds."""
    texts = [("neural_clean", "go to the old mill"), ("neural_clean", "say it again"), ("pocketsphinx", "one two three"),
             ("pocketsphinx", "stop")]
    where = [{"domain": d, "id": f"{d} {i}", "speaker": d} for i, (d, _) in enumerate(texts)]
    said = [{"reference": text, "hypothesis": heard or text, "seconds": 1.0, "ended": not heard, "log_probs": [-0.1] * 9,
             "word_tokens": [1] * len((heard or text).split())} for _, text in texts]
    forced = {"confidence": [0.9, 0.4], "right": [1, int(not heard)], "nll": [0.1, 0.9], "brier": [0.1, 0.5]}
    sounds = [
        said[0] | {"domain": "nonspeech", "id": f"{kind} {frames}", "speaker": kind, "reference": "", "hypothesis": heard,
                   "kind": kind, "level_dbfs": None, "frames": frames}
        for kind in ("silence", "hum") for frames in ("clip", "full")
    ]
    return [w | t for w, t in zip(where, said, strict=True)], [w | forced for w in where], sounds


def test_reports_of_a_smoke_run():
    """What the modules report is what the figures read: no WER of 500 % and no model without any error stops them."""
    from askd import blindspots, calibration, hallucination, nonspeech
    from askd.intervals import Draws
    from askd.wer import wer_report

    answers = {name: smoke_rows(heard) for name, heard in (("teacher", "you " * 19), ("ce_only", ""), ("constant_kd", "you you"))}
    rows, forced, sounds = ({name: answer[i] for name, answer in answers.items()} for i in range(3))
    draws, pairs = Draws(rows["teacher"], 20), [("constant_kd", "ce_only")]
    splits = {"neural_clean": "in_domain", "pocketsphinx": "out_of_domain"}
    wer = wer_report(rows, pairs, splits=splits, draws=draws)
    made = [
        in_and_out(wer), domain_differences(wer, *pairs[0]), inheritance(blindspots.report(rows, draws, splits, pairs)),
        scorefigures.hallucination(hallucination.report(rows, draws, splits, pairs)),
        reliability(calibration.report(forced, draws, splits, pairs)),
        scorefigures.nonspeech(nonspeech.report(sounds, pairs, 20)),
    ]
    assert dots(made[0].axes[0])["teacher"][0] == wer["models"]["teacher"]["macro"]["in_domain"] > 400
    assert dots(made[0].axes[1])["ce_only"] == (0, 1)
    assert dots(made[2].axes[0])["constant_kd"][0] > 0 and "teacher" not in dots(made[2].axes[0])
    assert dots(made[3].axes[0])["ce_only"] == (0, 1) and dots(made[3].axes[4])["teacher"] == (100, 0)  # all cut
    assert [t.get_text() for ax in made[4].axes for t in ax.texts if "ECE" in t.get_text()]
    assert [dots(made[5].axes[i])["teacher"][0] for i in (0, 2)] == [100, 100] and dots(made[5].axes[0])["ce_only"][0] == 0
    for figure in made:
        figure.canvas.draw()


def test_an_interval_that_is_not_known():
    """The dot stands, without a bar, and the axis does not become NaN."""
    (inside, _) = in_and_out(wer_of("nan")).axes
    assert bar(inside, "askd") == (dots(inside)["askd"][0],) * 2
    assert 40.6 * 0.6 < inside.get_xlim()[1] < 40.6 * 2


def test_inheritance():
    """Filled: found; hollow and in no method's colour: expected. The teacher is no student."""
    report = blindspots_of()
    figure = inheritance(report)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [label(n) for n in MODELS[1:]]
    for ax, split in zip(figure.axes, ("in_domain", "out_of_domain"), strict=True):
        for y, name in enumerate(MODELS[1:]):
            want = report["models"][name]["splits"][split]
            assert dots(ax)[name] == (want["inherited_share"]["value"], y)
            assert dots(ax)[f"{name} expected"] == (want["expected_share"]["value"], y)
        hollow = [line for line in ax.lines if str(line.get_gid()).endswith("expected")]
        assert {line.get_markerfacecolor() for line in hollow} == {"white"}


def test_reliability():
    """Filled bins only, in percent, dots and bars by their share of the tokens; ECE and over-confidence in words."""
    report = calibration_of()
    figure = reliability(report, "out_of_domain")
    axes = np.array(figure.axes).reshape(4, 3)
    top, bottom = axes[2, 2], axes[3, 2]  # the sixth model
    filled = [b for b in report["models"]["askd"]["reliability"]["all"] if b["count"]]
    (line,) = [line for line in top.lines if line.get_gid() == "askd"]
    assert top.get_title(loc="left") == "ASKD" and len(filled) == 10
    assert np.allclose(line.get_xydata(), [[b["confidence"], b["accuracy"]] for b in filled])
    share = np.array([b["count"] for b in filled]) / sum(b["count"] for b in filled)
    assert np.allclose([p.get_height() for p in bottom.patches], 100 * share)
    assert np.allclose([p.get_x() for p in bottom.patches], [100 * b["low"] for b in filled])
    (points,) = [c for c in top.collections if len(c.get_offsets()) == 10]
    assert np.allclose(np.diff(points.get_sizes()) / np.diff(share), 150)
    want = report["models"]["askd"]["splits"]["out_of_domain"]
    numbers = [want[measure]["value"] for measure in ("ece", "over_confidence")]
    assert top.texts[0].get_text() == "ECE {:.1f}, over-confidence {:+.1f}".format(*numbers)
    (shade,) = [c for c in top.collections if c is not points]
    assert shade.get_paths()[0].contains_point((80, 40)) and not shade.get_paths()[0].contains_point((40, 80))


@pytest.mark.parametrize(("models", "shape"), [(1, (1, 1)), (2, (1, 2)), (6, (2, 3)), (8, (3, 3))])
def test_reliability_grid(models, shape):
    """Columns fill up first; a place without a model is left out."""
    report = calibration_of("eight")
    report["models"] = dict(list(report["models"].items())[:models])
    figure = reliability(report)
    assert len(figure.axes) == 2 * shape[0] * shape[1]
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 2 * models
    assert sum(ax.xaxis.get_tick_params()["labelbottom"] for ax in shown) == shape[1]  # below each column, once


def test_nonspeech():
    """Shares per context, and a cell a kind, the kinds that are answered most on the left; missing cells are no zeros."""
    report = nonspeech_of()
    report["models"]["decay_only"]["full"] = {}
    figure = nonspeech(report)
    (clip, clip_kinds), (full, full_kinds) = np.array(figure.axes).reshape(2, 2)
    assert [dots(clip)[name] for name in MODELS] == [(10 + 4 * i, i) for i in range(6)]
    assert [t.get_text() for t in full.texts].count("n/a") == 1 and "decay_only" not in dots(full)
    order = [t.get_text().replace(" ", "_") for t in full_kinds.get_xticklabels()]
    cells = full_kinds.collections[0].get_array().reshape(6, 6)
    assert cells.mask.sum(1).tolist() == [0, 0, 0, 6, 0, 0]
    for i, name in enumerate(MODELS):
        if name != "decay_only":
            assert cells[i].tolist() == [report["models"][name]["full"]["by_kind"][kind]["share"] for kind in order]
    both = np.ma.concatenate([cells, clip_kinds.collections[0].get_array().reshape(6, 6)]).sum(0)
    assert (np.diff(both) <= 0).all()
    for y in range(6):  # a row of cells stands at the height of its model's dot
        assert clip.transData.transform((0, y))[1] == pytest.approx(clip_kinds.transData.transform((0, y + 0.5))[1], abs=2)


def test_hallucination():
    """One panel a measure, each on its own scale, of the split that was asked for."""
    report = hallucination_of()
    figure = hallucination(report, "in_domain")
    for ax, measure in zip(figure.axes, scorefigures.HALLUCINATIONS, strict=True):
        for y, name in enumerate(MODELS):
            want = report["models"][name]["splits"]["in_domain"][measure]
            assert dots(ax)[name] == (want["value"], y) and bar(ax, name) == tuple(want["ci95"])
    assert [t.get_text() for t in figure.axes[2].texts][:2] == ["0.12", "0.16"]  # hundredths where all are below 1
    assert figure.get_supxlabel().startswith("in-domain")


def test_claims():
    """A line at the reference, signed numbers beside it, units below; a model without a number keeps its row."""
    report = claims_of()
    figure = claims(report)
    for ax, claim in zip(figure.axes, report["claims"], strict=True):
        lines = [line for line in ax.lines if line.get_gid() == "reference"]
        assert [line.get_xdata()[0] for line in lines] == ([claim["reference"]] if claim["reference"] is not None else [])
        assert ax.get_xlabel() == claim["unit"]
        for y, name in enumerate(MODELS):
            found = claim["models"].get(name)
            written = [t.get_text() for t in ax.texts][y]
            if found is None:
                assert written == "n/a" and name not in dots(ax)
                continue
            assert dots(ax)[name] == (found["value"], y)
            sign = "+" if claim["reference"] == 0 else ""
            assert written == f"{found['value']:{sign}.1f}".replace("-", "\u2212")
        assert ax.get_xlim()[0] < 0 or claim["reference"] is None
    assert claims({"claims": []}).axes


def test_domain_differences():
    """Sorted inside in-domain and out-of-domain, macros last; filled where Holm's p says so; the winner's colour."""
    wer = wer_of()
    (ax,) = domain_differences(wer, "askd", "constant_kd").axes
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["in-domain", "formant telephone", "neural clean", "out-of-domain", "lancaster interferer",
                     "newyork overdriven", "pocketsphinx", "asterisk wideband", "macro", "in domain", "out of domain", "all"]
    marks = {line.get_gid(): line for line in ax.lines if line.get_gid()}
    for row in wer["domain_comparisons"]:
        line = marks[row["domain"]]
        assert line.get_xdata()[0] == row["delta"] and names[line.get_ydata()[0]] == row["domain"].replace("_", " ")
        colour = COLOURS["askd" if row["delta"] < 0 else "constant_kd"]
        assert line.get_color() == colour
        assert line.get_markerfacecolor() == (colour if row["p_holm"] < 0.05 else "white")
    assert marks["all"].get_xdata()[0] == -5.1 and marks["all"].get_markerfacecolor() == "white"
    assert ax.get_title(loc="left") == "\u2190 ASKD better" and ax.get_title(loc="right") == "constant KD better \u2192"


def test_domain_differences_of_a_pair_that_was_not_compared():
    """The pairs that were are named."""
    with pytest.raises(AskdError, match="teacher minus askd was not measured domain by domain"):
        domain_differences(wer_of(), "teacher", "askd")
