"""The adaptive grid: against exact quantiles and least squares, on tails and spikes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabsynth.privacy import grid
from tabsynth.privacy.grid import CELLS, CROWDED, Grid, count_cells, first_edges, quantile_bins, refine, split_heavy


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.integers(1, 10**7), st.sampled_from([0.0, 1.0, 0.01, 86400.0]))
def test_first_edges_cover_the_range_at_whole_steps(low: float, steps: int, step: float) -> None:
    high = low + steps * (step or 0.37)
    edges = first_edges(low, high, step)
    assert (edges[0], edges[-1]) == (low, high)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= CELLS + CROWDED + 1
    if step:
        away = (edges - low) / step
        np.testing.assert_allclose(away, np.round(away), atol=1e-4)


def test_counting_is_that_of_a_slow_loop() -> None:
    edges = np.array([0.0, 1.0, 2.0, 5.0])
    values = np.array([0.0, 0.5, 1.0, 1.999, 2.0, 4.9, 5.0, 9.0, -3.0, np.nan])
    slow = [0, 0, 0]
    for value in values[~np.isnan(values)]:
        place = [i for i, (a, b) in enumerate(pairwise(edges)) if a <= value < b]
        slow[place[0] if place else (0 if value < 0 else 2)] += 1
    assert count_cells(values, edges).tolist() == slow


def _exact(values: np.ndarray, low: float, high: float, step: float, bins: int) -> np.ndarray:
    """Run the whole search on exact counts."""
    edges = first_edges(low, high, step)
    cells = Grid(edges, count_cells(values, edges).astype(float), np.zeros(len(edges) - 1))
    for _ in range(3):
        edges = split_heavy(cells, step, bins)
        counts = count_cells(values, edges).astype(float)
        cells = refine(cells, edges, counts, 0.0)
        np.testing.assert_array_equal(cells.counts, counts)
    return quantile_bins(cells, bins)


@pytest.mark.parametrize("bins", [4, 16, 32])
def test_a_smooth_column_is_cut_at_its_quantiles(bins: int) -> None:
    values = np.clip(np.random.default_rng(0).lognormal(3, 1.5, 20_000), 0, 9999)
    edges = _exact(values, 0, 10_000, 0.0, bins)
    share = np.diff(np.searchsorted(np.sort(values), edges[1:-1]), prepend=0) / len(values)
    assert bins - 1 <= len(edges) - 1 <= bins + 1
    assert share.max() < 1.3 / bins


def test_a_spike_gets_a_narrow_bin_of_its_own_and_the_tail_keeps_bins() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.9, 0.0, rng.lognormal(8, 1, 20_000).clip(1, 99_999))
    edges = _exact(values, 0.0, 100_000.0, 0.0, 32)
    spike = np.searchsorted(edges, 0.0, side="right") - 1
    assert edges[spike + 1] - edges[spike] < 1e-3 * 100_000
    tail = np.histogram(values[values > 0], edges)[0]
    assert (tail > 0).sum() >= 8, "a tenth of the rows is not one bin"


def test_a_spike_inside_is_cut_off_on_both_sides() -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random(20_000) < 0.5, 40.0, rng.uniform(0, 100, 20_000))
    edges = _exact(values, 0.0, 100.0, 0.0, 16)
    inner = np.searchsorted(edges, 40.0, side="right") - 1
    assert edges[inner + 1] - edges[inner] < 1e-2
    assert np.abs(edges - 40.0).min() < 1e-2


def test_integers_end_in_cells_of_one_value() -> None:
    values = np.repeat([3.0, 7.0, 7_000.0], [50, 900, 50])
    edges = _exact(values, 0, 10_000, 1.0, 8)
    assert {7.0, 8.0} <= set(edges), "the heavy whole number stands alone"
    assert (edges == np.floor(edges)).all()


def test_refining_is_least_squares() -> None:
    """Old cells and their new parts measure the same rows: weighted least squares, solved the slow way."""
    old = Grid(np.array([0.0, 3.0, 6.0]), np.array([10.0, 4.0]), np.array([9.0, 4.0]))
    edges = np.array([0.0, 1.0, 2.0, 3.0, 6.0])
    counts, variance = np.array([2.0, 5.0, 1.0, 6.0]), 2.0
    sums = np.array([[1, 1, 1, 0], [0, 0, 0, 1.0]])
    design = np.vstack([np.eye(4), sums])
    weight = np.diag([1 / variance] * 4 + [1 / 9, 1 / 4])
    covariance = np.linalg.inv(design.T @ weight @ design)
    slow = covariance @ design.T @ weight @ np.concatenate([counts, old.counts])
    found = refine(old, edges, counts, variance)
    np.testing.assert_allclose(found.counts, slow)
    np.testing.assert_allclose(found.variances, np.diag(covariance))


def test_cells_lost_in_noise_are_not_split() -> None:
    edges = np.linspace(0, 1, 11)
    noisy = Grid(edges, np.full(10, 30.0), np.full(10, 100.0))
    np.testing.assert_array_equal(split_heavy(noisy, 0.0, 2), edges)
    assert len(split_heavy(Grid(edges, np.full(10, 30.0), np.zeros(10)), 0.0, 20)) > 11


def test_no_mass_at_all_is_one_bin() -> None:
    empty = Grid(np.linspace(0, 1, 5), np.array([-3.0, 1.0, -2.0, 0.0]), np.ones(4))
    edges = quantile_bins(empty, 8)
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    assert (np.diff(edges) > 0).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(-100, 1000), min_size=2, max_size=60), st.integers(1, 40))
def test_any_noisy_counts_give_increasing_edges_over_the_whole_range(counts: list[float], bins: int) -> None:
    edges = np.linspace(-5, 5, len(counts) + 1)
    found = quantile_bins(Grid(edges, np.array(counts), np.ones(len(counts))), bins)
    assert (found[0], found[-1]) == (-5, 5)
    assert (np.diff(found) > 0).all()
    assert set(found) <= set(edges)
    assert len(found) - 1 <= min(len(counts), 3 * bins / grid.LEAST + 3)


def test_anchors_keep_a_tail_from_being_lost() -> None:
    """Noise of many empty cells adds up along the axis; wide cells, counted anew, hold it within theirs."""
    rng, values = np.random.default_rng(4), np.random.default_rng(0).lognormal(3, 1, 8000).clip(0, 700)
    edges, worst = first_edges(0, 701, 1.0), {"without": [], "with": []}
    for _ in range(30):
        cells = Grid(
            edges, count_cells(values, edges) + rng.normal(0, 100, len(edges) - 1), np.full(len(edges) - 1, 1e4)
        )
        wide = quantile_bins(cells, 12)
        counted = count_cells(values, wide) + rng.normal(0, 150, len(wide) - 1)
        anchored = refine(Grid(wide, counted, np.full(len(counted), 150.0**2)), edges, cells.counts, 1e4)
        for name, found in (("without", cells), ("with", anchored)):
            worst[name].append(count_cells(values, quantile_bins(found, 32)).max() / len(values))
    assert np.mean(worst["with"]) < 0.11
    assert np.mean(worst["without"]) > 1.4 * np.mean(worst["with"])


WEEKS = {  # how often each hour of the week comes, and how far off few noisy counts may be
    "any day, from 10 to 20": (np.outer(np.ones(7), np.arange(24) // 10 == 1), 0.35),
    "from Monday to Friday, from 8 to 16": (np.outer(np.arange(7) < 5, np.arange(24) // 8 == 1), 0.35),
    "always": (np.ones((7, 24)), 0.15),
}


@pytest.mark.parametrize(("week", "most"), WEEKS.values(), ids=WEEKS)
def test_a_week_of_few_noisy_rows_keeps_its_days_and_hours(week, most):
    """An hour by itself is lost in the noise here: told alone, whole days were left out and others came twice."""
    rng, shares = np.random.default_rng(0), (week / week.sum()).reshape(-1)
    off, days = [], []
    for _ in range(20):
        found = grid.rhythm(rng.multinomial(4000, shares) + rng.normal(0, 52, 168), 52.0)
        gap = found / found.sum() - shares
        off.append(np.abs(gap).sum() / 2)
        days.append(np.abs(gap.reshape(7, 24).sum(axis=1)).sum() / 2)
    assert np.mean(off) < most
    assert np.mean(days) < 0.2


def test_an_hour_that_stands_out_of_its_day_and_its_hour_is_told_by_itself():
    week = np.outer(np.arange(7) < 5, np.arange(24) // 8 == 1) * 300.0
    week[5, 22] = 2000.0
    found = grid.rhythm(week.reshape(-1) + np.random.default_rng(0).normal(0, 20, 168), 20.0).reshape(7, 24)
    assert found[5, 22] == pytest.approx(2000, abs=80)
    assert found[:5, 8:16].mean() == pytest.approx(300, abs=60)  # three standard deviations
    np.testing.assert_array_equal(grid.rhythm(week.reshape(-1), 0.0), week.reshape(-1))
    np.testing.assert_array_equal(grid.rhythm(np.zeros(168), 0.0), np.ones(168))
    np.testing.assert_array_equal(grid.rhythm(np.random.default_rng(0).normal(0, 9, 7), 9.0), np.ones(7))
