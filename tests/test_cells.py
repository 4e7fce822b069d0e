"""How a value reads depends on that value alone: one odd row more changes no other."""

from __future__ import annotations

import datetime as dt
import enum
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tabsynth.cells import text_of
from tabsynth.conversion import convert
from tabsynth.errors import TableError
from tabsynth.files import RawTable, chunks
from tabsynth.fitting import fit_intake
from tabsynth.intake import take_in
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions, count_units
from tabsynth.schema import MISSING_TEXTS, Column, Schema
from tabsynth.sources import Readable, open_source
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import read

NAN = float("nan")
UTC = dt.UTC
TOKYO = dt.timezone(dt.timedelta(hours=9))
TEXTS = [
    (1.0, "1"), (-0.0, "0"), (0.5, "0.5"), (4006381333931.0, "4006381333931"), (4006381333931.5, "4006381333931.5"),
    (2.0**53, "9007199254740992.0"), (1e300, "1e+300"), (1e-7, "1e-07"), (np.float32(0.5), "0.5"), (NAN, None),
    (7, "7"), (2**70, str(2**70)), (np.int8(-3), "-3"), (True, "True"), (np.bool_(False), "False"),
    (Decimal("1.50"), "1.5"), (Decimal("2.00"), "2"), (Decimal("-0.0"), "0"), (Decimal("1E+3"), "1000"),
    (Decimal("NaN"), None), (Decimal("1E+5000"), "1E+5000"),
    (b"x", "x"), (bytearray(b"x"), "x"), (memoryview(b"x"), "x"),
    (dt.date(2020, 1, 2), "2020-01-02"), (dt.datetime(2020, 1, 2), "2020-01-02 00:00:00"),
    (pd.Timestamp("2020-01-02 03:04:05.5"), "2020-01-02 03:04:05.500000"),
    (dt.datetime(2020, 1, 2, 9, tzinfo=TOKYO), "2020-01-02 00:00:00+00:00"), (dt.time(1, 2, 3), "01:02:03"),
    (enum.Enum("Colour", {"RED": "red"}, type=str).RED, "red"), ("007", "007"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_the_text_of_a_value(value: Any, text: str | None) -> None:
    assert text_of(value) == text


PLAIN: dict[str, list[Any]] = {
    "floats": [1.0, 2.0, 3.5],
    "whole floats": [4006381333931.0, 4000417025005.0, 3.0],
    "whole numbers": [1, 2, 3],
    "large numbers": [2**62, 2**62 + 1, 5],
    "booleans": [True, False, True],
    "texts": ["1", "2.50", "x"],
    "days": [dt.date(2020, 1, 1), dt.date(2020, 1, 2), dt.date(2021, 5, 5)],
    "moments": [dt.datetime(2020, 1, 1, 3), dt.datetime(2020, 1, 2), dt.datetime(2021, 5, 5, 7, 8, 9)],
    "zoned moments": [pd.Timestamp(f"2020-01-0{n} 03:00", tz="Europe/Berlin") for n in (1, 2, 3)],
    "times": [dt.time(1, 2, 3), dt.time(4, 5), dt.time(6)],
    "decimals": [Decimal("1.5"), Decimal("2"), Decimal("3.25")],
    "bytes": [b"a", b"b", b"c"],
    "lengths": [dt.timedelta(hours=1), dt.timedelta(days=2), dt.timedelta(seconds=5)],
}
ODD: list[Any] = [
    None, NAN, 0.5, -0.0, 1e300, 7, 2**70, True, "zz", "", "NA", "1:30:00", dt.date(1999, 1, 1),
    dt.datetime(1500, 1, 1), dt.datetime(2020, 1, 1, 5, 0, 0, 1), pd.Timestamp("2020-01-01", tz="UTC"),
    dt.datetime(2020, 1, 1, tzinfo=TOKYO),
    dt.timedelta(microseconds=1), dt.time(1, 2, 3, 4), Decimal("1.23456"), Decimal("1E+90"), b"y",
]  # fmt: skip
KINDS = {
    "categorical": {}, "text": {}, "float": {}, "integer": {}, "boolean": {}, "duration": {},
    "datetime": {"format": "%Y-%m-%d %H:%M:%S", "timezone": "Asia/Tokyo"},
}  # fmt: skip
COLUMNS = [Column("v", kind, nullable=True, **facts) for kind, facts in KINDS.items()]  # type: ignore[arg-type]
COLUMNS.append(Column("v", "float", codes=("zz", 9999.0), nullable=True))


def _objects(values: list[Any], _: Path) -> Readable:
    """A frame whose column holds Python objects, as one of mixed sorts does in any case."""
    return pd.DataFrame({"v": pd.Series(values, dtype=object)})


def _inferred(values: list[Any], _: Path) -> Readable:
    """A frame of the type that pandas finds; it rounds large whole numbers beside a float before we see them."""
    large = any(type(value) is int and abs(value) >= 2**53 for value in values)
    return pd.DataFrame({"v": pd.Series(values, dtype=object if large else None)})


def _categories(values: list[Any], _: Path) -> Readable:
    try:
        return pd.DataFrame({"v": pd.Series(values, dtype=object).astype("category")})
    except ValueError:
        raise TableError("pandas takes large numbers for floats, and then for the same") from None


def _sqlite(values: list[Any], folder: Path) -> Readable:
    """A column of SQLite without a type of its own; what it cannot hold is no table at all."""
    pytest.importorskip("sqlalchemy")
    file = folder / f"{len(list(folder.iterdir()))}.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (v)")
        try:
            connection.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        except (sqlite3.Error, OverflowError):
            raise TableError("no such value") from None
    connection.close()
    return f"sqlite:///{file}?table=t"


def _parquet(values: list[Any], folder: Path) -> Readable:
    """A Parquet file of the type that Arrow infers from all rows."""
    file = folder / f"{len(list(folder.iterdir()))}.parquet"
    try:
        pq.write_table(pa.table({"v": pa.array(values, from_pandas=True)}), file)
    except (pa.ArrowException, OverflowError):
        raise TableError("no such column") from None
    return file


def _canonical(raw: RawTable, column: Column) -> list[Any]:
    canonical = convert(raw, column, MISSING_TEXTS, check_domain=True)
    return [None if pd.isna(value) else str(value) for value in canonical.astype(object)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of sqlite3: it writes days and moments as text
@pytest.mark.parametrize("make", [_objects, _inferred, _categories, _sqlite, _parquet])
@pytest.mark.parametrize("values", PLAIN.values(), ids=PLAIN)
def test_one_odd_row_more_changes_no_other(
    make: Callable[[list[Any], Path], Readable], values: list[Any], tmp_path: Path
) -> None:
    held = 0
    for odd in ODD:
        if make is _parquet and _arrow_itself_rounds(values, odd):
            continue
        with suppress(TableError):
            ((one,), (other,)) = (chunks(open_source(make(rows, tmp_path)), None) for rows in (values, [*values, odd]))
            for column in COLUMNS:
                with suppress(TableError):  # a rule is named, and nothing is read
                    first, more = _canonical(one, column), _canonical(other, column)
                    assert more[:3] == first, (column.kind, odd)
                    held += 1
    assert held or make is not _objects


def _arrow_itself_rounds(values: list[Any], odd: Any) -> bool:
    """Whether what Arrow infers for the file no longer holds the values: days of moments, and the moments of zones."""
    sorts = (dt.date, dt.datetime)
    return isinstance(values[0], sorts) and isinstance(odd, sorts)


def _discovered(table: pd.DataFrame | str) -> tuple[str, ...]:
    schema = Schema((Column("code", "categorical", nullable=True), Column("ill", "boolean")))
    ledger = Ledger(Budget(1.0, 1e-6))
    fitted = fit_intake(take_in(table, schema, budgeted=True, discover=True), Independent(), ledger)
    return tuple(fitted.schema["code"].categories or ())


@pytest.mark.parametrize(
    ("codes", "odd"),
    [
        ([4006381333931.0, 4000417025005.0], 0.5),
        (["1.5", "2.5"], Decimal("2.25")),
        ([1.0, 2.0], "x"),
    ],
)
def test_no_single_row_renames_what_discovery_publishes(codes: list[Any], odd: Any) -> None:
    values = [Decimal(code) if isinstance(code, str) else code for code in codes] * 1500
    names = {text_of(value) for value in values}
    for rows in (values, [*values, odd]):
        table = pd.DataFrame({"code": pd.Series(rows, dtype=object).infer_objects(), "ill": True})
        assert set(_discovered(table)) <= {*names, "(other)"}


def test_one_odd_row_splits_no_unit_where_the_table_is_read_in_parts() -> None:
    schema = Schema((Column("who", "categorical", roles=("group",)), Column("ill", "boolean")), rows_per_unit=1)
    people = np.tile(10_000_000_000_000.0 + np.arange(100), 2)  # the second row of each is in the second part
    rows = [*people[:150], 10_000_000_000_000.5, *people[150:]]
    table = read(pd.DataFrame({"who": rows, "ill": True}), schema, chunk=100)
    assert count_units(table) == 101
    assert len(bound_contributions(table, Secret()).private) == 101


def test_bytes_that_are_no_text_are_refused_unquoted() -> None:
    with pytest.raises(TableError, match="column 'v': a value is not text that UTF-8 can write"):
        read(pd.DataFrame({"v": [b"\xff", "x"]}), Schema((Column("v", "categorical"),)))
