"""What a row transformer learns from: clipped gradients of rows, each read in an order of its own; and bins nearby."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tabsynth.privacy.conformance import SumOf
from tabsynth.privacy.dpsgd import Batch
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum

REACH = 32  # a column's bins to the standard deviation, in bins, of how far a gradient is felt
FARTHEST = 8.0  # bins


def clipped_sums(
    model: RowTransformer,
    private: NDArray[np.int32],
    orders: Callable[[int], Tensor],
    max_grad_norm: float,
    *,
    weights: Sequence[float] | None = None,
) -> Callable[[Batch], SumOf]:
    """Return what takes a batch and returns the clipped sums of its rows, tokens `private` (n, columns).

    `orders` takes a number of rows and returns the order that each is read in (rows, columns); `weights` as in
    `RowTransformer.losses`.
    """

    def sums_of(batch: Batch) -> SumOf:
        device = next(model.parameters()).device
        tokens = torch.from_numpy(private[batch.rows]).long().to(device)
        read = orders(len(tokens)).to(device)

        def sum_of(places: NDArray[np.int64]) -> list[Tensor]:
            at = torch.from_numpy(places).to(device)
            owner = batch.owners(places)
            return clipped_sum(model, tokens[at], read[at], max_grad_norm, weights=weights, owner=owner)

        return sum_of

    return sums_of


def some_shuffled(order: Sequence[int], shuffled: float, secret: Secret) -> Callable[[int], Tensor]:
    """Return what draws orders of reading: a row's own with probability `shuffled`, by the secret, or everybody's."""
    usual = torch.tensor(order)

    def orders(rows: int) -> Tensor:
        drawn = torch.from_numpy(secret.uniform((rows, len(order)))).argsort(1)
        own = torch.from_numpy(secret.uniform((rows, 1))) < shuffled
        return torch.where(own, drawn, usual)

    return orders


def learn_from_neighbours(model: RowTransformer, optimizer: torch.optim.Optimizer, bins: Sequence[int]) -> None:
    """Let every step of `optimizer` move a bin by its own gradient and by those of the bins around it.

    `bins` counts each column's, which come first among its tokens, as in `RowTransformer.smooth`. Of hundreds of bins
    each has a few rows, which it would learn by heart alone. It is descent on embeddings and outputs that are a sum of
    two parts, one of the bin's own and one that is smooth along the column.
    """
    starts = accumulate(model.sizes[:-1], initial=0)
    numbers = [
        (start, count, output, _kernel(count).to(model.cells.weight))
        for start, count, output in zip(starts, bins, model.outputs, strict=True)
        if count > REACH // 4
    ]

    def spread(*_: object) -> None:
        for start, count, output, kernel in numbers:
            for layer, first in ((model.cells, start), (output, 0)):
                own = layer.weight.grad[first : first + count]  # type: ignore[index]
                own += functional.conv1d(own.T[:, None], kernel, padding="same")[:, 0].T

    optimizer.register_step_pre_hook(spread)


def _kernel(count: int) -> Tensor:
    """Return what of a bin's gradient the bins around it feel, shape (1, 1, odd): a normal density, 1 at its peak."""
    deviation = min(count / REACH, FARTHEST)
    away = torch.arange(-math.ceil(3 * deviation), math.ceil(3 * deviation) + 1)
    return torch.exp(-0.5 * (away / deviation) ** 2)[None, None]
