"""Columns as numbers: the axis of numeric ones, the codes of the others, and bins that both share.

Nothing here needs a declared domain: bins are quantiles of the training rows, and categories are those of the evidence.
Missing values are a place of their own everywhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, to_axis
from tabsynth.schema import Column

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

BINS = 20
LARGEST = 2.0**1000  # beyond all numbers of a table; codes are hashed as multiples of it
ODD = 0x9E3779B97F4A7C15  # of SplitMix64 (Steele, Lea and Flood 2014), as the two lines below
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def codes(series: pd.Series, column: Column) -> Codes:
    """Return a categorical or boolean column as category numbers; missing is -1."""
    if column.kind == "boolean":
        return np.asarray(series.astype("Int64").fillna(-1), dtype=np.int64)
    return np.asarray(series.cat.codes, dtype=np.int64)


def binned(column: Column, train: pd.Series, *others: pd.Series) -> tuple[Codes, ...]:
    """Return each of `others` as cell numbers from 0, missing being the last cell in use.

    A numeric column is cut at the 20-quantiles of the training values; a value belongs to the bin whose lower edge it
    has reached. A categorical column keeps its categories.
    """
    if not column.numeric:
        found = [codes(series, column) for series in others]
        last = max(int(one.max(initial=-1)) for one in found) + 1
        return tuple(np.where(one < 0, last, one) for one in found)
    known = to_axis(train, column)
    known = known[~np.isnan(known)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else np.empty(0)
    cells = []
    for series in others:
        values = to_axis(series, column)
        places, last = code_places(series, column), len(edges) + 1 + len(column.codes or ())
        beside = np.where(places < 0, last, len(edges) + 1 + places)
        cells.append(np.where(np.isnan(values), beside, np.searchsorted(edges, values, side="right")))
    return tuple(cells)


def features(frame: pd.DataFrame, columns: tuple[Column, ...]) -> Floats:
    """Return the rows as numbers [rows, columns], missing as NaN: values of the axis, and category numbers.

    For trees, which can cut category numbers anywhere; frames must come from one Evidence.
    """
    return np.stack([_feature(frame[column.name], column) for column in columns], axis=1)


def learnable(matrix: Floats) -> Floats:
    """Return features to learn from: zeros for a column without any number, which trees cannot cut into bins."""
    return np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)


def _feature(series: pd.Series, column: Column) -> Floats:
    """Return one column as numbers, missing as NaN."""
    if column.numeric:
        return to_axis(series, column)
    found = codes(series, column)
    return np.where(found < 0, np.nan, found.astype(np.float64))


def fingerprints(frame: pd.DataFrame, columns: tuple[Column, ...]) -> NDArray[np.uint64]:
    """Return one 64-bit hash a row: equal rows get equal hashes, others differ but for a chance of about n²/2^64.

    Frames must come from one Evidence, which gives categories the same codes everywhere.
    """
    return np.asarray(cell_hashes(frame, columns).sum(axis=0, dtype=np.uint64))


def cell_hashes(frame: pd.DataFrame, columns: tuple[Column, ...]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every cell [columns, rows], other ones in every column.

    The sum over some columns, modulo 2^64, tells whether rows agree in these.
    """
    hashed = np.empty((len(columns), len(frame)), dtype=np.uint64)
    for place, column in enumerate(columns):
        series = frame[column.name]
        values = to_axis(series, column) + 0.0 if column.numeric else codes(series, column)  # -0.0 is 0.0
        if column.codes is not None:
            places = code_places(series, column)
            values = np.where(places < 0, values, -(1.0 + places) * LARGEST)
        cells = pd.util.hash_array(values) + np.uint64((place + 1) * ODD % 2**64)
        for shift, factor in MIXING:  # else equal values would cancel out between columns
            cells = (cells ^ (cells >> np.uint64(shift))) * np.uint64(factor)
        hashed[place] = cells ^ (cells >> np.uint64(31))
    return hashed
