from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from tabsynth.constraints import Inequality
from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.estimate import from_influence
from tabsynth.metrics.validity import (
    BrokenConstraints,
    BrokenDependencies,
    Duplicates,
    OutOfDomain,
    dependencies,
    duplicated,
)
from tabsynth.schema import Column, Schema


def test_a_fresh_sample_is_within_its_domain_and_keeps_every_dependency(fresh, rng):
    for metric in (OutOfDomain(), BrokenDependencies()):
        found = metric(fresh, rng)
        assert (found.value, found.low, found.note) == (0, 0, "")
        assert 0 < found.high < 0.005


def test_values_outside_the_domain_are_counted_by_row_and_the_worst_column_named(fresh, rng):
    rows = fresh.rows.copy()
    rows.loc[:99, "age"] = 101
    rows["clinic"] = rows["clinic"].cat.add_categories(["Nowhere"])
    rows.loc[90:109, "clinic"] = "Nowhere"
    found = OutOfDomain()(replace(fresh, rows=rows), rng)
    exact = binomtest(110, 3000).proportion_ci(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((110 / 3000, exact.low, exact.high))
    assert found.note == "most of them by column 'age'"


def test_a_missing_value_is_outside_only_where_none_may_be_missing(fresh, rng):
    gone = fresh.rows.assign(smoker=pd.NA)
    assert OutOfDomain()(replace(fresh, rows=gone), rng).value == 0
    gone.loc[:2, "insurance"] = None
    assert OutOfDomain()(replace(fresh, rows=gone), rng).value == pytest.approx(3 / 3000)


def test_what_is_not_declared_is_read_off_the_training_rows(rng):
    schema = Schema((Column("x", "float", nullable=None), Column("g", "categorical", nullable=None)))
    train = pd.DataFrame({"x": [0.0, 1.0, 2.0], "g": ["a", "b", "b"]})
    rows = pd.DataFrame({"x": [0.5, 3.0, 1.0, 1.0, np.nan], "g": ["a", "a", "c", "b", "b"]})
    assert OutOfDomain()(Evidence(schema, train, train, rows), rng).value == pytest.approx(3 / 5)


def test_broken_constraints_are_counted_and_the_worst_is_named(rng):
    columns = (Column("low", "integer"), Column("high", "integer"))
    schema = Schema(columns, constraints=(Inequality("low", "high"),))
    frame = pd.DataFrame({"low": [1, 2, 3, 4], "high": [5, 5, 5, 5]})
    kept = Evidence(schema, frame, frame, frame)
    assert BrokenConstraints()(kept, rng).value == 0
    found = BrokenConstraints()(replace(kept, rows=frame.assign(high=[5, 1, 1, 5])), rng)
    assert found.value == 0.5
    assert "'low'" in found.note or "low" in found.note
    with pytest.raises(NotApplicable, match="declares no constraint"):
        BrokenConstraints()(Evidence(Schema(columns), frame, frame, frame), rng)


def test_the_dependency_of_the_simulator_is_found_and_no_other(fresh):
    assert set(dependencies(fresh)) == {("clinic", "region")}


def test_rows_that_break_a_dependency_are_counted(fresh, shuffle, rng):
    rows = shuffle(fresh.rows, "region")
    truth = dict(zip(fresh.train["clinic"], fresh.train["region"], strict=True))
    broken = sum(truth[a] != b for a, b in zip(rows["clinic"], rows["region"], strict=True))
    found = BrokenDependencies()(replace(fresh, rows=rows), rng)
    assert found.value == pytest.approx(broken / len(rows))
    assert found.note == "most of them by 'clinic', which settles 'region'"
    with pytest.raises(NotApplicable, match="No column settles another"):
        BrokenDependencies()(fresh.as_independent(rng).__class__(fresh.schema, rows, None, rows), rng)


def test_a_value_the_training_rows_have_once_or_never_settles_nothing(rng):
    schema = Schema((Column("a", "integer"), Column("b", "integer")))
    train = pd.DataFrame({"a": [0] * 20 + [1] * 20 + [2], "b": [5] * 20 + [6] * 20 + [5]})
    rows = pd.DataFrame({"a": [0, 1, 2, 3], "b": [6, 6, 6, 6]})
    masks = dependencies(Evidence(schema, train, train, rows))
    assert masks["a", "b"].tolist() == [True, False, False, False]


def test_the_share_of_duplicates_is_that_of_counting(rng):
    prints = rng.integers(0, 60, 80).astype(np.uint64)
    counts = Counter(prints.tolist())
    share, influence = duplicated(prints)
    assert share == pytest.approx(sum(counts[key] > 1 for key in prints.tolist()) / 80)
    # leaving row i out changes the number of rows with an equal by its influence, up to the share itself
    left = np.array([duplicated(np.delete(prints, i))[0] * 79 for i in range(80)])
    assert share * 80 - left == pytest.approx(influence + share)


def test_the_interval_of_duplicates_is_at_least_as_wide_as_they_scatter(rng):
    found = [duplicated(rng.integers(0, 500, 300).astype(np.uint64)) for _ in range(300)]
    widths = [from_influence(share, (influence,), 0.95, (0, 1)) for share, influence in found]
    errors = [(one.high - one.low) / 2 / 1.959964 for one in widths]
    assert 1 < np.mean(errors) / np.std([share for share, _ in found]) < 1.8


def test_repeated_rows_are_more_than_in_a_fresh_sample(fresh, rng):
    assert abs(Duplicates()(fresh, rng).value) < 0.01
    twice = fresh.rows.iloc[np.arange(len(fresh.rows)) // 2]
    found = Duplicates()(replace(fresh, rows=twice), rng)
    assert found.low > 0.3
    assert found.note.startswith("1500 rows of each table; 0.")
    assert Duplicates(most=100)(fresh, rng).note.startswith("100 rows of each")


@pytest.mark.parametrize("declared", [True, False])
def test_values_that_are_none_of_their_kind_are_out_of_every_domain(declared, rng):
    """Also where nothing is declared: what no domain could hold needs none."""
    frame = pd.DataFrame({"x": pd.array([1, 2, 3, None], dtype="Int64")})
    schema = Schema((Column("x", "integer", nullable=None),))
    unread = {"x": np.array([False, False, False, True])}
    found = OutOfDomain(declared=declared)(Evidence(schema, frame, None, frame, drafted=True, unread=unread), rng)
    assert found.value == 0.25
    assert "column 'x', of which 1 values are none of its kind" in found.note


def test_what_no_real_row_comes_near_is_out_of_a_domain_that_nobody_declared(rng):
    numbers = np.random.default_rng(0)

    def drawn(rows):
        return pd.DataFrame({"x": numbers.uniform(0, 10, rows), "c": numbers.choice(list("ab"), rows)})

    train, holdout, rows = drawn(500), drawn(200), drawn(500)
    schema = Schema((Column("x", "float", bounds=(0, 10)), Column("c", "categorical", categories=("a", "b"))))
    metric = OutOfDomain(declared=True)

    def share(rows, holdout=holdout, schema=schema, drafted=True):
        return metric(Evidence(schema, train, holdout, rows, drafted=drafted), rng).value

    assert share(rows) == share(rows.assign(x=rows["x"] + 5)) == 0
    assert share(rows.assign(x=rows["x"] + 21)) == share(rows.assign(c="Atlantis")) == 1
    undeclared = Schema((Column("x", "float", nullable=None), Column("c", "categorical", nullable=None)))
    assert share(rows.assign(c=rows["c"].replace("b", "z")), schema=undeclared, drafted=False) > 0.4
    others = holdout.assign(c=np.where(np.arange(200) == 0, "c", holdout["c"]))
    assert share(rows.assign(c="Atlantis"), others) == 0  # categories go on beyond those that were seen
    assert share(rows.assign(c="Atlantis"), None) == 0


@pytest.mark.parametrize("wrong", [lambda: Duplicates(most=1), lambda: OutOfDomain(level=1.0)])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        wrong()
