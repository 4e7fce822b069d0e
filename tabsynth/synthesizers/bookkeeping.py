"""Clipped sums of gradients by book-keeping, for networks whose layers see one vector a row, or one at each step of it.

Book-keeping (Bu et al., arXiv 2210.00038): one forward and one backward that stops at the outputs of the layers. With a
the input of a linear layer and b the gradient at its output, a row's gradient is b (a, 1)^T, whose squared norm is
|b|^2 (|a|^2 + 1), or their sum over the row's steps; the clipped sum is (c b)^T a, with c the rows' factors. No row's
gradient is ever built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tabsynth.privacy.clipping import chunks, clip_factors, masked, rounding


class Tape:
    """What a forward pass leaves behind: every layer that holds parameters, its input and its output."""

    def __init__(self) -> None:
        self.entries: list[tuple[nn.Module, Tensor, Tensor]] = []

    def through(self, layer: nn.Module, inputs: Tensor) -> Tensor:
        """Return the layer's output, and remember it."""
        output: Tensor = layer(inputs)
        self.entries.append((layer, inputs.detach(), output))
        return output


class Untaped(Tape):
    """A tape that remembers nothing."""

    def through(self, layer: nn.Module, inputs: Tensor) -> Tensor:
        """Return the layer's output."""
        output: Tensor = layer(inputs)
        return output


def clipped_sum(
    parameters: Sequence[nn.Parameter],
    losses: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    max_grad_norm: float,
    *,
    owner: Tensor | None = None,
    chunk: int = 2048,
) -> list[Tensor]:
    """Return the sum over units of clipped gradients, one tensor per parameter, in their order.

    `losses(*inputs, tape)` returns one loss a row and sends every parameter through `tape`, in nn.Linear layers on
    (rows, width) or (rows, steps, width), nn.Embedding layers on (rows, steps) and nn.EmbeddingBag layers of mode "sum"
    on (rows, cells); the cells that a row looks up are all different. Each of `inputs` has one entry a row. `owner` as
    in `clip_factors`, sorted, on the processor; at most about `chunk` rows are processed at once, never splitting a
    unit. An infinite `max_grad_norm` gives the plain sum, over the rows whose loss is finite.
    """
    totals = {id(p): torch.zeros_like(p) for p in parameters}
    for ends in chunks(len(inputs[0]), chunk, owner):
        part = slice(*ends)
        rows = [each[part] for each in inputs]
        if math.isinf(max_grad_norm) and _add_plain(totals, parameters, losses(*rows, Untaped())):
            continue
        tape = Tape()
        found = losses(*rows, tape)
        gradients = torch.autograd.grad(found.sum(), [output for _, _, output in tape.entries])
        if math.isinf(max_grad_norm):
            factors = torch.isfinite(found.detach()).to(found.dtype)
        else:
            pairs = zip(tape.entries, gradients, strict=True)
            squares = torch.stack([_squares(layer, inward, g) for (layer, inward, _), g in pairs]).sum(0)
            whose = None if owner is None else (owner[part] - owner[part][0]).to(squares.device)
            factors = clip_factors(squares, max_grad_norm, whose)
        for (layer, inward, _), gradient in zip(tape.entries, gradients, strict=True):
            _add(totals, layer, inward, gradient, factors)
    return [totals[id(p)] for p in parameters]


def _add_plain(totals: dict[int, Tensor], parameters: Sequence[nn.Parameter], found: Tensor) -> bool:
    """Add the gradients of the summed losses and return True, or False where a row's loss is not finite."""
    if not bool(torch.isfinite(found.detach()).all()):
        return False
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(found.sum(), parameters, allow_unused=True), strict=True
    ):
        if gradient is not None:
            totals[id(parameter)].add_(gradient)
    return True


def _squares(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> Tensor:
    """Return the squared norm of each row's gradient of a layer's parameters, shape (rows,).

    With steps s and t a linear layer's row gradient is sum_t b_t (a_t, 1)^T, whose squared norm is the sum over s, t of
    (a_s . a_t + 1)(b_s . b_t): terms that may cancel, and what float32 may lose of them is added.
    """
    if isinstance(layer, nn.EmbeddingBag):
        return gradient.square().sum(1) * inputs.shape[1]
    if isinstance(layer, nn.Embedding):
        return gradient.square().sum((1, 2))
    if inputs.dim() == 2:
        return gradient.square().sum(1) * (inputs.square().sum(1) + 1)
    products = (inputs @ inputs.transpose(1, 2) + 1) * (gradient @ gradient.transpose(1, 2))
    lengths = products.diagonal(dim1=1, dim2=2).sqrt().sum(1)  # of the steps' own gradients
    terms = inputs.shape[2] + gradient.shape[2] + inputs.shape[1] ** 2
    return products.sum((1, 2)) + rounding(lengths, terms, products.dtype)


def _add(totals: dict[int, Tensor], layer: nn.Module, inputs: Tensor, gradient: Tensor, factors: Tensor) -> None:
    """Add the weighted sum of the rows' gradients of one layer's parameters."""
    weighted = gradient * factors.reshape(-1, *[1] * (gradient.dim() - 1))
    if not bool((factors > 0).all()):
        weighted, inputs = masked(weighted, factors), inputs if inputs.dtype == torch.int64 else masked(inputs, factors)
    if isinstance(layer, nn.EmbeddingBag):
        for cells in inputs.T:  # one column at a time: the rows' gradients are not copied for each cell
            totals[id(layer.weight)].index_add_(0, cells, weighted)
        return
    weighted = weighted.flatten(0, -2)
    if isinstance(layer, nn.Embedding):
        totals[id(layer.weight)].index_add_(0, inputs.flatten(), weighted)
        return
    totals[id(layer.weight)].addmm_(weighted.T, inputs.flatten(0, -2))
    totals[id(layer.bias)].add_(weighted.sum(0))
