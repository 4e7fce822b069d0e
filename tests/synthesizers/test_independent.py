"""`independent`: right marginals, no dependence; `bootstrap`: the rows themselves, and never under a budget."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, chisquare

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import BudgetExceeded
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import count_tokens
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import model
from tabsynth.synthesizers.bootstrap import Bootstrap
from tabsynth.synthesizers.independent import Independent, IndependentSampler
from tabsynth.table import Table, read
from tabsynth.testing import awkward_table, awkward_tables, sealed


def _table() -> Table:
    return awkward_table("every kind")


def test_without_a_budget_each_column_has_exactly_its_own_distribution() -> None:
    sampler = Independent().fit(_table(), Ledger(), Secret())
    assert isinstance(sampler, IndependentSampler)
    encoder = Encoder(sampler.schema)
    tokens = encoder.encode(_table().private).tokens
    for place, size in enumerate(encoder.sizes):
        np.testing.assert_allclose(sampler._distributions[place], count_tokens(tokens, (place,), (size,)) / 120)


def test_samples_follow_the_distributions_and_columns_do_not_depend_on_each_other() -> None:
    sampler = Independent(bins=4).fit(_table(), Ledger(), Secret())
    assert isinstance(sampler, IndependentSampler)
    encoder = Encoder(sampler.schema)
    tokens = encoder.encode(sampler.sample(20_000, np.random.default_rng(0))).tokens
    for place, p in enumerate(sampler._distributions):
        found = np.bincount(tokens[:, place], minlength=len(p))
        assert (found[p == 0] == 0).all()
        assert chisquare(found[p > 0], 20_000 * p[p > 0]).pvalue > 1e-6
        other = (p * np.linspace(0.7, 1.3, len(p)))[p > 0]
        assert chisquare(found[p > 0], 20_000 * other / other.sum()).pvalue < 1e-6
    for a, b in [(1, 2), (2, 3), (0, 4)]:
        table = pd.crosstab(tokens[:, a], tokens[:, b])
        table = table.loc[table.sum(axis=1) > 300, table.sum() > 300]
        assert chi2_contingency(table).pvalue > 1e-6


def test_the_budget_is_nearly_spent_and_never_passed() -> None:
    ledger = Ledger(Budget(1.0, 1e-5))
    model.fit(Independent(), awkward_table("undeclared domains"), ledger, Secret())
    assert 0.5 < ledger.spent.epsilon <= 1.0
    assert ledger.private


def test_more_budget_is_more_like_the_table() -> None:
    table = _table()
    distance = {}
    for epsilon in (0.5, 50.0):
        errors = []
        for _ in range(5):
            sampler = Independent(bins=8).fit(table, Ledger(Budget(epsilon, 1e-5)), Secret())
            assert isinstance(sampler, IndependentSampler)
            city = table.private["city"].cat.codes.replace(-1, 4)
            truth = np.bincount(city, minlength=5) / 120
            errors.append(np.abs(sampler._distributions[0] - truth).sum() / 2)
        distance[epsilon] = np.mean(errors)
    assert distance[50.0] < 0.25 * distance[0.5]
    assert distance[50.0] < 0.05


def test_progress_is_told_at_the_end() -> None:
    seen: list[tuple[int, int]] = []
    Independent().fit(_table(), Ledger(), Secret(), lambda done, total, figures: seen.append((done, total)))
    assert seen == [(1, 1)]


@pytest.mark.parametrize("name", awkward_tables())
def test_bootstrap_copies_rows_and_nothing_else(name: str) -> None:
    table = awkward_table(name)
    fitted = model.fit(Bootstrap(), table, Ledger(), Secret())
    rows = read(fitted.sample(200, np.random.default_rng(0)), fitted.schema).private
    names = [column.name for column in fitted.schema.modelled if column.kind != "float"]

    def keys(frame: pd.DataFrame) -> set[tuple[str, ...]]:
        return set(map(tuple, frame[names].astype("object").astype(str).to_numpy()))

    assert keys(rows) <= keys(table.private)
    if "cost" in rows and table.private["cost"].notna().any():
        # float32 places within bins: near, not equal
        pool = np.sort(table.private["cost"].dropna())
        drawn = rows["cost"].dropna().to_numpy()
        nearest = pool[np.clip(np.searchsorted(pool, drawn), 1, max(len(pool) - 1, 1)) - [[1], [0]]]
        assert np.abs(nearest - drawn).min(axis=0).max() < 1e-2


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(100.0, 1e-2)])
def test_bootstrap_refuses_any_budget_before_a_row_is_touched(budget: Budget) -> None:
    ledger = Ledger(budget)
    with pytest.raises(BudgetExceeded):
        Bootstrap().fit(sealed(_table().schema), ledger, Secret())
    assert ledger.charges == ()


def test_bootstrap_says_that_it_is_not_private() -> None:
    ledger = Ledger()
    papers = model.fit(Bootstrap(), _table(), ledger, Secret()).privacy
    assert ledger.charges[0].why == "every training row, copied"
    assert ledger.spent.epsilon == math.inf
    assert papers["private"] is False
