"""What `marginals` fitted, against every row of a small table written out."""

import itertools

import numpy as np
import pandas as pd
import pytest

from tabsynth.audit.attacks import HasLikelihood
from tabsynth.encoding.encoder import Encoder
from tabsynth.graphical.elimination import Factor, conditionals
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.marginals_sampler import MarginalsSampler
from tabsynth.synthesizers.model import Model, load

SCHEMA = Schema(
    (
        Column("name", "categorical", roles=("identifier",)),
        Column("city", "categorical", categories=tuple("abcd"), nullable=True),
        Column("ill", "boolean", roles=("target",)),
        Column("age", "integer", bounds=(0, 19), bins=(0, 4, 10, 12, 20), nullable=True),
        Column("cost", "float", bounds=(0.0, 8.0), bins=(0.0, 1.0, 4.0, 8.0)),
    )
)
GROUPS = ((0, 1, 0, 0, 2), (0, 1), (0, 0, 1, 2, 3), (0, 1, 1))  # the code of every token
SIZES = tuple(max(group) + 1 for group in GROUPS)
CLIQUES = ((0, 1), (1, 2), (2, 3), (0, 3))  # a circle: no tree holds it


def small(seed=0, empty=0.0):
    """A sampler, and the probability of every row of tokens by its potentials, written out."""
    rng = np.random.default_rng(seed)
    factors = [Factor(clique, 1.5 * rng.normal(size=[SIZES[c] for c in clique])) for clique in CLIQUES]
    factors[0].log[rng.random(factors[0].log.shape) < empty] = -np.inf
    within = []
    for group, size in zip(GROUPS, SIZES, strict=True):
        held = (np.arange(size)[:, None] == np.array(group)) * rng.random(len(group))
        within.append(held / held.sum(axis=1, keepdims=True))
    whole = np.zeros([len(group) for group in GROUPS])
    for cell in np.ndindex(whole.shape):
        code = [group[token] for group, token in zip(GROUPS, cell, strict=True)]
        log = sum(factor.log[tuple(code[c] for c in factor.columns)] for factor in factors)
        whole[cell] = np.exp(log) * np.prod([table[c, t] for table, c, t in zip(within, code, cell, strict=True)])
    return MarginalsSampler(SCHEMA, conditionals(factors, SIZES), within), whole / whole.sum()


def every_row(shape):
    """One row of every combination of tokens, in the order of a raveled table."""
    tokens = np.array(list(itertools.product(*map(range, shape))), np.int32)
    return Encoder(SCHEMA).decode(tokens, np.random.default_rng(0))


@pytest.mark.parametrize("empty", [0.0, 0.3])
def test_the_likelihood_is_that_of_the_model_written_out(empty):
    sampler, whole = small(empty=empty)
    assert isinstance(sampler, HasLikelihood)
    likely = np.exp(sampler.log_likelihood(every_row(whole.shape)))
    np.testing.assert_allclose(likely, whole.ravel(), rtol=1e-10)
    assert likely.sum() == pytest.approx(1)
    assert (likely == 0).any() == (empty > 0)
    other, _ = small(seed=1)
    assert np.abs(np.exp(other.log_likelihood(every_row(whole.shape))) - whole.ravel()).max() > 0.01


def test_rows_that_cannot_be_drawn():
    sampler, _ = small()
    rows = every_row((5, 2, 5, 3)).iloc[[0, 0, 0, 0, 0]].reset_index(drop=True)
    rows["city"] = pd.Categorical(["a", "z", "a", "a", "a"], categories=["a", "z"])
    rows["age"] = pd.array([3, 3, 20, 3, None], dtype="Int64")
    rows["cost"] = [0.5, 0.5, 0.5, np.nan, 0.5]
    likely = sampler.log_likelihood(rows)
    assert np.isneginf(likely).tolist() == [False, True, True, True, False]
    assert sampler.log_likelihood(rows.iloc[:0]).shape == (0,)


def test_a_saved_model_knows_the_same_likelihood(tmp_path):
    sampler, whole = small()
    Model(sampler, "marginals", {}, {}).save(tmp_path / "model")
    rows = every_row(whole.shape)
    np.testing.assert_array_equal(load(tmp_path / "model").sampler.log_likelihood(rows), sampler.log_likelihood(rows))
