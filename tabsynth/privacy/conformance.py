"""What a private training must look like from outside: tests of its batches, its noise and its clipped sums.

`dpsgd` runs them. Each raises ConformanceError; the statistical ones accuse a training that is in order with a
probability of at most FALSE_ALARM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import binom, chi2
from torch import Tensor

from tabsynth.errors import ConformanceError

FALSE_ALARM = 1e-9
ROUNDING = 1e-4  # by how much, relatively, a float32 sum may pass the longest that clipping allows
TILTS = np.geomspace(1e-3, 1e3, 49)
SumOf = Callable[[NDArray[np.int64]], Sequence[Tensor]]


def require_poisson(sizes: Sequence[int], drawn: NDArray[np.int64], rate: float) -> None:
    """Raise unless batches of these sizes, that drew each unit so often, come from a coin of this rate per unit.

    Three tests: the number of draws in all; the spread of the batches' sizes, for batches of a fixed size; and how
    evenly the draws fall on units, for a shuffle that deals each unit once an epoch, or a part that is drawn always.
    """
    units, steps = len(drawn), len(sizes)
    total, trials = sum(sizes), units * steps
    alarms = [
        min(binom.cdf(total, trials, rate), binom.sf(total - 1, trials, rate)),
        _too_even(sizes, units, rate),
        _too_even(drawn, steps, rate),
        _too_uneven(drawn, steps, rate),
    ]
    if min(alarms) <= FALSE_ALARM:
        raise ConformanceError("The batches are not Poisson samples at the rate that was charged.")


class NoiseSeen:
    """The noise of a training, in units of its scale: how large it was, and whether any of it came twice."""

    def __init__(self) -> None:
        self.squares, self.count = 0.0, 0
        self.products, self.pairs = 0.0, 0
        self._last: list[NDArray[np.float64]] = []
        self._sums: list[NDArray[np.float64]] = []
        self._steps = 0

    def see(self, place: int, drawn: Tensor) -> None:
        """Take in the noise of the tensor at this place of a step."""
        values = drawn.reshape(-1).numpy()
        self.squares += float(values @ values)
        self.count += values.size
        before = [self._last[place - 1]] if place else []  # what is there was drawn in this step
        before += [self._last[place]] if place < len(self._last) else []  # and this, in the step before
        for other in before:
            shared = min(values.size, other.size)
            self.products += float(values[:shared] @ other[:shared])
            self.pairs += shared
        self._last[place : place + 1] = [values]
        if place == 0:
            self._steps += 1
        if place < len(self._sums):
            self._sums[place] += values
        else:
            self._sums.append(values.copy())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was seen, for a checkpoint."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Go on after what was seen then."""
        vars(self).update(state_dict)

    def require_standard_normal(self) -> None:
        """Raise unless the noise has the scale that was charged, and is drawn anew for every tensor and step."""
        require_scale(self.squares, self.count)
        require_fresh(self.products, self.pairs)
        require_sums(sum(float(total @ total) for total in self._sums) / self._steps, sum(map(len, self._sums)))


def require_fresh(products: float, pairs: int) -> None:
    """Raise unless a sum of so many products of two draws can be one of independent normals.

    A product has E exp(t x y) = 1 / sqrt(1 - t^2), so by Chernoff P(|sum| >= s) <= 2 exp(-t s) (1 - t^2)^(-pairs / 2).
    Only what one draw repeats of another is looked for, so the sign does not matter.
    """
    tilts = np.linspace(0.001, 0.999, 999)
    exponents = -tilts * abs(products) - pairs / 2 * np.log1p(-(tilts**2))
    if 2 * math.exp(min(0.0, float(exponents.min()))) <= FALSE_ALARM:
        raise ConformanceError("The noise was not drawn anew: one draw of it repeats another.")


def require_sums(squares: float, count: int) -> None:
    """Raise unless `count` sums over all steps, each divided by the root of their number, can be standard normal.

    A draw that comes again, at whatever distance, adds up with itself where independent draws cancel.
    """
    if not _of_standard_normals(squares, count):
        raise ConformanceError("The noise was not drawn anew: draws of different steps add up.")


def require_scale(squares: float, count: int) -> None:
    """Raise unless `count` draws with this sum of squares can be standard normal."""
    if not _of_standard_normals(squares, count):
        raise ConformanceError("The noise that was added does not have the scale that was charged.")


def require_bounded(total: Sequence[Tensor], units: int, max_grad_norm: float) -> None:
    """Raise unless a clipped sum is finite and no longer than so many units can make it."""
    found = length(total)
    longest = max_grad_norm * units * (1 + ROUNDING) if units else 0.0
    if not math.isfinite(found) or found > longest:
        raise ConformanceError("A clipped sum is longer than its units and max_grad_norm allow, or not finite.")


def require_sum_of_units(
    total: Sequence[Tensor], sum_of: SumOf, owner: NDArray[np.int64], bound: float, turn: int = 0
) -> None:
    """Raise unless `total` is a sum of one vector per unit, each of length at most `bound`, as far as three units tell.

    `sum_of(places)` returns the clipped sum of the rows at these places of the batch; `owner` numbers each row's unit.
    For a unit u, sum(all) = sum(all but u) + sum(u) and |sum(u)| <= bound: so taking u away moves the sum by at most
    the bound, which is what the noise is calibrated to. The length is looked at for the first, the middle and the last
    unit of the batch; the rest, which costs as much as the batch itself, for one of them: each in its `turn`.
    """
    units = int(owner.max(initial=-1)) + 1
    if not units:
        return
    three = [0, units // 2, units - 1]
    alone = {unit: sum_of(np.flatnonzero(owner == unit)) for unit in three}
    if max(map(length, alone.values())) > bound * (1 + ROUNDING):
        raise ConformanceError("A clipped sum is not a sum of one clipped gradient for each unit.")
    unit = three[turn % 3]
    rest = sum_of(np.flatnonzero(owner != unit))
    left = [a.detach() - b.detach() - c.detach() for a, b, c in zip(total, rest, alone[unit], strict=True)]
    if length(left) > bound * (1e-3 + 1e-6 * units):  # float32 sums in another order
        raise ConformanceError(
            "A clipped sum is not a sum of one clipped gradient for each unit, or training has diverged: its gradients "
            "are rounding alone. Lower rate if it was set."
        )


def length(tensors: Sequence[Tensor]) -> float:
    """Return the Euclidean norm of all tensors together, in float64."""
    return math.sqrt(sum(float(each.detach().cpu().double().square().sum()) for each in tensors))


def _of_standard_normals(squares: float, count: int) -> bool:
    """Whether `count` standard normals can have this sum of squares, up to 1% for float32 rounding."""
    return bool(chi2.ppf(FALSE_ALARM, count) * 0.99 <= squares <= chi2.isf(FALSE_ALARM, count) * 1.01)


def _too_even(values: ArrayLike, trials: int, rate: float) -> float:
    """Bound the probability that independent Binomial(trials, rate) lie as close to their mean as `values` do.

    Chernoff's bound on the sum of squared deviations, with the exact distribution: it holds for any number of trials.

    >>> bool(_too_even([2] * 60, trials=100, rate=0.02) < 1e-9)
    True
    """
    return _chernoff(values, trials, rate, -TILTS)


def _too_uneven(values: ArrayLike, trials: int, rate: float) -> float:
    """Bound the probability that independent Binomial(trials, rate) lie as far from their mean as `values` do."""
    return _chernoff(values, trials, rate, TILTS)


def _chernoff(values: ArrayLike, trials: int, rate: float, tilts: NDArray[np.float64]) -> float:
    """Return the least over t of exp(-t s) E[exp(t X)]^n: s the sum of the n squared deviations, X one's."""
    mean, variance = trials * rate, trials * rate * (1 - rate)
    if variance == 0:
        return 1.0
    support = np.arange(trials + 1)
    log_mass, square = binom.logpmf(support, trials, rate), (support - mean) ** 2 / variance
    found = (np.asarray(values, np.float64) - mean) ** 2 / variance
    exponents = [len(found) * logsumexp(log_mass + t * square) - t * found.sum() for t in tilts]
    return math.exp(min(0.0, *exponents))
