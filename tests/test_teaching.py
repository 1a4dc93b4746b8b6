"""What the notebooks show: the same answers as askd.forced, and figures that draw what they were given."""

import math

import matplotlib.pyplot as plt
import pytest
import torch

from askd import teaching
from askd.errors import AskdError
from askd.forced import forced_rows
from askd.schedules import SCHEDULES

P = torch.tensor([0.495, 0.495, 0.01], dtype=torch.float64).log()
COVER, SEEK = (1 / 3, 1 / 3, 1 / 3), (0.98, 0.01, 0.01)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


@pytest.mark.parametrize("context", ["full", "clip"])
def test_answers_are_those_that_are_measured(tiny_en, clips, context, monkeypatch):
    model, processor = tiny_en
    chosen = [clips[0], clips[6]]
    monkeypatch.setattr(model.config, "askd_context", context, raising=False)
    y, log_p = teaching.answers(model, processor, chosen)
    rows = forced_rows(model, processor, chosen)
    measured = {name: torch.tensor([x for row in rows for x in row[name]]) for name in ("confidence", "right", "nll")}
    assert torch.allclose(-log_p.gather(1, y[:, None])[:, 0], measured["nll"], atol=1e-3)
    assert torch.allclose(log_p.exp().amax(-1), measured["confidence"], atol=1e-3)
    assert torch.equal((log_p.argmax(-1) == y).long(), measured["right"])


def test_the_hardest_clip_is_the_one_with_most_wrong_tokens(tiny_en, clips):
    model, processor = tiny_en
    chosen = teaching.hardest(model, processor, clips, "formant_telephone", among=4)
    rows = forced_rows(model, processor, clips[6:10])
    right = [sum(row["right"]) / len(row["right"]) for row in rows]
    assert chosen == clips[6:10][right.index(min(right))]
    with pytest.raises(AskdError, match="there are clips of neural_clean, formant_telephone"):
        teaching.hardest(model, processor, clips, "formant_room")


def test_words_can_be_read(tiny_en):
    tokens = tiny_en.processor.tokenizer(" Good morning", add_special_tokens=False).input_ids
    end = tiny_en.model.generation_config.eos_token_id
    assert teaching.words(tiny_en.processor, torch.tensor([*tokens, end])) == ["Good", "morning", "(end)"]


def test_entropy_of_a_coin_and_of_certainty():
    found = teaching.entropy(torch.tensor([[0.5, 0.5], [1 - 1e-9, 1e-9]], dtype=torch.float64).log())
    assert found.tolist() == pytest.approx([math.log(2), 0], abs=1e-6)


def test_committed_results_are_read_or_named(capsys):
    assert "models" in teaching.committed("cpu/blindspots.json", "askd publish cpu")
    assert teaching.committed("nowhere/none.json", "askd nothing") is None
    assert capsys.readouterr().out == "data/results/nowhere/none.json is not here: askd nothing makes it\n"


def test_forward_kl_wants_cover_and_reverse_kl_one_mode():
    a, log_q = teaching.students_on_a_line(COVER, SEEK)
    assert torch.allclose(log_q.exp().sum(-1), torch.ones(101, dtype=torch.float64))
    assert torch.allclose(log_q[[0, -1]].exp(), torch.tensor([COVER, SEEK], dtype=torch.float64))
    found = teaching.divergences_of(P, log_q)
    best = {name: a[values.argmin()].item() for name, values in found.items()}
    assert best["forward_kl"] <= best["skew_kl"] < best["jensen_shannon"] < best["reverse_kl"]
    # all others are equal on this line: DKD varies through its coin as forward KL does; reverse KL and MSE meet log odds alike
    assert best["decoupled_kd"] == best["forward_kl"] and best["logit_mse"] == best["reverse_kl"]
    ax = teaching.disagreement_figure(a, found).axes[0]
    for name, line in lines(ax).items():
        heights = line.get_ydata()
        assert min(heights) == 0 and max(heights) == 1 and heights[int(found[name].argmin())] == 0


def test_tokens_are_drawn_where_the_teacher_is_wrong():
    p_label = {"teacher": torch.tensor([0.9, 0.1, 0.8]), "ce_only": torch.tensor([0.5, 0.4, 0.3])}
    p_said = {"teacher": torch.tensor([0.9, 0.7, 0.8]), "ce_only": torch.tensor([0.5, 0.2, 0.3])}
    wrong = torch.tensor([False, True, False])
    top, bottom = teaching.token_figure(["a", "b", "(end)"], ["a", "d", "(end)"], wrong, p_label, p_said).axes
    assert [bar.get_height() for bar in top.patches if hasattr(bar, "get_height") and bar.get_width() == 0.72] == pytest.approx(
        [0.9, 0.1, 0.8])
    assert lines(top)["ce_only"].get_ydata().tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert lines(bottom)["ce_only"].get_ydata().tolist() == pytest.approx([0.2])
    assert lines(bottom)["ce_only"].get_xdata().tolist() == [1]
    assert [mark.get_text() for mark in bottom.get_xticklabels()] == ["a", "b \u2192 d", "(end)"]


def test_adaptive_has_an_axis_of_its_own():
    panels = {name: ax for ax in teaching.schedules_and_gap(SCHEDULES).axes for name in lines(ax)}
    assert set(panels) == set(SCHEDULES) and len(set(panels.values())) == len(SCHEDULES)
    for name, ax in panels.items():
        assert ("gap" in ax.get_xlabel()) == (name == "adaptive")
        assert lines(ax)[name].get_ydata()[[0, -1]].tolist() == [0.8, 0.8 if name == "constant" else 0.0]


def test_pace_and_self_teachers_are_drawn_as_given():
    figure = teaching.pace_figure([0, 0.5, 1], [3, 2, 1], [0, 0.1, 0.5], {"linear": [0.8, 0.4, 0], "adaptive": [0.8, 0.7, 0.4]})
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3, 2, 1]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [0, 0.1, 0.5]
    assert lines(figure.axes[2])["adaptive"].get_ydata().tolist() == [0.8, 0.7, 0.4]
    traces = {"student": [0, 1, 1, 1], "ema": [0, 0.5, 0.75, 0.875], "snapshot": [0, 1, 1, 1], "previous_epoch": [0, 1, 1, 1]}
    ax = teaching.self_teacher_figure(traces, switch=3, epoch_steps=2).axes[0]
    for name, values in traces.items():
        assert lines(ax)[name].get_ydata().tolist() == values and lines(ax)[name].get_xdata().tolist() == [1, 2, 3, 4]
    assert lines(ax)["switch"].get_xdata()[0] == 3


def test_certainty_has_a_dot_a_token():
    student, past = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.7, 0.9, 3.0])
    drawn = lines(teaching.certainty_figure(student, past, torch.tensor([True, False, True])).axes[0])
    assert drawn["right"].get_xdata().tolist() == [0.5, 2.0] and drawn["right"].get_ydata().tolist() == pytest.approx([0.7, 3.0])
    assert drawn["wrong"].get_xdata().tolist() == [1.0] and drawn["wrong"].get_ydata().tolist() == pytest.approx([0.9])
