"""How each column is distributed, real beside synthetic, as shares that a small picture can show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, to_axis
from tabsynth.columns.times import duration_text
from tabsynth.schema import Column

BINS = 28
SHOWN_LEVELS = 7  # the rest is pooled
SPIKE = 0.2  # a single number that holds this share of the real rows is shown apart, or it would flatten the rest
TRIM = 0.005  # of the real values at either end go into the outermost bins
DAY = 86_400  # seconds
WEEK = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


def distribution(column: Column, real: pd.Series, synthetic: pd.Series) -> dict[str, Any]:
    """Return a column's shares among all rows, real and synthetic, and their total variation distance as drawn.

    A numeric column has `edges` (on its axis: seconds since 1970 for datetimes) and `bins`; single values that hold
    much of the column come first among the `levels`, beside which categories stand. Free text has its lengths. The
    shares of levels, bins and missing values sum to 1. A datetime column has `cycles` besides: its weekdays and its
    hours, where it has any.
    """
    if column.kind == "text":
        pictured = _lengths(real, synthetic)
    else:
        pictured = _numeric(column, real, synthetic) if column.numeric else _levels(column, real, synthetic)
    missing = _pair(float(real.isna().mean()), float(synthetic.isna().mean()))
    gaps = sum(abs(each["real"] - each["synthetic"]) for each in [*pictured["levels"], *pictured["bins"], missing])
    return {
        "column": column.name,
        "kind": column.kind,
        "difference": min(1.0, float(gaps) / 2),
        "missing": missing if column.nullable or missing["real"] or missing["synthetic"] else None,
        **pictured,
        "cycles": cycles(column, real, synthetic),
    }


def _lengths(real: pd.Series, synthetic: pd.Series) -> dict[str, Any]:
    """Return the shares of the lengths of texts, in characters."""
    count = Column("characters", "integer", nullable=True)
    found = _numeric(count, *(side.astype("str").str.len().astype("Int64") for side in (real, synthetic)))
    for each in found["levels"]:
        each["level"] += " characters"
    return found | {"ends": [f"{end} characters" for end in found["ends"]]}


def cycles(column: Column, real: pd.Series, synthetic: pd.Series) -> list[dict[str, Any]]:
    """Return the shares of weekdays, where a datetime column spans two weeks, and of hours, where it has any.

    >>> days = pd.Series(pd.date_range("2024-01-01", periods=21))
    >>> [(found["cycle"], len(found["bins"])) for found in cycles(Column("day", "datetime"), days, days)]
    [('weekday', 7)]
    """
    if column.kind != "datetime":
        return []
    x, y = (places[np.isfinite(places)] for places in (to_axis(real, column), to_axis(synthetic, column)))
    found = []
    if len(x) and np.ptp(x) >= 14 * DAY:
        weekdays = [(places // DAY + 3) % 7 for places in (x, y)]  # 1970 began on a Thursday
        found.append(_cycle("weekday", list(WEEK), weekdays, (len(real), len(synthetic))))
    if np.any(x % DAY):
        hours = [places % DAY // 3600 for places in (x, y)]
        found.append(_cycle("hour", [str(hour) for hour in range(24)], hours, (len(real), len(synthetic))))
    return found


def _cycle(name: str, labels: list[str], places: list[NDArray[np.float64]], sizes: tuple[int, int]) -> dict[str, Any]:
    counts = [np.bincount(each.astype(np.int64), minlength=len(labels)) for each in places]
    bins = [_pair(a, b, sizes) for a, b in zip(*counts, strict=True)]
    apart = min(1.0, sum(abs(each["real"] - each["synthetic"]) for each in bins) / 2)
    return {"cycle": name, "difference": apart, "labels": labels, "bins": bins}


def furthest(found: Mapping[str, Any]) -> float:
    """Return how far apart a column is in the picture of it that shows the most."""
    return float(max([found["difference"], *(each["difference"] for each in found["cycles"])]))


def _levels(column: Column, real: pd.Series, synthetic: pd.Series) -> dict[str, Any]:
    """Return the shares of the most frequent real levels, and of all others together."""
    shares = pd.DataFrame({"real": _counts(real) / len(real), "synthetic": _counts(synthetic) / len(synthetic)})
    shares = shares.reindex(list(column.levels or shares.index)).fillna(0.0)
    shares = shares.sort_values("real", ascending=False, kind="stable")
    shown = SHOWN_LEVELS if len(shares) > SHOWN_LEVELS + 1 else len(shares)
    names, values = [str(name) for name in shares.index], shares.to_numpy(np.float64)
    if rest := len(names) - shown:
        names = [*names[:shown], f"{rest} others"]
        values = np.vstack([values[:shown], values[shown:].sum(0)])
    levels = [{"level": name, **_pair(*row)} for name, row in zip(names, values, strict=True)]
    return {"levels": levels, "edges": [], "ends": [], "bins": []}


def _numeric(column: Column, real: pd.Series, synthetic: pd.Series) -> dict[str, Any]:
    """Return the shares of heavy single values, and a histogram of the others over the bulk of the real values."""
    x, y = to_axis(real, column), to_axis(synthetic, column)
    sizes = (len(x), len(y))
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    levels = []
    here, there = code_places(real, column), code_places(synthetic, column)
    for place, text in enumerate(column.code_texts):
        levels.append({"level": text, **_pair((here == place).sum(), (there == place).sum(), sizes)})
    for value in _spikes(x, sizes[0]):
        levels.append({"level": axis_label(value, column), **_pair((x == value).sum(), (y == value).sum(), sizes)})
        x, y = x[x != value], y[y != value]
    if not len(x):
        outside = _pair(0, len(y), sizes)
        return {"levels": [*levels, {"level": "any other value", **outside}], "edges": [], "ends": [], "bins": []}
    edges = _edges(x, column.step)
    counts = (_histogram(x, edges), _histogram(y, edges))
    bins = [_pair(a, b, sizes) for a, b in zip(*counts, strict=True)]
    ends = [axis_label(edge, column) for edge in _values_at(edges, column.step)]
    return {"levels": levels, "edges": [float(edge) for edge in edges], "ends": ends, "bins": bins}


def axis_label(value: float, column: Column) -> str:
    """Return a place on a column's axis as a reader writes it.

    >>> axis_label(0.0, Column("born", "datetime")), axis_label(1234567.0, Column("pay", "integer"))
    ('1970-01-01', '1,234,567')
    """
    if column.kind == "datetime":
        moment = pd.Timestamp(value, unit="s")
        return moment.strftime("%Y-%m-%d" if column.step > 1 else "%Y-%m-%d %H:%M")
    if column.kind == "duration":
        return duration_text(round(value * 1e6), "clock")
    return f"{value:,.0f}" if column.kind == "integer" or 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"


def _spikes(values: NDArray[np.float64], rows: int) -> list[float]:
    """Return the at most two values that hold a share of SPIKE or more, where there are many others."""
    found, counts = np.unique(values, return_counts=True)
    if len(found) <= BINS:
        return []
    heavy = np.argsort(-counts, kind="stable")[:2]
    return [float(found[i]) for i in heavy if counts[i] >= SPIKE * rows]


def _edges(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return edges over the bulk of the values; where values step, every bin holds the same number of steps."""
    low, high = (float(edge) for edge in np.quantile(values, [TRIM, 1 - TRIM]))
    if step == 0:
        margin = 0.5 if low == high else 0.0
        return np.linspace(low - margin, high + margin, BINS + 1)
    steps = round((high - low) / step) + 1
    width = math.ceil(steps / BINS)
    places = np.arange(math.ceil(steps / width) + 1, dtype=np.float64)
    return low + (places * width - 0.5) * step


def _values_at(edges: NDArray[np.float64], step: float) -> tuple[float, float]:
    """Return the smallest and the largest value that the bins were made for."""
    return float(edges[0] + step / 2), float(edges[-1] - step / 2)


def _histogram(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count values per bin; those beyond the edges fall into the outermost bins."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(place, minlength=len(edges) - 1).astype(np.int64)


def _counts(series: pd.Series) -> pd.Series:
    return series.dropna().astype(str).value_counts()


def _pair(real: float, synthetic: float, sizes: tuple[int, int] = (1, 1)) -> dict[str, float]:
    """Return counts over their row counts; bare shares pass as they are."""
    return {"real": float(real / sizes[0]), "synthetic": float(synthetic / sizes[1])}
