"""Tokens drawn from the logits of whole rows, and single outputs of a layer: compiled loops, for sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn


def picked(logits: Tensor, bounds: Tensor, uniform: Tensor) -> Tensor:
    """Return one token per row and column, by the inverse of its cumulative distribution; `logits` is used up.

    A column's logits lie from its entry of `bounds` (columns + 1,) to the next; `uniform` (rows, columns) in [0, 1).

    >>> logits = torch.tensor([[0.0, 0.0, -9.0, 9.0], [9.0, -9.0, 0.0, 0.0]])
    >>> picked(logits, torch.tensor([0, 2, 4]), torch.tensor([[0.4, 0.5], [0.6, 0.6]]))
    tensor([[0, 1],
            [0, 1]])
    """
    tokens = torch.empty(uniform.shape, dtype=torch.int64)
    _centre(logits.numpy(), bounds.numpy())
    _pick(logits.exp_().numpy(), bounds.numpy(), uniform.numpy(), tokens.numpy())
    return tokens


def outputs_at(layer: nn.Linear, inputs: Tensor, index: Tensor) -> Tensor:
    """Return the outputs (rows, k) of a layer at `index` (rows, k) alone, without the others.

    >>> layer = nn.Linear(2, 3).requires_grad_(False)
    >>> inputs, index = torch.ones(1, 2), torch.tensor([[2, 0]])
    >>> torch.allclose(outputs_at(layer, inputs, index), layer(inputs).gather(1, index))
    True
    """
    found = torch.empty(index.shape)
    _dots(inputs.numpy(), layer.weight.numpy(), index.numpy(), found.numpy())
    return found.add_(layer.bias[index])


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator, unused-ignore]
def _centre(logits: NDArray[Any], bounds: NDArray[np.int64]) -> None:
    """Subtract each row's and column's greatest logit."""
    for row in range(len(logits)):
        for column in range(len(bounds) - 1):
            part = logits[row, bounds[column] : bounds[column + 1]]
            top = part[0]
            for k in range(len(part)):
                top = max(top, part[k])
            for k in range(len(part)):
                part[k] -= top


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator, unused-ignore]
def _pick(weights: NDArray[Any], bounds: NDArray[np.int64], uniform: NDArray[Any], tokens: NDArray[np.int64]) -> None:
    """Find the first token at which the weights so far pass the uniform times their sum."""
    zero = weights.dtype.type(0)
    for row in range(len(weights)):
        for column in range(len(bounds) - 1):
            part = weights[row, bounds[column] : bounds[column + 1]]
            total, last = zero, len(part) - 1
            for k in range(len(part)):
                total += part[k]
            while part[last] == zero:  # rounding must not lead to a token without a share
                last -= 1
            left, k = uniform[row, column] * total, 0
            while k < last and left >= part[k]:
                left -= part[k]
                k += 1
            tokens[row, column] = k


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator, unused-ignore]
def _dots(inputs: NDArray[Any], weight: NDArray[Any], index: NDArray[np.int64], found: NDArray[Any]) -> None:
    """Multiply each row's inputs by some rows of the weights."""
    zero = found.dtype.type(0)
    for row in range(len(index)):
        given = inputs[row]
        for place in range(index.shape[1]):
            chosen, total = weight[index[row, place]], zero
            for k in range(len(given)):
                total += given[k] * chosen[k]
            found[row, place] = total
