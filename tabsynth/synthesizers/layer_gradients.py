"""Clipped sums of gradients for language models as they come: by book-keeping on hooks, tied weights included.

Book-keeping (Bu et al., arXiv 2210.00038): one forward and one backward that stops at the outputs of the layers. What a
layer was given and the gradient at its output make every row's gradient of its weights, a sum over the row's places of
outer products l r^T. Of two such sums the inner product is the sum over places s, t of (l_s . l_t)(r_s . r_t), so norms
need no row's gradient. A weight that two layers share, as embedding and output do, has both sums for its gradient, and
their inner product counts twice: to leave it out would let rows pass the bound.

Known are nn.Linear, the Conv1D of GPT-2, nn.Embedding and nn.LayerNorm. `require_exact` holds the sums of a model at
hand against one backward pass a row: a layer that is another thing than it seems is refused by name or by its sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tabsynth.errors import ConformanceError, ModelError
from tabsynth.privacy.clipping import check_clipped_sum, chunks, clip_factors, masked, rounding

MOST_WHOLE = 2.0  # numbers of a row's gradient, to those of the products between all places
Losses = Callable[..., Tensor]  # inputs, each with one entry a row -> one loss a row


@dataclass(frozen=True, eq=False, slots=True)
class Outer:
    """Each row's sum over places of outer products.

    `left` and `right` are vectors (rows, places, width); a `left` (rows, places) of numbers stands for unit vectors.
    """

    left: Tensor
    right: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """What the products are computed in."""
        return self.right.dtype

    def inner(self, other: Outer | Whole) -> Tensor:
        """Return the inner product of both gradients of every row, shape (rows,)."""
        if isinstance(other, Outer):
            lefts = _products(self.left, other.left)
            return (lefts * (self.right @ other.right.transpose(1, 2))).sum((1, 2), dtype=torch.float64)
        if self.left.dim() == 2:
            seen = other.each.gather(1, self.left[:, :, None].expand(-1, -1, self.right.shape[2]))
        else:
            seen = self.left @ other.each
        return (seen * self.right).sum((1, 2), dtype=torch.float64)

    def length(self) -> Tensor:
        """Return the most that the places' products come to in length, shape (rows,)."""
        lengths: Tensor = self.right.norm(dim=2)
        if self.left.dim() == 3:
            lengths = lengths * self.left.norm(dim=2)
        return lengths.sum(1, dtype=torch.float64)

    @property
    def terms(self) -> int:
        """How many summands a product between places has."""
        return self.right.shape[2] + (1 if self.left.dim() == 2 else self.left.shape[2])

    def add(self, total: Tensor, factors: Tensor) -> None:
        """Add the rows' gradients, each times its factor, to `total`."""
        right = masked(self.right * factors[:, None, None], factors).flatten(0, 1)
        if self.left.dim() == 2:
            total.index_add_(0, self.left.flatten(), right)
        else:
            total.addmm_(masked(self.left, factors).flatten(0, 1).T, right)


@dataclass(frozen=True, eq=False, slots=True)
class Whole:
    """Each row's gradient as it is, (rows, *shape)."""

    each: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """What the products are computed in."""
        return self.each.dtype

    def inner(self, other: Outer | Whole) -> Tensor:
        """Return the inner product of both gradients of every row, shape (rows,)."""
        if isinstance(other, Outer):
            return other.inner(self)
        return (self.each * other.each).flatten(1).sum(1, dtype=torch.float64)

    def length(self) -> Tensor:
        """Return the length of each row's gradient, shape (rows,)."""
        lengths: Tensor = self.each.flatten(1).norm(dim=1)
        return lengths.double()

    @property
    def terms(self) -> int:
        """One: products of numbers are added up in float64."""
        return 1

    def add(self, total: Tensor, factors: Tensor) -> None:
        """Add the rows' gradients, each times its factor, to `total`."""
        total.add_(masked(self.each * factors.reshape(-1, *[1] * total.dim()), factors).sum(0))


def clipped_sum(
    model: nn.Module,
    losses: Losses,
    inputs: Sequence[Tensor],
    max_grad_norm: float,
    *,
    owner: Tensor | None = None,
    chunk: int = 128,
) -> list[Tensor]:
    """Return the sum over units of clipped gradients, one tensor per trainable parameter, in the model's order.

    `owner` (rows,) as in `clip_factors`, sorted; at most about `chunk` rows are processed at once, never splitting a
    unit. An infinite `max_grad_norm` gives the plain sum, over the rows whose loss is finite, by backward alone.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    totals = {id(p): torch.zeros_like(p) for p in parameters}
    for ends in chunks(len(inputs[0]), chunk, owner):
        part = slice(*ends)
        own = [each[part] for each in inputs]
        if math.isinf(max_grad_norm):
            for p, gradient in zip(parameters, _plain(losses, own, parameters), strict=True):
                totals[id(p)] += gradient
            continue
        rows = per_row(model, losses, own)
        squares = _squares(rows, len(own[0]), parameters[0].device)
        whose = None if owner is None else (owner[part] - owner[part][0]).to(squares.device)
        factors = clip_factors(squares, max_grad_norm, whose)
        for p in parameters:
            for each in rows.get(id(p), ()):
                each.add(totals[id(p)], factors.to(p.dtype))
    return [totals[id(p)] for p in parameters]


def per_row(model: nn.Module, losses: Losses, inputs: Sequence[Tensor]) -> dict[int, list[Outer | Whole]]:
    """Return, by the id of each parameter, what its gradient of every row is the sum of."""
    with _taped(model) as tape:
        found = losses(*inputs)
    gradients = torch.autograd.grad(
        found.sum(), [output for _, _, output in tape], allow_unused=True, materialize_grads=True
    )
    parts: dict[int, list[Outer | Whole]] = {}
    for (layer, given, _), gradient in zip(tape, gradients, strict=True):
        if len(gradient) != len(inputs[0]):
            raise ModelError(f"A layer of kind {type(layer).__name__} is given one input for all rows. {_INSTEAD}")
        for p, part in _parts(layer, given, gradient):
            if p.requires_grad:
                parts.setdefault(id(p), []).append(part)
    return parts


def require_exact(model: nn.Module, losses: Losses, inputs: Sequence[Tensor]) -> None:
    """Raise ModelError unless the model's clipped sums are those of its rows' gradients, found the slow way.

    The rows are public: few, of any ids. A weight that no layer shows, or a layer that treats rows together, is seen.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    slow = []
    for row in range(len(inputs[0])):
        loss = losses(*(each[row : row + 1] for each in inputs)).sum()
        slow.append(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
    norms = [math.sqrt(sum(float(g.double().square().sum()) for g in each)) for each in slow]
    bound = max(sorted(norms)[len(norms) // 2], 1e-6)  # half of the rows are clipped
    try:
        check_clipped_sum(slow, clipped_sum(model, losses, inputs, bound), bound, tolerance=1e-3)
    except ConformanceError:
        raise ModelError(f"The gradients of this model's rows cannot be told apart exactly. {_INSTEAD}") from None


_INSTEAD = "It cannot be trained whole under a budget; with lora=8 only its adapters are."


def _plain(losses: Losses, inputs: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Sequence[Tensor]:
    """Return the gradient of the summed losses, computed again without the rows whose loss is not finite."""
    found = losses(*inputs)
    finite = torch.isfinite(found)
    if not bool(finite.all()):  # left out of the sum alone, they would still be in its gradient: 0 * nan is nan
        found = losses(*(each[finite] for each in inputs)) if bool(finite.any()) else found.new_zeros(0)
    if not len(found):
        return [torch.zeros_like(p) for p in parameters]
    return torch.autograd.grad(found.sum(), parameters, allow_unused=True, materialize_grads=True)


def _squares(rows: dict[int, list[Outer | Whole]], count: int, device: torch.device) -> Tensor:
    """Return the squared norm of each row's whole gradient, shape (rows,), with what float32 may lose of it."""
    total = torch.zeros(count, dtype=torch.float64, device=device)
    for parts in rows.values():
        lengths = torch.stack([part.length() for part in parts]).sum(0)
        total += rounding(lengths, sum(part.terms for part in parts), parts[0].dtype)
        for place, one in enumerate(parts):
            total += one.inner(one)
            for other in parts[:place]:
                total += 2 * one.inner(other)
    return total


def _parts(layer: nn.Module, given: Tensor, gradient: Tensor) -> Iterator[tuple[Tensor, Outer | Whole]]:
    """Yield a layer's parameters, each with what its gradients are; raise ModelError for a layer that is not known."""
    rows = len(gradient)
    if isinstance(layer, nn.Embedding):
        yield layer.weight, Outer(given.reshape(rows, -1), gradient.reshape(rows, -1, gradient.shape[-1]))
        return
    right = gradient.reshape(rows, -1, gradient.shape[-1])
    left = given.detach().reshape(rows, -1, given.shape[-1])
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1:
        if layer.weight is not None:
            normal = functional.layer_norm(left, layer.normalized_shape, eps=layer.eps)
            yield layer.weight, Whole((normal * right).sum(1))
    elif isinstance(layer, nn.Linear):
        yield layer.weight, _smaller(right, left)
    elif type(layer).__name__ == "Conv1D":  # GPT-2's: a linear layer whose weight lies the other way
        yield layer.weight, _smaller(left, right)  # type: ignore[misc]
    else:
        raise ModelError(f"Layers of kind {type(layer).__name__} have weights of a form that is not known. {_INSTEAD}")
    bias: Any = getattr(layer, "bias", None)
    if bias is not None:
        yield bias, Whole(right.sum(1))


def _smaller(left: Tensor, right: Tensor) -> Outer | Whole:
    """Return the gradients of a matrix as sums of products, or as they are where these are fewer numbers."""
    if left.shape[2] * right.shape[2] <= MOST_WHOLE * left.shape[1] ** 2:
        return Whole(left.transpose(1, 2) @ right)
    return Outer(left, right)


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner products (rows, places, places) of two lists of vectors, given as such or by number."""
    if one.dim() == 2 and other.dim() == 2:
        return (one[:, :, None] == other[:, None, :]).double()
    if one.dim() == 2:
        return other.gather(2, one[:, None, :].expand(-1, other.shape[1], -1)).transpose(1, 2)
    if other.dim() == 2:
        return _products(other, one).transpose(1, 2)
    return one @ other.transpose(1, 2)


@contextmanager
def _taped(model: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor, Tensor]]]:
    """Note every layer that owns trainable weights, with its input and its output, whenever it is called inside."""
    tape: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if len(given) != 1 or not isinstance(output, Tensor):
            raise ModelError(f"A layer of kind {type(layer).__name__} has not one input and one output. {_INSTEAD}")
        tape.append((layer, given[0], output))

    owners = [m for m in model.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    hooks = [layer.register_forward_hook(note) for layer in owners]
    try:
        yield tape
    finally:
        for hook in hooks:
            hook.remove()
