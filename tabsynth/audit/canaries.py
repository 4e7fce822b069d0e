"""Canaries: rows made up to be found again, and the coins that decide which of them are planted.

A privacy claim speaks of every possible row, so an audit may choose the rows that a mechanism is worst at hiding: rare
categories, the ends of a range, combinations that nobody has, odd patterns of missing values. Where a schema leaves a
domain to discovery, they leave the domain of the rows there: a category of their own, a number far outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.conversion import from_axis, to_axis
from tabsynth.errors import InputError
from tabsynth.privacy.noise import Secret
from tabsynth.schema import DAY, Column, Schema
from tabsynth.table import Table, read

ROUNDS = 40  # of making up rows until enough of them differ
LARGEST = 2.0**40  # of a number that is made up outside of a range; a datetime 30,000 years away
Axis = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Canaries:
    """Made-up rows in canonical form, one privacy unit each, and what kind of oddity each one is."""

    frame: pd.DataFrame
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame)


def make_canaries(table: Table, count: int, rng: np.random.Generator) -> Canaries:
    """Make up `count` different rows that fit the table's schema, as odd as it allows, the kinds in turn.

    The rows of the table are looked at, as a strong attacker would: they say which categories are rare.

    Raises InputError when the table has fewer rows than canaries, or the schema's domain fewer different rows.
    """
    _check.at_least("canaries", count, 1)
    _require_room(count, table)
    makers = _makers(table.schema)
    frame = pd.DataFrame()
    for attempt in range(ROUNDS):
        missing = count - len(frame)
        kinds = [list(makers)[(i + attempt) % len(makers)] for i in range(missing)]
        made = _make(table, kinds, makers, rng)
        frame = pd.concat([frame, made.assign(_kind=kinds)], ignore_index=True)
        names = [column.name for column in table.schema.modelled]
        frame = frame.drop_duplicates(subset=names, ignore_index=True)
        if len(frame) >= count:
            return Canaries(_canonical(frame.drop(columns="_kind"), table), tuple(frame["_kind"]))
    raise InputError(f"The schema's domain does not hold {count} different canaries; ask for fewer.")


def own_canaries(frame: pd.DataFrame, table: Table) -> Canaries:
    """Take an auditor's own canaries: raw rows under the table's schema, each a privacy unit of its own.

    Raises TableError naming the column and the rule that they break, InputError when there are more than rows.
    """
    fitting = read(frame, table.schema).private
    _require_room(len(fitting), table)
    group = table.schema.unit.column
    if group is not None and (fitting[group].duplicated().any() or fitting[group].isin(table.private[group]).any()):
        raise InputError(f"Column {group!r}: every canary must be a privacy unit of its own, and a new one.")
    return Canaries(_canonical(fitting, table), ("own",) * len(fitting))


def toss(count: int, secret: Secret) -> NDArray[np.bool_]:
    """Toss a fair coin for each canary: True is in. The coins come from the secret stream; no score may see them."""
    return np.asarray(secret.uniform(count) < 0.5)


def plant(table: Table, canaries: Canaries, coin: NDArray[np.bool_]) -> Table:
    """Return the table with the canaries that the coin lets in, each as many rows as a unit may have.

    A declared row count is raised by what is expected to come in, which does not depend on the coins.
    """
    each = table.schema.unit.rows
    planted = canaries.frame.iloc[np.repeat(np.flatnonzero(coin), each)]
    rows = pd.concat([table.private, planted], ignore_index=True)
    declared = table.schema.rows
    schema = table.schema if declared is None else replace(table.schema, rows=declared + len(coin) * each // 2)
    return Table(schema, _same_types(rows, table.private))


def _require_room(count: int, table: Table) -> None:
    """Raise when there are more canaries than rows; the number of rows is private and not said."""
    if count > len(table.private):
        raise InputError(f"{count} canaries are more than the table has rows; ask for fewer.")


def _makers(schema: Schema) -> dict[str, Callable[[Column], bool]]:
    """Return the kinds of canary that the schema allows, each with the columns that it makes odd."""
    makers: dict[str, Callable[[Column], bool]] = {
        "combination": lambda column: False,
        "rare category": lambda column: not column.numeric,
        "extreme number": lambda column: column.numeric,
        "missing pattern": lambda column: column.nullable is not False,
    }
    return {kind: odd for kind, odd in makers.items() if kind == "combination" or any(map(odd, schema.modelled))}


def _make(
    table: Table, kinds: list[str], makers: dict[str, Callable[[Column], bool]], rng: np.random.Generator
) -> pd.DataFrame:
    """Make one row for each kind, on axes and as text; `_canonical` gives them their types."""
    series = {}
    for column in table.schema.modelled:
        odd = np.array([makers[kind](column) for kind in kinds])
        known = table.private[column.name]
        make = _numbers if column.numeric else _levels
        values = make(column, known, odd & (np.array(kinds) != "missing pattern"), rng)
        gone = odd & (np.array(kinds) == "missing pattern") & (rng.random(len(kinds)) < 0.5)
        series[column.name] = pd.Series(values, dtype=object).where(~gone, None)
    return pd.DataFrame(series)


def _numbers(column: Column, known: pd.Series, odd: NDArray[np.bool_], rng: np.random.Generator) -> Axis:
    """Return numbers anywhere in the range, those of odd rows at one of its ends, or beyond a range that is open."""
    axis = to_axis(known, column)
    low, high = column.bounds or (np.nanmin(axis, initial=np.inf), np.nanmax(axis, initial=-np.inf))
    low, high = (low, high) if low <= high else (0.0, 1.0)
    values = rng.uniform(low, high, len(odd))
    if column.bounds is None:
        reach = (1 + high - low) * 10.0 ** rng.uniform(1, 4, len(odd))
        ends = np.clip(np.where(rng.random(len(odd)) < 0.5, low - reach, high + reach), -LARGEST, LARGEST)
    else:
        ends = np.where(rng.random(len(odd)) < 0.5, low, high)
    values = np.where(odd, ends, values)
    step = DAY if column.kind == "datetime" and column.step == DAY else column.step
    stepped = values if step == 0 else np.round(low + np.round((values - low) / step) * step, column.digits or 0)
    return stepped if column.bounds is None else np.clip(stepped, low, high)


def _levels(column: Column, known: pd.Series, odd: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.object_]:
    """Return any level, those of odd rows among the rarest, or one that nobody else has where that is allowed."""
    levels = np.array(column.levels or sorted(known.dropna().astype(str).unique()) or ["canary"], dtype=object)
    counts = known.astype(str).value_counts().reindex(levels).fillna(0).to_numpy()
    rarest = levels[np.argsort(counts, kind="stable")][: max(1, min(3, len(levels) // 2))]
    rare = rng.choice(rarest, len(odd))
    if column.levels is None:
        rare = np.array([f"canary {number:016x}" for number in rng.integers(2**63, size=len(odd))], dtype=object)
    return np.where(odd, rare, rng.choice(levels, len(odd)))


def _canonical(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Give made-up rows the canonical types and, where units are groups, a new unit each."""
    series: dict[str, pd.Series] = {}
    for column in table.schema:
        if column.name not in table.private:
            continue
        if column.name == table.schema.unit.column and column.name not in frame:
            tag = f"{np.random.default_rng().integers(2**63):016x}"  # no unit of the table can have it
            series[column.name] = pd.Series([f"canary {tag} {i}" for i in range(len(frame))], dtype=object)
        elif column.numeric and frame[column.name].dtype == object:
            axis = frame[column.name].to_numpy(dtype=np.float64, na_value=np.nan)
            series[column.name] = from_axis(axis, column)
        elif column.kind == "boolean":
            truth = frame[column.name].map({"True": True, "False": False, True: True, False: False})
            series[column.name] = truth.astype("boolean")
        else:
            series[column.name] = frame[column.name]
    return _same_types(pd.DataFrame(series), table.private)


def _same_types(frame: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """Give columns the types of the table's, categories that the table lacks being added to the end."""
    series = {}
    for name in like.columns:
        kind = like[name].dtype
        if isinstance(kind, pd.CategoricalDtype):
            values = frame[name].astype(object)
            known = list(kind.categories)
            new = sorted(set(values.dropna()) - set(known))
            kind, frame = pd.CategoricalDtype([*known, *new]), frame.assign(**{name: values})
        series[name] = frame[name].astype(kind)
    return pd.DataFrame(series)
