"""The estimator hands rows out as it got them: the same library, the same types, the same rows."""

from __future__ import annotations

import datetime
import decimal
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabsynth import Column, Schema, TabularSynthesizer
from tabsynth.errors import InputError
from tabsynth.frame_kinds import alike, frame_types, in_memory, to_pandas
from tabsynth.synthesizers.marginals import Marginals

VALUES: dict[str, list[Any]] = {
    "age": [31, 40, 22, 57] * 5,
    "city": ["Ulm", "Bonn", None, "Ulm"] * 5,
    "ill": [True, False, None, True] * 5,
    "weight": [1.5, 2.0, 3.25, None] * 5,
    "born": [datetime.date(2001, 2, day) for day in (3, 4, 5, 6)] * 5,
}
ARROW = pa.table(VALUES).set_column(0, "age", pa.array(VALUES["age"], pa.int8()))


def test_a_pyarrow_table_comes_back_as_one() -> None:
    table = ARROW.set_column(1, "city", ARROW["city"].dictionary_encode())
    fitted = TabularSynthesizer("independent", seed=0).fit(table)
    rows = fitted.sample(200, seed=1)
    assert isinstance(rows, pa.Table)
    assert rows.schema.types == table.schema.types
    assert rows.column_names == table.column_names == list(fitted.feature_names_in_)
    assert set(rows["city"].to_pylist()) == {"Ulm", "Bonn", None}
    same = TabularSynthesizer("independent", seed=0).fit(table.to_reader()).sample(200, seed=1)
    assert same.equals(rows)


def test_a_polars_frame_comes_back_as_one() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(VALUES).with_columns(
        polars.col("age").cast(polars.Int16), polars.col("weight").cast(polars.Float32)
    )
    fitted = TabularSynthesizer("independent", seed=0).fit(frame)
    rows = fitted.sample(200, seed=1)
    assert rows.schema == frame.schema
    assert rows.equals(TabularSynthesizer("independent", seed=0).fit(frame.lazy()).sample(200, seed=1))
    arrow = TabularSynthesizer("independent", seed=0).fit(ARROW).sample(200, seed=1)
    assert rows["age"].to_list() == arrow["age"].to_pylist()
    pandas = TabularSynthesizer("independent", seed=0).fit(pd.DataFrame(VALUES)).sample(200, seed=1)
    assert rows["age"].to_list() == pandas["age"].tolist()


def test_categories_that_were_not_sampled_do_not_come_with_a_type() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(VALUES).with_columns(polars.col("city").cast(polars.Enum(["Ulm", "Bonn", "Zebedee"])))
    assert "Zebedee" not in repr(frame_types(frame))
    rows = TabularSynthesizer("independent", seed=0).fit(frame).sample(5, seed=1)
    assert rows.schema["city"] == polars.Categorical()
    assert "Zebedee" not in repr(frame_types(pd.DataFrame({"a": pd.Categorical(["x"], ["x", "Zebedee"])})))


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_target_given_apart_joins_the_frame(library: str) -> None:
    given: Any = ARROW if library == "pyarrow" else pytest.importorskip("polars").DataFrame(VALUES)
    y = pd.Series(["no", "yes"] * 10, name="bought")
    fitted = TabularSynthesizer("independent", seed=0).fit(given, y)
    rows = fitted.sample(100)
    assert fitted.schema_.target == "bought"
    assert in_memory(rows) is rows
    assert set(rows["bought"].to_pylist() if library == "pyarrow" else rows["bought"].to_list()) == {"no", "yes"}
    with pytest.raises(InputError, match="as long as X"):
        fitted.fit(given, y[:5])


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_a_target_given_apart_keeps_its_type_and_replaces_no_column(library: str) -> None:
    polars = pytest.importorskip("polars")
    y = polars.Series("bought", [True, None, False, True] * 5)
    given: Any = {"polars": polars.DataFrame(VALUES), "pyarrow": ARROW, "pandas": pd.DataFrame(VALUES)}[library]
    rows = TabularSynthesizer("independent", seed=0).fit(given, y).sample(50, seed=1)
    found = rows["bought"].to_pylist() if library == "pyarrow" else list(rows["bought"])
    assert {None if value is None or value is pd.NA else bool(value) for value in found} == {True, False, None}
    whole = pd.Series(pd.array([1, None, 2, 3] * 5, "Int64"), name="bought")
    assert str(TabularSynthesizer("independent").fit(pd.DataFrame(VALUES), whole).dtypes_["bought"]) == "Int64"
    with pytest.raises(InputError, match="y would be the column 'ill', which X has already"):
        TabularSynthesizer("independent").fit(given, y.rename("ill"))
    if library != "pandas":
        with pytest.raises(InputError, match="Column 'target': its values are not of one type"):
            TabularSynthesizer("independent").fit(given, [1, "a", None, 2] * 5)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_missing_cells_are_filled_in_a_frame_of_the_same_kind(library: str) -> None:
    polars = pytest.importorskip("polars")
    length = datetime.timedelta(minutes=3)
    ticks = polars.Series([1_000, None, 3_000, 4_000] * 5).cast(polars.Time)  # nanoseconds since midnight
    assert to_pandas(polars.DataFrame({"at": ticks}).with_columns((ticks.cast(int) + 1).cast(polars.Time)))["at"][0]
    more = {"at": ticks, "took": [length, None, 2 * length, length] * 5, "price": [decimal.Decimal("1.25"), None] * 10}
    frame = polars.DataFrame(VALUES | more).with_columns(
        polars.col("age").cast(polars.Int16),
        polars.col("city").cast(polars.Enum(["Ulm", "Bonn"])),
        polars.col("price").cast(polars.Decimal(10, 2)),
    )
    given = frame if library == "polars" else frame.to_arrow()
    fitted = TabularSynthesizer(Marginals(pairs=2, rounds=1, steps=20, iterations=100), seed=0, target="ill").fit(given)
    filled = fitted.impute(given, seed=1)
    assert filled.schema == given.schema
    found = filled if library == "polars" else polars.from_arrow(filled).cast(frame.schema)
    assert sum(found.null_count().row(0)) == 0
    for name in frame.columns:
        assert (found[name] == frame[name]).drop_nulls().all()
    chances = fitted.predict_proba(given)
    assert chances.shape == (20, 2)
    assert fitted.log_likelihood(given).shape == (20,)


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_partial_rows_come_in_a_frame_of_any_library(library: str) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(VALUES)
    fitted = TabularSynthesizer("independent", seed=0).fit(frame)
    asked = pd.DataFrame({"city": ["Ulm", None, "Bonn"] * 2})
    kinds = {"pandas": asked, "polars": polars.from_pandas(asked), "pyarrow": pa.Table.from_pandas(asked)}
    rows = fitted.sample(given=kinds[library], seed=0)
    assert rows["city"].to_list()[::3] == ["Ulm"] * 2
    assert rows["city"].to_list()[2::3] == ["Bonn"] * 2
    assert len(fitted.model_.sample(None, given=kinds[library])) == 6


@pytest.mark.parametrize("given", ["city=Ulm", ["city"], np.zeros((2, 2))], ids=["text", "list", "array"])
def test_what_rows_cannot_be_asked_for_by_is_named(given: Any) -> None:
    fitted = TabularSynthesizer("independent", seed=0).fit(pd.DataFrame({"city": ["Ulm", "Bonn"]}))
    for sample in (fitted.sample, fitted.model_.sample):
        with pytest.raises(InputError, match=r"given: conditions are a mapping .*; got (str|list|ndarray)\."):
            sample(3, given=given)


def test_durations_are_filled_in_their_unit() -> None:
    schema = Schema((Column("took", "duration", bounds=(0, 7200), unit="h", decimals=1), Column("ill", "boolean")))
    hours = pd.DataFrame({"took": [0.5, 1.0, 1.5, 2.0] * 20, "ill": [True, False] * 40})
    fitted = TabularSynthesizer("marginals", schema=schema, seed=0).fit(hours)
    gaps = hours.assign(took=hours["took"].mask(hours.index % 3 == 0))
    assert set(fitted.impute(gaps, seed=1)["took"]) == {0.5, 1.0, 1.5, 2.0}
    lengths = gaps.assign(took=pd.to_timedelta(gaps["took"], unit="h"))
    filled = fitted.impute(lengths, seed=1)["took"]
    assert filled.dtype == lengths["took"].dtype
    assert set(filled / pd.Timedelta(hours=1)) == {0.5, 1.0, 1.5, 2.0}


def test_categories_keep_their_order_and_their_values() -> None:
    sizes = pd.CategoricalDtype(["small", "large", "huge", "unheard-of"], ordered=True)
    levels = pd.CategoricalDtype([3, 1, 2])
    frame = pd.DataFrame(
        {
            "size": pd.Categorical(["large", "small", None, "huge"] * 5, dtype=sizes),
            "level": pd.Categorical([1, 3, 3, 2] * 5, dtype=levels),
        }
    )
    rows = TabularSynthesizer("independent", seed=0).fit(frame).sample(50, seed=1)
    assert rows["size"].dtype == pd.CategoricalDtype(["small", "large", "huge"], ordered=True)
    assert rows["level"].dtype == levels
    assert set(rows["level"]) == {1, 2, 3}
    assert rows["size"].isna().any()
    assert str(alike(pd.DataFrame({"a": ["x", "z"]}), {"a": pd.CategoricalDtype(["x", "y"])})["a"].dtype) == "category"


def test_decimals_and_times_of_day_come_back() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(
        {
            "at": [datetime.time(8, 30), datetime.time(17, 5, 1), None],
            "price": [decimal.Decimal("1.25"), None, decimal.Decimal(3)],
        }
    )
    frame = polars.concat([frame] * 10).with_columns(polars.col("price").cast(polars.Decimal(10, 2)))
    whole = frame.with_columns(polars.col("price").cast(polars.Int64).cast(polars.Decimal(10, 2)))
    for given in (frame, whole):
        rows = TabularSynthesizer("independent", seed=0).fit(given).sample(50, seed=1)
        arrow = TabularSynthesizer("independent", seed=0).fit(given.to_arrow()).sample(50, seed=1)
        assert rows.schema == given.schema
        assert arrow.schema.types == given.to_arrow().schema.types
        found = set(rows["at"].drop_nulls())
        assert datetime.time(8, 30) <= min(found) <= max(found) <= datetime.time(17, 5, 1)
        assert arrow["at"].to_pylist() == rows["at"].to_list()


def test_names_that_are_no_texts_come_back() -> None:
    frame = pd.DataFrame({2020: [31, 40, 22, 57] * 5, "city": ["Ulm", "Bonn"] * 10})
    fitted = TabularSynthesizer(Marginals(pairs=2, rounds=1, steps=20, iterations=100), seed=0, target="city").fit(
        frame
    )
    rows = fitted.sample(20)
    assert list(rows.columns) == [2020, "city"]
    assert frame[rows.columns].equals(frame)
    assert list(fitted.impute(frame.mask(frame == 31)).columns) == [2020, "city"]
    assert fitted.predict_proba(frame).shape == (20, 2)
    assert fitted.log_likelihood(frame).shape == (20,)


def test_a_type_that_has_no_place_for_the_values_stays_as_it_is() -> None:
    polars = pytest.importorskip("polars")
    wide = {"n": [1, 300, None]}
    assert alike(pa.table(wide), {"n": pa.int8()}).schema.types == [pa.int64()]
    assert alike(polars.DataFrame(wide), {"n": polars.Int8()}).schema["n"] == polars.Int64()
    assert str(alike(pd.DataFrame({"n": pd.array([1, None], "Int64")}), {"n": "int64"})["n"].dtype) == "Int64"


def test_under_a_budget_types_follow_from_the_schema_and_not_from_rows() -> None:
    schema = Schema(
        (
            Column("age", "integer", bounds=(0, 99), nullable=True),
            Column("visits", "integer", bounds=(0, 99)),
            Column("ill", "boolean", nullable=True),
            Column("city", "categorical", categories=("Ulm", "Bonn")),
            Column("asked", "integer", bounds=(0, 9), codes=("refused",)),
            Column("took", "duration", bounds=(0, 3600), unit="min", nullable=True),
            Column("weight", "float", bounds=(0, 200)),
        )
    )
    rng = np.random.default_rng(0)
    full = pd.DataFrame(
        {
            "age": rng.integers(0, 99, 400),
            "visits": rng.integers(0, 99, 400),
            "ill": rng.random(400) < 0.5,
            "city": rng.choice(["Ulm", "Bonn"], 400),
            "asked": rng.integers(0, 9, 400),
            "took": rng.integers(0, 60, 400),
            "weight": rng.integers(0, 99, 400),
        }
    )
    gaps = pd.concat([full, full.iloc[:1].assign(age=None, ill=None, took=None, asked="refused", weight=0.5)])
    gaps["city"] = gaps["city"].astype("category")
    gaps["visits"] = gaps["visits"].astype("int8")
    types = [
        TabularSynthesizer("independent", epsilon=1.0, schema=schema).fit(table).sample(50).dtypes.astype(str).to_dict()
        for table in (full, gaps)
    ]
    assert types[0] == types[1]
    assert types[0] == {
        "age": "Int64",
        "visits": "int64",
        "ill": "boolean",
        "city": "str",
        "asked": "object",
        "took": "Int64",
        "weight": "float64",
    }
    free = TabularSynthesizer("independent", schema=schema, seed=0).fit(gaps).sample(50)
    assert str(free["visits"].dtype) == "int8"


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_under_a_budget_frames_of_other_libraries_have_the_types_of_the_schema_too(library: str) -> None:
    schema = Schema((Column("age", "integer", bounds=(0, 99), nullable=True),))
    tables = [pa.table({"age": pa.array(values * 50, kind)}) for values, kind in (([1, 2], "int8"), ([1, None], "f8"))]
    if library == "polars":
        tables = [pytest.importorskip("polars").from_arrow(table) for table in tables]
    small, gap = (
        TabularSynthesizer("independent", epsilon=1.0, schema=schema).fit(table).sample(20) for table in tables
    )
    assert small.schema == gap.schema
    assert str(small.schema.field("age").type if library == "pyarrow" else small.schema["age"]).lower() == "int64"


def test_a_loaded_estimator_returns_the_types_of_the_schema(tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [31, 40, 22, 57] * 5, "city": ["Ulm", "Bonn", "Ulm", "Ulm"] * 5})
    TabularSynthesizer("independent", seed=0).fit(frame).save(tmp_path / "model")
    rows = TabularSynthesizer.load(tmp_path / "model").sample(20)
    assert rows.dtypes.equals(frame.dtypes)


def test_the_estimator_writes_a_folder(tmp_path: Path) -> None:
    fitted = TabularSynthesizer("independent", seed=0).fit(ARROW)
    assert fitted.sample(150, seed=1, to=tmp_path / "out") == tmp_path / "out"
    assert len(pd.read_parquet(tmp_path / "out")) == 150


def test_an_array_is_no_frame() -> None:
    assert in_memory(np.zeros((3, 2))) is None
    assert in_memory([[1]]) is None


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_moments_that_were_texts_come_back_in_their_format(library: str) -> None:
    days = pd.date_range("2024-01-05", periods=40, freq="7D")
    texts = {
        "born": [*days.strftime("%d.%m.%Y")[:-1], None],
        "seen": days.strftime("%Y-%m-%dT%H:%M:00Z").tolist(),
        "stayed": [f"{hours}:30:00" for hours in range(40)],
    }
    given = {"pandas": pd.DataFrame, "pyarrow": pa.table, "polars": pytest.importorskip("polars").DataFrame}[library]
    frame = given(texts | {"x": list(range(40))})
    rows = TabularSynthesizer("independent", seed=0).fit(frame).sample(60)
    shapes = {"born": r"\d\d\.\d\d\.\d{4}", "seen": r"\d{4}-\d\d-\d\dT\d\d:\d\d:00Z", "stayed": r"\d+:\d\d:\d\d"}
    for name, shape in shapes.items():
        values = rows[name].to_pylist() if library == "pyarrow" else list(rows[name])
        present = [value for value in values if isinstance(value, str)]
        assert len(present) > 40
        assert all(re.fullmatch(shape, value) for value in present)
