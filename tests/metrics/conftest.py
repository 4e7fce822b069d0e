import numpy as np
import pandas as pd
import pytest

from tabsynth.datasets import clinic_visits
from tabsynth.metrics import Evidence


def drawn(train: int, holdout: int, rows: int, seed: int = 0) -> Evidence:
    """Training rows, a holdout and a fresh sample, all from one population; the schema declares every domain."""
    visits = clinic_visits(rows=train + holdout + rows, seed=seed)
    parts = np.split(np.arange(len(visits.frame)), [train, train + holdout])
    return Evidence(visits.schema, *(visits.frame.iloc[part] for part in parts))


@pytest.fixture(scope="session")
def fresh() -> Evidence:
    """The evidence of a perfect synthesizer."""
    return drawn(3000, 1500, 3000)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def draw():
    return drawn


@pytest.fixture(scope="session")
def shuffle():
    def shuffled(frame: pd.DataFrame, column: str, seed: int = 0) -> pd.DataFrame:
        order = np.random.default_rng(seed).permutation(len(frame))
        return frame.assign(**{column: frame[column].iloc[order].reset_index(drop=True)})

    return shuffled
