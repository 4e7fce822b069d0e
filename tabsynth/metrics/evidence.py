"""What a metric may look at: training rows, holdout rows, synthetic rows, and the columns they share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import recast
from tabsynth.errors import TableError
from tabsynth.metrics.estimate import Estimate, NotMeasured
from tabsynth.schema import Column, Schema

Tier = Literal["fidelity", "utility", "privacy"]
Frames = Mapping[str, pd.DataFrame]
Retrain = Callable[[pd.DataFrame, int], pd.DataFrame]  # real rows, a seed -> as many synthetic rows as were asked for
Found = TypeVar("Found")
TRAIN, HOLDOUT, ROWS = "training table", "holdout", "synthetic table"


class Metric(Protocol):
    """A frozen dataclass of settings that turns evidence into one estimate.

    `name` is unique within a policy. A privacy metric has a field `level`, the confidence level of its interval, so
    that a policy can correct it for the number of privacy checks. `rng` is the only randomness it may use. Raise
    NotMeasured when the evidence does not allow the number and NotApplicable when the question does not arise.
    """

    @property
    def name(self) -> str:
        """The metric's name in policies and reports."""

    @property
    def tier(self) -> Tier:
        """Which of the three questions the metric answers."""

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure."""


@dataclass(frozen=True, eq=False, slots=True)
class Evidence:
    """Training rows, holdout rows (None where there are none) and synthetic rows over the schema's modelled columns.

    The frames may hold their columns in any order and with other dtypes for the same values; they are kept in schema
    order with the canonical dtypes, and a categorical column has the same categories in all three (the declared ones,
    then any others found). Domains need not be declared. Identifier and group columns are dropped.

    `retrain` fits the synthesizer anew to other real rows and returns as many synthetic rows as it was given; None for
    tables of an unknown origin. `drafted` says that nothing of the schema was declared: its domains were read from the
    training rows, and other values are no fault. `unread` says of columns of the synthetic table which rows, as they
    were read, held a value that is none of the column's kind; it is missing in `rows`. What is costly and asked for by
    several metrics is computed once (`once`).

    Raises TableError when a frame is empty, lacks a column, has an unknown one, or holds a value that is not of its
    column's kind.
    """

    schema: Schema
    train: pd.DataFrame
    holdout: pd.DataFrame | None
    rows: pd.DataFrame
    retrain: Retrain | None = None
    drafted: bool = False
    unread: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    _found: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the frames and bring them into canonical form."""
        given = {TRAIN: self.train, ROWS: self.rows}
        if self.holdout is not None:
            given[HOLDOUT] = self.holdout
        for source, frame in given.items():
            _check_columns(source, frame, self.schema)
        columns = {column.name: _canonical(given, column) for column in self.schema.modelled}
        frames = {source: pd.DataFrame({name: columns[name][source] for name in columns}) for source in given}
        object.__setattr__(self, "train", frames[TRAIN])
        object.__setattr__(self, "rows", frames[ROWS])
        object.__setattr__(self, "holdout", frames.get(HOLDOUT))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that are compared: those a synthesizer learns, but for free text, which is not made of values.

        The frames hold free text too, for the metrics that are about it.
        """
        return self.schema.tabular

    @property
    def reference(self) -> pd.DataFrame:
        """The real rows that fidelity compares with: the holdout, or the training rows where there is none."""
        return self.train if self.holdout is None else self.holdout

    def in_classes(self, column: Column) -> bool:
        """Say whether a column holds classes, not amounts, to a prediction; bounds as declared, else as trained on."""
        if column.kind == "integer" and column.codes is None and column.bounds is None:
            known = self.train[column.name].dropna()
            column = replace(column, bounds=None if known.empty else (float(known.min()), float(known.max())))
        return not column.numeric or column.classes is not None

    def once(self, what: Hashable, find: Callable[[], Found]) -> Found:
        """Return what `find` returns, and the same thing again whenever `what` is asked for."""
        if what not in self._found:
            self._found[what] = find()
        found: Found = self._found[what]
        return found

    def unseen(self) -> pd.DataFrame:
        """Return the holdout; raise NotMeasured where there is none."""
        if self.holdout is None:
            raise NotMeasured("It needs a holdout: real rows that the synthesizer never saw.")
        return self.holdout

    def as_real(self, rng: np.random.Generator) -> Evidence:
        """Return the real ceiling: training rows in place of synthetic ones, as many (or all, where there are fewer).

        Without a holdout one half of the training rows stands in for the table and the other half for its synthesis.
        No synthesizer comes with it: nothing was trained.
        """
        order = rng.permutation(len(self.train))
        if self.holdout is None:
            half = max(1, len(order) // 2)
            train, drawn = self.train.iloc[order[:half]], self.train.iloc[order[half:] if len(order) > 1 else order]
            return replace(self, train=train, rows=drawn.iloc[: len(self.rows)], retrain=None, unread={})
        return replace(self, rows=self.train.iloc[order[: len(self.rows)]], retrain=None, unread={})

    def as_independent(self, rng: np.random.Generator) -> Evidence:
        """Return the trivial baseline: each column drawn by itself, with replacement, from the training rows."""
        picks = {column.name: rng.integers(len(self.train), size=len(self.rows)) for column in self.schema.modelled}
        drawn = {name: self.train[name].iloc[pick].reset_index(drop=True) for name, pick in picks.items()}
        return replace(self, rows=pd.DataFrame(drawn), retrain=None, unread={})


def _check_columns(source: str, frame: pd.DataFrame, schema: Schema) -> None:
    """Raise TableError unless `frame` has rows and exactly the columns of the schema."""
    found = [str(name) for name in frame.columns]
    if repeated := sorted({name for name in found if found.count(name) > 1}):
        raise TableError(f"The {source} has column {repeated[0]!r} more than once.")
    if missing := [column.name for column in schema.modelled if column.name not in found]:
        raise TableError(f"The {source} lacks column {_listed(missing)}.")
    if extra := [name for name in found if name not in schema.names]:
        raise TableError(f"The {source} has unknown column {_listed(extra)}; the schema knows {_listed(schema.names)}.")
    if frame.empty:
        raise TableError(f"The {source} has no rows.")


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


def _canonical(frames: Frames, column: Column) -> dict[str, pd.Series]:
    """Return one column of every frame in its canonical dtype; raise TableError naming the frame and the column."""
    series = {}
    for source, frame in frames.items():
        try:
            series[source] = _cast(frame[column.name].reset_index(drop=True), column)
        except (TypeError, ValueError, OverflowError):
            raise TableError(f"The {source}, column {column.name!r}: expected {column.kind} values.") from None
    if column.kind == "categorical":
        # in the order of the alphabet, since numbers by table would tell models which table a rare value is from
        found = sorted({str(level) for one in series.values() for level in one.cat.categories})
        levels = list(dict.fromkeys((*(column.categories or ()), *found)))
        series = {source: one.cat.set_categories(levels) for source, one in series.items()}
    return series


def _cast(series: pd.Series, column: Column) -> pd.Series:
    """Return `series` in the canonical dtype of its kind; raise TypeError or ValueError when it does not fit."""
    if column.kind == "categorical":
        if not isinstance(series.dtype, pd.CategoricalDtype):
            series = series.astype("category")
        # two spellings may fall together as text, so the codes are made anew
        return pd.Series(pd.Categorical(series.map(str, na_action="ignore")), name=column.name)
    if column.kind == "boolean":
        return series.astype("boolean")
    if column.kind == "text":
        return series.astype("str")
    if column.kind in ("datetime", "duration") or column.codes is not None:
        return recast(series, column)
    numbers = pd.to_numeric(series)
    if column.kind == "integer":
        return numbers.astype("Int64")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        raise ValueError("infinite")
    return pd.Series(values, name=column.name)
