"""Neighbour replay: a fit that gets the answers of another table's mechanisms must come out the same, bit by bit.

Whatever differs reached the output without a mechanism: a category or a bound that was free, a fill value, a number of
rows, a private loss (arXiv 2602.17454). A test of seconds where an attack needs thousands of fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.conversion import to_axis
from tabsynth.errors import BudgetExceeded, InputError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.events import answers_of
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.replay import RepeatedSecret, Tape, recording, replaying
from tabsynth.privacy.units import count_units
from tabsynth.synthesizers import model
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.table import Table

ROWS = 50  # sampled from every model and compared


def neighbour_replay(synthesizer: Synthesizer, table: Table, *, budget: Budget | None = None) -> None:
    """Fit on a table with every mechanism's answer recorded, then replay the answers on its neighbours.

    Held against each other, bit by bit: the saved model, a sample, the ledger's charges and notes, the progress that
    was reported, and the error when there was one. `budget` is (1, 1e-5) unless given. Being a function of the answers
    alone is asked of any table, so the last "neighbours" have lost every other unit, or all that told rows apart.

    Also checked: that every answer was charged before it was given; and that one unit moves what a mechanism answers,
    before the noise, no further than the sensitivity that was charged. (Not where units hold more rows than may be
    kept: which are kept is drawn anew.)

    Raises AssertionError naming the neighbour and what differed there. A synthesizer that is not deterministic, given
    the answers and its seed, is told so by the replay on the table itself. Whatever the first fit raises beside a
    refusal is raised as it is.
    """
    budget = budget or Budget(1.0, 1e-5)
    with recording() as tape:
        first = _trace(synthesizer, table, budget, tape)
    if unpaid := [answer.why for answer in tape.answers if not answer.charged]:
        raise AssertionError(f"neighbour replay, on recording: {unpaid[0]!r} was answered before it was charged.")
    for name, other in {"the same table": table, **neighbours(table)}.items():
        try:
            with replaying(tape, apart=_apart(table, other)):
                again = _trace(synthesizer, other, budget, tape)
        except Exception as error:  # the first fit did not raise it: that it raises here tells the tables apart
            raise AssertionError(f"neighbour replay, {name}: {type(error).__name__}: {error}") from error
        for part, expected in first.items():
            if again[part] != expected:
                raise AssertionError(f"neighbour replay, {name}: {part} differs, though all mechanisms answered alike.")


def neighbours(table: Table) -> dict[str, Table]:
    """Return named neighbours of a table, each a privacy unit less, and some that have lost much more."""
    units = table.units()
    units = np.arange(len(table.private)) if units is None else units
    found: dict[int, list[str]] = {}
    for name, unit in [*_telling(table, units), ("a row removed", int(units.max()) // 2)]:
        found.setdefault(unit, []).append(name)
    others = {", ".join(names): _without(table, units == unit) for unit, names in found.items()}
    others["every other unit removed"] = _without(table, units % 2 == 1)
    for which, place in {"the first": 0, "the last": len(units) - 1}.items():
        others[f"every row made like {which}"] = _alike(table, place)
    return {name: other for name, other in others.items() if len(other.private)}


def _telling(table: Table, units: NDArray[np.int64]) -> Iterator[tuple[str, int]]:
    """Yield the units whose absence a careless fit would show."""
    for column in table.schema.modelled:
        series = table.private[column.name]
        missing = np.unique(units[series.isna()])
        if len(missing) == 1:
            yield f"the only missing value of {column.name!r} removed", int(missing[0])
        if series.isna().all():
            continue
        if column.numeric:
            axis = to_axis(series, column)
            yield f"the largest {column.name!r} removed", int(units[np.nanargmax(axis)])
            yield f"the smallest {column.name!r} removed", int(units[np.nanargmin(axis)])
            continue
        holders = pd.Series(units).groupby(series.astype("object").to_numpy()).nunique()
        if len(alone := holders.index[holders == 1]):
            yield f"the only holder of a {column.name!r} removed", int(units[(series == alone[0]).fillna(False)][0])


def _without(table: Table, gone: NDArray[np.bool_]) -> Table:
    """Return the table as it would have been read without these rows."""
    rest = table.take(np.flatnonzero(~gone))
    found = {
        str(name): rest.private[name].cat.remove_unused_categories()
        for name in rest.private
        if isinstance(rest.private[name].dtype, pd.CategoricalDtype) and rest.schema[str(name)].categories is None
    }
    return replace(rest, private=rest.private.assign(**found))


def _alike(table: Table, place: int) -> Table:
    """Return the table with every row's values those of one row; units stay."""
    same = table.take(np.full(len(table.private), place))
    group = table.schema.unit.column
    units = {} if group is None else {group: table.private[group]}
    return _without(replace(same, private=same.private.assign(**units)), np.zeros(len(same.private), bool))


def _apart(table: Table, other: Table) -> int | None:
    """Return by how many units a neighbour differs; None when it is no neighbour, or rows of units are drawn."""
    units = table.units()
    if units is not None and np.bincount(units).max() > table.schema.unit.rows:
        return None
    if other is table:
        return 0
    left, right = count_units(table), count_units(other)
    return 1 if left - right == 1 else None


class _Watched(Ledger):
    """A ledger that tells the tape what was charged, and how many answers each charge pays for."""

    def __init__(self, budget: Budget, tape: Tape) -> None:
        super().__init__(budget)
        self._tape = tape

    def charge(self, event: Any, *, why: str, delta: float = 0.0) -> None:
        super().charge(event, why=why, delta=delta)
        self._tape.charges.append((why, answers_of(event)))

    def spend_rest(self, event_of: Callable[[float], Any], *, why: str) -> float:
        noise = super().spend_rest(event_of, why=why)
        self._tape.charges.append((why, answers_of(self.charges[-1].event)))
        return noise


@dataclass(slots=True)
class _Reports:
    """What a fit reported while it ran."""

    seen: list[tuple[int, int, dict[str, float]]]

    def __call__(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        self.seen.append((done, total, dict(figures)))


def _trace(synthesizer: Synthesizer, table: Table, budget: Budget, tape: Tape) -> dict[str, Any]:
    """Fit, save and sample; return everything that came out, in parts that can be compared."""
    ledger, reports = _Watched(budget, tape), _Reports([])
    files: dict[str, bytes] = {}
    rows, error = "", ""
    try:
        fitted = model.fit(synthesizer, table, ledger, RepeatedSecret(tape), reports)
    except (InputError, BudgetExceeded) as caught:
        error = f"{type(caught).__name__}: {caught}"
    else:
        files = _saved(fitted.save)
        rows = fitted.sample(ROWS, np.random.default_rng(0)).to_csv(index=False)
    return {
        "the error raised": error,
        "the ledger": [ledger.charges, ledger.notes, ledger.closed],
        "the progress reported": repr(reports.seen),
        **{f"the saved {name}": content for name, content in files.items()},
        "a sample": rows,
        "the list of saved files": sorted(files),
    }


def _saved(save: Callable[[Path], None]) -> dict[str, bytes]:
    """Return the bytes of every file that `save` writes."""
    with TemporaryDirectory() as folder:
        save(Path(folder) / "model")
        paths = sorted(path for path in Path(folder, "model").rglob("*") if path.is_file())
        return {path.relative_to(Path(folder, "model")).as_posix(): path.read_bytes() for path in paths}
