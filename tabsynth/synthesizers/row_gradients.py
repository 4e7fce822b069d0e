"""What a row transformer's training sums up: clipped gradients of rows, each read in an order of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.privacy.conformance import SumOf
from tabsynth.privacy.dpsgd import Batch
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum


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
