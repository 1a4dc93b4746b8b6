"""Losses against closed forms and an independent float64 implementation, and what they must not depend on."""

import numpy as np
import pytest
import torch

from askd import losses
from askd.losses import IGNORE


def numpy_log_softmax(z):
    z = np.asarray(z, np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(3, 5, 40, generator=generator) * 3
    teacher = torch.randn(3, 5, 40, generator=generator) * 3
    labels = torch.randint(40, (3, 5), generator=generator)
    labels[0, 3:] = IGNORE
    labels[2, :2] = IGNORE
    return student, teacher, labels


def test_cross_entropy_of_uniform_logits_is_log_v():
    assert losses.cross_entropy(torch.zeros(4, 8), torch.arange(4)).item() == pytest.approx(np.log(8), abs=1e-6)


def test_cross_entropy_agrees_with_numpy(case):
    student, _, labels = case
    keep = labels.numpy() != IGNORE
    log_q = numpy_log_softmax(student.numpy())[keep]
    expected = -log_q[np.arange(keep.sum()), labels.numpy()[keep]].mean()
    assert losses.cross_entropy(student, labels).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 4.0])
def test_forward_kl_agrees_with_numpy(case, tau):
    student, teacher, labels = case
    keep = labels.numpy() != IGNORE
    log_q = numpy_log_softmax(student.numpy() / tau)[keep]
    log_p = numpy_log_softmax(teacher.numpy() / tau)[keep]
    expected = tau**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    assert losses.forward_kl(student, teacher, labels, tau).item() == pytest.approx(expected, rel=1e-5)


def test_kl_of_two_coins_in_closed_form():
    # p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 log 3/2 + 1/4 log 1/2
    p, q = torch.tensor([[3.0, 1.0]]).log(), torch.zeros(1, 2)
    expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert losses.forward_kl(q, p, torch.tensor([0]), 1.0).item() == pytest.approx(expected, abs=1e-6)
    # the other direction is another number: a swapped argument is caught
    assert losses.forward_kl(p, q, torch.tensor([0]), 1.0).item() == pytest.approx(0.5 * np.log(4 / 3), abs=1e-6)


def test_padding_and_batching_do_not_matter(case):
    student, teacher, labels = case
    wide = torch.cat([student, torch.randn(3, 4, 40)], 1), torch.cat([teacher, torch.randn(3, 4, 40)], 1)
    wide_labels = torch.cat([labels, torch.full((3, 4), IGNORE)], 1)
    flat = labels != IGNORE
    for loss in (
        lambda s, t, y: losses.cross_entropy(s, y),
        lambda s, t, y: losses.forward_kl(s, t, y, 2.0),
    ):
        reference = loss(student, teacher, labels)
        torch.testing.assert_close(loss(*wide, wide_labels), reference)
        torch.testing.assert_close(loss(student[flat], teacher[flat], labels[flat]), reference)
        torch.testing.assert_close(loss(student.flip(0), teacher.flip(0), labels.flip(0)), reference)


def test_top_k_is_a_lower_bound_and_exact_in_the_limit(case):
    student, teacher, labels = case
    full = losses.forward_kl(student, teacher, labels, 2.0).item()
    values = []
    for k in (1, 5, 20, 39):
        ids, kept, rest = losses.topk_log_probs(teacher, k, 2.0)
        total = kept.exp().sum(-1) + rest.exp()
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
        values.append(losses.topk_forward_kl(student, ids, kept, rest, labels, 2.0).item())
    assert values == sorted(values)
    assert all(0 <= value <= full + 1e-5 for value in values)
    assert values[-1] == pytest.approx(full, rel=1e-4)


def test_gate_weighs_tokens_but_not_the_denominator(case):
    student, teacher, labels = case
    gate = torch.zeros(labels.shape)
    gate[1] = 1.0
    only = losses.forward_kl(student[1], teacher[1], labels[1]) * 5 / (labels != IGNORE).sum()
    torch.testing.assert_close(losses.forward_kl(student, teacher, labels, gate=gate), only)
    assert losses.forward_kl(student, teacher, labels, gate=torch.zeros(labels.shape)).item() == 0


def test_no_gradient_enters_the_teacher(case):
    student, teacher, labels = (x.clone() for x in case)
    student.requires_grad_(), teacher.requires_grad_()
    losses.forward_kl(student, teacher, labels).backward()
    assert teacher.grad is None
    assert student.grad[labels == IGNORE].abs().max() == 0
    assert student.grad[labels != IGNORE].abs().max() > 0


def test_temperature_squared_keeps_the_gradient_scale():
    """For small logits d(tau^2 KL)/dz -> (z_q - z_p)/V whatever tau is (Hinton et al., eq. 4)."""
    student, teacher = torch.randn(1, 6) * 1e-2, torch.randn(1, 6) * 1e-2
    gradients = []
    for tau in (1.0, 4.0):
        z = student.clone().requires_grad_()
        losses.forward_kl(z, teacher, torch.tensor([0]), tau).backward()
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=0.05)


def test_bf16_logits_are_summed_in_float32(case):
    student, teacher, labels = case
    value = losses.forward_kl(student.bfloat16(), teacher.bfloat16(), labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(losses.forward_kl(student, teacher, labels).item(), rel=0.02)


def test_bad_arguments_are_named(case):
    student, teacher, labels = case
    with pytest.raises(ValueError, match="temperature"):
        losses.forward_kl(student, teacher, labels, 0)
    with pytest.raises(ValueError, match="no label position"):
        losses.cross_entropy(student, torch.full_like(labels, IGNORE))
    with pytest.raises(ValueError, match="k must lie"):
        losses.topk_log_probs(teacher, 40)
