"""Rows handed out: the same values in every library's table, and a model that writes a folder."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tabsynth import shards
from tabsynth.errors import InputError
from tabsynth.fitting import make_synthesizer
from tabsynth.intake import take_in
from tabsynth.outputs import handed_out
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.model import Model, fit
from tabsynth.table import plain

FRAME = pd.DataFrame(
    {
        "age": pd.array([31, None, 22, 57] * 5, "Int64"),
        "city": ["Ulm", "Bonn", None, "北京"] * 5,
        "ill": [True, False, True, True] * 5,
        "weight": [1.5, np.nan, 3.25, 2.0] * 5,
        "born": pd.to_datetime(["2001-02-03", "2001-02-04", "2003-01-01", "2001-02-03"] * 5),
    }
)


@pytest.fixture(scope="module")
def model() -> Model:
    table = take_in(FRAME, None, budgeted=False).table
    return fit(make_synthesizer("independent", 0), table, Ledger(), Secret.fixed(0))


def values(table: Any) -> list[tuple[Any, ...]]:
    """Return the rows of any table as plain Python values, dates as dates, None where a value is missing."""
    if isinstance(table, pd.DataFrame):
        listed = [[None if pd.isna(value) else value for value in table[name]] for name in table]
    else:
        arrow = table if isinstance(table, pa.Table) else table.to_arrow()
        listed = [column.to_pylist() for column in arrow.columns]
    dates = [[value.date() if isinstance(value, datetime.datetime) else value for value in column] for column in listed]
    return list(zip(*dates, strict=True))


def test_every_kind_of_table_has_the_same_rows(model: Model) -> None:
    pytest.importorskip("polars")
    drawn = {kind: model.sample(300, np.random.default_rng(3), as_=kind) for kind in ("pandas", "polars", "pyarrow")}
    expected = values(plain(drawn["pandas"], model.schema))
    assert values(drawn["polars"]) == values(drawn["pyarrow"]) == expected
    assert {None, "北京"} <= {row[1] for row in expected}
    assert [str(kind) for kind in drawn["pyarrow"].schema.types] == ["int64", "string", "bool", "double", "date32[day]"]
    assert [str(kind) for kind in drawn["polars"].dtypes] == ["Int64", "String", "Boolean", "Float64", "Date"]
    assert isinstance(drawn["pandas"]["city"].dtype, pd.CategoricalDtype)


def test_a_kind_that_is_none_is_refused_before_a_row_is_drawn(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(model.sampler), "sample", lambda *_, **__: pytest.fail("nothing is drawn"))
    with pytest.raises(InputError, match="as_ must be one of pandas, polars, pyarrow; got 'spark'"):
        model.sample(3, np.random.default_rng(0), as_="spark")  # type: ignore[call-overload]
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError, match=r'pip install "tabsynth\[polars\]"'):
        model.sample(3, np.random.default_rng(0), as_="polars")


def test_a_model_writes_a_folder(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 100)
    told: list[int] = []
    folder = model.sample(
        350, np.random.default_rng(3), {"city": ["Ulm", "Bonn"]}, to=tmp_path / "out", shard=200,
        progress=lambda done, *_: told.append(done),
    )  # fmt: skip
    assert folder == tmp_path / "out"
    assert told == [100, 200, 300, 350]
    frame = pd.read_parquet(folder)
    assert len(frame) == 350
    assert set(frame["city"]) == {"Ulm", "Bonn"}
    first = handed_out(
        model.sample(100, np.random.default_rng(3).spawn(1)[0], {"city": ["Ulm", "Bonn"]}), model.schema, "pyarrow"
    )
    assert frame["weight"][:100].fillna(-1).tolist() == first["weight"].fill_null(-1).to_pylist()


def test_partial_rows_are_not_written_to_a_folder(model: Model, tmp_path: Path) -> None:
    for rows, given in ((None, None), (2, pd.DataFrame({"city": ["Ulm", "Ulm"]}))):
        with pytest.raises(InputError, match="how many rows are written to a folder"):
            model.sample(rows, np.random.default_rng(0), given, to=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
