"""Encoding: a round trip keeps every value to its precision, and decoding never leaves the declared domain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabsynth.encoding.codec import Codec, roundest
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import SchemaError
from tabsynth.schema import Column, Schema
from tabsynth.table import read

SCHEMA = Schema(
    (
        Column("id", "integer", roles=("identifier",)),
        Column("city", "categorical", categories=("Köln", "Łódź", "北京"), nullable=True),
        Column("ill", "boolean", nullable=True),
        Column("age", "integer", bounds=(0, 99), bins=(0, 1, 18, 40, 65, 100), nullable=True),
        Column("cost", "float", bounds=(-5, 5), decimals=2, bins=(-5, 0, 0.01, 5.01)),
        Column("day", "datetime", bounds=(0, 86400.0 * 99), bins=(0, 86400.0 * 50, 86400.0 * 100)),
    )
)


def _frame(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "city": rng.choice(["Köln", "Łódź", "北京"], rows),
            "ill": pd.array(rng.random(rows) < 0.3, "boolean"),
            "age": pd.array(rng.integers(0, 100, rows), "Int64"),
            "cost": rng.uniform(-5, 5, rows).round(2),
            "day": pd.Timestamp("1970-01-01") + pd.to_timedelta(rng.integers(0, 100, rows), unit="D"),
        }
    )
    frame.loc[::7, ["city", "ill", "age"]] = None
    return frame


def test_round_trip_is_exact_for_stepped_columns() -> None:
    private = read(_frame(500), SCHEMA).private
    encoder = Encoder(SCHEMA)
    encoded = encoder.encode(private)
    back = encoder.decode(encoded.tokens, np.random.default_rng(0), encoded.offsets).drop(columns="id")
    pd.testing.assert_frame_equal(back, private)


def test_decoding_random_tokens_stays_in_the_domain() -> None:
    encoder = Encoder(SCHEMA)
    rng = np.random.default_rng(1)
    tokens = np.stack([rng.integers(0, size, 5000) for size in encoder.sizes], axis=1).astype(np.int32)
    rows = encoder.decode(tokens, rng)
    assert read(rows, SCHEMA).private.shape == (5000, 5)  # validation passes: no value leaves its domain
    assert rows["id"].tolist() == list(range(1, 5001))
    assert set(rows["age"].dropna()) == set(range(100))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.integers(1, 12),
    st.one_of(st.none(), st.integers(0, 4)),
)
def test_any_float_column_round_trips_to_its_precision(values: list[float], bins: int, decimals: int | None) -> None:
    step = 0.0 if decimals is None else 10.0**-decimals
    column = Column(
        "x", "float", bounds=(-1e6, 1e6), decimals=decimals, bins=tuple(np.linspace(-1e6, 1e6 + step, bins + 1))
    )
    series = pd.Series(values if decimals is None else np.round(values, decimals), name="x")
    codec = Codec(column)
    tokens = codec.tokens(series)
    back = codec.decode(tokens, codec.offsets(series, tokens))
    width = (2e6 + step) / bins
    np.testing.assert_allclose(back, series, atol=width * 2e-7 + step)
    assert back.between(-1e6, 1e6).all()


def test_a_spike_decodes_to_its_value() -> None:
    column = Column("rate", "float", bounds=(0, 0.2), bins=(0, 1e-7, 0.1, 0.19999999, 0.2))
    codec = Codec(column)
    series = pd.Series([0.0, 0.2, 0.05])
    tokens = codec.tokens(series)
    assert tokens.tolist() == [0, 3, 1]
    back = codec.decode(tokens, np.array([0.3, 0.7, 0.5], np.float32))
    assert back.iloc[0] == 0.0
    assert back.iloc[1] == pytest.approx(0.2, abs=1e-8)


def test_an_incomplete_domain_is_refused_by_name() -> None:
    with pytest.raises(SchemaError, match="'age': bins must be declared or discovered"):
        Codec(Column("age", "integer", bounds=(0, 9)))
    with pytest.raises(SchemaError, match="'c': categories"):
        Codec(Column("c", "categorical"))


def test_an_unknown_category_is_refused_without_quoting_it() -> None:
    column = Column("c", "categorical", categories=("a", "b"))
    with pytest.raises(SchemaError) as caught:
        Codec(column).tokens(pd.Series(["a", "secret"]))
    assert "secret" not in str(caught.value)


def test_roundest_is_the_shortest_decimal() -> None:
    assert roundest(0.04166663, 0.04166673) == pytest.approx(0.0416667, abs=1e-12)
    assert roundest(99_999.5, 100_000.5) == 100_000
    assert roundest(5.0, 5.0000001) == 5.0
