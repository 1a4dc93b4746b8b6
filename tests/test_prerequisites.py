"""The pictures of notebook 00 show what the model really hears and does."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from askd import prerequisites
from askd.errors import AskdError, UnknownName
from askd.evaluation import hypotheses
from askd.features import encode, log_mel, pad_features
from askd.prerequisites import CUT, kl_figure, kl_parts, mel_figure, model_figure, model_shapes, same_sentence
from askd.scoring import word_errors

SENTENCE = "A rat ran across the beam above his head."  # of notebook 00
VOICES = ("hibari", "espeak:en-us")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def pair():
    return same_sentence(SENTENCE, VOICES)


def test_the_first_thing_heard_is_a_blind_spot(tiny_en, pair):
    assert [(clip.text, clip.speaker, clip.domain) for clip in pair] == [(SENTENCE, voice, "telephone") for voice in VOICES]
    rows = hypotheses(*tiny_en, pair, max_new_tokens=40)
    neural, formant = word_errors([SENTENCE] * 2, [row["hypothesis"] for row in rows]).errors
    assert neural <= 1 and formant >= 4


def test_only_the_voice_differs(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    alone = same_sentence(SENTENCE, VOICES[1:])[0]  # made anew, and without the other before it
    assert alone.path.startswith(str(tmp_path)) and alone.sha256 == pair[1].sha256
    drawn = []

    def channel(samples, rng, speaker):
        drawn.append(rng.integers(2**32))
        return samples

    monkeypatch.setattr(prerequisites, "get_channel", lambda name: channel)
    same_sentence("Where is it?", ("espeak:en-us", "espeak:en-gb+m1"), "clean")
    assert len(drawn) == 2 and drawn[0] == drawn[1]


def test_wrong_names_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ASKD_CACHE", str(tmp_path))
    with pytest.raises(UnknownName, match="telefone"):
        same_sentence(SENTENCE, VOICES, "telefone")
    with pytest.raises(AskdError, match="'babble' needs other talkers"):
        same_sentence(SENTENCE, VOICES[1:], "babble")


def test_the_log_mel_figure_draws_what_it_is_given(pair, tiny_en):
    x, t = pair[1].samples(), 90
    inside = torch.from_numpy(x[160 * t - 200 : 160 * t + 200])
    filters = torch.from_numpy(tiny_en.processor.feature_extractor.mel_filters).float().T  # (80, 201)
    power = torch.fft.rfft(torch.hann_window(400) * inside).abs() ** 2
    bands, features = filters @ power, log_mel(x)
    wave, window, spectrum, image = mel_figure(x, t, power, bands, features).axes
    assert np.array_equal(window.lines[0].get_ydata(), inside)
    assert np.allclose(window.lines[1].get_ydata(), torch.hann_window(400) * inside, atol=1e-6)
    assert np.allclose(spectrum.lines[0].get_ydata(), 10 * power.clamp_min(1e-10).log10(), atol=1e-3)
    drawn = image.images[0]
    assert drawn.get_array().shape == (40, features.shape[1] // 4) and drawn.get_extent()[3] == 80
    assert np.allclose(drawn.get_array()[7, 20], features[14:16, 80:84].mean(), atol=1e-5)
    (low, high), place = wave.patches[0].get_corners()[[0, 2], 0], image.lines[0].get_xdata()[0]
    assert (low, high) == pytest.approx((t / 100 - 0.0125, t / 100 + 0.0125)) and t / 100 < place < (t + 1) / 100
    edges = spectrum.patches[0].get_data().edges
    tops = filters.argmax(1) * 0.04  # kHz: where each filter is highest, to the next of its 201 frequencies
    assert all(low - 0.04 <= top <= high + 0.04 for low, top, high in zip(edges[:-1], tops, edges[1:], strict=True))


@pytest.mark.parametrize(("audio_s", "frames"), [(30, 3000), (3.7, None)])
def test_shapes_on_the_arrows_are_those_of_a_real_pass(tiny_en, audio_s, frames):
    model = tiny_en.model
    noise = np.random.default_rng(0).normal(0, 0.1, round(audio_s * 16_000)).astype(np.float32)
    features = pad_features([log_mel(noise)], frames)
    with torch.inference_mode():
        encoded = encode(model, features)
    shapes = model_shapes(model.config, audio_s)
    assert (shapes["features"], shapes["encoded"]) == (tuple(features.shape[1:]), tuple(encoded.shape[1:]))
    assert shapes["table"] == tuple(model.proj_out.weight.shape)
    written = {text.get_text() for text in model_figure(model.config, [0, 3], audio_s, ["<start>", "A", "rat"]).axes[0].texts}
    assert {f"{features.shape[1]} x {features.shape[2]:,}", f"{encoded.shape[1]:,} x {encoded.shape[2]}"} <= written
    assert {"2 x 51,864 logits: next is “rat”", "2 x 384", "<start> A"} <= written


@pytest.mark.parametrize("kept", [[0, 3], [0, 1, 2, 3], [3]])
def test_cut_layers_are_marked(tiny_en, kept):
    ax = model_figure(tiny_en.model.config, kept, 3, ["<start>", "A"]).axes[0]
    gone = {text.get_text() for text in ax.texts if text.get_text().startswith("decoder layer") and text.get_color() == CUT}
    assert gone == {f"decoder layer {i + 1}" for i in range(4) if i not in kept}
    assert sum(box.get_linestyle() == "--" for box in ax.patches) == 4 - len(kept)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.5, 8))
def test_parts_of_kl_sum_to_it(seed, sharpness):
    torch.manual_seed(seed)
    log_p, log_q = (torch.randn(2, 50) * sharpness).log_softmax(-1)
    ids, terms = kl_parts(log_p, log_q, k=4)
    whole = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="sum")
    assert terms.sum().item() == pytest.approx(whole.item(), abs=1e-4) and len(terms) == len(ids) + 1
    assert ids[0] == log_p.argmax() and int(log_q.argmax()) in ids
    assert torch.allclose(terms[:-1], (log_p.exp() * (log_p - log_q))[ids])
    assert torch.all(kl_parts(log_p, log_p)[1].abs() < 1e-6)


def test_the_kl_figure_draws_both_and_the_terms():
    log_p, log_q = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]).log()
    ids, terms = kl_parts(log_p, log_q, k=2)
    top, bottom = kl_figure(log_p, log_q, ["my", "the"], ids, terms, ("p: one", "q: other")).axes
    heights = [[bar.get_height() for bar in bars] for bars in top.containers]
    assert np.allclose(heights, [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], atol=1e-6)
    assert np.allclose([bar.get_height() for bar in bottom.containers[0]], terms)
    assert f"{0.6 * np.log(3) + 0.3 * np.log(3 / 7):.2f} nats" in bottom.get_title(loc="left")
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["my", "the", "all others"]
