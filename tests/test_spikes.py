"""A number that many rows share, among others that hardly two share: it comes back as itself, and as often."""

import numpy as np
import pandas as pd
import pytest

from tabsynth import Column, Schema, TabularSynthesizer


def _shared(value: float, decimals: int | None, rows: int = 4000) -> tuple[pd.DataFrame, Schema]:
    """Return a column of which 30% are one value, the others even from 3 to 100, and its schema."""
    rng = np.random.default_rng(0)
    numbers = np.where(rng.random(rows) < 0.3, value, rng.uniform(3, 100, rows))
    numbers = numbers if decimals is None else np.round(numbers, decimals)
    column = Column("share", "float", bounds=(3, 100), decimals=decimals)
    return pd.DataFrame({"share": numbers}), Schema((column,), rows=rows)


@pytest.mark.parametrize("value", [3.0, 41.5, 100.0])
@pytest.mark.parametrize(("epsilon", "decimals"), [(None, None), (None, 5), (3.0, None)])
def test_a_shared_number_comes_back_as_itself(value: float, epsilon: float | None, decimals: int | None) -> None:
    frame, schema = _shared(value, decimals)
    fitted = TabularSynthesizer("independent", epsilon=epsilon, schema=schema, seed=None if epsilon else 0).fit(frame)
    rows = fitted.sample(4000, seed=1)["share"]
    assert (rows == value).mean() == pytest.approx(0.3, abs=0.05)
    others = rows[rows != value]
    assert others.mean() == pytest.approx(51.5, abs=5)


def test_a_spike_can_be_declared_as_a_code() -> None:
    rng = np.random.default_rng(0)
    gain = np.where(rng.random(4000) < 0.9, 0, rng.integers(100, 100_000, 4000))
    schema = Schema((Column("gain", "integer", bounds=(0, 100_000), codes=(0,)),), rows=4000)
    rows = TabularSynthesizer("independent", epsilon=2.0, schema=schema).fit(pd.DataFrame({"gain": gain})).sample(4000)
    assert (rows["gain"] == 0).mean() == pytest.approx(0.9, abs=0.03)
    assert rows["gain"][rows["gain"] > 0].median() == pytest.approx(50_000, rel=0.2)
