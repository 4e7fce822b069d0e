"""Merging tokens: nothing is lost, mass is even, noise does not keep a category."""

import numpy as np
import pytest

from tabsynth.graphical.coarsening import codes_of, grouped, heaviest, neighbouring
from tabsynth.privacy.marginals import Marginal
from tabsynth.schema import Column


@pytest.mark.parametrize("seed", range(20))
def test_neighbours_are_merged_in_order_into_about_as_many_groups(seed):
    rng = np.random.default_rng(seed)
    mass = rng.dirichlet(np.full(100, 0.3))
    groups = neighbouring(mass, 10)
    assert groups[0] == 0
    assert set(np.diff(groups)) <= {0, 1}
    assert groups.max() + 1 <= 20
    merged = np.bincount(groups, mass)
    several = np.bincount(groups) > 1
    assert merged[several].max() < 0.25


def test_a_spike_stays_by_itself():
    mass = np.full(50, 0.2 / 49)
    mass[20] = 0.8
    groups = neighbouring(mass, 5)
    assert (groups == groups[20]).sum() == 1
    assert groups.max() >= 3


def test_rare_categories_and_noise_are_merged():
    counts = np.array([500.0, 3, -8, 100, 12, 0])
    np.testing.assert_array_equal(heaviest(counts, 24, 5.0), [0, 2, 2, 1, 2, 2])
    np.testing.assert_array_equal(heaviest(counts, 2, 0.0), [0, 1, 1, 1, 1, 1])


def test_grouped_is_a_sum_cell_by_cell():
    rng = np.random.default_rng(0)
    counts, groups = rng.random((4, 3, 5)), [np.array([0, 1, 0, 1]), np.arange(3), np.array([2, 0, 1, 1, 2])]
    slow = np.zeros((2, 3, 3))
    for cell, value in np.ndenumerate(counts):
        slow[tuple(group[place] for group, place in zip(groups, cell, strict=True))] += value
    np.testing.assert_allclose(grouped(counts, groups), slow)


def test_codes_keep_tokens_apart_or_know_their_shares():
    columns = [
        Column("n", "integer", bounds=(0, 5), bins=(0, 1, 2, 3, 4, 5, 6), nullable=True),
        Column("c", "categorical", categories=("a", "b", "c", "d")),
    ]
    ones = [Marginal((0,), np.array([5.0, 5, 5, 5, 5, 5, 9]), 1.0), Marginal((1,), np.array([50.0, 1, 2, 40]), 1.0)]
    codes = codes_of(columns, ones, (3, 2))
    assert codes.groups[0][-1] == codes.sizes[0] - 1  # missing is by itself
    assert (codes.groups[0] == codes.groups[0][-1]).sum() == 1
    np.testing.assert_array_equal(codes.groups[1], [0, 2, 2, 1])
    tokens = np.array([[0, 1], [6, 3]], np.int32)
    np.testing.assert_array_equal(codes.apply(tokens), [[0, 2], [codes.sizes[0] - 1, 1]])
    within = codes.within(1, np.array([0.5, 0.1, 0.2, 0.2]))
    np.testing.assert_allclose(within, [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1 / 3, 2 / 3, 0]])
    np.testing.assert_allclose(codes.within(1, np.array([1.0, 0, 0, 0]))[2], [0, 0.5, 0.5, 0])
