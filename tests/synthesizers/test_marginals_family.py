"""`marginals`: what it costs, what it learns, what it refuses. The promises of every family are in test_conformance."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import ModelError
from tabsynth.graphical.coarsening import Codes
from tabsynth.graphical.elimination import Factor
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.marginals_study import Query, Study, Taste
from tabsynth.table import read
from tabsynth.testing import neighbour_replay, sealed

COLUMNS = (
    Column("ill", "boolean", roles=("target",)),
    Column("age", "integer", bounds=(0, 99)),
    Column("city", "categorical", categories=tuple("abcdef"), nullable=True),
    Column("cost", "float", bounds=(0.0, 100.0)),
    Column("noise", "integer", bounds=(0, 9)),
)


def simulated(rows=20_000, seed=0):
    """Age drives illness and cost; the city drives cost; `noise` has nothing to do with anything."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    city = rng.choice(list("abcde"), rows, p=[0.5, 0.2, 0.15, 0.1, 0.05]).astype(object)
    cost = np.clip(age / 2 + 8 * (city == "a") + rng.normal(0, 5, rows), 0, 100)
    cost[rng.random(rows) < 0.3] = 0.0
    ill = rng.random(rows) < np.where(city == "b", 0.8 - age / 120, age / 120)
    city[rng.random(rows) < 0.1] = None
    return pd.DataFrame(
        {"ill": ill, "age": age, "city": city, "cost": cost.round(6), "noise": rng.integers(0, 10, rows)}
    )


def fitted(epsilon=1.0, frame=None, columns=COLUMNS, **settings):
    frame = simulated() if frame is None else frame
    table = read(frame, Schema(columns, rows=len(frame)))
    ledger = Ledger(Budget(epsilon, 1e-5) if epsilon else None)
    return model.fit(Marginals(**settings), table, ledger, Secret()), ledger


def pair_distance(first, second, columns):
    """Total variation between two tables' counts of two columns, numbers in fixed bins."""

    def shares(frame):
        cut = [pd.cut(frame[c], np.linspace(0, 100, 11)) if c in ("age", "cost") else frame[c] for c in columns]
        return pd.Series(1 / len(frame), index=frame.index).groupby([part.astype(str) for part in cut]).sum()

    return 0.5 * shares(first).sub(shares(second), fill_value=0).abs().sum()


@pytest.fixture(scope="module")
def private_fit():
    return fitted()


def test_the_budget_is_used_up_and_no_more(private_fit):
    _, ledger = private_fit
    assert 0.99 <= ledger.spent.epsilon <= 1.0
    assert ledger.private
    assert ledger.closed


def test_every_charge_says_what_was_measured(private_fit):
    whys = [charge.why for charge in private_fit[1].charges]
    assert sum(why.startswith("marginal of") and ", 'ill'" in why for why in whys) >= 4
    assert "which columns to measure together" in whys
    assert whys[-1].startswith("marginals of")


def test_dependence_is_learned_and_independence_left_alone(private_fit):
    frame, fresh = simulated(), simulated(seed=1)
    rows = private_fit[0].sample(20_000, np.random.default_rng(0))
    rng = np.random.default_rng(3)
    apart = frame.apply(lambda column: column.iloc[rng.permutation(len(frame))].to_numpy())
    for columns in (("age", "cost"), ("age", "ill"), ("city", "cost")):
        own = pair_distance(rows, fresh, columns)
        assert own < 0.08, columns
        assert own < 0.5 * pair_distance(apart, fresh, columns), columns
    assert pair_distance(rows, fresh, ("noise", "ill")) < 0.04


def test_what_holds_only_given_the_target_is_learned(private_fit):
    """Age and illness are linked one way in city b and the other way elsewhere."""
    rows = private_fit[0].sample(20_000, np.random.default_rng(0))
    in_b, slopes = rows["city"] == "b", []
    for part in (rows[in_b], rows[~in_b]):
        slopes.append(np.corrcoef(part["age"].astype(float), part["ill"].astype(float))[0, 1])
    assert slopes[0] < -0.1
    assert slopes[1] > 0.3


def test_missing_values_and_unused_categories_come_as_often_as_they_are(private_fit):
    rows = private_fit[0].sample(20_000, np.random.default_rng(0))
    assert rows["city"].isna().mean() == pytest.approx(0.1, abs=0.02)
    assert (rows["city"] == "f").mean() < 0.01


def test_without_a_budget_counts_are_exact():
    fit, ledger = fitted(epsilon=None, cells=5000)
    rows = fit.sample(20_000, np.random.default_rng(0))
    assert not ledger.private
    assert (rows["ill"].mean() - simulated()["ill"].mean()) == pytest.approx(0, abs=2e-3)
    assert pair_distance(rows, simulated(), ("age", "ill")) < 0.03


def test_a_sample_is_one_draw_whatever_its_seed_is_used_for(private_fit):
    first, again, other = (private_fit[0].sample(3000, np.random.default_rng(seed)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize("columns", [COLUMNS[:1], COLUMNS[:2], COLUMNS[1:2], COLUMNS[1:3]])
def test_one_or_two_columns(columns):
    frame = simulated(2000)[[column.name for column in columns]]
    fit, ledger = fitted(frame=frame, columns=columns)
    assert len(fit.sample(10, np.random.default_rng(0))) == 10
    assert ledger.spent.epsilon > 0.99


def test_a_budget_too_small_is_told_before_anything_is_charged():
    columns = tuple(Column(f"c{i}", "categorical", categories=("x", "y")) for i in range(40))
    ledger = Ledger(Budget(0.01, 1e-5))
    with pytest.raises(ModelError, match=r"epsilon 0\.01 is too small for 200 rows and 40 columns.*What would fit"):
        Marginals().fit(sealed(Schema(columns, rows=200)), ledger, Secret())
    assert ledger.charges == ()
    assert not ledger.closed


def test_what_is_said_to_fit_does():
    columns = tuple(Column(f"c{i}", "categorical", categories=("x", "y")) for i in range(20))
    frame = pd.DataFrame({column.name: ["x", "y"] * 100 for column in columns})
    with pytest.raises(ModelError, match=r"What would fit: epsilon \d") as refused:
        fitted(0.01, frame, columns)
    enough = float(str(refused.value).split("epsilon ")[2].split(",")[0].split(". ")[0])
    fit, ledger = fitted(enough * 1.05, frame, columns, pairs=3, rounds=1)
    assert len(fit.sample(5, np.random.default_rng(0))) == 5
    assert ledger.spent.epsilon <= enough * 1.05


def test_no_table_of_the_model_is_larger_than_its_cap():
    fit, _ = fitted(epsilon=None, cells=2000, pairs=20)
    _, arrays = fit.sampler.state()
    assert max(table.size for name, table in arrays.items() if name.startswith("link")) <= 2000


OVERSIZED = {
    "beside the target": (
        [
            Column("t", "categorical", categories=tuple("abcd"), roles=("target",)),
            Column("n", "integer", bounds=(0, 99)),
        ],
        {"cells": 95},
        r"may have 95 cells, and column 'n' beside the target 't' needs 96\. Raise cells, or take fewer codes than 24",
    ),
    "by itself": ([Column("n", "integer", bounds=(0, 99), nullable=True)], {"cells": 24}, r"column 'n' needs 25\."),
    "too many pairs": (
        [Column(f"c{i}", "integer", bounds=(0, 99)) for i in range(2000)],
        {},
        r"2000 columns are more than .* would take 17 GiB, and 4 are allowed\. What would fit: 965 columns",
    ),
}


@pytest.mark.parametrize(("columns", "settings", "message"), OVERSIZED.values(), ids=OVERSIZED)
def test_more_than_the_family_can_hold_is_told_before_anything_is_charged(columns, settings, message):
    ledger = Ledger(Budget(8.0, 1e-5))
    with pytest.raises(ModelError, match=message):
        Marginals(**settings).fit(sealed(Schema(tuple(columns), rows=10**7)), ledger, Secret())
    assert ledger.charges == ()
    assert not ledger.closed


# ---------------------------------------------------------------------------------------------------------- the study


def study_of(private, sizes, ledger=None, unit=1):
    same = tuple(np.arange(size) for size in sizes)
    names = [f"c{column}" for column in range(len(sizes))]
    return Study(private, Codes(same, (same,)), names, len(private), unit, ledger or Ledger(), Secret.fixed(0))


def uniform(sizes):
    return [Factor((column,), np.zeros(size)) for column, size in enumerate(sizes)]


def test_the_pair_that_the_model_misses_most_is_chosen_first():
    rng = np.random.default_rng(0)
    free = rng.integers(0, 3, (900, 4)).astype(np.int32)
    free[:, 2] = np.where(rng.random(900) < 0.9, free[:, 0], free[:, 2])
    free[:, 3] = np.where(rng.random(900) < 0.5, free[:, 1], free[:, 3])
    study = study_of(free, (3,) * 4)
    taste = Taste(None, 1.0, 1000)
    chosen = study.choose(uniform((3,) * 4), 5, epsilon=np.inf, share=0.5, taste=taste, forest=False)
    assert [query.columns for query in chosen[:2]] == [(0, 2), (1, 3)]


def test_a_forest_has_no_circle():
    private = np.repeat(np.random.default_rng(0).integers(0, 4, (500, 1)), 5, axis=1).astype(np.int32)
    study = study_of(private, (4,) * 5)
    taste = Taste(None, 1.0, 10_000)
    chosen = study.choose(uniform((4,) * 5), 10, epsilon=np.inf, share=0.5, taste=taste, forest=True)
    assert len(chosen) == 4
    assert len({column for query in chosen for column in query.columns}) == 5


@pytest.mark.parametrize(("target", "bonus"), [(None, 1.0), (2, 1.0), (2, 3.0)])
@pytest.mark.parametrize("unit", [1, 3])
def test_no_unit_moves_a_score_by_more_than_its_rows(target, bonus, unit):
    """The sensitivity that selection is charged for, over random tables; a tenth less would be too little."""
    rng, sizes = np.random.default_rng(unit), (3, 2, 2, 4)
    same = tuple(np.arange(size) for size in sizes)
    halves = tuple(np.arange(size) // 2 for size in sizes)
    taste, moved = Taste(target, bonus, 1000), []
    expected = study_of(np.zeros((30, 4), np.int32), sizes)._expected(uniform(sizes), taste)
    for _ in range(200):
        private = np.stack([rng.integers(0, size, 30) for size in sizes], axis=1).astype(np.int32)
        scores = []
        for rows in (private, private[unit:]):
            study = study_of(rows, sizes)
            study.codes = Codes(same, (same, halves))
            queries = [Query((0, 1)), Query((1, 3), 1)] + ([Query((0, 3, 2)), Query((0, 1, 2), 1)] if target else [])
            scores.append(study._scores(queries, expected, 2.0, taste))
        moved.append(np.abs(scores[0] - scores[1]).max())
    assert max(moved) <= unit + 1e-9
    assert max(moved) > 0.9 * unit


def test_selection_is_charged_before_rows_are_counted():
    ledger = Ledger(Budget(1.0, 1e-5))
    ledger.close()
    study = study_of(np.zeros((5, 3), np.int32), (2, 2, 2), ledger)
    with pytest.raises(ValueError, match="closed"):
        study.choose(uniform((2, 2, 2)), 1, epsilon=0.1, share=0.5, taste=Taste(None, 1.0, 100), forest=True)
    assert study.counted == {}


@pytest.mark.parametrize("bonus", [0.5, 1.5])
def test_no_bonus_lets_a_row_move_a_score_further_than_is_charged(bonus):
    columns = tuple(Column(name, "categorical", categories=tuple("abc")) for name in "wxyz")
    frame = pd.DataFrame(np.random.default_rng(0).choice(list("abc"), (400, 4)), columns=list("wxyz"))
    for roles in ((), ("target",)):
        schema = Schema((replace(columns[0], roles=roles), *columns[1:]), rows=400)
        neighbour_replay(Marginals(target_bonus=bonus, iterations=50, steps=20), read(frame, schema))
