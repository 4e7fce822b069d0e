"""Tables: every rule of a schema is kept, in words that name source, column and rule and never a value."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabsynth.conversion import from_axis, to_axis
from tabsynth.errors import InputError, TableError
from tabsynth.schema import Column, Kind, Schema
from tabsynth.schema_file import write_schema
from tabsynth.table import Table, plain, read, read_foreign, split, write_rows

DAYS = 86400.0
PLANT = "Zebedee-4711"  # a value that no message may show
SCHEMA = Schema(
    (
        Column("name", "categorical", roles=("identifier",)),
        Column("city", "categorical", categories=("Köln", "Łódź", 'a, "b"'), nullable=True),
        Column("ill", "boolean"),
        Column("age", "integer", bounds=(0, 99), nullable=True),
        Column("cost", "float", bounds=(0, 10), decimals=1),
        Column("day", "datetime", bounds=(0, 99 * DAYS), format="%d.%m.%Y"),
    )
)
GOOD = pd.DataFrame(
    {
        "name": ["p1", "p2", "p3"],
        "city": ["Łódź", "NA", 'a, "b"'],
        "ill": ["yes", "NO", "1"],
        "age": ["30", "", "07"],
        "cost": ["0.5", "1e1", " 3 "],
        "day": ["01.01.1970", "03.02.1970", "31.01.1970"],
    }
)


def _message(caught: pytest.ExceptionInfo[BaseException]) -> str:
    """Return all that a traceback would print of the error itself, its causes and contexts included."""
    return "".join(traceback.format_exception_only(caught.value)) + "".join(
        part for part in traceback.format_exception(caught.value) if not part.lstrip().startswith('File "')
    )


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", "frame"])
def test_canonical_form(tmp_path: Path, ending: str) -> None:
    source: Any = GOOD
    if ending == ".parquet":
        GOOD.to_parquet(source := tmp_path / "t.parquet")
    elif ending != "frame":
        GOOD.to_csv(source := tmp_path / f"t{ending}", index=False)
    table = read(source, SCHEMA)
    expected = pd.DataFrame(
        {
            "city": pd.Categorical(["Łódź", None, 'a, "b"'], categories=["Köln", "Łódź", 'a, "b"']),
            "ill": pd.array([True, False, True], "boolean"),
            "age": pd.array([30, None, 7], "Int64"),
            "cost": [0.5, 10.0, 3.0],
            "day": np.array(["1970-01-01", "1970-02-03", "1970-01-31"], "datetime64[s]"),
        }
    )
    pd.testing.assert_frame_equal(table.private, expected)
    assert table.schema is SCHEMA
    assert "name" not in table.private, "identifiers are dropped at the door"


def test_typed_files_need_no_text(tmp_path: Path) -> None:
    typed = read(GOOD, SCHEMA).private.assign(name=1)
    typed.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "t.parquet", SCHEMA).private, read(GOOD, SCHEMA).private)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_written_rows_read_back_the_same(tmp_path: Path, ending: str) -> None:
    table = read(GOOD, SCHEMA)
    write_rows(table.private, SCHEMA, tmp_path / f"t{ending}")
    pd.testing.assert_frame_equal(read(tmp_path / f"t{ending}", SCHEMA).private, table.private)


# --- what is refused ----------------------------------------------------------------------------------------------

BROKEN_FILES = {
    "header only": ("a,b\n", "t.csv: no rows; at least two are needed"),
    "one row": ("a,b\n1,Zebedee-4711\n", "t.csv: one row; at least two are needed"),
    "duplicate columns": ("a,b,a\n1,x,1\n2,x,2\n", "columns 1 and 3 have the same name"),
    "missing column": ("a\n1\n2\n", "column 'b' of the schema is missing. Is the delimiter another one?"),
    "unknown column": ("a,b,extra\n1,x,1\n2,x,2\n", "the schema does not know column 'extra'"),
    "wrong delimiter": ("a;b\n1;Zebedee-4711\n2;x\n", "has one column, whose name holds ';'. If that stands"),
    "no header": ("1,Zebedee-4711\n2,x\n3,x\n", "column 'a' of the schema is missing."),
    "unknown category": ("a,b\n1,x\n2,Zebedee-4711\n", "column 'b': a value is not among the declared categories"),
    "outside the bounds": ("a,b\n1,x\n4711,x\n", "column 'a': a value is outside the declared bounds [0, 9]"),
    "text in a number": ("a,b\n1,x\nZebedee-4711,x\n", "column 'a': a value is not a number"),
    "a fraction": ("a,b\n1,x\n4.711,x\n", "column 'a': a value is not a whole number"),
    "missing in not null": (
        "a,b\n1,x\nNA,x\n",
        "column 'a': a value is missing, and the column is declared not nullable",
    ),
    "infinite": ("a,b\n1,x\ninf,x\n", "column 'a': a value is infinite"),
    "beyond float": ("a,b\n1,x\n4711e4711,x\n", "column 'a': a value is infinite"),
    "too large": ("a,b\n1,x\n47114711471147114711,x\n", "column 'a': a value is too large for an exact whole number"),
    "all missing": ("a,b\n,x\n,x\n", "column 'a': a value is missing, and the column is declared not nullable"),
    "fields": ("a,b\n1,x\n2,Zebedee-4711,x\n", "a line has more or fewer fields than the header"),
}
AB = Schema((Column("a", "integer", bounds=(0, 9)), Column("b", "categorical", categories=("x",))))


@pytest.mark.parametrize(("text", "rule"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_broken_rule_is_named_and_no_value_is_quoted(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TableError) as caught:
        read(tmp_path / "t.csv", AB)
    assert str(caught.value).startswith(f"{tmp_path / 't.csv'}: ")
    assert rule in str(caught.value)
    shown = _message(caught)
    assert "Zebedee" not in shown
    assert "4711" not in shown
    assert "4.711" not in shown


VALUES: dict[str, tuple[Any, Kind, str]] = {
    "a word in a boolean": (["true", PLANT], "boolean", "not a boolean"),
    "a number in a boolean": ([1, 4711], "boolean", "not a boolean"),
    "three dates in three formats": (["1970-01-02", "4711/01/02", "03.04.4711"], "datetime", "the format '%Y-%m-%d'"),
    "a time in a date": (["1970-01-02", "1970-01-02 04:47:11"], "datetime", "the format '%Y-%m-%d'"),
    "no such day": (["1970-01-02", "4711-02-30"], "datetime", "the format '%Y-%m-%d'"),
    "numbers as dates": ([4711, 2], "datetime", "the format '%Y-%m-%d'"),
    "times of day": ([datetime.time(4, 47, 11)] * 2, "datetime", "a time of day is no moment"),
    "durations as dates": (pd.to_timedelta([4711, 2], unit="s"), "datetime", "a time of day is no moment"),
    "durations as numbers": (pd.to_timedelta([4711, 2], unit="s"), "integer", "declare the kind duration"),
    "numbers as durations": ([4711, 2], "duration", "only where its unit is declared"),
    "texts of numbers as durations": (["4711", "1:30:00"], "duration", "only where its unit is declared"),
    "words as durations": (["Zebedee-4711", "1:30:00"], "duration", "a value is no duration"),
    "moments as durations": (pd.to_datetime(["4711-01-01", "1970-01-01"]), "duration", "a value is no duration"),
    "durations beyond time": (["PT471147114711S", "1:30:00"], "duration", "longer than durations are exact"),
    "dates as numbers": (pd.to_datetime(["4711-01-01", "1970-01-01"]), "float", "not a number"),
    "unsigned": (np.array([2**64 - 4711, 1], np.uint64), "integer", "too large for an exact whole number (2^53)"),
    "whole but inexact": (np.array([2**53 + 4711, 1]), "integer", "too large for an exact whole number (2^53)"),
    "lists": ([[4711], [2]], "categorical", "cannot be read as categorical"),
    "records": ([{PLANT: 4711}, {PLANT: 2}], "categorical", "cannot be read as categorical"),
    "bytes": ([b"\xffZebedee-4711", b"x"], "categorical", "cannot be read as categorical"),
    "complex": (np.array([4711j, 2]), "float", "not a number"),
    "infinity": ([4711.0, np.inf], "float", "infinite"),
    "text infinity": (["4711", "-Infinity"], "float", "infinite"),
    "thousands": (["4,711", "1"], "integer", "not a number"),
    "hexadecimal": (["0x4711", "1"], "integer", "not a number"),
    "true in a number": (["true", "4711"], "integer", "not a number"),
}


@pytest.mark.parametrize(("values", "kind", "rule"), VALUES.values(), ids=VALUES)
def test_a_value_of_another_kind_is_refused_and_not_quoted(values: Any, kind: Kind, rule: str) -> None:
    with pytest.raises(TableError, match=r"^table: column 'a': ") as caught:
        read(pd.DataFrame({"a": values}), Schema((Column("a", kind, nullable=True),)))
    assert rule in str(caught.value)
    shown = _message(caught)
    assert "Zebedee" not in shown
    assert "4711" not in shown


def test_a_unit_may_not_be_missing() -> None:
    schema = Schema((Column("who", "categorical", roles=("group",)), Column("a", "integer")), rows_per_unit=2)
    with pytest.raises(TableError, match="'who': a value is missing, and every row needs its privacy unit"):
        read(pd.DataFrame({"who": ["p", None], "a": [1, 2]}), schema)


ALLOWED: dict[str, tuple[Any, Column, list[Any]]] = {
    "all missing": ([None, None], Column("a", "integer", nullable=True), [None, None]),
    "all missing text": (["", "NaN"], Column("a", "categorical", nullable=True), [None, None]),
    "all missing dates": ([np.nan, np.nan], Column("a", "datetime", nullable=True), [None, None]),
    "constant": ([7, 7], Column("a", "integer", bounds=(7, 7)), [7, 7]),
    "decimals": ([decimal.Decimal("1.5"), None], Column("a", "float", nullable=True), [1.5, None]),
    "small floats": (np.array([1.5, np.nan], np.float16), Column("a", "float", nullable=True), [1.5, None]),
    "whole floats as codes": ([1.0, None], Column("a", "categorical", categories=("1",), nullable=True), ["1", None]),
    "huge floats as codes": ([1e300, 2.0], Column("a", "categorical"), ["1e+300", "2"]),
    "zip codes": (["01067", "99084"], Column("a", "categorical"), ["01067", "99084"]),
    "None declared": (["None", "x"], Column("a", "categorical", categories=("None", "x")), ["None", "x"]),
    "flags as numbers": ([1.0, None, 0.0], Column("a", "boolean", nullable=True), [True, None, False]),
    "rounds into bounds": ([0.34, 1.0], Column("a", "float", bounds=(0.3, 1), decimals=1), [0.34, 1.0]),
    "offsets from UTC": (
        ["1970-01-01 02:00:00+02:00", "1970-01-01 00:00:01+00:00"],
        Column("a", "datetime", format="%Y-%m-%d %H:%M:%S%z"),
        [pd.Timestamp(0), pd.Timestamp(1, unit="s")],
    ),
    "far days": (
        ["0001-01-01", "9999-12-31"],
        Column("a", "datetime"),
        [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)],
    ),
}


@pytest.mark.parametrize(("values", "column", "expected"), ALLOWED.values(), ids=ALLOWED)
def test_odd_but_lawful_values(values: Any, column: Column, expected: list[Any]) -> None:
    series = read(pd.DataFrame({"a": values}), Schema((column,))).private["a"]
    assert [None if missing else value for value, missing in zip(series, series.isna(), strict=True)] == expected


def test_ten_thousand_categories() -> None:
    levels = [f"level {i}" for i in range(10_000)]
    schema = Schema((Column("a", "categorical", categories=tuple(levels)),))
    table = read(pd.DataFrame({"a": levels[::-1]}), schema)
    assert table.private["a"].cat.codes.tolist() == list(range(10_000))[::-1]


def test_undeclared_categories_are_kept_as_found_in_order() -> None:
    series = read(pd.DataFrame({"a": ["b", "a", "é", "b"]}), Schema((Column("a", "categorical"),))).private["a"]
    assert list(series.cat.categories) == ["a", "b", "é"]


def test_a_foreign_table_may_leave_the_domain_but_not_the_kind(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 99], "b": ["x", "new"]})
    private = read(frame, AB, check_domain=False).private
    assert list(private["b"].cat.categories) == ["x", "new"]
    with pytest.raises(TableError, match="not a number"):
        read(frame.assign(a=["1", "x"]), AB, check_domain=False)


def test_columns_come_in_schema_order_and_the_index_is_dropped() -> None:
    frame = pd.DataFrame({"b": ["x", "x"], "a": [1, 2]}, index=[9, 9])
    private = read(frame, AB).private
    assert list(private.columns) == ["a", "b"]
    assert private.index.tolist() == [0, 1]


# --- units, splitting, axes ---------------------------------------------------------------------------------------


def _grouped(rows: int = 60) -> Table:
    schema = Schema(
        (Column("who", "categorical", roles=("group",)), Column("a", "integer", bounds=(0, 99))),
        rows_per_unit=9,
        rows=rows,
    )
    return read(pd.DataFrame({"who": [f"p{i % 11}" for i in range(rows)], "a": np.arange(rows)}), schema)


def test_units_are_numbered_by_group() -> None:
    assert _grouped().units().tolist() == [i % 11 for i in range(60)]
    assert read(GOOD, SCHEMA).units() is None


def test_split_keeps_units_together_and_loses_no_row() -> None:
    train, holdout = split(_grouped(), 0.4, np.random.default_rng(1))
    whole = sorted([*train.private["a"], *holdout.private["a"]])
    assert whole == list(range(60))
    assert not set(train.private["who"]) & set(holdout.private["who"])
    assert (train.schema.rows, holdout.schema.rows) == (36, 24), "public sizes come from the declared one"


def test_split_draws_the_share_that_was_asked_for() -> None:
    table = read(pd.DataFrame({"a": np.zeros(10_000), "b": "x"}), AB)
    sizes = [len(split(table, 0.3, np.random.default_rng(seed))[1].private) for seed in range(20)]
    assert abs(np.mean(sizes) - 3000) < 4 * np.sqrt(2100 / 20)
    assert abs(np.mean(sizes) - 3300) > 4 * np.sqrt(2100 / 20), "another share would be seen"
    again = split(table, 0.3, np.random.default_rng(0))[1].private
    assert len(again) == sizes[0]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_out_of_range(share: float) -> None:
    with pytest.raises(InputError, match="holdout must lie between 0 and 1"):
        split(_grouped(), share, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_too_little(share: float) -> None:
    with pytest.raises(TableError, match="leaves fewer than two rows"):
        split(_grouped(), share, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["age", "cost", "day"])
def test_the_axis_and_back(name: str) -> None:
    series, column = read(GOOD, SCHEMA).private[name], SCHEMA[name]
    axis = to_axis(series, column)
    assert axis.dtype == np.float64
    pd.testing.assert_series_equal(from_axis(axis, column), series)


def test_plain_types_where_nothing_is_missing() -> None:
    frame = plain(read(GOOD, SCHEMA).private, SCHEMA)
    assert [str(dtype) for dtype in frame.dtypes] == ["object", "bool", "Int64", "float64", "datetime64[s]"]
    assert plain(frame.dropna(), SCHEMA)["age"].dtype == "int64"


# --- size ---------------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys, time
from tabsynth.schema_file import read_schema
from tabsynth.table import read
schema, start = read_schema(sys.argv[2]), (time.perf_counter(), time.process_time())
rows = len(read(sys.argv[1], schema).private)
print(rows, time.perf_counter() - start[0], time.process_time() - start[1])
status = open("/proc/self/status").read()  # its own peak; what getrusage says begins at the parent's
print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 2**20)
"""


def _big(folder: Path, rows: int, ending: str) -> tuple[Path, Path]:
    """Write a table of 15 columns and its schema."""
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1000, rows), unit="D")
    frame = {f"c{i}": rng.choice([f"level {j}" for j in range(3 + 20 * i)], rows) for i in range(5)}
    frame |= {f"i{i}": rng.integers(0, 10**i, rows) for i in range(1, 5)}
    frame |= {f"f{i}": np.where(rng.random(rows) < 0.05, np.nan, rng.lognormal(3, 1, rows).round(2)) for i in range(3)}
    frame |= {"b": rng.random(rows) < 0.3, "d": days.strftime("%Y-%m-%d"), "id": np.arange(rows)}
    levels = {f"c{i}": tuple(f"level {j}" for j in range(3 + 20 * i)) for i in range(5)}
    columns = [Column(name, "categorical", categories=found) for name, found in levels.items()]
    columns += [Column(f"i{i}", "integer", bounds=(0, 10**i)) for i in range(1, 5)]
    columns += [Column(f"f{i}", "float", nullable=True, bounds=(0, 1e6), decimals=2) for i in range(3)]
    columns += [Column("b", "boolean"), Column("d", "datetime", bounds=(1.5e9, 1.8e9))]
    columns += [Column("id", "integer", roles=("identifier",))]
    pd.DataFrame(frame).to_csv(folder / f"big{ending}", index=False)
    write_schema(Schema(tuple(columns)), folder / "schema.json")
    return folder / f"big{ending}", folder / "schema.json"


def _measured(table: Path, schema: Path) -> tuple[int, float, float, float]:
    """Return rows, wall seconds, CPU seconds and peak GiB of reading in a process of its own."""
    command = [sys.executable, "-c", MEASURE, str(table), str(schema)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(found[0]), float(found[1]), float(found[2]), float(found[3])


def test_reading_is_quick_and_lean(tmp_path: Path) -> None:
    rows, _, cpu, peak = _measured(*_big(tmp_path, 50_000, ".csv"))
    assert rows == 50_000
    assert cpu < 2.5  # ten times what it takes: noise of a shared machine, but no loop over rows
    assert peak < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_a_million_rows_in_under_five_seconds(tmp_path: Path, ending: str) -> None:
    rows, wall, _, peak = _measured(*_big(tmp_path, 1_000_000, ending))
    assert rows == 1_000_000
    assert wall < 5
    assert peak < 1.5


FOREIGN = Schema(
    (
        Column("n", "integer", nullable=None),
        Column("x", "float", nullable=None),
        Column("ok", "boolean", nullable=None),
        Column("day", "datetime", nullable=None),
        Column("long", "duration", unit="h", nullable=None),
    )
)
FOREIGN_ROWS = {
    "n": (["1", "2.5", "", "1e30"], [False, True, False, True]),
    "x": (["1.5", "inf", "NA", "abc"], [False, True, False, True]),
    "ok": (["yes", "2", "", "no"], [False, True, False, False]),
    "day": (["2024-01-31", "31/01/2024", "", "x"], [False, True, False, True]),
    "long": (["1.5", "-", "", "2"], [False, True, False, False]),
}


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.filterwarnings("ignore:.*cannot be read as:UserWarning")
def test_a_foreign_table_is_read_as_far_as_it_can_be(tmp_path: Path, chunk: int) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({name: values for name, (values, _) in FOREIGN_ROWS.items()}).assign(more=1).to_csv(path, index=False)
    with pytest.warns(UserWarning, match="rows.csv: not judged, since the schema does not know them: more"):
        table, unread = read_foreign(path, FOREIGN, chunk=chunk)
    assert {name: rows.tolist() for name, rows in unread.items()} == {n: bad for n, (_, bad) in FOREIGN_ROWS.items()}
    for name, (values, bad) in FOREIGN_ROWS.items():
        gone = [wrong or value in {"", "NA"} for value, wrong in zip(values, bad, strict=True)]
        assert table.private[name].isna().tolist() == gone, name
    with pytest.raises(TableError, match="does not know column 'more'"):
        read(path, FOREIGN, check_domain=False)


@pytest.mark.filterwarnings("ignore:.*cannot be read as:UserWarning")
def test_a_foreign_column_of_another_type_is_missing_throughout() -> None:
    schema = Schema((Column("n", "integer", nullable=None), Column("day", "datetime", nullable=None)))
    moments = pd.to_datetime(["2024-01-31", None, "2024-02-01"])
    frame = pd.DataFrame({"n": moments, "day": pd.to_timedelta([1, 2, 3], unit="h")})
    table, unread = read_foreign(frame, schema)
    assert table.private.isna().all().all()
    assert {name: rows.tolist() for name, rows in unread.items()} == {"n": [True, False, True], "day": [True] * 3}
    whole = pd.DataFrame({"n": [1.0, np.nan, 3.0], "day": moments})
    assert read_foreign(whole, schema)[1] == {}


@pytest.mark.filterwarnings("ignore:.*cannot be read as:UserWarning")
def test_a_foreign_moment_with_an_offset_is_read_by_the_column_s_format() -> None:
    schema = Schema((Column("at", "datetime", format="%Y-%m-%dT%H:%M%:z", timezone="UTC", nullable=None),))
    frame = pd.DataFrame({"at": ["2024-01-31T08:00+01:00", "2024-01-31", "2024-02-01T09:00Z"]})
    table, unread = read_foreign(frame, schema)
    assert unread["at"].tolist() == [False, True, False]
    assert table.private["at"].isna().tolist() == [False, True, False]


SPELLED = Schema(
    (
        Column("day", "datetime", format="%d.%m.%Y", nullable=None),
        Column("at", "datetime", format="%Y-%m-%dT%H:%M", timezone="Europe/Paris", nullable=None),
        Column("ward", "categorical", categories=("1", "2", "01", "x"), nullable=None),
    )
)


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.filterwarnings("ignore:.*cannot be read as:UserWarning")
def test_the_same_values_in_another_spelling_are_read_in_a_foreign_table(tmp_path: Path, chunk: int) -> None:
    path = tmp_path / "rows.csv"
    rows = {
        "day": ["2024-01-31 00:00:00", "31.01.2024", "2024-01-31T10:30:00", "2024-02-31", ""],
        "at": ["2024-01-31 10:30:00", "2024-01-31T09:30:00+00:00", "2024-01-31T09:30Z", "2024-01-31T10:30:05", "x"],
        "ward": ["2.0", "2", "1.0", "3.0", "x"],  # 1 and 01 are two wards, and 1.0 is neither
    }
    pd.DataFrame(rows).to_csv(path, index=False)
    table, unread = read_foreign(path, SPELLED, chunk=chunk)
    assert unread["day"].tolist() == [False, False, True, True, False]
    assert unread["at"].tolist() == [False, False, False, True, True]
    assert table.private["day"].dropna().astype(str).tolist() == ["2024-01-31"] * 2
    assert table.private["at"].dropna().astype(str).unique().tolist() == ["2024-01-31 10:30:00+01:00"]
    assert table.private["ward"].astype(str).tolist() == ["2", "2", "1.0", "3.0", "x"]
