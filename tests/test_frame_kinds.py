"""The estimator hands rows out as it got them: the same library, the same types, the same rows."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabsynth import TabularSynthesizer
from tabsynth.errors import InputError
from tabsynth.frame_kinds import alike, in_memory, public_types

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
    assert "Zebedee" not in repr(public_types(frame))
    rows = TabularSynthesizer("independent", seed=0).fit(frame).sample(5, seed=1)
    assert rows.schema["city"] == polars.Categorical()
    assert "Zebedee" not in repr(public_types(pd.DataFrame({"a": pd.Categorical(["x"], ["x", "Zebedee"])})))


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


def test_a_type_that_has_no_place_for_the_values_stays_as_it_is() -> None:
    polars = pytest.importorskip("polars")
    wide = {"n": [1, 300, None]}
    assert alike(pa.table(wide), {"n": pa.int8()}).schema.types == [pa.int64()]
    assert alike(polars.DataFrame(wide), {"n": polars.Int8()}).schema["n"] == polars.Int64()
    assert str(alike(pd.DataFrame({"n": pd.array([1, None], "Int64")}), {"n": "int64"})["n"].dtype) == "Int64"


def test_the_estimator_writes_a_folder(tmp_path: Path) -> None:
    fitted = TabularSynthesizer("independent", seed=0).fit(ARROW)
    assert fitted.sample(150, seed=1, to=tmp_path / "out") == tmp_path / "out"
    assert len(pd.read_parquet(tmp_path / "out")) == 150


def test_an_array_is_no_frame() -> None:
    assert in_memory(np.zeros((3, 2))) is None
    assert in_memory([[1]]) is None
