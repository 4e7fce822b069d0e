"""Where the training of a row transformer starts: noisy one-way marginals, and what the target says of every column.

A transformer that starts at independent columns has to find out under noise what every column has to do with the one
that matters most. Counts of each column by class of the target cost a part of the budget and say it at once. A column
that is read after the target starts at its distribution given the target, and a target that is read after others at
its posterior given them (naive Bayes). Both are fixed terms of the logits; training learns the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tabsynth.encoding.encoder import Encoder
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, measure, one_way, project
from tabsynth.privacy.noise import Secret

MOST_CLASSES = 8  # of a target that is tied to the others: tables of a number's bins would be all noise


class Ties(nn.Module):
    """How much likelier each token is in each class of the target, as logarithms.

    `table` (classes, tokens of all columns) holds log P(token | class) - log P(token), zeros for the target's own.
    """

    table: Tensor
    starts: Tensor

    def __init__(self, table: Tensor, target: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.target, self.sizes = target, tuple(sizes)
        self.register_buffer("table", table)
        self.register_buffer("starts", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)

    def along(self, tokens: Tensor, place: Tensor) -> list[Tensor]:
        """Return what to add to each column's logits, (rows, its tokens), in whole rows of tokens (rows, columns).

        `place` (rows, columns) is where each column stands in its row's order.
        """
        at = place[:, self.target, None]
        given = torch.split(self.table[tokens[:, self.target]], list(self.sizes), 1)
        after = (place > at).to(self.table.dtype)
        found = [part * after[:, column, None] for column, part in enumerate(given)]
        evidence = self.table.T[tokens + self.starts]  # (rows, columns, classes)
        found[self.target] = (evidence * (place < at)[:, :, None]).sum(1)
        return found

    def after(self, tokens: Tensor, columns: Sequence[int], asked: int) -> Tensor | None:
        """Return what to add to a column's logits after prefixes of tokens (prefixes, columns); None for nothing."""
        if asked == self.target:
            return self.table.T[tokens + self.starts[list(columns)]].sum(1)
        if self.target not in columns:
            return None
        first = int(self.starts[asked])
        return self.table[:, first : first + self.sizes[asked]][tokens[:, list(columns).index(self.target)]]


def measured_start(
    private: NDArray[np.integer[Any]],
    encoder: Encoder,
    rows: float,
    *,
    shares: tuple[float, float],
    rows_per_unit: int,
    ledger: Ledger,
    secret: Secret,
) -> tuple[list[Tensor], Ties | None]:
    """Return what each column's output starts from, and the ties to a target of few classes, if there is one.

    Charged: every column's one-way marginal for an equal part of the first of the `shares` of the budget, and, for the
    ties, its counts by class of the target for one of the second. `rows` is the public number of rows.
    """
    sizes, names, target = encoder.sizes, encoder.names, encoder.target
    ones = one_way(private, sizes, names, share=shares[0], rows_per_unit=rows_per_unit, ledger=ledger, secret=secret)
    if target is None or not 1 < sizes[target] <= MOST_CLASSES or not shares[1] > 0:
        return [_start(one, rows) for one in ones], None
    sigma = ledger.sigma(shares[1] / max(1, len(sizes) - 1))
    pairs = {
        place: measure(
            private,
            sizes,
            (target, place),
            sigma=sigma,
            rows_per_unit=rows_per_unit,
            names=(names[target], names[place]),
            ledger=ledger,
            secret=secret,
        )
        for place in range(len(sizes))
        if place != target
    }
    sums = [[_summed(pairs[place], place)] if place in pairs else [] for place in range(len(sizes))]
    sums[target] = [_summed(pair, target) for pair in pairs.values()]
    starts = [_start(together(one, *more), rows) for one, more in zip(ones, sums, strict=True)]
    own = torch.zeros(sizes[target], sizes[target])
    parts = [tie(pairs[place], start) if place in pairs else own for place, start in enumerate(starts)]
    return starts, Ties(torch.cat(parts, 1), target, sizes)


def together(*measured: Marginal) -> Marginal:
    """Return the mean of what was measured several times, each weighed by the inverse of its noise's variance.

    >>> together(Marginal((0,), np.array([8.0, 2.0]), 1.0), Marginal((0,), np.array([6.0, 4.0]), 1.0)).counts
    array([7., 3.])
    """
    if any(each.scale == 0 for each in measured):
        return next(each for each in measured if each.scale == 0)
    weights = np.array([each.scale**-2 for each in measured])
    counts = np.average([each.counts for each in measured], axis=0, weights=weights)
    return Marginal(measured[0].attributes, counts, float(weights.sum() ** -0.5))


def tie(pair: Marginal, start: Tensor) -> Tensor:
    """Return log P(token | class) - log P(token), (classes, tokens), from counts (classes, tokens).

    To each class half of the noise's scale in rows is added per token, spread as the column is on the whole, `start`:
    where noise may explain what a class has, its column is as everywhere.

    >>> exact = Marginal((1, 0), np.array([[3e4, 1e4], [2e4, 2e4]]), 0.0)
    >>> tie(exact, torch.tensor([0.625, 0.375])).exp()
    tensor([[1.2000, 0.6667],
            [0.8000, 1.3333]])
    """
    kept = torch.from_numpy(np.stack([project(counts) for counts in pair.counts])).float()
    mixed = kept + start * max(0.5 * pair.scale * len(start), 0.1)
    return (mixed / mixed.sum(1, keepdim=True)).log() - start.log()


def _start(marginal: Marginal, rows: float) -> Tensor:
    """Return the distribution that a column's output starts from: no token is ruled out."""
    shares = torch.as_tensor(marginal.probabilities(), dtype=torch.float32).clamp_min(0.1 / max(rows, 1.0))
    return shares / shares.sum()


def _summed(pair: Marginal, kept: int) -> Marginal:
    """Return one column's counts from those of a pair; noise adds up over the other's tokens."""
    axis = 1 - pair.attributes.index(kept)
    return Marginal((kept,), pair.counts.sum(axis), pair.scale * math.sqrt(pair.counts.shape[axis]))
