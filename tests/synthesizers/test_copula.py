"""`copula`: the correlation behind the columns comes back, from coarse ones too; a wrong one is told apart."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, multivariate_normal, norm

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.copula import (
    Axis,
    Copula,
    CopulaSampler,
    latent_correlation,
    nearest_correlation,
    scores,
)
from tabsynth.table import Table, read
from tabsynth.testing import awkward_table

RHO = np.array([[1.0, 0.7, -0.5, 0.4], [0.7, 1.0, 0.0, 0.3], [-0.5, 0.0, 1.0, 0.2], [0.4, 0.3, 0.2, 1.0]])
SCHEMA = Schema(
    (
        Column("pay", "float", bounds=(0.0, 1e6)),
        Column("size", "integer", bounds=(-60, 60), nullable=True),
        Column("grade", "categorical", categories=("low", "middle", "high")),
        Column("ill", "boolean"),
    )
)


def people(rows: int, rho: np.ndarray = RHO) -> Table:
    """Rows of a known Gaussian copula: a skewed number, an integer, three ordered categories, a rare truth."""
    z = np.random.default_rng(0).multivariate_normal(np.zeros(4), rho, rows)
    frame = {
        "pay": np.exp(9 + z[:, 0]).clip(0, 1e6),
        "size": np.rint(10 * z[:, 1]).astype(int),
        "grade": np.array(["low", "middle", "high"])[np.searchsorted([-0.5, 1.0], z[:, 2])],
        "ill": z[:, 3] > 1.2,
    }
    return read(pd.DataFrame(frame), SCHEMA)


def fitted(table: Table, budget: Budget | None = None) -> CopulaSampler:
    sampler = Copula().fit(table, Ledger(budget), Secret())
    assert isinstance(sampler, CopulaSampler)
    return sampler


def correlation_of(sampler: CopulaSampler) -> np.ndarray:
    return np.asarray(sampler._factor @ sampler._factor.T)


@pytest.mark.parametrize("budget", [None, Budget(1.0, 1e-5)])
def test_a_known_correlation_comes_back_and_a_wrong_one_does_not(budget: Budget | None) -> None:
    found = correlation_of(fitted(people(20_000), budget))
    off = np.abs(found - RHO)
    # three standard errors of a polychoric correlation with a rare truth; with the budget, of its noise as well
    assert off.max() < (0.05 if budget is None else 0.09)
    wrong = nearest_correlation(RHO + 0.2 * (1 - np.eye(4)))
    assert np.abs(found - wrong).max() > 0.1


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.6, 0.95])
@pytest.mark.parametrize("cuts", [([0.0], [0.0]), ([1.5], [-0.4, 0.8]), ([-1.0, 0.0, 2.0], [1.0])])
def test_latent_correlations_invert_the_normal_distribution_function(rho: float, cuts: tuple) -> None:
    """Against joint frequencies from scipy's bivariate normal distribution function."""
    h, k = (np.array([-8.0, *each, 8.0]) for each in cuts)
    below = multivariate_normal(cov=[[1.0, rho], [rho, 1.0]]).cdf(np.dstack(np.meshgrid(h, k, indexing="ij")))
    joint = np.diff(np.diff(below, axis=0), axis=1)
    found = latent_correlation(joint, np.diff(norm.cdf(h)), np.diff(norm.cdf(k)))
    assert found == pytest.approx(rho, abs=0.003)
    naive = scores(np.diff(norm.cdf(h))) @ joint @ scores(np.diff(norm.cdf(k)))
    assert rho == 0 or abs(naive) < abs(rho) - 0.03  # what the codes themselves correlate


def test_a_moment_beyond_what_normals_can_have_is_the_largest_correlation() -> None:
    half = np.full(2, 0.5)
    assert latent_correlation(np.array([[0.6, -0.1], [-0.1, 0.6]]), half, half) == pytest.approx(0.999)
    assert latent_correlation(np.array([[0.5], [0.5]]), half, np.ones(1)) == 0.0


def test_the_nearest_correlation_is_nearer_than_other_ones() -> None:
    """Higham (2002), section 4, has the nearest matrix of this one in closed figures."""
    given = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    found = nearest_correlation(given)
    np.testing.assert_allclose(found, [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]], atol=2e-4)
    values, vectors = np.linalg.eigh(given)
    clipped = (vectors * np.maximum(values, 0)) @ vectors.T
    scaled = clipped / np.sqrt(np.outer(np.diag(clipped), np.diag(clipped)))
    assert np.linalg.norm(found - given) < np.linalg.norm(scaled - given) - 1e-3


def test_samples_have_the_marginals_and_the_correlation() -> None:
    sampler = fitted(people(20_000))
    encoder = Encoder(sampler.schema)
    rows = sampler.sample(40_000, np.random.default_rng(1))
    tokens = encoder.encode(rows).tokens
    for place, axis in enumerate(sampler._axes):
        found = np.bincount(tokens[:, place], minlength=encoder.sizes[place])[axis.order]
        held = axis.probabilities > 0
        assert (found[~held] == 0).all()
        assert chisquare(found[held], 40_000 * axis.probabilities[held]).pvalue > 1e-6
    joint = pd.crosstab(rows["grade"], rows["ill"], normalize=True).to_numpy()
    half = joint.sum(axis=1), joint.sum(axis=0)
    assert latent_correlation(joint, *half) == pytest.approx(0.2, abs=0.05)
    again = Copula().fit(read(rows, SCHEMA), Ledger(), Secret())
    assert isinstance(again, CopulaSampler)
    np.testing.assert_allclose(correlation_of(again), correlation_of(sampler), atol=0.05)


def test_categories_are_ordered_by_the_target_and_missing_ones_among_them() -> None:
    """Four categories in an order that says nothing, whose means of the target are far apart."""
    rng = np.random.default_rng(2)
    names = np.array(["b", "d", "a", None, "c"], dtype=object)  # in this order the target becomes more likely
    rank = rng.integers(0, 5, 8000)
    frame = pd.DataFrame({"kind": names[rank], "ill": rng.random(8000) < 0.1 + 0.2 * rank})
    kind = Column("kind", "categorical", categories=("a", "b", "c", "d"), nullable=True)
    table = read(frame, Schema((kind, Column("ill", "boolean", roles=("target",)))))
    sampler = fitted(table, Budget(3.0, 1e-5))
    assert sampler._axes[0].order.tolist() == [1, 3, 0, 4, 2]
    rows = sampler.sample(20_000, np.random.default_rng(0))
    shares = rows["ill"].astype(float).groupby(rows["kind"].astype(object).fillna("none")).mean()
    assert shares["b"] < 0.2
    assert shares["c"] > 0.8
    assert shares["none"] == pytest.approx(0.7, abs=0.1)


def test_sampling_is_fast_and_the_same_in_blocks() -> None:
    """The bar is 200,000 rows a second on a quiet processor; a third of it here, where others may be at work."""
    sampler = fitted(people(2000))
    sampler.sample(10, np.random.default_rng(0))
    start = time.process_time()
    rows = sampler.sample(140_000, np.random.default_rng(0))  # more than two blocks
    assert 140_000 / (time.process_time() - start) > 66_000
    pd.testing.assert_frame_equal(rows, sampler.sample(140_000, np.random.default_rng(0)))


def test_a_stretch_of_no_probability_is_never_drawn() -> None:
    axis = Axis(np.arange(4, dtype=np.int32), np.array([0.0, 0.5, 0.5, 0.0]))
    np.testing.assert_array_equal(axis.thresholds(), [-np.inf, 0.0, np.inf, np.inf])


def test_the_budget_is_spent_and_never_passed() -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    Copula().fit(awkward_table("undeclared domains"), ledger, Secret())
    assert 0.9 < ledger.spent.epsilon <= 1.0
    assert ledger.charges[-1].why == "marginals of all pairs of codes"


def test_bad_settings_and_hopeless_budgets_are_refused_before_any_charge() -> None:
    for wrong in ({"bins": 0}, {"codes": 1}, {"order": 0.0}, {"one_way": 0.9}):
        with pytest.raises(InputError):
            Copula(**wrong)
    table = people(50)
    small = Table(Schema(SCHEMA.columns, rows=50), table.private)
    ledger = Ledger(Budget(0.01, 1e-5))
    with pytest.raises(ModelError, match="too small"):
        Copula().fit(small, ledger, Secret())
    assert ledger.charges == ()


def test_a_saved_copula_that_is_damaged_is_refused(tmp_path) -> None:
    fit = model.fit(Copula(), people(300), Ledger(), Secret())
    assert isinstance(fit.sampler, CopulaSampler)
    fit.save(tmp_path / "whole")
    model.load(tmp_path / "whole")
    fit.sampler._factor = fit.sampler._factor[:2]
    fit.save(tmp_path / "cut")
    with pytest.raises(ModelError, match="damaged"):
        model.load(tmp_path / "cut")
