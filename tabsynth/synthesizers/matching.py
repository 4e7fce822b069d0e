"""Matching measured marginals: the distance between (noisy) marginals and those of a generator's batch.

Given its input a generator draws its columns independently, so the batch mean of products of softmax probabilities is
the expectation of the marginals of its hard rows: matching needs no Gumbel noise and has no bias. Everything here is
post-processing of measurements that were paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.encoding.encoder import Encoder
from tabsynth.privacy.discovery import Discovery
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.embedded import in_parts
from tabsynth.synthesizers.measuring import Measuring, Shares

DENSE = 2_000  # tokens that pairs are matched over; columns beyond, the largest first, are matched one by one


@dataclass(frozen=True, eq=False, slots=True)
class Targets:
    """Measured shares over all tokens, those of each column side by side; weight 0 where nothing was measured.

    `one_way` has shape (tokens,), `noise` is the standard deviation of the noise in its cells, shape (). `two_way`
    (dense, dense) and `three_way` (classes, dense, dense) are over the tokens `dense`; `given` are the target's tokens.
    Where no triple was measured, `three_way` is None and `given` is empty.
    """

    one_way: Tensor
    noise: Tensor
    one_way_weight: Tensor
    dense: Tensor
    two_way: Tensor
    two_way_weight: Tensor
    given: Tensor
    three_way: Tensor | None
    three_way_weight: Tensor | None

    def to(self, device: torch.device) -> Targets:
        """Return the targets on a device."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        moved: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in parts.items()}
        return Targets(**moved)


@dataclass(frozen=True, eq=False, slots=True)
class Half:
    """What half of a batch says: the mean probability of each token (tokens,), and every row's of some tokens."""

    mean: Tensor
    dense: Tensor
    given: Tensor


def match_loss(probabilities: Tensor, targets: Targets) -> Tensor:
    """Return an unbiased estimate of the weighted squared distance: the product of two half-batches' residuals."""
    return distance([_half(each, targets) for each in probabilities.chunk(2)], targets)


def match_loss_in_parts(probabilities: Callable[..., Tensor], inputs: Sequence[Tensor], targets: Targets) -> Tensor:
    """Return the same where rows are too wide to be held at once: `probabilities(*inputs)`, called on a few of them."""

    def part(*rows: Tensor) -> tuple[Tensor, ...]:
        found = probabilities(*rows)
        return found.sum(0), *singled_out(found, targets)

    halves = [
        in_parts(part, half, len(targets.one_way)) for half in zip(*(each.chunk(2) for each in inputs), strict=True)
    ]
    return distance([joined(parts) for parts in halves], targets)


def singled_out(probabilities: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the tokens that pairs and triples are matched over."""
    return probabilities[:, targets.dense], probabilities[:, targets.given]


def joined(parts: Sequence[tuple[Tensor, ...]]) -> Half:
    """Return what parts of half a batch say together: each its sum over rows, and what is singled out."""
    sums, dense, given = zip(*parts, strict=True)
    together = torch.cat(dense)
    return Half(torch.stack(sums).sum(0) / len(together), together, torch.cat(given))


def distance(halves: Sequence[Half], targets: Targets) -> Tensor:
    """Return the weighted product of two halves' residuals, summed."""
    residuals = [_residuals(half, targets) for half in halves]
    weights = [targets.one_way_weight, targets.two_way_weight, targets.three_way_weight]
    total = halves[0].mean.new_zeros(())
    for weight, first, second in zip(weights, *residuals, strict=False):
        total = total + (weight * first * second).sum()
    return total


def measure_targets(
    private: NDArray[np.int32],
    encoder: Encoder,
    known: Discovery,
    *,
    shares: Shares,
    floor: float,
    ledger: Ledger,
    secret: Secret,
) -> Targets:
    """Measure the marginals that a generator is to match, from private tokens (n, columns); see `assemble`."""
    sizes, target = encoder.sizes, encoder.target
    measuring = Measuring(private, sizes, encoder.names, target, known.rows, known.schema.unit.rows, ledger, secret)
    return assemble(measuring.all_marginals(shares), sizes, target, known.rows, floor)


def assemble(
    marginals: Sequence[Marginal], sizes: Sequence[int], target: int | None, rows: float, floor: float
) -> Targets:
    """Arrange measured marginals over all tokens, with a weight for every cell.

    A cell's weight is 1 / (its share under independence + the larger of `floor` and the noise, as shares): close to
    chi-squared, and free of the cell's own noise. Each kind of marginal (one-, two-, three-way) weighs the same.
    """
    starts = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    one_way, noise = _one_way(marginals, sizes, starts, rows)
    one_weight = 1 / (one_way + noise.clamp(min=floor)) / len(sizes)
    columns = _dense_columns(sizes)
    place = {column: sum(sizes[before] for before in columns if before < column) for column in columns}
    width = sum(sizes[column] for column in columns)
    blocks = {column: slice(place[column], place[column] + sizes[column]) for column in columns}
    share = torch.split(one_way, list(sizes))
    pairs = [m for m in marginals if len(m.attributes) == 2 and set(m.attributes) <= set(columns)]
    triples = [m for m in marginals if len(m.attributes) == 3 and set(m.attributes) <= set(columns)]
    two, two_weight = torch.zeros(width, width), torch.zeros(width, width)
    for m in pairs:
        a, b = m.attributes
        two[blocks[a], blocks[b]] = _shares(m, rows)
        expected = share[a][:, None] * share[b]
        two_weight[blocks[a], blocks[b]] = 1 / (expected + max(floor, m.scale / rows)) / len(pairs)
    three = three_weight = None
    if triples and target is not None:
        three, three_weight = torch.zeros(sizes[target], width, width), torch.zeros(sizes[target], width, width)
        for m in triples:
            a, b, _ = m.attributes
            three[:, blocks[a], blocks[b]] = _shares(m, rows).permute(2, 0, 1)
            expected = share[target][:, None, None] * share[a][:, None] * share[b]
            three_weight[:, blocks[a], blocks[b]] = 1 / (expected + max(floor, m.scale / rows)) / len(triples)
    dense = torch.cat([torch.arange(0), *(torch.arange(starts[c], starts[c] + sizes[c]) for c in columns)])
    given = dense[:0]
    if three is not None and target is not None:
        given = torch.arange(starts[target], starts[target] + sizes[target])
    return Targets(one_way, noise, one_weight, dense, two, two_weight, given, three, three_weight)


def _half(probabilities: Tensor, targets: Targets) -> Half:
    """Return what half of a batch says; the order in which gradients are added up is that of these lines."""
    dense = probabilities[:, targets.dense]
    mean = probabilities.mean(0)
    return Half(mean, dense, probabilities[:, targets.given])


def _residuals(half: Half, targets: Targets) -> list[Tensor]:
    """Return generated minus measured shares, per kind of marginal."""
    over, n = half.dense, len(half.dense)
    one_way = half.mean - targets.one_way
    if targets.three_way is None:
        return [one_way, over.T @ over / n - targets.two_way]
    weighted = torch.einsum("nt,nd->tdn", half.given, over) / n
    three_way = weighted @ over
    return [one_way, three_way.sum(0) - targets.two_way, three_way - targets.three_way]  # the target's shares sum to 1


def _one_way(
    marginals: Sequence[Marginal], sizes: Sequence[int], starts: Sequence[int], rows: float
) -> tuple[Tensor, Tensor]:
    """Return every column's measured distribution side by side, and the standard deviation of the noise in it."""
    one_way = torch.zeros(sum(sizes))
    single = [m for m in marginals if len(m.attributes) == 1]
    for m in single:
        column = m.attributes[0]
        one_way[starts[column] : starts[column] + sizes[column]] = torch.as_tensor(
            m.probabilities(), dtype=torch.float32
        )
    return one_way, torch.tensor(max((m.scale for m in single), default=0.0) / rows)


def _dense_columns(sizes: Sequence[int]) -> list[int]:
    """Return the columns whose pairs are matched, in order: all, or the smaller ones up to DENSE tokens."""
    kept: list[int] = []
    tokens = 0
    for column in sorted(range(len(sizes)), key=lambda c: sizes[c]):
        tokens += sizes[column]
        if tokens <= DENSE:
            kept.append(column)
    return sorted(kept)


def _shares(marginal: Marginal, rows: float) -> Tensor:
    return torch.as_tensor(marginal.counts / rows, dtype=torch.float32)
