"""`trees`: a known conditional comes back, also one that needs two columns at once; never under a budget."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import BudgetExceeded, InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.trees import Trees, TreesSampler, _ranked
from tabsynth.table import Table, read
from tabsynth.testing import awkward_table, sealed

LEVELS = ("a", "b", "c", "d", "e", "f")
SCHEMA = Schema(
    (
        Column("kind", "categorical", categories=LEVELS),
        Column("flag", "boolean"),
        Column("cost", "float", bounds=(0.0, 100.0), decimals=1, nullable=True),
        Column("ill", "boolean", roles=("target",)),
    )
)
ILL = {"a": 0.1, "b": 0.9, "c": 0.1, "d": 0.9, "e": 0.1, "f": 0.9}  # turned round where the flag is up


def people(rows: int = 20_000) -> Table:
    """Rows in which every conditional is known: `ill` is an exclusive or of the flag and every second kind."""
    rng = np.random.default_rng(0)
    kind = rng.choice(LEVELS, rows)
    flag = rng.random(rows) < 0.4
    cost = np.where(flag, 80.0, 20.0) + rng.normal(0, 5, rows)
    cost[rng.random(rows) < np.where(kind == "a", 0.5, 0.02)] = np.nan
    sick = np.array([ILL[each] for each in kind])
    ill = rng.random(rows) < np.where(flag, 1 - sick, sick)
    return read(pd.DataFrame({"kind": kind, "flag": flag, "cost": cost.clip(0, 100), "ill": ill}), SCHEMA)


def fitted(table: Table, **settings: object) -> TreesSampler:
    sampler = Trees(**settings).fit(table, Ledger(), Secret())  # type: ignore[arg-type]
    assert isinstance(sampler, TreesSampler)
    return sampler


def test_known_conditionals_come_back_and_wrong_ones_do_not() -> None:
    rows = fitted(people(), leaf_rows=100).sample(40_000, np.random.default_rng(1))
    shares = rows["ill"].astype(float).groupby([rows["flag"], rows["kind"].astype(str)]).mean()
    for (flag, kind), share in shares.items():
        true = 1 - ILL[kind] if flag else ILL[kind]
        assert share == pytest.approx(true, abs=0.04)
        assert abs(share - 0.42) > 0.2, "what one column alone would tell"
    costs = rows.groupby("flag")["cost"]
    assert costs.median().to_dict() == pytest.approx({False: 20.0, True: 80.0}, abs=0.3)
    quartiles = costs.quantile(0.75) - costs.quantile(0.25)  # of a normal of deviation 5
    assert quartiles.to_dict() == pytest.approx({False: 6.745, True: 6.745}, abs=0.4)
    missing = rows["cost"].isna().groupby(rows["kind"].astype(str)).mean()
    assert missing["a"] == pytest.approx(0.5, abs=0.04)
    assert missing.drop("a").max() < 0.04


def test_one_leaf_for_all_rows_loses_every_dependence() -> None:
    rows = fitted(people(4000), leaf_rows=4000).sample(20_000, np.random.default_rng(1))
    shares = rows["ill"].astype(float).groupby([rows["flag"], rows["kind"].astype(str)]).mean()
    assert shares.max() - shares.min() < 0.08


def test_a_tree_is_scikit_learns_and_its_leaves_hold_the_rows_that_fall_there() -> None:
    table = people(3000)
    sampler = fitted(table, order=("flag", "cost", "kind", "ill"), leaf_rows=50)
    tokens = Encoder(sampler.schema).encode(table.private).tokens
    inputs, tree = tokens[:, [1]], sampler._trees[2]
    assert sampler._order == (1, 2, 0, 3)
    reference = DecisionTreeClassifier(min_samples_leaf=50, max_depth=30, random_state=0)
    visited = tokens[:, [1, 2]].astype(np.float32)
    visited[:, 0] = tree.ranks[:2][inputs[:, 0]]
    leaf = reference.fit(visited, tokens[:, 0]).apply(visited)
    for each in np.unique(leaf):
        number = tree.nodes[each, 4]
        held = np.zeros(6, int)
        span = slice(tree.starts[number], tree.starts[number + 1])
        held[tree.tokens[span]] = np.diff(tree.cumulative[span], prepend=0)
        np.testing.assert_array_equal(held, np.bincount(tokens[leaf == each, 0], minlength=6))
        assert held.sum() >= 50


def test_draws_follow_the_leaf_and_the_smoothing() -> None:
    """With as many rows of smoothing as the leaf holds, half the draws are the whole column's."""
    sampler = fitted(people(2000), leaf_rows=200, smoothing=0.0)
    tree = sampler._trees[-1]
    sizes = [Encoder(sampler.schema).sizes[place] for place in sampler._order[:-1]]
    inputs = np.zeros((50_000, 3), np.int32)  # kind a, flag down, the lowest costs: one leaf
    uniforms = np.random.default_rng(0).random(50_000)
    leaf = np.mean(tree.draw(inputs, sizes, 0.0, uniforms))
    whole = (tree.cumulative[1] - tree.cumulative[0]) / tree.cumulative[1]
    rows = 200.0
    while abs(np.mean(tree.draw(inputs, sizes, rows, uniforms)) - (leaf + whole) / 2) > 0.01:
        rows += 1  # the leaf holds a few hundred rows
        assert rows < 2000
    assert np.mean(tree.draw(inputs, sizes, 1e9, uniforms)) == pytest.approx(whole, abs=0.01)
    assert abs(leaf - whole) > 0.2


def test_categories_are_ranked_so_that_one_cut_parts_them() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 6, 3000).astype(np.int32)
    odd = (kinds % 2).astype(float)
    rank = _ranked(kinds, 7, np.stack([odd, 1 - odd], axis=1))
    assert max(rank[[0, 2, 4]]) < min(rank[[1, 3, 5]]) or min(rank[[0, 2, 4]]) > max(rank[[1, 3, 5]])
    assert rank[6] == 3, "a category without a row lies in the middle"


def test_it_is_drawn_in_the_order_that_was_asked_for() -> None:
    assert fitted(people(200))._order == (0, 1, 2, 3)
    table = awkward_table("every kind")  # its target is the second column
    assert fitted(table)._order == (0, 2, 3, 4, 1)
    assert fitted(table, order=["day", "ill"])._order == (4, 1, 0, 2, 3)


@pytest.mark.parametrize(
    "wrong", [{"bins": 0}, {"leaf_rows": 0}, {"smoothing": -1.0}, {"order": ("a", "a")}, {"seed": -1}]
)
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Trees(**wrong)


def test_an_order_of_unknown_columns_is_refused_before_a_row_is_touched() -> None:
    ledger = Ledger()
    with pytest.raises(InputError, match=r"'hight', which is no modelled column"):
        Trees(order=("hight",)).fit(sealed(SCHEMA), ledger, Secret())
    assert ledger.charges == ()


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(100.0, 1e-2)])
def test_any_budget_is_refused_before_a_row_is_touched(budget: Budget) -> None:
    ledger = Ledger(budget)
    with pytest.raises(BudgetExceeded):
        Trees().fit(sealed(SCHEMA), ledger, Secret())
    assert ledger.charges == ()


@pytest.mark.parametrize("place", ["a child that comes back", "an input that is none", "a token that is none"])
def test_a_saved_tree_that_is_damaged_is_refused(tmp_path, place: str) -> None:
    fit = model.fit(Trees(), people(300), Ledger(), Secret())
    assert isinstance(fit.sampler, TreesSampler)
    tree = fit.sampler._trees[-1]
    inner = int(np.flatnonzero(tree.nodes[:, 0] >= 0)[0])
    if place == "a token that is none":
        tree.tokens[0] = 9
    else:
        tree.nodes[inner, 2 if place == "a child that comes back" else 0] = inner if "child" in place else 7
    fit.save(tmp_path / "model")
    with pytest.raises(ModelError, match="damaged"):
        model.load(tmp_path / "model")
