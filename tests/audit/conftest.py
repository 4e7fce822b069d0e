"""What the audit's tests share: a small table."""

import numpy as np
import pandas as pd
import pytest

from tabsynth.schema import Column, Schema
from tabsynth.table import read


@pytest.fixture(scope="session")
def people():
    """A table of four columns, bins and all declared, so that a fit charges little and fast."""
    rng = np.random.default_rng(0)
    schema = Schema(
        (
            Column("city", "categorical", categories=tuple(f"c{i}" for i in range(12))),
            Column("ill", "boolean", nullable=True),
            Column("age", "integer", bounds=(0, 99), bins=tuple(range(0, 101, 5))),
            Column("cost", "float", bounds=(0.0, 100.0), bins=tuple(np.linspace(0, 100, 21))),
        ),
        rows=600,
    )
    frame = pd.DataFrame(
        {
            "city": [f"c{i}" for i in rng.integers(0, 12, 600)],
            "ill": rng.random(600) < 0.3,
            "age": rng.integers(20, 60, 600),
            "cost": rng.gamma(2, 10, 600).clip(0, 100),
        }
    )
    return read(frame, schema)
