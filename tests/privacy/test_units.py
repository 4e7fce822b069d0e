"""Privacy units: bounded before anything is measured, each unit's choice its own affair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from tabsynth.errors import ConformanceError
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import assert_bounded, bound_contributions, count_units
from tabsynth.schema import Column, Schema
from tabsynth.table import Table, read


def _table(owners: list[str], rows_per_unit: int = 2) -> Table:
    columns = (Column("who", "categorical", roles=("group",)), Column("row", "integer", bounds=(0, 10**6)))
    frame = pd.DataFrame({"who": owners, "row": np.arange(len(owners))})
    return read(frame, Schema(columns, rows_per_unit=rows_per_unit))


def test_units_keep_at_most_their_bound_and_small_ones_everything() -> None:
    owners = ["a"] * 7 + ["b"] * 2 + ["c"] + ["a"] * 3
    kept = bound_contributions(_table(owners, 3), Secret.fixed(1))
    assert kept.private["who"].value_counts().to_dict() == {"a": 3, "b": 2, "c": 1}
    assert kept.private["row"].is_monotonic_increasing, "the order of rows stays"
    assert_bounded(kept)
    assert kept.schema.rows_per_unit == 3


def test_every_row_of_a_unit_is_kept_equally_often() -> None:
    table, secret = _table(["a", "b", "a", "a", "b", "a", "a"], 2), Secret.fixed(3)
    times = np.zeros(7)
    for _ in range(2000):
        times[bound_contributions(table, secret).private["row"].to_numpy(np.int64)] += 1
    mine = times[[0, 2, 3, 5, 6]]
    assert chisquare(mine).pvalue > 1e-6
    assert (times[[1, 4]] == 2000).all()
    favoured = mine + np.array([200, -50, -50, -50, -50])
    assert chisquare(favoured).pvalue < 1e-6, "a favoured row would be seen"


def test_one_units_choice_does_not_depend_on_another() -> None:
    """Given its own rows' uniforms, a unit keeps the same rows with or without the others before it."""

    class Prepared(Secret):
        def uniform(self, shape: int | tuple[int, ...] = ()) -> np.ndarray:
            return np.linspace(1, 0, 12)[12 - int(np.prod(shape)) :]  # the last rows' draws are the same

    with_b = bound_contributions(_table(["b", "b", "b", "b", *"aacacaca"], 2), Prepared()).private
    without = bound_contributions(_table(list("aacacaca"), 2), Prepared()).private
    for who in "ac":
        assert (with_b["row"][with_b["who"] == who] - 4).tolist() == without["row"][without["who"] == who].tolist()


def test_a_table_of_rows_comes_back_as_it_is() -> None:
    table = read(pd.DataFrame({"a": [1, 2, 3]}), Schema((Column("a", "integer"),)))
    assert bound_contributions(table, Secret.fixed(0)) is table
    assert_bounded(table)
    assert count_units(table) == 3


def test_an_unbounded_table_is_refused_and_units_are_counted() -> None:
    table = _table(["a", "b", "a", "a"])
    assert count_units(table) == 2
    with pytest.raises(ConformanceError, match="more rows than rows_per_unit"):
        assert_bounded(table)
