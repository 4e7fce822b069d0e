"""One of several synthetic tables, chosen by private rows: the choice is charged, and its answer is a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.charging.distances import summed_gap
from tabsynth.metrics.coding import binned
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import joint
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import select
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema

PAIRS = 200  # of columns, that are looked at
SCORE = "the mean total variation distance to the training rows over pairs of columns"


def choose_table(
    candidates: Mapping[str, pd.DataFrame],
    schema: Schema,
    private: pd.DataFrame,
    *,
    size: int,
    epsilon: float,
    ledger: Ledger,
    secret: Secret,
    rng: np.random.Generator,
) -> str:
    """Return the name of a candidate whose pairs of columns are near those of the private rows.

    `size` is a public guess at the number of private rows; `private` holds at most `schema.unit.rows` rows of a unit.

    Formal guarantee: for candidates that are public, or paid for before, the name is `epsilon`-differentially private,
    which is charged before a private row is looked at. A score is the mean, over pairs of columns that `rng` draws, of
    the summed difference between the counts of private rows and those of `size` rows distributed as the candidate, in
    cells that the candidates together define. One row moves each sum by at most 1, and so the mean.
    """
    names = list(candidates)
    pairs = _pairs(len(schema.tabular), rng)

    def scores() -> NDArray[np.float64]:
        tables = {name: Evidence(schema, private, None, candidates[name]) for name in names}
        pooled = pd.concat([table.rows for table in tables.values()], ignore_index=True)
        return np.array([-_gap(tables[name], pooled, pairs, size) for name in names])

    why = f"choice among {len(names)} synthetic tables"
    return names[select(scores, epsilon=epsilon, sensitivity=schema.unit.rows, ledger=ledger, secret=secret, why=why)]


def _gap(evidence: Evidence, pooled: pd.DataFrame, pairs: Sequence[tuple[int, ...]], size: int) -> float:
    """Return the mean gap of a candidate, in rows; cells are those of the pooled rows of all candidates."""
    train, rows = evidence.train, evidence.rows
    cells: list[Any] = [binned(c, pooled[c.name], rows[c.name], train[c.name]) for c in evidence.columns]
    found = [cells[pair[0]] if len(pair) == 1 else joint(cells[pair[0]], cells[pair[1]]) for pair in pairs]
    return float(np.mean([summed_gap(own, real, size) for own, real in found]))


def _pairs(columns: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return the pairs of columns to look at; of a single column, itself."""
    pairs: list[tuple[int, ...]] = list(combinations(range(columns), 2)) or [(0,)]
    if len(pairs) <= PAIRS:
        return pairs
    return [pairs[place] for place in np.sort(rng.choice(len(pairs), PAIRS, replace=False))]
