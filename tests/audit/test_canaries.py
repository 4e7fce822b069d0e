"""Canaries fit the schema, are odd, are planted by their coins, and say nothing of the rows when they cannot be."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tabsynth import datasets
from tabsynth.audit.canaries import make_canaries, own_canaries, plant, toss
from tabsynth.conversion import to_axis
from tabsynth.errors import InputError, TableError
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.table import Table, read

SCHEMA = Schema(
    (
        Column("city", "categorical", categories=("Ulm", "Bonn", "Trier", "Jena"), nullable=True),
        Column("ill", "boolean"),
        Column("age", "integer", bounds=(0, 99)),
        Column("cost", "float", bounds=(0.0, 1000.0), decimals=2, nullable=True),
        Column("day", "datetime", bounds=(0.0, 364 * 86_400.0)),
    ),
    rows=400,
)


def table(schema=SCHEMA, rows=400):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "city": rng.choice(["Ulm", "Bonn", "Trier", "Jena"], rows, p=[0.6, 0.3, 0.09, 0.01]),
            "ill": rng.random(rows) < 0.2,
            "age": rng.integers(20, 60, rows),
            "cost": rng.gamma(2, 50, rows).clip(0, 1000).round(2),
            "day": pd.to_datetime(rng.integers(0, 364, rows), unit="D"),
        }
    )
    if schema.unit.column:
        frame[schema.unit.column] = [f"p{i // 2}" for i in range(rows)]
    return read(frame, schema)


def test_canaries_fit_the_schema_and_differ():
    rows = table()
    made = make_canaries(rows, 200, np.random.default_rng(1))
    assert len(made) == 200
    assert not made.frame.duplicated().any()
    assert list(made.frame.dtypes) == list(rows.private.dtypes)
    assert len(read(made.frame, SCHEMA).private) == 200  # every declared rule holds


def test_each_kind_is_odd_in_its_way():
    made = make_canaries(table(), 200, np.random.default_rng(1))
    kinds = np.array(made.kinds)
    assert set(kinds) == {"combination", "rare category", "extreme number", "missing pattern"}
    assert set(made.frame["city"][kinds == "rare category"].dropna()) <= {"Trier", "Jena"}
    assert set(made.frame["age"][kinds == "extreme number"]) == {0, 99}
    assert made.frame[kinds == "missing pattern"][["city", "cost"]].isna().any(axis=None)
    assert not made.frame[kinds != "missing pattern"].isna().any(axis=None)


def test_where_a_domain_is_left_open_canaries_leave_the_rows_domain():
    open_schema = Schema((Column("city", "categorical", nullable=None), Column("age", "integer", nullable=None)))
    rows = read(table().private[["city", "age"]].astype({"city": str}), open_schema)
    made = make_canaries(rows, 60, np.random.default_rng(1))
    kinds = np.array(made.kinds)
    own = made.frame["city"][kinds == "rare category"]
    assert not own.isin(rows.private["city"]).any()
    assert own.is_unique
    far = to_axis(made.frame["age"][kinds == "extreme number"], open_schema["age"])
    assert ((far < rows.private["age"].min()) | (far > rows.private["age"].max())).all()


def test_the_same_seed_makes_the_same_canaries():
    first, again, other = (make_canaries(table(), 50, np.random.default_rng(seed)).frame for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_every_unit_brings_as_many_rows_as_it_may():
    grouped = Schema((*SCHEMA.columns, Column("who", "categorical", roles=("group",))), rows_per_unit=3)
    rows = table(grouped)
    made = make_canaries(rows, 30, np.random.default_rng(1))
    coin = np.arange(30) % 2 == 0
    planted = plant(rows, made, coin)
    new = planted.private.iloc[len(rows.private) :]
    assert len(new) == 15 * 3
    assert new["who"].value_counts().eq(3).sum() == 15
    assert not new["who"].isin(rows.private["who"]).any()


def test_planting_adds_those_that_are_in_and_a_count_that_tells_nothing():
    rows, coin = table(), np.array([True, False, True, True] * 5)
    made = make_canaries(rows, 20, np.random.default_rng(1))
    planted = plant(rows, made, coin)
    assert len(planted.private) == 415
    pd.testing.assert_frame_equal(planted.private.iloc[:400], rows.private)
    expected = made.frame[coin].reset_index(drop=True)
    pd.testing.assert_frame_equal(planted.private.iloc[400:].reset_index(drop=True), expected)
    assert planted.schema.rows == plant(rows, made, ~coin).schema.rows == 410


def test_coins_are_fair_and_never_the_same():
    coins = toss(20_000, Secret())
    assert 1e-6 < binom.cdf(coins.sum(), 20_000, 0.5) < 1 - 1e-6
    assert (coins != toss(20_000, Secret())).any()


def test_an_auditors_own_canaries_are_held_to_the_schema():
    rows = table()
    good = make_canaries(rows, 5, np.random.default_rng(1)).frame
    assert own_canaries(good, rows).kinds == ("own",) * 5
    with pytest.raises(TableError, match=r"'city'.*not among the declared categories"):
        own_canaries(good.assign(city="Atlantis"), rows)
    with pytest.raises(TableError, match=r"'age'.*outside the declared bounds"):
        own_canaries(good.assign(age=100), rows)
    with pytest.raises(TableError, match=r"'age' of the schema is missing"):
        own_canaries(good.drop(columns="age"), rows)


def test_an_own_canary_must_be_a_new_unit():
    grouped = Schema((*SCHEMA.columns, Column("who", "categorical", roles=("group",))), rows_per_unit=3)
    rows = table(grouped)
    good = make_canaries(rows, 5, np.random.default_rng(1)).frame
    for who in (["same"] * 5, [rows.private["who"].iloc[0], *"abcd"]):
        with pytest.raises(InputError, match=r"'who'.*privacy unit of its own"):
            own_canaries(good.assign(who=who), rows)


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(InputError, match="canaries"):
        make_canaries(table(), count, np.random.default_rng(0))


def test_more_canaries_than_rows_are_refused_without_saying_how_many_rows_there_are():
    with pytest.raises(InputError, match="more than the table has rows") as caught:
        make_canaries(table(rows=37), 38, np.random.default_rng(0))
    assert "37" not in str(caught.value)


def test_a_domain_of_few_rows_is_refused():
    small = Schema((Column("ill", "boolean"),))
    rows = Table(small, table().private[["ill"]])
    with pytest.raises(InputError, match="does not hold 10 different canaries"):
        make_canaries(rows, 10, np.random.default_rng(0))


def test_real_tables_have_canaries():
    visits = datasets.clinic_visits(rows=300)
    rows = read(visits.frame, visits.schema)
    made = make_canaries(rows, 300, np.random.default_rng(0))
    assert len(plant(rows, made, np.ones(300, bool)).private) == 600
