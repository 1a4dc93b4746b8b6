"""The chunked loss is the plain loss: same value, same gradients, whatever the chunk size, without the logits."""

import weakref

import pytest
import torch

from askd.chunks import chunked_loss
from askd.losses import cross_entropy, distillation

N, WIDTH, VOCABULARY = 23, 8, 50  # 23 is prime: no chunk size but 1 and 23 divides it


@pytest.fixture
def case():
    """Hidden states, weight, labels, the teacher's logits."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, WIDTH, generator=generator) for n in (N, VOCABULARY))
    return hidden, weight, torch.randint(VOCABULARY, (N,), generator=generator), torch.randn(N, VOCABULARY, generator=generator)


def make_terms(labels, teacher, seen=None):
    """CE and forward KL, reported once as a tensor and once as a number."""
    def terms(logits, rows):
        if seen is not None:
            seen.append((tuple(logits.shape), logits.dtype, rows))
        ce = cross_entropy(logits, labels[rows])
        kl = distillation(logits, teacher[rows], labels[rows])
        return 0.3 * ce + 0.7 * kl, {"ce": ce, "kl": kl.item()}

    return terms


def plain(hidden, weight, terms):
    loss, numbers = terms((hidden @ weight.T).float(), slice(0, len(hidden)))
    return loss, {name: float(value) for name, value in numbers.items()}


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("chunk", [1, 4, 7, 22, 23, 256])
def test_value_numbers_and_gradients_are_those_of_the_plain_loss(case, chunk):
    hidden, weight, labels, teacher = case
    terms = make_terms(labels, teacher)
    hidden.requires_grad_(), weight.requires_grad_()
    loss, numbers = chunked_loss(hidden, weight, terms, chunk)
    expected, expected_numbers = plain(hidden, weight, terms)
    torch.testing.assert_close(loss, expected)
    assert numbers == pytest.approx(expected_numbers, rel=1e-5)
    assert all(type(number) is float for number in numbers.values())
    # an incoming gradient other than one, and a graph before hidden
    for found, want in zip(gradients(3 * loss, hidden, weight), gradients(3 * expected, hidden, weight), strict=True):
        assert want.abs().max() > 0.01
        torch.testing.assert_close(found, want, atol=1e-7, rtol=1e-4)


def test_gradients_flow_on_into_what_made_the_hidden_states_and_the_tied_weight(case):
    hidden, weight, labels, teacher = case
    terms, mixer = make_terms(labels, teacher), torch.eye(WIDTH, requires_grad=True)
    weight.requires_grad_()

    def grads(loss_of):
        states = (hidden + weight[labels]) @ mixer  # the projection is the embedding as well, as in Whisper
        return gradients(loss_of(states, weight, terms)[0], mixer, weight)

    for found, want in zip(grads(lambda *a: chunked_loss(*a, chunk=5)), grads(plain), strict=True):
        torch.testing.assert_close(found, want, atol=1e-6, rtol=1e-4)


def test_a_frozen_weight_gets_no_gradient_and_changes_nothing(case):
    hidden, weight, labels, teacher = case
    terms = make_terms(labels, teacher)
    both = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    trained = gradients(chunked_loss(*both, terms, 5)[0], both[0])[0]
    hidden.requires_grad_()
    chunked_loss(hidden, weight, terms, 5)[0].backward()
    assert weight.grad is None
    assert torch.equal(hidden.grad, trained)


def test_frozen_hidden_states_leave_the_weights_gradient(case):
    hidden, weight, labels, teacher = case
    terms = make_terms(labels, teacher)
    weight.requires_grad_()
    (found,) = gradients(chunked_loss(hidden, weight, terms, 5)[0], weight)
    torch.testing.assert_close(found, gradients(plain(hidden, weight, terms)[0], weight)[0], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("how", ["no_grad", "nothing to learn"])
def test_without_gradients_only_the_value_is_computed(case, how):
    hidden, weight, labels, teacher = case
    recorded = []

    def terms(logits, rows):
        recorded.append(logits.requires_grad or torch.is_grad_enabled())
        return make_terms(labels, teacher)(logits, rows)

    hidden.requires_grad_(how == "no_grad"), weight.requires_grad_(how == "no_grad")
    with torch.set_grad_enabled(how != "no_grad"):
        loss, numbers = chunked_loss(hidden, weight, terms, 5)
    assert not loss.requires_grad and len(recorded) == 5 and not any(recorded)
    expected, expected_numbers = plain(hidden.detach(), weight.detach(), make_terms(labels, teacher))
    torch.testing.assert_close(loss, expected)
    assert numbers == pytest.approx(expected_numbers, rel=1e-5)


def test_no_more_than_a_chunk_of_logits_exists(case):
    hidden, weight, labels, teacher = case
    seen = []
    chunked_loss(hidden.requires_grad_(), weight, make_terms(labels, teacher, seen), 10)
    assert [shape for shape, _, _ in seen] == [(10, VOCABULARY), (10, VOCABULARY), (3, VOCABULARY)]
    assert [rows for _, _, rows in seen] == [slice(0, 10), slice(10, 20), slice(20, 23)]


def test_the_graph_of_a_chunk_is_gone_before_the_next(case):
    """Kept graphs would add up to what the full logits take: weak references to each chunk's logits must die."""
    hidden, weight, labels, teacher = case
    alive = []

    def terms(logits, rows):
        assert all(reference() is None for reference in alive)
        alive.append(weakref.ref(logits))
        return make_terms(labels, teacher)(logits, rows)

    loss, _ = chunked_loss(hidden.requires_grad_(), weight.requires_grad_(), terms, 5)
    assert len(alive) == 5 and alive[-1]() is None
    loss.backward()


def test_the_same_bits_each_time(case):
    hidden, weight, labels, teacher = case
    hidden.requires_grad_(), weight.requires_grad_()
    first, again = (chunked_loss(hidden, weight, make_terms(labels, teacher), 5) for _ in range(2))
    assert first[0].item() == again[0].item() and first[1] == again[1]
    for a, b in zip(gradients(first[0], hidden, weight), gradients(again[0], hidden, weight), strict=True):
        assert torch.equal(a, b)


def test_bf16_autocast_multiplies_in_bf16_and_loses_in_float32(case):
    hidden, weight, labels, teacher = case
    hidden.requires_grad_(), weight.requires_grad_()
    terms, seen = make_terms(labels, teacher), []
    loss, _ = chunked_loss(hidden, weight, make_terms(labels, teacher, seen), 5, torch.bfloat16)
    assert all(dtype == torch.float32 for _, dtype, _ in seen) and loss.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        logits = hidden @ weight.T
    assert logits.dtype == torch.bfloat16
    expected, _ = terms(logits.float(), slice(0, N))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)  # the very same rounded products
    exact = gradients(plain(hidden, weight, terms)[0], hidden, weight)
    for found, want, full in zip(gradients(loss, hidden, weight), gradients(expected, hidden, weight), exact, strict=True):
        assert not torch.equal(found, found.bfloat16().float())  # only the products are rounded
        error, allowed = (found - full).norm() / full.norm(), (want - full).norm() / full.norm()
        assert 0 < error < 1.5 * allowed + 1e-3 and allowed < 0.02  # as near as autocast itself


def test_bf16_tensors_without_autocast(case):
    hidden, weight, labels, teacher = case
    hidden, weight = hidden.bfloat16().requires_grad_(), weight.bfloat16().requires_grad_()
    loss, _ = chunked_loss(hidden, weight, make_terms(labels, teacher), 5)
    found = gradients(loss, hidden, weight)
    assert loss.dtype == torch.float32 and all(gradient.dtype == torch.bfloat16 for gradient in found)
    expected, _ = plain(hidden, weight, make_terms(labels, teacher))
    for gradient, want in zip(found, gradients(expected, hidden, weight), strict=True):
        torch.testing.assert_close(gradient, want, atol=2e-3, rtol=0.05)


def test_a_loss_that_does_not_depend_on_the_logits_has_gradient_zero(case):
    hidden, weight, _, _ = case
    hidden.requires_grad_()
    loss, numbers = chunked_loss(hidden, weight, lambda logits, rows: (logits.new_zeros(()), {}), 5)
    assert loss.item() == 0 and numbers == {}
    assert gradients(loss, hidden)[0].abs().max() == 0


def test_bad_arguments_are_named(case):
    hidden, weight, labels, teacher = case
    with pytest.raises(ValueError, match="chunk"):
        chunked_loss(hidden, weight, make_terms(labels, teacher), 0)
    with pytest.raises(ValueError, match="no token"):
        chunked_loss(hidden[:0], weight, make_terms(labels, teacher))
