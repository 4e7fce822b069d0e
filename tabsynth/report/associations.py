"""How strongly each pair of columns goes together, real beside synthetic, on one scale for every kind of column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.conversion import to_axis
from tabsynth.schema import Column, Schema

BINS = 10  # of a numeric column: deciles of the real values
COLUMNS = 36  # shown at most: more cannot be read
ROWS = 100_000  # looked at, at most: the standard error of an association is then below 0.005
LEVELS = 40  # of a categorical column; the rest is pooled


def associations(schema: Schema, real: pd.DataFrame, synthetic: pd.DataFrame) -> dict[str, Any]:
    """Return two symmetric matrices of bias-corrected Cramer's V (Bergsma 2013) over binned columns, in [0, 1].

    `left_out` names the columns beyond the first COLUMNS (the target, if any, is always kept) and those of free text.
    """
    columns = sorted((c for c in schema.tabular if c.name in real), key=lambda c: c.name != schema.target)
    shown = {column.name for column in columns[:COLUMNS]}
    kept = [column for column in schema.tabular if column.name in shown]
    real, synthetic = _at_most(real), _at_most(synthetic)
    coded = [_codes(column, real[column.name], synthetic[column.name]) for column in kept]
    return {
        "measure": "Cramer's V, bias-corrected, numeric columns in deciles of the real values",
        "columns": [column.name for column in kept],
        "real": _matrix([each[0] for each in coded]),
        "synthetic": _matrix([each[1] for each in coded]),
        "left_out": [column.name for column in (*columns[COLUMNS:], *schema.texts)],
    }


def cramers_v(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Return the bias-corrected Cramer's V of two coded columns; 0 when either is constant.

    V^2 = max(0, phi^2 - (r-1)(c-1)/(n-1)) / (min(r', c') - 1) with r' = r - (r-1)^2/(n-1), c' likewise.

    >>> a = np.repeat([0, 1], 500)
    >>> round(cramers_v(a, a), 3), cramers_v(a, np.tile([0, 1], 500))
    (1.0, 0.0)
    """
    n = len(a)
    joint = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1)).reshape(a.max() + 1, -1)
    joint = joint[joint.sum(1) > 0][:, joint.sum(0) > 0]
    r, c = joint.shape
    if min(r, c) < 2 or n < 3:
        return 0.0
    expected = np.outer(joint.sum(1), joint.sum(0)) / n
    phi2 = float(((joint - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    smallest = min(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
    return float(min(1.0, np.sqrt(corrected / smallest))) if smallest > 0 else 0.0


def _matrix(codes: list[NDArray[np.int64]]) -> list[list[float]]:
    matrix = np.eye(len(codes))
    for i, a in enumerate(codes):
        for j, b in enumerate(codes[:i]):
            matrix[i, j] = matrix[j, i] = cramers_v(a, b)
    return [[round(float(value), 4) for value in row] for row in matrix]


def _codes(column: Column, real: pd.Series, synthetic: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Code both series alike, missing values as one more code."""
    if not column.numeric:
        return _level_codes(real, synthetic)
    x, y = to_axis(real, column), to_axis(synthetic, column)
    seen = x[np.isfinite(x)]
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, BINS + 1)[1:-1])) if len(seen) else np.zeros(1)
    return _binned(x, edges), _binned(y, edges)


def _binned(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    places = np.searchsorted(edges, values, side="right")
    return np.where(np.isfinite(values), places, len(edges) + 1).astype(np.int64)


def _level_codes(real: pd.Series, synthetic: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    levels = list(real.dropna().astype(str).value_counts().index[:LEVELS])
    rest, missing = len(levels), len(levels) + 1

    def coded(series: pd.Series) -> NDArray[np.int64]:
        codes = pd.Index(levels, dtype="str").get_indexer(pd.Index(series.astype("string"))).astype(np.int64)
        return np.where(series.isna().to_numpy(), missing, np.where(codes < 0, rest, codes))

    return coded(real), coded(synthetic)


def _at_most(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if len(frame) <= ROWS else frame.sample(ROWS, random_state=0)
