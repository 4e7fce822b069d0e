"""Estimation: what is consistent is met exactly, noise is averaged, and a second implementation agrees."""

import warnings

import numpy as np
import pytest

from tabsynth.graphical.coarsening import grouped
from tabsynth.graphical.descent import Measurement, estimate
from tabsynth.graphical.elimination import conditionals

SIZES = (2, 3, 4, 3)
TOTAL = 500.0


def truth(seed=0):
    """A joint table of 500 rows."""
    joint = np.random.default_rng(seed).dirichlet(np.full(np.prod(SIZES), 0.5)).reshape(SIZES)
    return TOTAL * joint


def measured(joint, columns, scale=1.0, groups=None, noise=None):
    over = tuple(column for column in range(len(SIZES)) if column not in columns)
    counts = joint.sum(axis=over).transpose(np.argsort(np.argsort(columns)))
    groups = groups or tuple(np.arange(SIZES[column]) for column in columns)
    counts = grouped(counts, groups)
    return Measurement(
        columns, groups, counts if noise is None else counts + scale * noise.normal(size=counts.shape), scale
    )


def expected(model, columns, sizes=SIZES):
    """The model's counts of some columns, by way of every cell of the whole table."""
    whole = np.full(sizes, TOTAL)
    for link in conditionals(model.factors, sizes):
        axes = [*link.parents, link.column]
        shape = [size if column in axes else 1 for column, size in enumerate(sizes)]
        whole = whole * link.table.transpose(np.argsort(axes)).reshape(shape)
    over = tuple(column for column in range(len(sizes)) if column not in columns)
    return whole.sum(axis=over).transpose(np.argsort(np.argsort(columns)))


def distance(model, measurements):
    """Half the weighted squares, the slow way."""
    return sum(
        0.5 * (((grouped(expected(model, m.columns), m.groups) - m.counts) / m.scale) ** 2).sum() for m in measurements
    )


@pytest.mark.parametrize("cliques", [[(0, 1), (1, 2), (2, 3)], [(0, 1, 2), (2, 3)], [(0, 1), (1, 2), (2, 0), (3,)]])
def test_consistent_counts_are_met(cliques):
    joint = truth()
    measurements = [measured(joint, clique) for clique in cliques]
    model = estimate(measurements, SIZES, TOTAL, 20_000)
    for measurement in measurements:
        np.testing.assert_allclose(expected(model, measurement.columns), measurement.counts, atol=0.5)


def test_a_chain_is_the_product_of_its_conditionals():
    """For consistent counts of a tree the nearest model has a closed form."""
    joint = truth()
    model = estimate([measured(joint, (0, 1)), measured(joint, (1, 2))], SIZES, TOTAL, 20_000)
    left, right = joint.sum(axis=(2, 3)), joint.sum(axis=(0, 3))
    closed = left[:, :, None] * right[None] / right.sum(axis=1)[None, :, None]
    np.testing.assert_allclose(expected(model, (0, 1, 2)), closed, atol=0.5)
    wrong = np.einsum("i,jk->ijk", left.sum(axis=1), right) / TOTAL
    assert np.abs(expected(model, (0, 1, 2)) - wrong).max() > 3


def test_within_a_group_the_model_follows_what_else_is_known():
    joint, halves = truth(), np.array([0, 0, 1, 1])
    coarse = measured(joint, (0, 2), groups=(np.arange(2), halves))
    model = estimate([coarse, measured(joint, (2,))], SIZES, TOTAL, 20_000)
    fine = joint.sum(axis=(0, 1, 3))
    share = fine / np.bincount(halves, fine)[halves]
    np.testing.assert_allclose(expected(model, (0, 2)), coarse.counts[:, halves] * share, atol=0.5)


def test_better_measured_counts_weigh_more():
    low, high = np.array([100.0, 400.0]), np.array([200.0, 300.0])
    own = (np.arange(2),)
    model = estimate([Measurement((0,), own, low, 1.0), Measurement((0,), own, high, 3.0)], (2,), TOTAL, 5000)
    np.testing.assert_allclose(expected(model, (0,), (2,)), [110, 390], atol=0.5)


def test_exact_counts_with_empty_cells():
    counts = np.array([[0.0, 300.0], [0.0, 200.0]])
    model = estimate([Measurement((0, 1), (np.arange(2),) * 2, counts, 0.0)], (2, 2), TOTAL, 5000)
    np.testing.assert_allclose(expected(model, (0, 1), (2, 2)), counts, atol=1.0)


def test_a_second_descent_starts_where_the_first_came_to():
    joint, noise = truth(), np.random.default_rng(0)
    first = [measured(joint, (0, 1), 5.0, noise=noise), measured(joint, (1, 2), 5.0, noise=noise)]
    both = [*first, measured(joint, (2, 3), 5.0, noise=noise)]
    model = estimate(first, SIZES, TOTAL, 2000)
    assert distance(estimate(first, SIZES, TOTAL, 1, model), first) <= distance(model, first) * 1.001
    assert distance(estimate(both, SIZES, TOTAL, 40, model), both) < distance(estimate(both, SIZES, TOTAL, 40), both)


@pytest.mark.slow  # JAX compiles for twenty seconds
def test_mbi_agrees():
    """mbi's mirror descent, over JAX, comes to the same model from the same noisy counts."""
    mbi = pytest.importorskip("mbi")
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    joint, noise = truth(), np.random.default_rng(1)
    measurements = [measured(joint, clique, 5.0, noise=noise) for clique in [(0, 1), (1, 2), (2, 3), (0,)]]
    domain = mbi.Domain(list("abcd"), SIZES)
    asked = [
        mbi.LinearMeasurement(m.counts.ravel(), tuple("abcd"[c] for c in m.columns), m.scale) for m in measurements
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mbi.estimation.MirrorDescent().estimate(domain, asked, known_total=TOTAL, iters=3000)
        tables = [np.asarray(theirs.project(tuple("abcd"[c] for c in m.columns)).values) for m in measurements]
    ours = estimate(measurements, SIZES, TOTAL, 3000)
    for table, measurement in zip(tables, measurements, strict=True):
        np.testing.assert_allclose(expected(ours, measurement.columns), table, atol=1.0)
