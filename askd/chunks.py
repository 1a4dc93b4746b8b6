r"""The loss of a large vocabulary without its logits: projection, loss and gradient, a few tokens at a time.

Axes: ``N`` label tokens, ``n`` those of one chunk, ``d`` hidden size, ``V`` vocabulary.

The logits of B utterances of L tokens take ``B L V 4`` bytes: 425 MB at B = 16, L = 128, V = 51,865. A loss needs them about
ten times over: the student's and each teacher's, their log-softmaxes, the products and the gradient. But the loss is a mean
over tokens, so one chunk's gradient needs no other chunk. Here each chunk's logits live just long enough to be turned into
its gradient with respect to the hidden states (N, d) and the projection (V, d), and those are all that is kept: ``chunk V 4``
bytes in place of ``B L V 4``, 53 MB at 256 tokens.

The price is nothing in arithmetic, since nothing is computed twice. The gradient is ready before `backward` asks for it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Terms = Callable[[Tensor, slice], tuple[Tensor, Mapping[str, Tensor | float]]]


def chunked_loss(
    hidden: Tensor, weight: Tensor, terms: Terms, chunk: int = 256, autocast: torch.dtype | None = None
) -> tuple[Tensor, dict[str, float]]:
    r"""Mean loss over N tokens of the logits ``hidden weight^T``, which never exist at once.

        loss = sum_chunks n/N terms(logits of the chunk)

    The same as ``terms(hidden @ weight.T, slice(0, N))`` up to rounding, in value and gradient, for any chunk size.
    Peak memory is ``chunk V 4`` bytes times the tensors that ``terms`` holds, instead of ``N V 4`` times as many.

    Args:
        hidden: (N, d), last hidden states at the label positions.
        weight: (V, d), the vocabulary projection; its gradient is computed only when it requires one.
        terms: of logits (n, V), float32, and the slice of rows that they belong to, gives the loss, a scalar tensor that is
            the mean over these n tokens, and numbers to report, means as well. Gradients reach ``hidden`` and ``weight``
            through the logits only; other tensors that ``terms`` uses count as constants.
        chunk: tokens at a time. Default 256 (ours): large enough for the matrix products to run at full speed.
        autocast: type of the matrix products, as under `torch.autocast`. Default None: as the inputs and surroundings say.

    Returns:
        the loss, a scalar in float32 connected to the graph of ``hidden`` and ``weight`` (once differentiable), and the
        numbers, means over all N tokens. Under `torch.no_grad` no gradient is computed.

    Raises:
        ValueError: no token, or chunk < 1.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 token, not {chunk}")
    if len(hidden) == 0:
        raise ValueError("no token: the mean over tokens is not defined")
    wanted = [torch.is_grad_enabled() and x.requires_grad for x in (hidden, weight)]
    loss, gradients, numbers = _sweep(hidden.detach(), weight.detach(), terms, chunk, autocast, *wanted)
    if any(wanted):
        loss = _Precomputed.apply(hidden, weight, loss, *gradients)
    return loss, numbers


@torch.no_grad()
def _sweep(
    hidden: Tensor, weight: Tensor, terms: Terms, chunk: int, autocast: torch.dtype | None, to_hidden: bool, to_weight: bool
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None], dict[str, float]]:
    """The loss, its gradients with respect to hidden states and weight where wanted, and the numbers."""
    total, wanted, weight_type = len(hidden), to_hidden or to_weight, weight.dtype
    grad_hidden = torch.zeros_like(hidden) if to_hidden else None  # (N, d)
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if to_weight else None  # (V, d)
    if autocast is not None:  # once, and not for each chunk
        hidden, weight = hidden.to(autocast), weight.to(autocast)
    loss, numbers = hidden.new_zeros((), dtype=torch.float32), {}
    for start in range(0, total, chunk):
        rows = slice(start, min(start + chunk, total))
        count = rows.stop - rows.start
        logits = (hidden[rows] @ weight.T).float().requires_grad_(wanted)  # (n, V)
        with torch.set_grad_enabled(wanted):
            mean, found = terms(logits, rows)
        loss += mean.detach().float() * (count / total)
        for name, value in found.items():
            value = value.detach() if isinstance(value, Tensor) else value
            numbers[name] = numbers.get(name, 0.0) + value * (count / total)
        if mean.requires_grad:
            # of the sum over the chunk: its entries are of order one, and survive being cast to 16 bits
            outer = torch.full_like(mean, count)
            (gradient,) = torch.autograd.grad(mean, logits, outer, materialize_grads=True)  # (n, V)
            gradient = gradient.to(weight.dtype)
            if to_hidden:
                grad_hidden[rows] = (gradient @ weight).to(grad_hidden.dtype) / total
            if to_weight:
                grad_weight += gradient.T @ hidden[rows]
            del gradient
        del mean, found, logits  # before the next chunk's take their place
    if to_weight:
        grad_weight = (grad_weight / total).to(weight_type)
    return loss, (grad_hidden, grad_weight), _as_floats(numbers, loss)


def _as_floats(numbers: dict[str, Tensor | float], like: Tensor) -> dict[str, float]:
    """All numbers on the host, after one wait for the device."""
    waiting = {name: value for name, value in numbers.items() if isinstance(value, Tensor)}
    if not waiting:
        return numbers
    values = torch.stack([value.to(like) for value in waiting.values()]).tolist()
    return numbers | dict(zip(waiting, values, strict=True))


class _Precomputed(torch.autograd.Function):
    """A scalar whose gradients are known already."""

    @staticmethod
    def forward(ctx, hidden, weight, loss, grad_hidden, grad_weight):
        ctx.save_for_backward(grad_hidden, grad_weight)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, outer):
        return *(None if gradient is None else outer * gradient for gradient in ctx.saved_tensors), None, None, None
