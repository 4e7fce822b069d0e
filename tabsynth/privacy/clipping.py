"""Clipped sums of gradients: the bound on what one privacy unit can add to a step of DP-SGD.

Three ways to the same sum: factors for a model that knows its gradients in closed form (`clip_factors`, `masked`), as
the families do; Opacus's ghost clipping for any model of ordinary layers (`GhostClipping`), for plug-ins and for the
audit of DP-SGD; and the slow obvious sum that checks them (`check_clipped_sum`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import Tensor, nn

from tabsynth.errors import ConformanceError
from tabsynth.privacy.conformance import length

SLACK = 1e-5  # float32 norms are wrong by about 1e-6 of themselves; clip that much lower and the bound holds


def clip_factors(squared_norms: Tensor, max_grad_norm: float, owner: Tensor | None = None) -> Tensor:
    """Return, per row, the factor that its gradient is multiplied by; 0 where the norm is not finite.

    `squared_norms` has shape (rows,). With `owner` (rows,), the number of the unit that holds each row, all rows of a
    unit share the factor max_grad_norm / (sum of their norms): by the triangle inequality the norm of the unit's whole
    gradient is then at most `max_grad_norm`. For units of one row it is the usual clipping.

    A closed form that adds terms of opposite sign loses digits: compute such `squared_norms` in float64, or add
    `rounding`.

    Formal guarantee: multiplied by these factors, a unit's gradient has norm at most `max_grad_norm`, and depends on no
    other unit.

    >>> clip_factors(torch.tensor([4.0, 0.25, torch.nan]), max_grad_norm=1.0)
    tensor([0.5000, 1.0000, 0.0000])
    """
    finite = torch.isfinite(squared_norms)
    norms = torch.where(finite, squared_norms, 0.0).clamp_min(0.0).sqrt()
    if owner is not None and len(owner):
        norms = norms.new_zeros(int(owner.max()) + 1).index_add(0, owner, norms)[owner]
    factors = (max_grad_norm / (norms * (1 + SLACK))).clamp(max=1.0)
    return torch.where(finite, factors, 0.0)


def rounding(lengths: Tensor, terms: int, dtype: torch.dtype) -> Tensor:
    """Return what `dtype` may have lost of squared norms that are sums of products between parts, shape (rows,).

    `lengths` (rows,) bounds the sum of the lengths of a row's parts and `terms` counts the summands: an inner product
    of n terms errs by at most n u of the product of both lengths, with u the unit roundoff, 2**-24 for float32 (Higham
    2002, section 3.1). Where long parts nearly cancel, that is more than the norm itself: with it added, the bound of
    `clip_factors` holds for them too.

    >>> rounding(torch.tensor([1000.0]), terms=16, dtype=torch.float32)
    tensor([0.9537])
    """
    roundoff = torch.finfo(dtype).eps / 2
    return lengths.square() * (terms * roundoff)


def masked(per_row: Tensor, factors: Tensor) -> Tensor:
    """Return `per_row` (rows, ...) with the rows of factor 0 set to 0, because 0 * nan is nan.

    A sum of outer products is `masked(factors[:, None] * left, factors).T @ masked(right, factors)`: both sides.

    >>> masked(torch.tensor([[1.0], [torch.nan]]), torch.tensor([0.5, 0.0]))
    tensor([[1.],
            [0.]])
    """
    return torch.where((factors > 0).reshape(-1, *[1] * (per_row.dim() - 1)), per_row, 0.0)


class GhostClipping:
    """Clipped sums for a module of ordinary layers (Linear, LayerNorm, Embedding, ...), by Opacus's ghost clipping.

    Norms come from one backward pass without building any row's gradient, the sum from a second one with the losses
    weighted (Li et al. 2022). The module must not mix rows (Opacus refuses batch norm; nothing can see the rest), and
    the loss must use every parameter through its layer: a term that reads a weight directly escapes the norm.
    The module carries Opacus's hooks during `clipped_sum` only, and must be in training mode then.
    """

    def __init__(self, module: nn.Module, max_grad_norm: float) -> None:
        self._hooked = GradSampleModuleFastGradientClipping(module, loss_reduction="sum", max_grad_norm=max_grad_norm)
        self._hooked.remove_hooks()
        self._max_grad_norm = max_grad_norm
        self._parameters = [p for p in module.parameters() if p.requires_grad]

    def clipped_sum(
        self,
        losses: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        *,
        owner: Tensor | None = None,
        chunk: int | None = None,
    ) -> list[Tensor]:
        """Return the sum over units of clipped gradients, one tensor per trainable parameter, in their order.

        `losses(*inputs)` returns one loss per row, shape (rows,), and is a function of its arguments: it is called
        again without the rows whose gradient is not finite, so random numbers that it needs are among the `inputs`,
        each of which has one entry per row. `owner` (sorted) as in `clip_factors`; at most about `chunk` rows are
        processed at once, never splitting a unit.
        """
        totals = [torch.zeros_like(p) for p in self._parameters]
        for start, stop in chunks(len(inputs[0]), chunk, owner):
            part = [each[start:stop] for each in inputs]
            whose = None if owner is None else owner[start:stop] - owner[start]
            for total, gradient in zip(totals, self._sum_of_chunk(losses, part, whose), strict=True):
                total.add_(gradient)
        return totals

    def _sum_of_chunk(
        self, losses: Callable[..., Tensor], inputs: Sequence[Tensor], owner: Tensor | None
    ) -> Sequence[Tensor]:
        """Return the clipped sum of rows that fit in memory together."""
        per_row, squared_norms = self._norms(losses, inputs)
        factors = clip_factors(squared_norms, self._max_grad_norm, owner)
        if not bool((factors > 0).all()):
            kept = torch.nonzero(factors > 0)[:, 0]
            if not len(kept):
                return [torch.zeros_like(p) for p in self._parameters]
            factors, per_row = factors[kept], losses(*(each[kept] for each in inputs))
        return self._gradients((factors.detach() * per_row).sum())

    def _norms(self, losses: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return each row's loss, its graph kept, and the squared norm of its gradient."""
        for p in self._parameters:
            p._norm_sample = None  # type: ignore[attr-defined]  # else a layer that is skipped keeps the last batch's
        self._hooked.add_hooks(loss_reduction="sum")
        try:
            per_row = losses(*inputs)
            gradients = self._gradients(per_row.sum(), keep=True)
        finally:
            self._hooked.remove_hooks()
        norms = [p._norm_sample for p in self._parameters]  # type: ignore[attr-defined]
        for norm, gradient in zip(norms, gradients, strict=True):
            if norm is None and bool((gradient != 0).any()):
                raise ConformanceError("Ghost clipping missed a parameter: its gradient would go unclipped.")
        squares = [norm.detach().square() for norm in norms if norm is not None]
        return per_row, torch.stack(squares).sum(0) if squares else torch.zeros_like(per_row)

    def _gradients(self, loss: Tensor, *, keep: bool = False) -> Sequence[Tensor]:
        """Return the gradient of every trainable parameter, zeros where the loss does not reach it."""
        with warnings.catch_warnings():  # the first layer's inputs are data and need no gradient, as it should be
            warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
            return torch.autograd.grad(
                loss, self._parameters, retain_graph=keep, allow_unused=True, materialize_grads=True
            )


def check_clipped_sum(
    gradients: Iterable[Sequence[Tensor]],
    clipped_sum: Sequence[Tensor],
    max_grad_norm: float,
    *,
    tolerance: float = 1e-4,
) -> None:
    """Raise ConformanceError unless `clipped_sum` is the sum of `gradients` clipped one by one.

    `gradients` holds, per privacy unit, its whole gradient over all parameters, found the slow way; those that are not
    finite count as 0. The difference may be `tolerance` of the longest sum possible. For tests and plug-in authors.
    (Rows of one unit that share a factor, as in `clip_factors`, are bounded but not equal to this sum.)
    """
    expected = [torch.zeros_like(part, dtype=torch.float64) for part in clipped_sum]
    count = 0
    for gradient in gradients:
        count += 1
        norm = length(gradient)
        factor = min(1.0, max_grad_norm / (norm * (1 + SLACK))) if norm > 0 else 1.0
        if math.isfinite(norm):
            for total, part in zip(expected, gradient, strict=True):
                total.add_(factor * part.double())
    largest = count * max_grad_norm if math.isfinite(max_grad_norm) else length(expected)
    if not length([a - b.double() for a, b in zip(expected, clipped_sum, strict=True)]) <= tolerance * largest:
        raise ConformanceError("The clipped sum is not the sum of gradients clipped one unit at a time.")


def chunks(rows: int, chunk: int | None, owner: Tensor | None) -> Iterator[tuple[int, int]]:
    """Cut range(rows) into runs of `chunk`, each drawn out to the end of its last unit."""
    start = 0
    while start < rows:
        stop = rows if chunk is None else min(start + chunk, rows)
        while owner is not None and stop < rows and owner[stop] == owner[stop - 1]:
            stop += 1
        yield start, stop
        start = stop
