"""Marginals: counted as a slow loop would, measured with the noise that was asked for, charged before they are read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.stats import chi2

from tabsynth.errors import BudgetExceeded, InputError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import MOST_CELLS, Marginal, count_tokens, measure, one_way, project
from tabsynth.privacy.noise import Secret

SIZES = (3, 2, 5)
TOKENS = np.stack([np.random.default_rng(i).integers(0, size, 400) for i, size in enumerate(SIZES)], 1).astype(np.int32)


@pytest.mark.parametrize("attributes", [(0,), (2, 0), (0, 1, 2), (1, 2)])
def test_counts_are_those_of_a_slow_loop(attributes: tuple[int, ...]) -> None:
    shape = tuple(SIZES[a] for a in attributes)
    slow = np.zeros(shape, np.int64)
    for row in TOKENS:
        slow[tuple(row[list(attributes)])] += 1
    np.testing.assert_array_equal(count_tokens(TOKENS, attributes, shape), slow)


def test_without_a_budget_the_marginal_is_exact() -> None:
    found = measure(
        TOKENS, SIZES, (0, 2), sigma=0.0, rows_per_unit=1, names=("a", "c"), ledger=Ledger(), secret=Secret()
    )
    np.testing.assert_array_equal(found.counts, count_tokens(TOKENS, (0, 2), (3, 5)))
    assert (found.attributes, found.scale) == ((0, 2), 0.0)


@pytest.mark.parametrize("rows_per_unit", [1, 3])
def test_the_noise_has_the_scale_it_says(rows_per_unit: int) -> None:
    ledger, secret, sigma = Ledger(Budget(50.0, 1e-3)), Secret(), 4.0
    tokens = np.zeros((10, 1), np.int32)
    found = measure(
        tokens, (2000,), (0,), sigma=sigma, rows_per_unit=rows_per_unit, names=("a",), ledger=ledger, secret=secret
    )
    noise = found.counts - np.bincount(tokens[:, 0], minlength=2000)
    squares = float(np.square(noise).sum())
    assert found.scale == sigma * rows_per_unit
    low, high = chi2.ppf([1e-6, 1 - 1e-6], 2000) * found.scale**2
    assert low < squares < high
    assert not low < squares * 0.8 < high, "noise a tenth smaller would be seen"


def test_one_way_splits_its_share_evenly_and_stays_within() -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    found = one_way(TOKENS, SIZES, "abc", share=0.9, rows_per_unit=1, ledger=ledger, secret=Secret())
    assert [m.attributes for m in found] == [(0,), (1,), (2,)]
    assert {m.scale for m in found} == {ledger.sigma(0.3)}
    assert [charge.why for charge in ledger.charges] == ["marginal of 'a'", "marginal of 'b'", "marginal of 'c'"]
    assert 0.8 < ledger.spent.epsilon <= 1.0


def test_too_many_cells_and_no_budget_left_are_refused_unread() -> None:
    class Untouchable:
        def __getitem__(self, key: object) -> None:
            raise AssertionError("the rows were touched")

    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match=f"The marginal of a, b has more than {MOST_CELLS:,} cells"):
        measure(
            Untouchable(), (4000, 4000), (0, 1), sigma=9.0, rows_per_unit=1, names="ab", ledger=ledger, secret=Secret()
        )
    with pytest.raises(BudgetExceeded):
        measure(Untouchable(), (3,), (0,), sigma=0.1, rows_per_unit=1, names="a", ledger=ledger, secret=Secret())
    assert ledger.charges == ()


COUNTS = arrays(np.float64, st.integers(1, 12), elements=st.floats(-50, 50))


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_projection_keeps_the_total_and_the_order(counts: np.ndarray) -> None:
    found = project(counts)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(max(counts.sum(), 0.0), abs=1e-6)
    for a, b in itertools.combinations(range(len(counts)), 2):
        assert (found[a] >= found[b] - 1e-9) if counts[a] >= counts[b] else (found[a] <= found[b] + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_projection_is_the_nearest_point_of_the_simplex(seed: int) -> None:
    counts = np.random.default_rng(seed).normal(3, 6, 6)
    total = counts.sum()
    slow = minimize(
        lambda x: np.square(x - counts).sum(),
        np.full(6, total / 6),
        bounds=[(0, None)] * 6,
        constraints={"type": "eq", "fun": lambda x: x.sum() - total},
        method="SLSQP",
    )
    np.testing.assert_allclose(project(counts), slow.x, atol=1e-3)


def test_projection_keeps_the_shape_and_a_total_below_zero_is_nothing() -> None:
    assert project(np.array([[3.0, -1.0], [0.5, 0.5]])).shape == (2, 2)
    np.testing.assert_array_equal(project(np.array([-3.0, 1.0])), [0.0, 0.0])


@pytest.mark.parametrize("counts", [[0.0, 0.0], [-4.0, 1.0], [-1.0, -1.0]])
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_probabilities_are_a_distribution_whatever_the_noise_left(counts: list[float], scale: float) -> None:
    found = Marginal((0,), np.array(counts), scale).probabilities()
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()


def test_projected_probabilities_are_closer_than_clipped_ones() -> None:
    """Clipping turns the noise of 500 empty cells into mass; projecting does not."""
    truth = np.zeros(520)
    truth[:20] = 50
    noisy = truth + np.rint(20 * np.random.default_rng(0).normal(size=520))
    clipped = np.maximum(noisy, 0) / np.maximum(noisy, 0).sum()
    found = Marginal((0,), noisy, 20.0).probabilities()
    wrong, right = (np.abs(p - truth / truth.sum()).sum() / 2 for p in (clipped, found))
    assert right < 0.7 * wrong
