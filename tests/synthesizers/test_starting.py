"""Where the row transformer's training starts: ties to the target, and what they are measured from."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tabsynth.errors import InputError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.rows import Rows, RowsSampler
from tabsynth.synthesizers.rows_recipe import ROOMY_RECIPE, TIGHT_RECIPE
from tabsynth.synthesizers.starting import Ties, tie, together
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum
from tabsynth.table import read

SIZES, TARGET = (3, 2, 4, 2), 1
ALL = torch.tensor(list(itertools.product(*map(range, SIZES))))
ORDERS = [[1, 0, 2, 3], [0, 1, 3, 2], [3, 2, 0, 1]]


def tied(scale=20.0):
    """Return a tied transformer, its one-way distributions and those given the target, (classes, tokens) each."""
    torch.manual_seed(0)
    ones = [torch.rand(size).add(0.2) for size in SIZES]
    ones = [one / one.sum() for one in ones]
    given = [torch.rand(2, size).add(0.2) for size in SIZES]
    given = [each / each.sum(1, keepdim=True) for each in given]
    parts = [each.log() - one.log() for each, one in zip(given, ones, strict=True)]
    parts[TARGET] = torch.zeros(2, 2)
    ties = Ties(torch.cat(parts, 1), TARGET, SIZES)
    model = RowTransformer(SIZES, width=8, depth=1, heads=2, one_way=ones, ties=ties)
    with torch.no_grad():
        for output in model.outputs:
            output.weight.mul_(scale)
    return model, ones, given


def losses(model, order):
    return model.losses(ALL, torch.tensor([order] * len(ALL))).detach()


def test_before_training_the_columns_are_independent_given_the_target():
    model, ones, given = tied(scale=0.0)
    log = ones[TARGET].log()[ALL[:, TARGET]]
    for column in (0, 2, 3):
        log = log + given[column].log()[ALL[:, TARGET], ALL[:, column]]
    torch.testing.assert_close(losses(model, [1, 0, 2, 3]), -log)
    torch.testing.assert_close(losses(model, [1, 3, 2, 0]), -log)


def test_before_training_a_target_read_last_has_its_posterior():
    model, ones, given = tied(scale=0.0)
    classes = torch.zeros(len(ALL), 2) + ones[TARGET].log()
    independent = torch.zeros(len(ALL))
    for column in (0, 2, 3):
        classes = classes + given[column].log().T[ALL[:, column]]
        independent = independent + ones[column].log()[ALL[:, column]]
    posterior = classes.log_softmax(1).gather(1, ALL[:, TARGET, None])[:, 0]
    torch.testing.assert_close(losses(model, [0, 2, 3, 1]), -(independent + posterior))


@pytest.mark.parametrize("order", ORDERS)
def test_tied_rows_are_drawn_with_the_likelihood_that_they_have(order):
    """Chi-squared over all 48 rows; without the ties the same likelihood is rejected."""
    model, _, _ = tied()
    shares = (-losses(model, order)).exp()
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    count = 40_000
    drawn = model.draw(torch.rand(count, 4, generator=torch.Generator().manual_seed(3)), order)
    found = (drawn[:, None] == ALL).all(2).sum(0)

    def statistic(shares):
        return float(((found - count * shares) ** 2 / (count * shares)).sum())

    assert 20 < statistic(shares) < 90  # 47 degrees of freedom: 0.1% to 99.9%
    model.ties = None
    assert statistic((-losses(model, order)).exp()) > 1000


@pytest.mark.parametrize("order", ORDERS)
def test_the_next_cell_has_the_probabilities_that_the_likelihood_is_made_of(order):
    model, _, _ = tied()
    total = torch.zeros(len(ALL))
    for step, column in enumerate(order):
        logits = model.next_logits(ALL[:, order[:step]], order[:step], column)
        total += logits.log_softmax(1).gather(1, ALL[:, column, None])[:, 0]
    torch.testing.assert_close(total, -losses(model, order))


def test_ties_are_in_the_gradient_that_is_clipped_and_take_none_themselves():
    model, _, _ = tied()
    orders = torch.rand(len(ALL), 4, generator=torch.Generator().manual_seed(1)).argsort(1)
    parameters = list(model.parameters())
    slow = [
        torch.autograd.grad(model.losses(row[None], order[None]).sum(), parameters)
        for row, order in zip(ALL, orders, strict=True)
    ]
    check_clipped_sum(slow, clipped_sum(model, ALL, orders, 0.3, chunk=7), 0.3, tolerance=1e-4)
    ties, model.ties = model.ties, None
    assert not torch.allclose(clipped_sum(model, ALL, orders, 0.3)[0], sum(each[0] for each in slow))
    assert not list(ties.parameters())


def test_what_noise_may_explain_is_no_tie():
    one_way = torch.full((10,), 0.1)
    rng = np.random.default_rng(0)
    noise = Marginal((1, 0), np.stack([3000 + 30 * rng.standard_normal(10), 30 * rng.standard_normal(10)]), 30.0)
    found = tie(noise, one_way)
    assert bool(torch.isfinite(found).all())
    assert float(found[0].abs().max()) < 0.05  # a class that is counted well
    assert float(found[1].abs().max()) < 1.0  # and one of which there is nothing but noise
    sharp = Marginal((1, 0), np.stack([np.full(10, 3000.0), np.r_[3000.0, np.zeros(9)]]), 30.0)
    assert float(tie(sharp, one_way)[1, 0]) == pytest.approx(math.log(10), abs=0.1)


def test_what_is_measured_several_times_counts_by_its_noise():
    rng = np.random.default_rng(1)
    truth = np.linspace(100, 5000, 2000)
    scales = (60.0, 20.0, 30.0)
    several = [Marginal((0,), truth + scale * rng.standard_normal(2000), scale) for scale in scales]
    found = together(*several)
    expected = sum(scale**-2 for scale in scales) ** -0.5
    assert found.scale == pytest.approx(expected)
    assert np.std(found.counts - truth) == pytest.approx(expected, rel=0.1)
    assert np.std(np.mean([each.counts for each in several], axis=0) - truth) > 1.2 * expected
    exact = Marginal((0,), truth, 0.0)
    np.testing.assert_array_equal(together(several[0], exact).counts, truth)


COLUMNS = (
    Column("a", "categorical", categories=("p", "q")),
    Column("x", "float", bounds=(0.0, 4.0), bins=(0, 1, 2, 3, 4)),
    Column("c", "boolean", roles=("target",)),
)


def table(columns=COLUMNS, rows=6000):
    """Return rows in which a and x follow c."""
    rng = np.random.default_rng(0)
    c = rng.random(rows) < 0.3
    a = np.where(rng.random(rows) < np.where(c, 0.9, 0.2), "p", "q")
    x = np.where(c, rng.uniform(0, 4, rows), rng.uniform(0, 1, rows))
    return read(pd.DataFrame({"a": a, "x": x, "c": c}), Schema(columns, rows=rows))


STILL = {"width": 8, "depth": 1, "steps": 1, "batch": 64, "rate": 1e-9, "with_target": 0.1}


def test_a_fit_under_a_budget_starts_from_its_target():
    ledger = Ledger(Budget(8.0, 1e-5))
    sampler = Rows(**STILL).fit(table(), ledger, Secret())
    assert ledger.spent.epsilon <= 8.0
    assert sum("'c', " in charge.why for charge in ledger.charges) == 2
    rows = sampler.sample(20_000, np.random.default_rng(0))
    yes = rows["c"].astype(bool)
    assert (rows["a"][yes] == "p").mean() == pytest.approx(0.9, abs=0.05)
    assert (rows["a"][~yes] == "p").mean() == pytest.approx(0.2, abs=0.05)
    assert (rows["x"][~yes] < 1).mean() == pytest.approx(1.0, abs=0.05)
    loaded = RowsSampler.from_state(sampler.schema, *sampler.state())
    np.testing.assert_array_equal(loaded.log_likelihood(rows), sampler.log_likelihood(rows))


@pytest.mark.parametrize("case", ["no budget", "no target", "many classes", "no share"])
def test_without_a_tie_to_pay_for_nothing_is_charged_for_one(case):
    ledger = Ledger(None if case == "no budget" else Budget(8.0, 1e-5))
    roles = {"a": 0, "x": 0, "c": 0} | {"no target": {}, "many classes": {"x": 1}}.get(case, {"c": 1})
    bins = tuple(np.linspace(0, 4, 10))
    columns = (
        COLUMNS[0],
        Column("x", "float", bounds=(0.0, 4.0), bins=bins, roles=("target",) if roles["x"] else ()),
        Column("c", "boolean", roles=("target",) if roles["c"] else ()),
    )
    settings = STILL | {"epochs": 0.02} | ({"with_target": 0.0} if case == "no share" else {})
    sampler = Rows(**settings).fit(table(columns), ledger, Secret())
    assert not any(", " in charge.why for charge in ledger.charges)
    assert "ties.table" not in sampler.state()[1]


def test_settings_that_are_given_win_over_the_recipe_of_an_epsilon():
    tight, roomy = (Ledger(Budget(epsilon, 1e-5)) for epsilon in (1.0, 8.0))
    assert Rows().recipe(tight) == TIGHT_RECIPE
    assert Rows().recipe(roomy) == ROOMY_RECIPE
    assert Rows(rate=0.5, with_target=0.0).recipe(tight) == replace(TIGHT_RECIPE, rate=0.5, with_target=0.0)
    with pytest.raises(InputError, match="with_target must lie between 0 and 1"):
        Rows(with_target=1.5)


def test_shares_that_leave_nothing_for_training_are_refused_before_a_charge():
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match="training takes the rest; with_target is"):
        Rows(discovery=0.85, one_way=0.06).fit(table(), ledger, Secret())
    assert ledger.charges == ()
