"""Durations, time zones, dates and the rhythm of the week: what goes in comes out as it was declared."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabsynth.canonical import as_text
from tabsynth.columns.times import duration_text, place_in_cycle, seconds_of, written
from tabsynth.drafting import draft
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import SchemaError, TableError
from tabsynth.metrics.evidence import Evidence
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import DAY, Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import plain, read, write_rows

SECONDS = "%Y-%m-%d %H:%M:%S"
HOUR = 3600.0


def only(column: Column) -> Schema:
    return Schema((column,))


def rows_of(frame, *columns, budget=None, n=None, seed=0):
    """Return rows of a model that draws columns one by one."""
    table = read(frame, Schema(columns))
    fitted = model.fit(Independent(), table, Ledger(budget), Secret.fixed(seed))
    return fitted.sample(n or len(frame), np.random.default_rng(seed))


# --- durations -------------------------------------------------------------------------------------------------------

SAME = {
    "clock": ["1:30:00", "00:00:05", "-26:10:00"],
    "short clock": ["1:30", "00:00:05", "-26:10"],
    "iso": ["PT1H30M", "PT5S", "-P1DT2H10M"],
    "long iso": ["PT90M", "P0DT5S", "-PT1570M"],
    "iso with a comma": ["PT1,5H", "+PT5S", "-P1DT2,0H10M"],
    "units": ["1 h 30 min", "5 s", "-26h10m"],
    "pandas": ["0 days 01:30:00", "0 days 00:00:05", "-2 days +21:50:00"],
    "timedeltas": pd.to_timedelta([5400, 5, -94_200], unit="s"),
}


@pytest.mark.parametrize("values", SAME.values(), ids=SAME)
def test_every_way_to_write_a_duration_is_read(values):
    series = read(pd.DataFrame({"a": values}), only(Column("a", "duration"))).private["a"]
    assert series.dtype == "timedelta64[us]"
    assert series.dt.total_seconds().tolist() == [5400, 5, -94_200]


@pytest.mark.parametrize(
    "text", ["P1", "PT1", "PM2", "P003872", "P", "PT", "P1DT", "P1.5", "1 2 3", "1,5 h", "nat", "x1"]
)
def test_what_only_looks_like_a_duration_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        seconds_of(text, None)
    with pytest.raises(TableError, match="a value is no duration"):
        read(pd.DataFrame({"a": ["1:30:00", text if text != "nat" else "NAT"]}), only(Column("a", "duration")))


@pytest.mark.parametrize(("unit", "seconds"), [("ms", 1.5e-3), ("s", 1.5), ("min", 90), ("h", 5400), ("d", 129_600)])
def test_a_number_is_a_duration_in_its_unit_and_comes_out_as_one(tmp_path, unit, seconds):
    column = Column("a", "duration", unit=unit, decimals=1, nullable=True)
    table = read(pd.DataFrame({"a": [1.5, 0.1, None]}), only(column))
    assert table.private["a"].dt.total_seconds().tolist()[:2] == pytest.approx([seconds, seconds / 15])
    assert plain(table.private, table.schema)["a"].tolist()[:2] == [1.5, 0.1]
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet"):
        write_rows(table.private, table.schema, path)
        pd.testing.assert_frame_equal(read(path, table.schema).private, table.private)
    assert (tmp_path / "a.csv").read_text().split() == ["a", "1.5", "0.1", '""']


@pytest.mark.parametrize(
    ("form", "text"), [(None, "-26:10:00.25"), ("clock", "-26:10:00.25"), ("iso", "-PT26H10M0.25S")]
)
def test_a_duration_is_written_in_its_format(tmp_path, form, text):
    column = Column("a", "duration", decimals=2, format=form, nullable=True)
    table = read(pd.DataFrame({"a": pd.to_timedelta([-94_200.25, None], unit="s")}), only(column))
    write_rows(table.private, table.schema, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split() == ["a", text, '""']
    pd.testing.assert_frame_equal(read(tmp_path / "a.csv", table.schema).private, table.private)
    write_rows(table.private, table.schema, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read(tmp_path / "a.parquet", table.schema).private, table.private)


@settings(max_examples=60, deadline=None)
@given(st.integers(-(10**15), 10**15), st.sampled_from(["clock", "iso"]))
def test_the_text_of_a_duration_is_read_as_the_same_duration(microseconds, form):
    assert seconds_of(duration_text(microseconds, form), None) == microseconds / 1e6


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e9, 1e9), st.sampled_from(["ms", "s", "min", "h", "d", None]))
def test_a_bound_comes_back_to_the_last_digit(seconds, unit):
    assert seconds_of(written(seconds, unit), unit) == seconds


WRONG = {
    "unit of a number": ({"kind": "float", "unit": "s"}, "unit belongs to a duration: one of ms, s, min, h, d"),
    "unknown unit": ({"kind": "duration", "unit": "year"}, "unit belongs to a duration: one of ms, s, min, h, d"),
    "unit and format": ({"kind": "duration", "unit": "s", "format": "iso"}, "is a number of its unit or has a format"),
    "unknown format": ({"kind": "duration", "format": "%H"}, "has a format, clock or iso"),
    "too fine": ({"kind": "duration", "unit": "ms", "decimals": 4}, "held to a millionth of a second"),
    "zone of a number": ({"kind": "integer", "timezone": "UTC"}, "timezone belongs to a datetime"),
    "zone of a day": ({"kind": "datetime", "timezone": "UTC"}, "with a format that has hours"),
    "no such zone": ({"kind": "datetime", "format": SECONDS, "timezone": "Mars/Base"}, "no time zone 'Mars/Base'"),
    "a folder of zones": ({"kind": "datetime", "format": SECONDS, "timezone": "Europe"}, "no time zone 'Europe'"),
    "cycle of a duration": ({"kind": "duration", "cycle": "day"}, "cycle belongs to a datetime column"),
    "unknown cycle": ({"kind": "datetime", "cycle": "month"}, "cycle belongs to a datetime column"),
    "hours of days": ({"kind": "datetime", "cycle": "day"}, "a cycle of a day needs a format with hours"),
    "rhythm of another cycle": ({"kind": "datetime", "cycle": "week", "rhythm": [1] * 24}, "7 here"),
    "no rhythm at all": ({"kind": "datetime", "cycle": "week", "rhythm": [0] * 7}, "7 here"),
    "rhythm alone": ({"kind": "datetime", "rhythm": [1] * 7}, "0 here"),
    "a number for a zone": ({"kind": "datetime", "format": SECONDS, "timezone": 1}, "timezone must be a text"),
    "bounds that are none": ({"kind": "duration", "bounds": ["a", "b"]}, "lists of values of its kind"),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "rule"), WRONG.values(), ids=WRONG)
def test_a_column_of_times_is_refused_by_its_rule(facts, rule):
    with pytest.raises(SchemaError, match="Column 'a': .*" + rule):
        Column.from_dict({"name": "a"} | facts)


def test_durations_are_modelled_in_their_bounds_and_steps():
    column = Column("a", "duration", unit="min", bounds=(0, 90 * 60), nullable=True)
    assert column.to_dict()["bounds"] == [0, 90]
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"a": rng.integers(0, 91, 2000)}).astype("Int64")
    frame.loc[::9, "a"] = pd.NA
    rows = rows_of(frame, column, budget=Budget(5.0, 1e-6))
    minutes = rows["a"].dropna().dt.total_seconds() / 60
    assert minutes.between(0, 90).all()
    assert (minutes == minutes.round()).all()
    assert abs(minutes.mean() - 45) < 3
    assert 0.08 < rows["a"].isna().mean() < 0.15
    Evidence(Schema((column,)), rows, None, rows)  # what a metric would look at


# --- time zones ------------------------------------------------------------------------------------------------------

BERLIN = Column("a", "datetime", format=SECONDS, timezone="Europe/Berlin", bounds=(1.7e9, 1.72e9), nullable=True)
WALL = ["2024-01-15 08:00:00", "2024-05-15 08:00:00"]


def test_naive_moments_are_those_of_the_zone_and_aware_ones_are_brought_there(tmp_path):
    naive = pd.DataFrame({"a": WALL})
    aware = pd.DataFrame({"a": pd.to_datetime(["2024-01-15 07:00", "2024-05-15 06:00"], utc=True)})
    elsewhere = aware.assign(a=aware["a"].dt.tz_convert("Asia/Kolkata"))
    expected = read(naive, only(BERLIN)).private
    assert str(expected["a"].dtype) == "datetime64[s, Europe/Berlin]"
    for frame in (aware, elsewhere, expected):
        pd.testing.assert_frame_equal(read(frame, only(BERLIN)).private, expected)
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet"):
        write_rows(expected, only(BERLIN), path)
        pd.testing.assert_frame_equal(read(path, only(BERLIN)).private, expected)
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == WALL
    assert str(pq.read_schema(tmp_path / "a.parquet").field("a").type.tz) == "Europe/Berlin"


def test_offsets_in_a_text_are_kept_where_the_format_has_them(tmp_path):
    column = Column("a", "datetime", format="%Y-%m-%dT%H:%M:%S%z", timezone="Europe/Berlin")
    table = read(pd.DataFrame({"a": ["2024-01-15T07:00:00+0000", "2024-05-15T11:30:00+0530"]}), only(column))
    write_rows(table.private, table.schema, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().split()[1:] == ["2024-01-15T08:00:00+0100", "2024-05-15T08:00:00+0200"]


@pytest.mark.parametrize("offset", ["+02:00", "+0200", "Z"])
def test_an_offset_leaves_in_the_form_in_which_it_came(tmp_path, offset):
    frame = pd.DataFrame({"a": [f"2024-05-15T11:30:{second:02d}{offset}" for second in range(30)]})
    schema = draft(frame).schema
    write_rows(read(frame, schema).private, schema, tmp_path / "a.csv")
    first = {"+02:00": "09:30:00+00:00", "+0200": "09:30:00+0000", "Z": "11:30:00Z"}[offset]
    assert (tmp_path / "a.csv").read_text().split()[1] == f"2024-05-15T{first}"
    pd.testing.assert_frame_equal(read(tmp_path / "a.csv", schema).private, read(frame, schema).private)


@pytest.mark.parametrize(("form", "text"), [("%H:%M%:z", "00:01+00:00"), ("%H:%M%z", "00:01+0000")])
def test_an_offset_of_no_zone_is_that_of_utc(form, text):
    column = Column("a", "datetime", format=form)
    assert as_text(pd.Series([pd.Timestamp(60, unit="s"), pd.NaT]), column).tolist()[0] == text


def test_hours_that_come_twice_or_never_have_a_meaning():
    column = Column("a", "datetime", format=SECONDS, timezone="Europe/Berlin")
    found = read(pd.DataFrame({"a": ["2024-10-27 02:30:00", "2024-03-31 02:30:00"]}), only(column)).private["a"]
    assert found.dt.tz_convert("UTC").astype(str).tolist() == ["2024-10-27 00:30:00+00:00", "2024-03-31 01:00:00+00:00"]


def test_bounds_without_an_offset_are_by_the_clocks_of_the_zone():
    facts = {"name": "a", "kind": "datetime", "format": SECONDS, "timezone": "Europe/Berlin"}
    column = Column.from_dict(facts | {"bounds": ["2024-01-01", "2024-07-01T12:00:00Z"]})
    assert column.to_dict()["bounds"] == ["2024-01-01T00:00:00+01:00", "2024-07-01T14:00:00+02:00"]
    assert Column.from_dict(column.to_dict()) == column


def test_order_between_zones_is_that_of_the_moments():
    from tabsynth.constraints import Inequality

    tokyo = Column("b", "datetime", format=SECONDS, timezone="Asia/Tokyo")
    schema = Schema((Column("a", "datetime", format=SECONDS), tokyo), constraints=(Inequality("a", "b"),))
    read(pd.DataFrame({"a": ["2024-01-15 07:00:00"] * 2, "b": ["2024-01-15 16:00:00"] * 2}), schema)
    with pytest.raises(TableError, match="a row breaks the constraint 'a' <= 'b'"):
        read(pd.DataFrame({"a": ["2024-01-15 07:00:00"] * 2, "b": ["2024-01-15 15:59:59"] * 2}), schema)


# --- dates -----------------------------------------------------------------------------------------------------------


def test_a_date_stays_a_date(tmp_path):
    column = Column("a", "datetime", nullable=True)
    table = read(pd.DataFrame({"a": ["2024-02-29", None, "1969-12-31"]}), only(column))
    write_rows(table.private, table.schema, tmp_path / "a.parquet")
    assert str(pq.read_schema(tmp_path / "a.parquet").field("a").type) == "date32[day]"
    pd.testing.assert_frame_equal(read(tmp_path / "a.parquet", table.schema).private, table.private)


# --- the rhythm of the week ------------------------------------------------------------------------------------------


def shop(rows, zone=None):
    """Return moments of two years of a shop that is open on weekdays from 9 to 17, by the clocks of its zone."""
    rng = np.random.default_rng(1)
    days = pd.date_range("2022-01-03", periods=728, freq="D")
    days = days[days.day_of_week < 5]
    at = days[rng.integers(len(days), size=rows)] + pd.to_timedelta(rng.integers(9 * 3600, 17 * 3600, rows), unit="s")
    return pd.DataFrame({"a": pd.Series(at).dt.tz_localize(zone) if zone else at})


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("budget", [None, Budget(1.0, 1e-6)], ids=["free", "budget"])
def test_a_declared_cycle_keeps_hours_and_weekdays(zone, budget):
    bounds = tuple(pd.Timestamp(day, tz=zone or "UTC").timestamp() for day in ("2022-01-03", "2023-12-31 23:59:59"))
    column = Column("a", "datetime", format=SECONDS, timezone=zone, bounds=bounds, cycle="week")
    frame = shop(10_000, zone)
    kept = rows_of(frame, column, budget=budget)["a"].dt
    lost = rows_of(frame, Column("a", "datetime", format=SECONDS, timezone=zone, bounds=bounds), budget=budget)["a"].dt
    open_kept, open_lost = (np.mean((t.day_of_week < 5) & t.hour.between(9, 16)) for t in (kept, lost))
    assert open_kept > 0.97
    assert open_lost < 0.4  # without a cycle the hours of a bin are all alike
    assert abs(np.mean(kept.day_of_week == 2) - 0.2) < 0.03
    assert abs(np.mean(kept.year == 2022) - 0.5) < 0.03  # and the date is what the bins say


def test_the_rhythm_is_charged_before_it_is_measured_and_kept_in_the_schema():
    column = Column("a", "datetime", format=SECONDS, bounds=(1.64e9, 1.71e9), cycle="day")
    table, ledger = read(shop(2000), only(column)), Ledger(Budget(1.0, 1e-6))
    found = discover(table, ledger, Secret(), share=0.1).schema["a"]
    assert "rhythm of 'a'" in [charge.why for charge in ledger.charges]
    assert len(found.rhythm) == 24
    assert Column.from_dict(found.to_dict()) == found
    before = len(ledger.charges)
    discover(read(shop(2000), Schema((found,), rows=2000)), ledger, Secret(), share=0.1)
    assert len(ledger.charges) == before  # what is declared is not measured


def test_weekdays_of_dates():
    column = Column("a", "datetime", bounds=(18_995 * DAY, 19_727 * DAY), cycle="week")
    frame = shop(4000).assign(a=lambda f: f["a"].dt.normalize())
    assert rows_of(frame, column, budget=Budget(1.0, 1e-6))["a"].dt.day_of_week.lt(5).mean() > 0.97


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([None, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata"]))
def test_values_of_a_rhythm_come_back_and_stay_in_their_bin(seed, zone):
    rng = np.random.default_rng(seed)
    low = float(rng.integers(0, 1.7e9))
    edges = low + np.unique(np.append(0, rng.integers(1, 4e6, 5)))
    weights = tuple(map(float, rng.integers(0, 3, 168) + (rng.random(168) < 0.5) + 0.01))
    facts = {"bounds": (low, edges[-1] - 1), "bins": tuple(edges), "rhythm": weights, "timezone": zone}
    column = Column("a", "datetime", format=SECONDS, cycle="week", **facts)
    codec, encoder = Codec(column), Encoder(only(column))
    frame = encoder.decode(rng.integers(0, codec.size, (500, 1)).astype(np.int32), rng)
    encoded = encoder.encode(frame)
    again = encoder.decode(encoded.tokens, rng, encoded.offsets)
    apart = (frame["a"] - again["a"]).dt.total_seconds().abs()
    assert apart.max() <= 30  # a float32 tells so much apart where an hour is rare
    assert (encoder.encode(again).tokens == encoded.tokens).mean() > 0.99
    span = np.sort(rng.integers(low, edges[-1], 2)).astype(float)
    inside = Codec(column).portion(*span)
    places = rng.random(500)
    offsets = inside[0][encoded.tokens[:, 0]] + places * (inside[1] - inside[0])[encoded.tokens[:, 0]]
    some = inside[1][encoded.tokens[:, 0]] > inside[0][encoded.tokens[:, 0]] + 1e-6
    drawn = codec.decode(encoded.tokens[some, 0], offsets[some].astype(np.float32))
    axis = (drawn.dt.tz_convert(None) if zone else drawn).to_numpy().astype("datetime64[s]").astype(float)
    assert ((axis >= span[0] - 2) & (axis <= span[1] + 2)).all()


def test_the_place_in_a_week_by_hand():
    moments = pd.to_datetime(["2024-01-01 00:00", "2024-01-07 23:59", "2024-07-01 00:00"])
    axis = moments.to_numpy().astype("datetime64[s]").astype(float)
    assert place_in_cycle(axis, "week", 1.0, None).tolist() == [0, 167, 0]
    assert place_in_cycle(axis, "week", 1.0, "Europe/Berlin").tolist() == [1, 0, 2]
    assert place_in_cycle(axis, "week", DAY, None).tolist() == [0, 6, 0]
