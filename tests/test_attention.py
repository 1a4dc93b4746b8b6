"""Where a model listens: rows that sum to one, on the sound and in its order; the same answers as are measured."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from askd.attention import following_heads, label_words, listen, main, picture
from askd.attentionfigures import listening_figure
from askd.errors import AskdError
from askd.files import read_json
from askd.forced import forced_rows
from askd.student import make_student
from askd.teaching import hardest


@pytest.fixture(scope="module")
def heard(tiny_en, clips):
    return listen(*tiny_en, clips[0])


def test_rows_of_the_attention_sum_to_one(tiny_en, clips, heard):
    labels = label_words(*tiny_en, clips[0])
    rows = np.array(heard.attention)
    assert rows.shape == (len(labels), 1500)  # tokens, positions of 20 ms in 30 s
    assert np.allclose(rows.sum(1), 1, atol=1e-4) and (rows >= 0).all()
    assert labels[-1] == "(end)" and labels[0] == clips[0].text.split()[0]


def test_it_listens_to_the_clip_and_goes_forward(clips, heard):
    """Words are heard one after the other: the centre of what they listen to moves on, within the clip."""
    rows = np.array(heard.attention)[:-2]  # without full stop and end
    positions = int(clips[0].audio_s / 0.02)
    inside = rows[:, :positions]
    assert inside.sum(1).min() > 0.5
    centres = (inside * np.arange(positions)).sum(1) / inside.sum(1)
    assert np.corrcoef(centres, np.arange(len(centres)))[0, 1] > 0.95


def test_answers_are_those_that_are_measured(tiny_en, clips, heard):
    (row,) = forced_rows(*tiny_en, clips[:1])
    assert -np.log(heard.p_label) == pytest.approx(row["nll"], abs=2e-3)
    assert heard.p_said == pytest.approx(row["confidence"], abs=2e-3)
    labels = label_words(*tiny_en, clips[0])
    assert [int(a == b) for a, b in zip(heard.said, labels, strict=True)] == row["right"]


def test_the_model_is_left_as_it_was(tiny_en, clips):
    model, processor = tiny_en
    before = model.config._attn_implementation
    listen(model, processor, clips[1])
    assert model.config._attn_implementation == before == "sdpa"


def test_heads(tiny_en, clips):
    """OpenAI's for the stock teacher; the last half of the decoder for a student, whose layers are numbered anew."""
    known = [tuple(pair) for pair in tiny_en.model.generation_config.alignment_heads]
    assert [tuple(pair) for pair in following_heads(tiny_en.model)] == known and known
    student = make_student(tiny_en.model, decoder_layers=2)
    assert following_heads(student) == following_heads(student, tiny_en.model) == [(1, head) for head in range(6)]
    whole = make_student(tiny_en.model, decoder_layers=None)
    assert whole.generation_config.alignment_heads is None  # lost, and found again at its teacher
    assert following_heads(whole, tiny_en.model) == following_heads(tiny_en.model)
    one = listen(*tiny_en, clips[0], heads=[(3, 2)])
    two = listen(*tiny_en, clips[0], heads=[(3, 2), (2, 0)])
    both = (np.array(one.attention) + np.array(listen(*tiny_en, clips[0], heads=[(2, 0)]).attention)) / 2
    assert np.allclose(two.attention, both, atol=1e-6)
    with pytest.raises(AskdError, match="4 decoder layers of 6 heads"):
        listen(*tiny_en, clips[0], heads=[(4, 0)])


def test_a_student_hears_its_own_context(tiny_en, clips, monkeypatch):
    monkeypatch.setattr(tiny_en.model.config, "askd_context", "clip", raising=False)
    rows = np.array(listen(*tiny_en, clips[0]).attention)
    assert rows.shape[1] < 1500 and rows.shape[1] * 0.02 >= clips[0].audio_s and np.allclose(rows.sum(1), 1, atol=1e-4)


def test_the_picture_is_small_and_draws_what_it_was_given(tiny_en, clips, heard):
    labels = label_words(*tiny_en, clips[0])
    made = picture(clips[0], labels, {"teacher": heard, "askd": heard})
    assert len(json.dumps(made)) < 120_000 and made == json.loads(json.dumps(made))
    cells = len(made["mel"][0])
    assert len(made["mel"]) == 40 and cells == pytest.approx(clips[0].audio_s / 0.04, abs=1)
    rows = np.array(made["models"]["askd"]["attention"])
    assert rows.shape == (len(labels), cells)
    assert np.allclose(rows.sum(1), np.array(heard.attention)[:, : 2 * cells].sum(1), atol=0.05)
    figure = listening_figure(made)
    figure.canvas.draw()
    bars = [patch.get_width() for patch in figure.axes[5].patches if patch.get_height() == pytest.approx(0.62)]
    assert bars == pytest.approx(heard.p_label, abs=1e-3)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    right = sum(a == b for a, b in zip(heard.said, labels, strict=True))
    assert {f"{name}: {right} of {len(labels)} tokens right" for name in ("teacher", "ASKD")} <= set(titles)
    plt.close(figure)


def test_what_it_would_write_instead_is_in_red(tiny_en, clips):
    spot = hardest(*tiny_en, clips, "formant_telephone")
    heard, labels = listen(*tiny_en, spot), label_words(*tiny_en, spot)
    wrong = [said for said, y in zip(heard.said, labels, strict=True) if said != y]
    assert wrong, "the telephone is a blind spot"
    figure = listening_figure(picture(spot, labels, {"teacher": heard}))
    assert [text.get_text() for text in figure.axes[3].texts] == wrong
    assert len({text.get_color() for text in figure.axes[3].texts}) == 1
    plt.close(figure)


def test_the_file_is_made_by_a_command(tmp_path, tiny_en, monkeypatch):
    torch.manual_seed(0)
    main(["teacher=tiny.en", "again=tiny.en", "--split", "train", "--clips", "2", "--out", str(tmp_path / "spot.json")])
    made = read_json(tmp_path / "spot.json")
    assert made["models"]["teacher"] == made["models"]["again"] and made["domain"] == "formant_telephone"
    assert made["provenance"]["models"] == {"teacher": "tiny.en", "again": "tiny.en"} and "commit" in made["provenance"]
