"""Losses against values of an independent float64 implementation (fixtures/), and what they must not depend on."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from askd import losses
from askd.divergences import DIVERGENCES
from askd.errors import AskdError, UnknownName
from askd.losses import IGNORE, cross_entropy, distillation, topk_distillation, topk_log_probs

FIXTURES = Path(__file__).with_name("fixtures")
CASES = json.loads((FIXTURES / "losses.json").read_text())
NAMES = sorted(DIVERGENCES)
MERGING = ("forward_kl", "reverse_kl", "jensen_shannon", "skew_kl")  # f-divergences: merged events tell less


def tensors(case):
    return [torch.tensor(case[name]) for name in ("student", "teacher", "labels", "gate")]


def topk(student, teacher, labels, name, k=64, tau=2.0, gate=None, keep=True, **own):
    compressed = topk_log_probs(teacher, min(k, teacher.shape[-1] - 1), tau, labels if keep else None)
    return topk_distillation(student, *compressed, labels, name, tau, gate, **own)


# every loss as a function of student, teacher, labels, to check what must hold for all of them
LOSSES = {"cross_entropy": lambda s, t, y, **_: cross_entropy(s, y)}
LOSSES["label_smoothing"] = lambda s, t, y, **_: cross_entropy(s, y, 0.1)
LOSSES |= {name: lambda s, t, y, name=name, **more: distillation(s, t, y, name, **more) for name in NAMES}
LOSSES |= {f"topk {name}": lambda s, t, y, name=name, **more: topk(s, t, y, name, 5, **more) for name in NAMES}
DISTILLING = [name for name in LOSSES if name not in ("cross_entropy", "label_smoothing")]


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 3, 5, 40, generator=generator) * 3
    labels = torch.randint(40, (3, 5), generator=generator)
    labels[0, 3:] = IGNORE
    labels[2, :2] = IGNORE
    return student, teacher, labels


def test_the_fixtures_are_what_their_script_writes(tmp_path):
    subprocess.run([sys.executable, str(FIXTURES / "make_losses.py"), str(tmp_path / "again.json")], check=True)
    assert (tmp_path / "again.json").read_bytes() == (FIXTURES / "losses.json").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_cross_entropy_agrees_with_the_fixtures(name):
    student, _, labels, _ = tensors(CASES[name])
    for e in CASES[name]["expected"]["cross_entropy"]:
        assert cross_entropy(student, labels, e["label_smoothing"]).item() == pytest.approx(e["value"], rel=1e-5)


@pytest.mark.parametrize("divergence", NAMES)
@pytest.mark.parametrize("name", CASES)
def test_distillation_agrees_with_the_fixtures(name, divergence):
    student, teacher, labels, gate = tensors(CASES[name])
    found = [e for e in CASES[name]["expected"]["distillation"] if e["divergence"] == divergence]
    assert len({e["temperature"] for e in found}) == 4
    for e in found:
        value = distillation(student, teacher, labels, divergence, e["temperature"], gate if e["gated"] else None, **e["own"])
        assert value.item() == pytest.approx(e["value"], rel=1e-5), e


@pytest.mark.parametrize("divergence", NAMES)
@pytest.mark.parametrize("name", ["mild", "wide"])
def test_topk_distillation_agrees_with_the_fixtures(name, divergence):
    student, teacher, labels, gate = tensors(CASES[name])
    found = [e for e in CASES[name]["expected"]["topk_distillation"] if e["divergence"] == divergence]
    assert found
    for e in found:
        value = topk(student, teacher, labels, divergence, e["k"], e["temperature"], gate if e["gated"] else None,
                     e["keep_label"], **e["own"])
        assert value.item() == pytest.approx(e["value"], rel=1e-5), e


@pytest.mark.parametrize("name", ["mild", "wide"])
def test_topk_log_probs_agree_with_the_fixtures(name):
    _, teacher, labels, _ = tensors(CASES[name])
    for e in CASES[name]["expected"]["topk_log_probs"]:
        ids, kept, rest = (x[tuple(e["place"])] for x in topk_log_probs(teacher, e["k"], 2.0, labels))
        assert ids.tolist() == e["ids"] and ids.dtype == torch.int64
        assert [*kept.tolist(), rest.item()] == pytest.approx([*e["log_kept"], e["log_rest"]], rel=1e-5, abs=1e-6)


def test_cross_entropy_of_uniform_logits_is_log_v():
    for smoothing in (0.0, 0.3):
        value = cross_entropy(torch.zeros(4, 8), torch.arange(4), smoothing)
        assert value.item() == pytest.approx(math.log(8), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_and_batching_do_not_matter(name, case):
    student, teacher, labels = case
    loss, flat = LOSSES[name], labels != IGNORE
    wide = torch.cat([student, torch.randn(3, 4, 40)], 1), torch.cat([teacher, torch.randn(3, 4, 40)], 1)
    wide_labels = torch.cat([labels, torch.full((3, 4), IGNORE)], 1)
    reference = loss(student, teacher, labels)
    torch.testing.assert_close(loss(*wide, wide_labels), reference)
    torch.testing.assert_close(loss(student[flat], teacher[flat], labels[flat]), reference)
    torch.testing.assert_close(loss(student.flatten(0, 1), teacher.flatten(0, 1), labels.flatten()), reference)
    torch.testing.assert_close(loss(student.flip(0), teacher.flip(0), labels.flip(0)), reference)


@pytest.mark.parametrize("name", DISTILLING)
def test_gate_weighs_tokens_but_not_the_denominator(name, case):
    student, teacher, labels = case
    loss, gate = LOSSES[name], torch.zeros(labels.shape)
    assert loss(student, teacher, labels, gate=gate).item() == 0
    gate[1] = 1.0
    only = loss(student[1], teacher[1], labels[1]) * 5 / (labels != IGNORE).sum()
    torch.testing.assert_close(loss(student, teacher, labels, gate=gate), only)
    torch.testing.assert_close(loss(student, teacher, labels, gate=gate / 4), only / 4)


@pytest.mark.parametrize("name", DISTILLING)
def test_no_gradient_enters_the_teacher(name, case):
    student, teacher, labels = (x.clone() for x in case)
    student.requires_grad_(), teacher.requires_grad_()
    LOSSES[name](student, teacher, labels).backward()
    assert teacher.grad is None
    assert student.grad[labels == IGNORE].abs().max() == 0
    assert student.grad[labels != IGNORE].abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_temperature_squared_keeps_the_gradient_scale(name):
    """For small logits the gradient of tau^2 D does not depend on tau (Hinton et al., equation 4)."""
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 0.01
    gradients = []
    for tau in (1.0, 4.0):
        z = student.float().requires_grad_()
        distillation(z, teacher, torch.arange(4), name, tau).backward()
        gradients.append(z.grad)
    assert gradients[0].abs().max() > 1e-5
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=0.05)


@pytest.mark.parametrize("name", LOSSES)
def test_bf16_logits_are_summed_in_float32(name, case):
    student, teacher, labels = case
    value = LOSSES[name](student.bfloat16(), teacher.bfloat16(), labels)
    assert value.dtype == torch.float32
    rounded = LOSSES[name](student.bfloat16().float(), teacher.bfloat16().float(), labels)
    torch.testing.assert_close(value, rounded, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(1, 4), name=st.sampled_from(MERGING))
def test_topk_is_a_lower_bound_and_exact_with_all_but_one_token(seed, tau, name):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 4, 12, generator=generator) * 1.5
    labels = torch.randint(12, (4,), generator=generator)
    full = distillation(student, teacher, labels, name, tau).item()
    values = [topk(student, teacher, labels, name, k, tau, keep=False).item() for k in (1, 3, 7, 11)]
    assert all(a <= b + 1e-4 for a, b in pairwise(values)) and values[0] >= -1e-4
    assert values[-1] == pytest.approx(full, rel=1e-4, abs=1e-4)
    assert topk(student, teacher, labels, name, 3, tau).item() <= full + 1e-4  # with the label in the place of the third


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 11), tau=st.floats(0.5, 4))
def test_topk_log_probs_sum_to_one_and_keep_argmax_and_label(seed, k, tau):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 12, generator=generator) * 2
    labels = torch.randint(12, (2, 3), generator=generator)
    labels[0, 0] = IGNORE
    ids, kept, rest = topk_log_probs(logits, k, tau, labels)
    torch.testing.assert_close(kept.exp().sum(-1) + rest.exp(), torch.ones(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(kept, (logits / tau).log_softmax(-1).gather(-1, ids))
    assert (ids[..., 0] == logits.argmax(-1)).all() and all(len(set(row)) == k for row in ids.flatten(0, -2).tolist())
    assert (kept.diff(dim=-1) <= 0).all()
    plain = topk_log_probs(logits, k, tau)[0]
    assert torch.equal(ids[..., :-1], plain[..., :-1]) and torch.equal(ids[0, 0], plain[0, 0])
    if k > 1:
        assert (ids == labels[..., None]).any(-1)[labels != IGNORE].all()
    else:
        assert torch.equal(ids, plain)


def test_decoupled_kd_of_a_label_that_was_not_kept_is_about_the_rest(case):
    student, teacher, labels = case
    teacher = teacher.scatter(-1, labels.clamp_min(0)[..., None], -20.0)  # the label is the least probable
    ids, kept, rest = topk_log_probs(teacher, 4, 2.0)
    # the rest bucket alone against everything kept, by hand
    scored = labels != IGNORE
    q = (student / 2).softmax(-1).gather(-1, ids).sum(-1)[scored]
    p = kept.exp().sum(-1)[scored]
    tckd = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    found = topk_distillation(student, ids, kept, rest, labels, "decoupled_kd", 2.0, alpha=1.0, beta=0.0)
    torch.testing.assert_close(found, tckd, rtol=1e-3, atol=1e-5)


def test_peaked_distributions_keep_gradients_finite():
    z = torch.tensor([[60.0, -60, 0, 1], [-60, 60, 0, 1]], requires_grad=True)
    teacher = torch.tensor([[60.0, -60, 1, 0], [60, -60, 0, 1]])
    for name in DISTILLING:
        loss = distillation if not name.startswith("topk") else lambda *a: topk(*a[:4], 3, a[4])
        value = loss(z, teacher, torch.tensor([0, 0]), name.split()[-1], 1.0)
        (gradient,) = torch.autograd.grad(value, z)
        assert value.isfinite() and value > 0 and gradient.isfinite().all(), name


def test_bad_arguments_are_named(case):
    student, teacher, labels = case
    ids, kept, rest = topk_log_probs(teacher, 4)
    for tau in (0, -1.0, math.nan):
        for call in (
            lambda tau: distillation(student, teacher, labels, temperature=tau), lambda tau: topk_log_probs(teacher, 4, tau),
            lambda tau: topk_distillation(student, ids, kept, rest, labels, temperature=tau),
        ):
            with pytest.raises(ValueError, match="temperature"):
                call(tau)
    ignored = torch.full_like(labels, IGNORE)
    for loss in LOSSES.values():
        with pytest.raises(ValueError, match="no label position"):
            loss(student, teacher, ignored)
    for k in (0, 40):
        with pytest.raises(ValueError, match="k must lie in"):
            topk_log_probs(teacher, k)
    for smoothing in (-0.1, 1.0):
        with pytest.raises(ValueError, match="label_smoothing"):
            losses.cross_entropy(student, labels, smoothing)
    with pytest.raises(AskdError, match=r"40 tokens.* 39"):
        distillation(student, teacher[..., :39], labels)
    with pytest.raises(UnknownName, match=r"divergence 'kl'.*reverse_kl"):
        distillation(student, teacher, labels, "kl")
    with pytest.raises(ValueError, match="beta"):
        distillation(student, teacher, labels, "jensen_shannon", beta=1.0)
    with pytest.raises(ValueError, match="skew"):
        topk_distillation(student, ids, kept, rest, labels, "skew_kl", skew=1.0)


def test_annealed_logits_are_reached_exactly_on_the_kept_tokens(case):
    """phi z is where Annealing-KD's first stage leads; a bucket for the rest would pull away from it."""
    _, teacher, labels = case
    ids, kept, rest = topk_log_probs(teacher, 5, 2.0)
    assert topk_distillation(0.1 * teacher, ids, kept, rest, labels, "logit_mse", scale=0.1).item() == pytest.approx(0, abs=1e-9)
    assert topk_distillation(teacher, ids, kept, rest, labels, "logit_mse", scale=0.1).item() > 0.1
