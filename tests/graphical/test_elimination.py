"""Conditional tables and marginals against the whole joint distribution, written out."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tabsynth.graphical.elimination import Factor, conditionals, order_and_cells
from tabsynth.graphical.sampling import sample

SHAPES = {
    "a chain": [(0, 1), (1, 2), (2, 3), (3, 4)],
    "a star": [(0, 1), (0, 2), (0, 3), (0, 4)],
    "a tree of triples": [(0, 1, 4), (1, 2, 4), (2, 3, 4)],
    "a cycle": [(0, 1), (1, 2), (2, 3), (3, 0), (3, 4)],
    "apart": [(0,), (1,), (2, 3), (4,)],
    "columns out of order": [(4, 1), (3, 0, 2), (2, 1)],
    "nothing measured": [],
    "all together": [(0, 1, 2, 3, 4)],
}
SIZES = (2, 3, 1, 4, 2)


def factors_of(cliques, empty=0.0, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for clique in cliques:
        log = 5 * rng.normal(size=[SIZES[column] for column in clique])
        log[rng.random(log.shape) < empty] = -np.inf
        found.append(Factor(clique, log))
    return found


def joint(factors):
    """The slow obvious version: every cell of the whole table by itself."""
    whole = np.zeros(SIZES)
    for cell in itertools.product(*map(range, SIZES)):
        whole[cell] = np.exp(sum(factor.log[tuple(cell[c] for c in factor.columns)] for factor in factors))
    return whole / whole.sum()


def from_tables(tables):
    """The joint that a chain of conditionals describes; parents must come first."""
    whole = np.ones(SIZES)
    known = set()
    for table in tables:
        assert set(table.parents) <= known
        known.add(table.column)
        axes = [*table.parents, table.column]
        shape = [SIZES[column] if column in axes else 1 for column in range(len(SIZES))]
        whole = whole * table.table.transpose(np.argsort(axes)).reshape(shape)
    assert known == set(range(len(SIZES)))
    return whole


@pytest.mark.parametrize("cliques", SHAPES.values(), ids=SHAPES)
def test_conditionals_describe_the_same_joint(cliques):
    factors = factors_of(cliques)
    np.testing.assert_allclose(from_tables(conditionals(factors, SIZES)), joint(factors), atol=1e-12)


def test_cells_that_cannot_be_stay_empty():
    factors = factors_of(SHAPES["a tree of triples"], empty=0.2, seed=1)
    np.testing.assert_allclose(from_tables(conditionals(factors, SIZES)), joint(factors), atol=1e-12)


def test_potentials_beyond_what_exp_can_hold():
    (link,) = conditionals([Factor((0,), np.array([2000.0, 1999.0, -5000, -np.inf]))], (4,))
    np.testing.assert_allclose(link.table, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0, 0], rtol=1e-12)


def test_the_largest_table_is_foretold():
    for cliques in SHAPES.values():
        _, cells = order_and_cells(cliques, SIZES)
        assert cells == max(table.table.size for table in conditionals(factors_of(cliques), SIZES))


def test_sampled_cells_come_as_often_as_they_should():
    factors = factors_of(SHAPES["a cycle"], seed=3)
    expected = joint(factors).ravel() * 40_000
    likely = expected > 5

    def p_value(wanted):
        tokens = sample(conditionals(factors, SIZES), SIZES, 40_000, np.random.default_rng(0))
        counts = np.bincount(np.ravel_multi_index(tokens.T, SIZES), minlength=expected.size)
        return stats.chi2.sf((((counts - wanted) ** 2) / wanted)[likely].sum(), likely.sum() - 1)

    assert p_value(expected) > 0.01
    assert p_value(np.roll(expected, 1)[np.argsort(np.argsort(expected))] + 100) < 1e-6


def test_systematic_sampling_rounds_every_count():
    table = conditionals([Factor((0, 1), np.log([[0.1, 0.2, 0.05], [0.3, 0.05, 0.3]]))], (2, 3))
    tokens = sample(table, (2, 3), 1000, np.random.default_rng(5))
    first, second = (np.bincount(tokens[:, column], minlength=size) for column, size in ((0, 2), (1, 3)))
    np.testing.assert_allclose(second if table[0].column else first, [400, 250, 350] if table[0].column else [350, 650])
    np.testing.assert_allclose(np.bincount(tokens[:, 0] * 3 + tokens[:, 1]), [100, 200, 50, 300, 50, 300], atol=2)


def test_columns_drawn_apart_are_independent():
    chain = conditionals([Factor((0,), np.zeros(2)), Factor((1,), np.zeros(2))], (2, 2))
    tokens = sample(chain, (2, 2), 10_000, np.random.default_rng(0))
    assert abs(np.corrcoef(tokens.T)[0, 1]) < 0.03


def test_one_seed_one_sample():
    chain = conditionals(factors_of(SHAPES["a cycle"]), SIZES)
    first, again, other = (sample(chain, SIZES, 500, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
