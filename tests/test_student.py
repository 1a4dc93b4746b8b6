"""Layer mappings, the self-teacher, and that a cut student still decodes with a cache."""

import pytest
import torch

from askd.decoding import decoder_step, new_cache
from askd.errors import AskdError
from askd.features import encode
from askd.selfteacher import SelfTeacher
from askd.student import make_student, save_model, spread
from askd.teacher import load_teacher


def test_spread():
    assert spread(4, 2) == [0, 3]
    assert spread(6, 3) == [0, 2, 5]
    assert spread(32, 2) == [0, 31]
    assert spread(6, 1) == [5]
    with pytest.raises(AskdError, match=r"\[1, 4\]"):
        spread(4, 5)


def test_layers_are_copied_and_independent(toy):
    student = make_student(toy, decoder_layers=[3, 1], encoder_layers=1)
    assert (student.config.decoder_layers, student.config.encoder_layers) == (2, 1)
    torch.testing.assert_close(student.model.decoder.layers[0].fc1.weight, toy.model.decoder.layers[3].fc1.weight)
    torch.testing.assert_close(student.model.decoder.layers[1].fc1.weight, toy.model.decoder.layers[1].fc1.weight)
    torch.testing.assert_close(student.model.encoder.layers[0].fc1.weight, toy.model.encoder.layers[1].fc1.weight)
    assert student.proj_out.weight is student.model.decoder.embed_tokens.weight
    student.model.decoder.layers[1].fc1.weight.data.zero_()
    assert toy.model.decoder.layers[1].fc1.weight.abs().sum() > 0
    assert len(toy.model.decoder.layers) == 4


def test_all_layers_kept_is_the_teacher(toy):
    student = make_student(toy, decoder_layers=None).eval()
    features = torch.randn(1, 80, 100)
    tokens = torch.tensor([[50257, 50362, 5]])
    torch.testing.assert_close(
        decoder_step(student, tokens, encode(student, features), new_cache()),
        decoder_step(toy, tokens, encode(toy, features), new_cache()),
    )


@torch.inference_mode()
def test_cached_steps_equal_one_pass(toy):
    student = make_student(toy, decoder_layers=[1, 3]).eval()
    encoded = encode(student, torch.randn(1, 80, 100))
    tokens = torch.tensor([[50257, 50362, 5, 6, 7]])
    whole = decoder_step(student, tokens, encoded, new_cache())
    cache = new_cache()
    for i in range(tokens.shape[1]):
        step = decoder_step(student, tokens[:, i : i + 1], encoded, cache)
    torch.testing.assert_close(step, whole, atol=1e-4, rtol=1e-4)


def test_wrong_layers_are_refused(toy):
    with pytest.raises(AskdError, match="0 to 3"):
        make_student(toy, decoder_layers=[0, 4])


def test_ema_closed_form_and_snapshot():
    student = torch.nn.Linear(2, 2)
    ema, snapshot = SelfTeacher(student, "ema", 0.9), SelfTeacher(student, "snapshot")
    old = student.weight.detach().clone()
    with torch.no_grad():
        student.weight.add_(1.0)
    for step in range(5):
        ema.follow(student, "A", step)
    torch.testing.assert_close(ema.model.weight, old + (1 - 0.9**5))
    snapshot.follow(student, "A", 5)
    with torch.no_grad():
        student.weight.add_(1.0)
    snapshot.follow(student, "B", 6)
    torch.testing.assert_close(snapshot.model.weight, old + 1)
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert ema.ready(0) and snapshot.ready(0)
    with pytest.raises(AskdError, match="momentum"):
        SelfTeacher(student, "ema", 1.0)


def test_the_previous_epoch_is_the_student_at_the_end_of_an_epoch():
    student = torch.nn.Linear(1, 1, bias=False)
    past, seen = SelfTeacher(student, "previous_epoch", epoch_steps=3), []
    start = student.weight.item()
    for step in range(8):
        with torch.no_grad():
            student.weight.fill_(step + 1.0)  # after step 0 it is 1, and so on
        past.follow(student, "B", step)
        seen.append(past.model.weight.item())
    assert seen == [start, start, 3, 3, 3, 6, 6, 6]
    assert [past.ready(step) for step in range(5)] == [False, False, False, True, True]


def test_saving_writes_tied_weights_once_and_leaves_the_model_as_it_was(tiny_en, tmp_path):
    model = make_student(tiny_en.model, 2)
    layout, tied = model.proj_out.weight.stride(), model.proj_out.weight.numel() * 4
    save_model(model, tiny_en.processor, tmp_path)
    assert model.proj_out.weight.stride() == layout and model.training  # column-major, as `load_teacher` stored it
    assert (tmp_path / "model.safetensors").stat().st_size < 4 * model.num_parameters() + tied / 2
    torch.testing.assert_close(load_teacher(tmp_path).model.proj_out.weight, model.proj_out.weight)
