import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import TableError
from tabsynth.metrics import Evidence, NotMeasured
from tabsynth.metrics.coding import binned, codes, fingerprints
from tabsynth.metrics.detection import C2ST
from tabsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("key", "integer", roles=("identifier",)),
        Column("town", "categorical", nullable=None),
        Column("ill", "boolean", nullable=None),
        Column("age", "integer", nullable=None),
        Column("pay", "float", nullable=None),
        Column("day", "datetime", nullable=None),
    )
)


def table(**changes):
    columns = {
        "town": ["Bern", None, "Köln", "Bern"],
        "ill": [True, False, None, True],
        "age": [1, 2, None, 4],
        "pay": [0.5, None, 2.0, 0.0],
        "day": ["2024-01-01", None, "2024-01-03", "2024-01-04"],
    }
    return pd.DataFrame(columns | changes)


def test_columns_come_in_any_order_and_leave_in_the_schemas_with_canonical_dtypes():
    whole = table(age=[1.0, 2.0, 3.0, 4.0], town=pd.Categorical(["Rom", "Rom", "Bern", None]))
    evidence = Evidence(SCHEMA, table().assign(key=1), table()[["day", "pay", "age", "ill", "town"]], whole)
    for frame in (evidence.train, evidence.holdout, evidence.rows):
        assert list(frame) == ["town", "ill", "age", "pay", "day"]
        assert list(map(str, frame.dtypes)) == ["category", "boolean", "Int64", "float64", "datetime64[s]"]
        assert set(frame["town"].cat.categories) == {"Bern", "Köln", "Rom"}
        assert list(frame["town"].cat.categories) == list(evidence.train["town"].cat.categories)


def test_declared_categories_come_first_and_others_are_kept():
    schema = Schema((Column("town", "categorical", categories=("Z", "A")),))
    evidence = Evidence(schema, *(pd.DataFrame({"town": [name]}) for name in "AAQ"))
    assert list(evidence.rows["town"].cat.categories) == ["Z", "A", "Q"]
    assert codes(evidence.rows["town"], schema["town"]).tolist() == [2]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table().drop(columns=["age", "pay"]), "synthetic table lacks column 'age', 'pay'"),
        (table(extra=1), "synthetic table has unknown column 'extra'"),
        (table().iloc[:0], "synthetic table has no rows"),
        (pd.concat([table(), table()["age"]], axis=1), "column 'age' more than once"),
        (table(age=["1", "2", "x", "4"]), "synthetic table, column 'age': expected integer values"),
        (table(age=[1.5, 2, 3, 4]), "column 'age': expected integer"),
        (table(pay=[np.inf, 1, 2, 3]), "column 'pay': expected float"),
        (table(ill=["yes", "no", "no", "yes"]), "column 'ill': expected boolean"),
        (table(day=["monday"] * 4), "column 'day': expected datetime"),
    ],
)
def test_a_broken_table_is_named_with_its_column_and_no_value(frame, message):
    with pytest.raises(TableError, match=message):
        Evidence(SCHEMA, table(), table(), frame)


def test_without_a_holdout_there_is_nothing_unseen_and_the_training_rows_are_the_reference():
    evidence = Evidence(SCHEMA, table(), None, table())
    assert evidence.reference is evidence.train
    with pytest.raises(NotMeasured, match="needs a holdout"):
        evidence.unseen()


def test_the_ceiling_holds_training_rows_as_many_as_there_are_synthetic_ones(draw, rng):
    evidence = draw(500, 100, 200)
    real = evidence.as_real(rng)
    assert len(real.rows) == 200
    assert real.holdout.equals(evidence.holdout)
    assert np.isin(fingerprints(real.rows, real.columns), fingerprints(real.train, real.columns)).all()


def test_the_ceiling_without_a_holdout_is_one_half_against_the_other(draw, rng):
    evidence = draw(500, 100, 400)
    real = Evidence(evidence.schema, evidence.train, None, evidence.rows).as_real(rng)
    assert (len(real.train), len(real.rows)) == (250, 250)
    assert not np.isin(fingerprints(real.rows, real.columns), fingerprints(real.train, real.columns)).any()


def test_the_baseline_keeps_margins_and_loses_dependence(draw, rng):
    evidence = draw(4000, 100, 4000)
    apart = evidence.as_independent(rng).rows
    assert apart["age"].mean() == pytest.approx(evidence.train["age"].mean(), abs=1)
    pairs = set(zip(evidence.train["clinic"], evidence.train["region"], strict=True))
    assert len(set(zip(apart["clinic"], apart["region"], strict=True))) > len(pairs)


def test_bins_are_training_quantiles_with_a_cell_for_missing():
    column = Column("age", "float")
    cells, missing = binned(column, pd.Series(np.arange(1000.0)), pd.Series([-5.0, 499.0, 2000.0]), pd.Series([np.nan]))
    assert cells.tolist() == [0, 9, 19]
    assert missing.tolist() == [20]
    assert binned(column, pd.Series([np.nan]), pd.Series([1.0, np.nan]))[0].tolist() == [0, 1]


def test_fingerprints_are_equal_exactly_where_rows_are(fresh):
    frame = pd.concat([fresh.train.iloc[:300], fresh.train.iloc[100:200]], ignore_index=True)
    hashed = pd.Series(fingerprints(frame, fresh.columns))
    assert hashed.duplicated().tolist() == frame.duplicated().tolist()
    swapped = frame.iloc[:2].assign(age=[7, 8], systolic=pd.array([8, 7], dtype="Int64"))
    there, back = fingerprints(swapped, fresh.columns), fingerprints(swapped.assign(age=[8, 7]), fresh.columns)
    assert not set(there) & set(back)


def test_positive_and_negative_zero_are_one_value():
    schema = Schema((Column("pay", "float"),))
    evidence = Evidence(schema, pd.DataFrame({"pay": [0.0]}), None, pd.DataFrame({"pay": [-0.0]}))
    assert fingerprints(evidence.train, schema.columns) == fingerprints(evidence.rows, schema.columns)


def test_values_of_their_own_do_not_tell_models_which_table_a_row_is_from(rng):
    names = iter(rng.permutation(1200))
    tables = [pd.DataFrame({"name": [f"n{next(names)}" for _ in range(400)], "x": rng.random(400)}) for _ in range(3)]
    evidence = Evidence(Schema((Column("name", "categorical"), Column("x", "float"))), *tables)
    assert C2ST()(evidence, rng).value == pytest.approx(0.5, abs=0.12)
    apart = Evidence(evidence.schema, *tables[:2], tables[2].assign(name="z" + tables[2]["name"]))
    assert C2ST()(apart, rng).value > 0.95
