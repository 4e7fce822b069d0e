"""Drafted schemas: the narrowest kind that fits, every line marked, and read back as they were written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tabsynth.constraints import Inequality
from tabsynth.drafting import HEADER, MARK, MOST_CATEGORIES, draft
from tabsynth.drafting.candidates import SHORT, WRITTEN, Candidate
from tabsynth.drafting.draft import ORDERS
from tabsynth.errors import TableError
from tabsynth.files import RawTable
from tabsynth.pii import personal_columns
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import read_schema
from tabsynth.table import read

KINDS: dict[str, tuple[list[Any], Column]] = {
    "whole numbers": ([3, 1, 2], Column("a", "integer", bounds=(1, 3))),
    "text numbers": (["3", "", "2"], Column("a", "integer", bounds=(2, 3), nullable=True)),
    "leading zeros": (["3", "", "02"], Column("a", "categorical", categories=("02", "3"), nullable=True)),
    "postcodes": (["01154", "99817", "01154"], Column("a", "categorical", categories=("01154", "99817"))),
    "zeros that lead nothing": (["0.5", "0", "-0.25", "0e3"], Column("a", "float", bounds=(-0.25, 0.5), decimals=2)),
    "numbers of cards": (
        ["12345678901234567", "12345678901234568"] * 2,
        Column("a", "categorical", categories=("12345678901234567", "12345678901234568")),
    ),
    "tenths": ([0.5, 1.25, 3], Column("a", "float", bounds=(0.5, 3), decimals=2)),
    "many decimals": ([1 / 3, 2 / 3, 0.1], Column("a", "float", bounds=(0.1, 2 / 3))),
    "tiny numbers": ([1.5e-13, -2.25e-14, 0], Column("a", "float", bounds=(-2.25e-14, 1.5e-13))),
    "tiny texts": (["1.5e-13", "2e-15"], Column("a", "float", bounds=(2e-15, 1.5e-13))),
    "a trillion and cents": (
        [1e12 + 0.83, 1e12, 2e12 + 0.5],
        Column("a", "float", bounds=(1e12, 2e12 + 0.5), decimals=2),
    ),
    "as many digits as there are": (
        ["1000000000000000.2", "3"],
        Column("a", "float", bounds=(3, 1e15 + 0.2), decimals=1),
    ),
    "tenths in single precision": (
        np.array([26.1, 0.3, 1234.7, 5], np.float32),
        Column("a", "float", bounds=(0.3, 1234.7), decimals=1),
    ),
    "numbers that single precision does hold": (
        np.float32(1) / np.arange(1, 40, dtype=np.float32),
        Column("a", "float", bounds=(float(np.float32(1) / np.float32(39)), 1)),
    ),
    "a sum that left something behind": ([0.1 + 0.2, 0.5], Column("a", "float", bounds=(0.1 + 0.2, 0.5), decimals=1)),
    "true and false": (["true", "False", "TRUE"], Column("a", "boolean")),
    "booleans": ([True, False, None], Column("a", "boolean", nullable=True)),
    "yes and no": (["yes", "no", "yes"], Column("a", "categorical", categories=("no", "yes"))),
    "ones and zeros": ([1, 0, 1], Column("a", "integer", bounds=(0, 1))),
    "a mix": (["1", "x", "2.5"], Column("a", "categorical", categories=("1", "2.5", "x"))),
    "words among numbers": (
        [*map(str, range(40)), "refused", "-", "refused"],
        Column("a", "integer", bounds=(0, 39), codes=("-", "refused")),
    ),
    "dates": (
        ["1970-01-02", "1970-01-01", "NA"],
        Column("a", "datetime", bounds=(0, 86400), format="%Y-%m-%d", nullable=True),
    ),
    "moments some of which have a fraction": (
        ["1970-01-01 00:00:07", "1970-01-01 00:01:08.125000", "NA"],
        Column("a", "datetime", bounds=(7, 68), format="%Y-%m-%d %H:%M:%S.%f", nullable=True),
    ),
    "moments of a zone some of which have a fraction": (
        ["1970-01-01T00:00:07+00:00", "1970-01-01T00:01:08.125000+00:00"],
        Column("a", "datetime", bounds=(7, 68), format="%Y-%m-%dT%H:%M:%S.%f%:z", timezone="UTC"),
    ),
    "German dates": (
        ["02.01.1970", "31.01.1970"],
        Column("a", "datetime", bounds=(86400, 2592000), format="%d.%m.%Y", cycle="week"),
    ),
    "minutes": (
        ["1970-01-01 00:07", "NA"],
        Column("a", "datetime", bounds=(420, 420), format="%Y-%m-%d %H:%M", nullable=True),
    ),
    "moments of a zone": (
        pd.to_datetime(["1970-01-01 00:00:07", "1970-01-01 00:01:00"]).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        Column("a", "datetime", bounds=(7, 60), format="%Y-%m-%d %H:%M:%S", timezone="Asia/Tokyo"),
    ),
    "days as moments": (
        pd.to_datetime(["1970-01-02", "1970-01-01"]),
        Column("a", "datetime", bounds=(0, 86400), format="%Y-%m-%d"),
    ),
    "timedeltas": (pd.to_timedelta([5, 7.5], unit="s"), Column("a", "duration", bounds=(5, 7.5), decimals=1)),
    "clocks": (["1:30:00", "26:00"], Column("a", "duration", bounds=(5400, 93600), decimals=0)),
    "lengths as pandas writes them": (
        ["0 days 00:25:58", "", "1 days 00:00:00", "-1 days +23:00:00"],
        Column("a", "duration", bounds=(-3600, 86400), decimals=0, nullable=True),
    ),
    "lengths as Python and PostgreSQL write them": (
        ["1 day, 2:00:00", "-1 day, 23:00:00", "03:00:00.5"],
        Column("a", "duration", bounds=(-3600, 93600), decimals=1),
    ),
    "whole days": (
        [f"{n} days" for n in range(12)],
        Column("a", "duration", bounds=(0, 11 * 86400), decimals=0, unit="d"),
    ),
    "an option in days": (["1 day", "2 days", "1 day"], Column("a", "categorical", categories=("1 day", "2 days"))),
    "times of day": (
        [datetime.time(8, 30), None, datetime.time(17, 5, 1)],
        Column("a", "duration", bounds=(30600, 61501), decimals=0, nullable=True),
    ),
    "ISO durations": (
        ["PT1H30M", "NA"],
        Column("a", "duration", bounds=(5400, 5400), decimals=0, format="iso", nullable=True),
    ),
    "codes that begin like ISO durations": (
        ["P1", "PT1", "P003872", "P1"],
        Column("a", "categorical", categories=("P003872", "P1", "PT1")),
    ),
    "whole minutes with seconds": (
        ["1970-01-01 00:07:00", "1970-01-01 00:08:00"],
        Column("a", "datetime", bounds=(420, 480), format="%Y-%m-%d %H:%M:00"),
    ),
    "minutes as moments": (
        pd.to_datetime(["1970-01-01 00:07", "1970-01-01 00:08"]),
        Column("a", "datetime", bounds=(420, 480), format="%Y-%m-%d %H:%M:00"),
    ),
    "moments with an offset": (
        ["1970-01-01 01:00:07+01:00", "1970-01-01T00:00:09Z"],
        Column("a", "categorical", categories=("1970-01-01 01:00:07+01:00", "1970-01-01T00:00:09Z")),
    ),
    "moments with offsets": (
        ["1970-01-01T01:00:07+01:00", "1970-01-01T00:00:09Z"],
        Column("a", "datetime", bounds=(7, 9), format="%Y-%m-%dT%H:%M:%S%z", timezone="UTC"),
    ),
    "offsets with a colon": (
        ["1970-01-01T01:00:07+01:00", "1970-01-01T00:00:09+00:00"],
        Column("a", "datetime", bounds=(7, 9), format="%Y-%m-%dT%H:%M:%S%:z", timezone="UTC"),
    ),
    "offsets without one": (
        ["1970-01-01T01:00:07+0100", "1970-01-01T00:00:09+0000"],
        Column("a", "datetime", bounds=(7, 9), format="%Y-%m-%dT%H:%M:%S%z", timezone="UTC"),
    ),
    "moments of UTC": (
        ["1970-01-01T00:00:07Z", "1970-01-01T00:00:09Z"],
        Column("a", "datetime", bounds=(7, 9), format="%Y-%m-%dT%H:%M:%SZ", timezone="UTC"),
    ),
    "numbers where there is none": (
        [*range(30), -999, -999, 999, 999, 99],
        Column("a", "integer", bounds=(0, 99), codes=(999, -999)),
    ),
    "one number far away": ([*range(30), -999], Column("a", "integer", bounds=(-999, 29))),
    "times": (
        ["1970-01-01 00:00:07", "1970-01-01 00:01:00"],
        Column("a", "datetime", bounds=(7, 60), format="%Y-%m-%d %H:%M:%S"),
    ),
    "dates in three formats": (
        ["1970-01-02", "02.01.1970", "1/2/1970"],
        Column("a", "categorical", categories=("02.01.1970", "1/2/1970", "1970-01-02")),
    ),
    "unicode": (["北京", "Łódź", "北京"], Column("a", "categorical", categories=("Łódź", "北京"))),
    "constant": ([7, 7, 7], Column("a", "integer", bounds=(7, 7))),
}


@pytest.mark.parametrize(("values", "expected"), KINDS.values(), ids=KINDS)
def test_the_narrowest_kind_that_fits(values: list[Any], expected: Column) -> None:
    assert draft(pd.DataFrame({"a": values})).schema == Schema((expected,), rows=len(values))


@pytest.mark.parametrize("form", [*WRITTEN, *SHORT])
def test_dates_with_the_months_name_or_a_short_year_are_dates(form: str) -> None:
    days = pd.date_range("1994-02-20", periods=60, freq="9D")
    column = draft(pd.DataFrame({"a": days.strftime(form), "b": np.arange(60) % 3})).schema["a"]
    assert (column.kind, column.format) == ("datetime", form)
    assert column.bounds == (days[0].timestamp(), days[-1].timestamp())


def test_a_few_texts_like_dates_with_a_short_year_are_categories() -> None:
    assert draft(pd.DataFrame({"a": ["1/2/10", "2/3/10", "1/2/10"], "b": [1, 2, 2]})).schema["a"].kind == "categorical"


def test_rows_of_another_origin_may_be_finer_than_the_draft() -> None:
    drafted = draft(pd.DataFrame({"a": ["2024-01-01 00:07:00", "2024-01-02 00:08:00"], "b": [1, 2]}))
    finer = pd.DataFrame({"a": ["2024-01-01 00:07:09", "2024-01-02 00:08:00"], "b": [1, 2]})
    assert drafted.schema["a"].step == 60
    with pytest.raises(TableError, match="format"):
        read(finer, drafted.schema)
    assert read(finer, drafted.loose(), check_domain=False).private["a"].dt.second.tolist() == [9, 0]


def _awkward(rows: int = 60) -> pd.DataFrame:
    """Return columns whose later rows say what the first ones did not."""
    late = [*range(rows - 2), "refused", "0.25"]
    days = pd.date_range("2024-01-01", periods=rows)
    return pd.DataFrame(
        {
            "late word": list(map(str, late)),
            "late decimal": [*map(str, range(rows - 1)), "0.125"],
            "late gap": [*range(rows - 1), None],
            "late value": [*[None] * (rows - 1), "17"],
            "late time": [*days.strftime("%Y-%m-%d 00:00:00")[:-1], "2024-01-01 08:30:09"],
            "late clock": days.where(np.arange(rows) < rows - 1, days + pd.Timedelta(hours=3)),
            "late text": [*["1:30:00"] * (rows - 1), "none of it"],
            "late repeat": [*(f"t{n}" for n in range(rows - 1)), "t0"],
            "no repeat": [f"t{n}" for n in range(rows)],
            "mail": [None, *(f"p{n % 30}@example.org" for n in range(rows - 1))],
            "late stand-in": [*range(rows - 2), 9999, 9999],
            "late zero": [*map(str, range(rows - 1)), "007"],
            "words": list("abc") * (rows // 3),
            "truth": ["true"] * rows,
        }
    )


@pytest.mark.parametrize("ending", ["frame", "csv", "parquet"])
@pytest.mark.parametrize("chunk", [1, 7, 59])
def test_how_a_table_is_cut_into_parts_makes_no_difference(tmp_path: Path, ending: str, chunk: int) -> None:
    frame, source = _awkward(), tmp_path / f"t.{ending}"
    if ending == "frame":
        whole, parts = draft(frame), draft(frame, chunk=chunk)
    else:
        frame.to_csv(source, index=False) if ending == "csv" else frame.to_parquet(source)
        whole, parts = draft(source), draft(source, chunk=chunk)
    assert parts == whole
    assert whole.schema["late word"].codes == ("refused",)
    assert whole.schema["late decimal"].decimals == 3
    assert whole.schema["late gap"].nullable
    assert whole.schema["late value"].bounds == (17, 17)
    assert whole.schema["late text"].categories == ("1:30:00", "none of it")
    assert (whole.schema["late repeat"].roles, whole.schema["no repeat"].roles) == ((), ("identifier",))
    assert whole.schema["mail"].roles == ("identifier",)
    assert whole.schema["late stand-in"].codes == (9999,)
    assert whole.schema["late zero"].kind == "categorical"
    assert whole.schema["late clock"].step == (60.0 if ending == "frame" else whole.schema["late clock"].step)


def test_a_large_table_is_never_held_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"a": np.arange(5000) % 90, "b": [f"t{n % 9}" for n in range(5000)]})
    taken: list[int] = []
    original = Candidate.take

    def take(self: Candidate, raw: RawTable) -> bool:
        taken.append(raw.columns.num_rows)
        return original(self, raw)

    monkeypatch.setattr(Candidate, "take", take)
    drafted = draft(frame, chunk=500)
    assert drafted.schema.rows == 5000
    assert max(taken) == 500


def test_drafts_with_stand_ins_and_pandas_lengths_read_their_table_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "stay": pd.to_timedelta(rng.integers(0, 90_000, 200), unit="s"),
            "score": np.where(rng.random(200) < 0.1, -999, rng.integers(0, 80, 200)),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    schema = draft(tmp_path / "t.csv").schema
    assert (schema["stay"].kind, schema["score"].codes) == ("duration", (-999,))
    private = read(tmp_path / "t.csv", schema).private
    assert (private["stay"] == frame["stay"]).all()
    assert (private["score"] == frame["score"]).all()
    assert draft(frame).kinds()["score"] == Column("score", "integer", nullable=None)


def _people(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "e-mail": [f"p{i}@example.org" for i in range(rows)],
            'city, "home"': rng.choice(["Köln: alt", "# 1", "null", "no", "'q'", "1e3"], rows),
            "born": [f"{1960 + i % 40}-05-17" for i in range(rows)],
            "pay": rng.lognormal(8, 1, rows).round(2),
            "seen": pd.array([True, None] * (rows // 2), "boolean"),
        }
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_draft_reads_back_and_describes_its_table(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"people.{ending}"
    _people().to_csv(path, index=False) if ending == "csv" else _people().to_parquet(path)
    drafted = draft(path)
    (tmp_path / "schema.yaml").write_text(drafted.to_yaml(), encoding="utf-8")
    schema = read_schema(tmp_path / "schema.yaml")
    assert schema == drafted.schema
    assert read(path, schema).private.shape == (40, 4)
    assert [c.kind for c in schema] == ["integer", "categorical", "categorical", "datetime", "float", "boolean"]
    assert schema.with_role("identifier") == ("id", "e-mail")


def test_every_line_that_was_read_from_data_is_marked() -> None:
    text = draft(_people()).to_yaml()
    assert text.startswith(HEADER)
    lines = text.removeprefix(HEADER).splitlines()
    assert [line for line in lines if not line.endswith(MARK)] == ["columns:"]
    assert lines[0] == f"rows: 40  {MARK}"


@pytest.mark.parametrize("chunk", [7, 1000])
def test_the_order_of_moments_is_proposed_and_not_taken(tmp_path: Path, chunk: int) -> None:
    rng = np.random.default_rng(0)
    days = np.cumsum(rng.integers(0, 9, (60, 3)), axis=1)
    frame = pd.DataFrame(pd.Timestamp("2024-01-01") + pd.to_timedelta(days.ravel(), unit="D").to_numpy().reshape(60, 3))
    frame.columns = list("abc")
    frame["d"] = frame["b"].sample(frac=1, random_state=0).to_numpy()
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    drafted = draft(frame, chunk=chunk)
    assert drafted.orders == (Inequality("a", "b"), Inequality("b", "c"))
    text = drafted.to_yaml()
    (tmp_path / "as it is.yaml").write_text(text, encoding="utf-8")
    assert read_schema(tmp_path / "as it is.yaml") == drafted.schema
    (tmp_path / "taken.yaml").write_text(re.sub("^#(constraints|  - )", r"\1", text, flags=re.M), encoding="utf-8")
    assert read_schema(tmp_path / "taken.yaml").constraints == drafted.orders
    assert text.count(MARK) == text.count("\n") - HEADER.count("\n") - ORDERS.count("\n") - 1  # columns:
    assert draft(frame.head(15)).orders == ()  # by chance, perhaps


def test_identifiers_publish_no_domain() -> None:
    for column in draft(_people()).schema:
        if column.roles == ("identifier",):
            assert column.categories is None
            assert column.bounds is None


@pytest.mark.parametrize(("name", "is_one"), [("patient_id", True), ("userId", True), ("paid", False), ("grid", False)])
def test_unique_whole_numbers_are_identifiers_by_name_only(name: str, is_one: bool) -> None:
    column = draft(pd.DataFrame({name: [5, 3, 9], "other": [1, 1, 2]})).schema[name]
    assert (column.roles == ("identifier",)) == is_one


def test_row_numbers_are_identifiers_whatever_they_are_called() -> None:
    numbers = {"order_no": np.random.default_rng(0).permutation(40) + 50_001, "year": 1980 + np.arange(40) % 20}
    schema = draft(pd.DataFrame(numbers | {"few": np.arange(40) * 2}), chunk=11).schema
    assert [column.roles for column in schema] == [("identifier",), (), ()]


def test_whole_numbers_that_no_float_holds_are_names() -> None:
    cards = 4_000_000_000_000_000_001 + 3 * np.arange(40)
    schema = draft(pd.DataFrame({"card": cards, "of": cards[np.arange(40) // 2], "x": np.arange(40) % 3})).schema
    assert schema["card"].roles == ("identifier",)
    assert schema["of"].categories == tuple(map(str, cards[:20]))


def test_the_years_of_a_time_series_are_no_row_numbers() -> None:
    frame = pd.DataFrame({"Year": 1871 + np.arange(40), "flow": np.arange(40) % 7, "case": np.arange(40)})
    schema = draft(frame).schema
    assert [column.roles for column in schema] == [(), (), ("identifier",)]
    found = personal_columns(schema.with_columns(replace(schema["case"], roles=())), frame.astype("Int64"))
    assert [finding.column for finding in found] == ["case"]


def test_names_of_rows_are_identifiers_though_rows_were_left_out(tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": np.arange(9) % 2}).drop([3, 5])
    rows.to_csv(tmp_path / "t.csv")
    assert draft(tmp_path / "t.csv").schema["Unnamed: 0"].roles == ("identifier",)
    for name, is_one in (("rownames", True), ("row_number", True), ("index", True), ("price index", False)):
        assert (draft(rows.assign(**{name: rows.index * 2})).schema[name].roles == ("identifier",)) == is_one
    pd.concat([rows, rows]).to_csv(tmp_path / "twice.csv")
    assert draft(tmp_path / "twice.csv").schema["Unnamed: 0"].roles == ()


def test_a_column_of_people_is_an_identifier_whatever_it_is_called() -> None:
    last = ("Berg", "Adler", "Quist", "Wu", "Ito", "Oz")
    names = [f"{first} {name}" for first in ("Anna", "Peter", "Mario", "Susan") for name in last]
    schema = draft(pd.DataFrame({"client": names * 3, "other": np.arange(72) % 7}), chunk=11).schema
    assert schema["client"].roles == ("identifier",)


def test_kinds_alone_publish_names_and_kinds() -> None:
    bare = draft(_people()).kinds()
    assert bare.names == tuple(_people())
    assert bare.rows is None
    for column in bare:
        assert (column.categories, column.bounds, column.decimals, column.nullable) == (None, None, None, None)


def test_words_found_among_numbers_are_not_published_with_the_kinds() -> None:
    drafted = draft(
        pd.DataFrame({"a": [*map(str, range(40)), "Zebedee"], "b": pd.date_range("2020-01-01", periods=41)})
    )
    assert drafted.schema["a"].codes == ("Zebedee",)
    assert drafted.kinds()["a"] == Column("a", "categorical", nullable=None)
    assert drafted.kinds()["b"].cycle == "week"


def test_too_many_categories_are_left_to_be_declared() -> None:
    values = [f"v{i}" for i in range(MOST_CATEGORIES + 1)] * 2
    assert draft(pd.DataFrame({"a": values})).schema["a"].categories is None
    within = values[:MOST_CATEGORIES] * 2
    assert len(draft(pd.DataFrame({"a": within})).schema["a"].categories) == MOST_CATEGORIES


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1]}), "at least two rows"),
        (pd.DataFrame({"a": []}), "at least two rows"),
        (pd.DataFrame({"a": [1.5, float("inf")]}), "column 'a': a value is infinite"),
        (pd.DataFrame({"a": [["Zebedee"], ["x"]]}), "column 'a': its kind cannot be told"),
        (
            pd.DataFrame(
                {"a": [1.5, float("inf")], "b": [["Zebedee"], ["x"]], "c": [1, 2], "d": [{"Zebedee": 1}, None]}
            ),
            "column 'a': a value is infinite, .* missing one; column 'b': its kind .*; column 'd': its kind",
        ),
    ],
)
def test_what_cannot_be_drafted_is_named(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        draft(frame)
    assert "Zebedee" not in str(caught.value)


COMMAS = {
    "decimal comma": lambda n: f"{n},5",
    "German": lambda n: f"{n}.234,56",
    "French": lambda n: f"-{n} 234,5",
    "English": lambda n: f"{n},234.5",
    "thousands": lambda n: f"{977 * n + 900:,}",
    "Swiss": lambda n: f"{n}'234.50",
    "a word among them": lambda n: "unknown" if n == 4 else f"{n},25",
}


@pytest.mark.parametrize("chunk", [13, 80])
@pytest.mark.parametrize("write", COMMAS.values(), ids=COMMAS)
def test_numbers_with_commas_are_refused_and_not_published(write: Callable[[int], str], chunk: int) -> None:
    for rows in (range(80), [n % 30 for n in range(80)]):  # as names of rows too
        with pytest.raises(
            TableError, match="column 'a': numbers have a decimal comma or a thousands separator; write"
        ):
            draft(pd.DataFrame({"a": [write(n) for n in rows], "b": [1, 2] * 40}), chunk=chunk)


@pytest.mark.parametrize("values", [["1,000", "2,500", "999"], ["1,2", "2,3"], [f"{n},{n},{n}" for n in range(30)]])
def test_a_few_options_with_commas_are_categories(values: list[str]) -> None:
    assert draft(pd.DataFrame({"a": values * 2})).schema["a"].categories == tuple(sorted(values))


def test_a_column_without_a_value_is_left_out_of_the_model(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 1], "empty": [None] * 3, "gaps": [float("nan")] * 3})
    drafted = draft(frame)
    assert drafted.schema.with_role("identifier") == drafted.kinds().with_role("identifier") == ("empty", "gaps")
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert draft(tmp_path / "t.csv", chunk=2).schema == drafted.schema
    assert list(read(frame, drafted.schema).private) == ["a"]


@pytest.mark.parametrize("chunk", [7, 60])
def test_infinite_numbers_are_codes(tmp_path: Path, chunk: int) -> None:
    frame = pd.DataFrame({"a": [*np.arange(40) / 4, np.inf, -np.inf]})
    schema = draft(frame, chunk=chunk).schema
    assert schema["a"] == Column("a", "float", bounds=(0, 9.75), decimals=2, codes=("-inf", "inf"))
    assert read(frame, schema).private["a"].tolist()[-3:] == [9.75, "inf", "-inf"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert draft(tmp_path / "t.csv", chunk=chunk).schema == schema


def test_sentences_are_free_text_and_codes_and_addresses_are_not() -> None:
    rng = np.random.default_rng(0)
    words = np.array(["patient", "reports", "mild", "pain", "since", "monday", "no", "fever"])
    notes = [" ".join(rng.choice(words, 8)) for _ in range(60)]
    frame = pd.DataFrame(
        {
            "note": [*notes[:-1], None],
            "note_id": notes,
            "home_address": notes,
            "key": [f"{number:032x}" for number in range(60)],
            "few": notes[:3] * 20,
        }
    )
    drafted = draft(frame)
    schema = drafted.schema
    assert schema["note"] == Column("note", "text", nullable=True, max_length=max(map(len, notes[:-1])))
    assert schema.with_role("identifier") == ("note_id", "home_address", "key")
    assert schema["few"].categories == tuple(sorted(set(notes[:3])))
    assert draft(frame, chunk=20).schema == schema
    assert drafted.kinds()["note"] == Column("note", "text", nullable=None)
    assert yaml.safe_load(drafted.to_yaml())["columns"][0]["max_length"] == schema["note"].max_length
