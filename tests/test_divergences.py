"""Divergences of log-probabilities: closed forms, limits, and what holds for any two distributions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from askd import divergences
from askd.divergences import decoupled_kd, forward_kl, jensen_shannon, logit_mse, reverse_kl, skew_kl
from askd.errors import UnknownName

EVENTS = 7
NAMES = sorted(divergences.DIVERGENCES)


def logits_pair(limit):
    """Teacher's and student's logits, (2, 3, EVENTS)."""
    return arrays.arrays("float64", (2, 3, EVENTS), elements=st.floats(-limit, limit)).map(torch.from_numpy)


def value(name, log_p, log_q, place=None, **own):
    """The divergence, with the first event as label where one is asked for."""
    if name == "decoupled_kd":
        own["place"] = torch.zeros(log_p.shape[:-1], dtype=torch.int64) if place is None else place
    return divergences.get_divergence(name)(log_p, log_q, **own)


def random_pair(seed=0, spread=2.0, shape=(5, EVENTS)):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=generator, dtype=torch.float64) * spread).log_softmax(-1) for _ in range(2)]


# p = (3/4, 1/4), q = (1/2, 1/2), and m between them
COINS = {
    "forward_kl": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),
    "reverse_kl": 0.5 * math.log(2 / 3) + 0.5 * math.log(2),
    "jensen_shannon": 0.5 * (0.75 * math.log(1.2) + 0.25 * math.log(2 / 3) + 0.5 * math.log(0.8) + 0.5 * math.log(4 / 3)),
    "skew_kl": 0.75 * math.log(0.75 / 0.525) + 0.25 * math.log(0.25 / 0.475),
    "decoupled_kd": 0.75 * math.log(1.5) + 0.25 * math.log(0.5),  # one other event: it has nothing to tell
    "logit_mse": (0.5 * math.log(3)) ** 2,
}


@pytest.mark.parametrize("name", NAMES)
def test_two_coins_in_closed_form(name):
    log_p, log_q = torch.tensor([0.75, 0.25]).log(), torch.tensor([0.5, 0.5]).log()
    assert value(name, log_p, log_q).item() == pytest.approx(COINS[name], rel=1e-5)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "skew_kl", "decoupled_kd"])
def test_it_matters_who_comes_first(name):
    log_p, log_q = random_pair()
    assert (value(name, log_p, log_q) - value(name, log_q, log_p)).abs().min() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_uniform_distributions_are_equal(name):
    log_p = torch.full((2, 4), -math.log(4))
    torch.testing.assert_close(value(name, log_p, torch.zeros(2, 4).log_softmax(-1)), torch.zeros(2))


def test_jensen_shannon_tends_to_both_kls():
    log_p, log_q = random_pair(spread=1.0)
    small = 1e-6
    torch.testing.assert_close(jensen_shannon(log_p, log_q, small) / small, forward_kl(log_p, log_q), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(jensen_shannon(log_p, log_q, 1 - small) / small, reverse_kl(log_p, log_q), rtol=1e-4, atol=1e-5)


def test_skew_zero_is_forward_kl_and_skew_one_nothing():
    log_p, log_q = random_pair()
    torch.testing.assert_close(skew_kl(log_p, log_q, 0.0), forward_kl(log_p, log_q), rtol=0, atol=0)
    torch.testing.assert_close(skew_kl(log_p, log_q, 1e-9), forward_kl(log_p, log_q))
    assert skew_kl(log_p, log_q, 1 - 1e-9).abs().max() < 1e-8


def test_decoupled_kd_puts_forward_kl_together_again():
    log_p, log_q = random_pair()
    place = torch.tensor([0, 3, 6, 2, 1])
    for n in range(len(place)):
        one = slice(n, n + 1)
        left = 1 - log_p[n, place[n]].exp().item()
        together = decoupled_kd(log_p[one], log_q[one], place[one], alpha=1.0, beta=left)
        torch.testing.assert_close(together, forward_kl(log_p[one], log_q[one]))


def test_decoupled_kd_weighs_its_two_parts():
    log_p, log_q = random_pair()
    place = torch.tensor([4, 3, 2, 1, 0])
    tckd, nckd = (decoupled_kd(log_p, log_q, place, alpha, beta) for alpha, beta in ((1, 0), (0, 1)))
    torch.testing.assert_close(decoupled_kd(log_p, log_q, place, 0.5, 3.0), 0.5 * tckd + 3 * nckd)
    # the label's probability is right and two others are exchanged: the coin sees nothing, the others' part all of it
    swapped = log_p.clone()
    swapped[:, [5, 6]] = swapped[:, [6, 5]]
    torch.testing.assert_close(decoupled_kd(log_p, swapped, place, 1.0, 0.0), torch.zeros(5).double(), atol=1e-12, rtol=0)
    assert decoupled_kd(log_p, swapped, place, 0.0, 1.0).min() > 1e-4


def test_logit_mse_is_the_error_of_centred_logits_at_any_temperature():
    z_p, z_q = torch.randn(2, 3, EVENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    centred_p, centred_q = (z - z.mean(-1, keepdim=True) for z in (z_p, z_q))
    for tau, scale in ((1.0, 1.0), (3.0, 0.4)):
        found = tau**2 * logit_mse((z_p / tau).log_softmax(-1), (z_q / tau).log_softmax(-1), scale)
        torch.testing.assert_close(found, (centred_q - scale * centred_p).square().sum(-1) / EVENTS)
    torch.testing.assert_close(logit_mse((z_p + 5).log_softmax(-1), (z_p - 2).log_softmax(-1)), torch.zeros(3).double())
    # at scale 0 the target is the uniform distribution
    torch.testing.assert_close(logit_mse(z_p.log_softmax(-1), torch.zeros(3, EVENTS).log_softmax(-1).double(), 0.0),
                               torch.zeros(3).double())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(logits=logits_pair(60), tau=st.floats(0.5, 4))
def test_never_negative_zero_at_equality_finite_for_peaks(name, logits, tau):
    log_p = (logits[0].float() / tau).log_softmax(-1)
    z = logits[1].float().requires_grad_()
    found = value(name, log_p, (z / tau).log_softmax(-1))
    assert found.shape == (3,) and found.dtype == torch.float32
    assert found.min() >= -1e-5 and found.isfinite().all()
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert gradient.isfinite().all()
    torch.testing.assert_close(value(name, log_p, log_p), torch.zeros(3), atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None)
@given(logits=logits_pair(20), beta=st.floats(0.01, 0.99))
def test_jensen_shannon_is_bounded_and_symmetric(logits, beta):
    log_p, log_q = logits.log_softmax(-1)
    coin = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert jensen_shannon(log_p, log_q, beta).max() <= coin + 1e-9
    torch.testing.assert_close(jensen_shannon(log_p, log_q, beta), jensen_shannon(log_q, log_p, 1 - beta), atol=1e-9, rtol=1e-6)
    torch.testing.assert_close(jensen_shannon(log_p, log_q), jensen_shannon(log_q, log_p), atol=1e-9, rtol=1e-6)
    assert jensen_shannon(log_p, log_q).max() <= math.log(2) + 1e-9


@settings(max_examples=60, deadline=None)
@given(logits=logits_pair(20), skew=st.floats(0.01, 0.99))
def test_skew_kl_is_bounded_and_below_forward_kl(logits, skew):
    log_p, log_q = logits.log_softmax(-1)
    found = skew_kl(log_p, log_q, skew)
    assert found.max() <= -math.log(skew) + 1e-9
    assert (found <= (1 - skew) * forward_kl(log_p, log_q) + 1e-9).all()  # convex in its second argument


def test_disjoint_distributions_reach_the_bounds():
    log_p, log_q = torch.tensor([[60.0, -60.0], [-60.0, 60.0]]).log_softmax(-1)
    assert jensen_shannon(log_p, log_q).item() == pytest.approx(math.log(2), rel=1e-6)
    assert skew_kl(log_p, log_q, 0.1).item() == pytest.approx(math.log(10), rel=1e-6)
    assert forward_kl(log_p, log_q).item() == pytest.approx(120, rel=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_decoupled_kd_of_a_label_with_all_the_mass(label):
    """p(label) rounds to one in float32; the others still have their proportions, 2 : 1 against the student's 1 : 2."""
    log_p = torch.tensor([[90.0, math.log(2), 0.0]]).log_softmax(-1)
    z = torch.tensor([[80.0, 0.0, math.log(2)]], requires_grad=True)
    found = decoupled_kd(log_p, z.log_softmax(-1), torch.tensor([label]), 1.0, 1.0)
    found.backward()
    assert log_p.exp()[0, 0] == 1 and found.isfinite().all() and z.grad.isfinite().all()
    if label == 0:  # log-probabilities near 90 carry five decimals
        assert found.item() == pytest.approx(math.log(2) / 3, abs=1e-4)
        assert z.grad[0].tolist() == pytest.approx([0, -1 / 3, 1 / 3], abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name):
    log_p, log_q = random_pair(seed=3)
    place = torch.tensor([0, 3, 6, 2, 1])
    z = log_q.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: value(name, log_p, z.log_softmax(-1), place), (z,))


@pytest.mark.parametrize("name", NAMES)
def test_equality_is_the_minimum(name):
    log_p, _ = random_pair()
    z = log_p.clone().requires_grad_()
    value(name, log_p, z.log_softmax(-1)).sum().backward()
    assert z.grad.abs().max() < 1e-12
    further = (log_p + 0.1 * random_pair(seed=9)[0]).log_softmax(-1)
    assert value(name, log_p, further).min() > 1e-7


def test_bad_parameters_and_names_are_named():
    log_p, log_q = random_pair()
    place = torch.zeros(5, dtype=torch.int64)
    for beta in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="beta of jensen_shannon"):
            jensen_shannon(log_p, log_q, beta)
    for skew in (-0.1, 1, math.nan):
        with pytest.raises(ValueError, match="skew"):
            skew_kl(log_p, log_q, skew)
    for own in ({"alpha": -1}, {"beta": -1}):
        with pytest.raises(ValueError, match=next(iter(own))):
            decoupled_kd(log_p, log_q, place, **own)
    for scale in (-0.1, 1.1):
        with pytest.raises(ValueError, match="scale"):
            logit_mse(log_p, log_q, scale)
    with pytest.raises(UnknownName, match=r"did you mean 'reverse_kl'.*jensen_shannon"):
        divergences.get_divergence("reverse-kl")
