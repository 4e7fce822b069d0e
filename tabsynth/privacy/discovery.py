"""Discovery: what a schema leaves out, measured with noise and charged.

Domains (categories, bounds, precision), bins and the row count are measured only where the schema is silent. The
result is the same schema, completed: all that an encoder needs to know, and all of it declared or paid for. Of a column
that follows another one (`apart.pairs_of`) the distances are measured in place of its own values, and for the same.

The discovery's share of the budget (of the Gaussian mu squared) is cut evenly between the columns that need something,
after `COUNT` of it went to the row count; a column's part is cut by `SHARES`. Parts that are not needed stay in the
ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tabsynth.apart import distance_of, in_turn, is_strict, pairs_of, stepped
from tabsynth.columns.times import cycle_cells, place_in_cycle
from tabsynth.conversion import to_axis
from tabsynth.errors import SchemaError
from tabsynth.privacy import grid
from tabsynth.privacy.ledger import DISCOVERY_DELTA_SHARE, Ledger
from tabsynth.privacy.mechanisms import noisy_categories, noisy_count, noisy_histogram
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import assert_bounded, count_units
from tabsynth.schema import OTHER, Column, Schema
from tabsynth.table import Table

COUNT = 0.05  # of the discovery's share: the row count
ROUNDS = 2  # of splitting heavy cells
FREE_ROUNDS = 8  # the same where nothing is paid for them: until a cell is too narrow to be split
ANCHORS = 12  # wide cells that keep the noise of many narrow ones from adding up
SHARES = {  # of a column's part
    "categories": 1.0,
    "bounds": 0.2,
    "decimals": 0.1,
    "rhythm": 0.1,  # of datetimes, which have no decimals
    "grid": 0.35,
    "split": 0.2 / ROUNDS,
    "anchors": 0.15,
}
# standard deviations of their noise, above which a run of so many coarse cells is sure to hold values: one column in
# some thousand has a false one
CLEAR = {1: 4.5, 2: 5.0, 4: 5.0, 8: 5.0, 16: 5.0}
LIKELY = 2.0  # the same, above which a cell beside them is taken to
MOST_DECIMALS = 6
YEAR = 31_556_952.0  # seconds, the Gregorian mean


@dataclass(frozen=True, eq=False, slots=True)
class Discovery:
    """What was declared or paid for.

    `schema` is complete. `rows` and `units` are the declared or noisy numbers of rows and of privacy units, after each
    unit was cut to the rows that it may have.
    """

    schema: Schema
    rows: float
    units: float


def discover(
    table: Table, ledger: Ledger, secret: Secret, *, share: float = 0.1, bins: int = 32, apart: bool = True
) -> Discovery:
    """Complete a table's schema for at most `share` of the ledger's budget; distances between columns only if `apart`.

    Formal guarantee: the table is touched only through the mechanisms of `privacy.mechanisms`, each charged before it
    runs; the result is post-processing of their answers and of the declared schema.

    Raises BudgetExceeded before a mechanism runs that does not fit, and SchemaError when a domain cannot be told from
    the noise at this budget.
    """
    assert_bounded(table)
    open_columns = sum(is_open(column) for column in table.schema.modelled)
    measure = _Measure(table, ledger, secret, share * (1 - COUNT) / max(open_columns, 1))
    rows, units = _sizes(table, ledger, secret, share * COUNT)
    pairs = pairs_of(table.schema) if apart else {}
    known: dict[str, Column] = {}
    for column in in_turn(table.schema.modelled, pairs):
        low = known.get(pairs.get(column.name, ""))
        known[column.name] = measure.domain(column, bins) if low is None else measure.apart(column, low, bins)
    schema = replace(table.schema.with_columns(*known.values()), rows=table.schema.rows or max(round(rows), 1))
    return Discovery(schema, rows, units)


def is_open(column: Column) -> bool:
    """Whether a fact of this column has to be measured."""
    bare = (column.numeric and column.bins is None and column.distances is None) or (
        column.cycle is not None and column.rhythm is None
    )
    return bool(set(column.undeclared()) - {"nullable"}) or bare


def unbounded(schema: Schema) -> tuple[str, ...]:
    """Name the columns whose bounds have to be measured."""
    bare = (c for c in schema.modelled if c.numeric and c.bounds is None and c.bins is None and c.distances is None)
    return tuple(column.name for column in bare)


def _sizes(table: Table, ledger: Ledger, secret: Secret, share: float) -> tuple[float, float]:
    """Return the numbers of rows and of units, each at least 1: declared, or noisy.

    Where a unit may have several rows, its surplus was cut off before: how many rows that left is not declared, and is
    measured even when the number of all rows is known.
    """
    schema, k = table.schema, table.schema.unit.rows
    grouped = schema.unit.column is not None
    sigma = ledger.sigma(share / 2 if grouped else share)

    def measured(count: Callable[[], int], sensitivity: int, why: str) -> float:
        noisy = noisy_count(count, sigma=sigma, sensitivity=sensitivity, ledger=ledger, secret=secret, why=why)
        return max(noisy, 1.0)

    declared = float(schema.rows) if schema.rows and not grouped else None
    rows = declared or measured(lambda: len(table.private), k, "row count")
    if not grouped:
        return rows, rows
    return rows, measured(lambda: count_units(table), 1, "number of privacy units")


@dataclass(frozen=True, eq=False, slots=True)
class _Measure:
    """One table's measurements, each for a named part of `share` of the budget."""

    table: Table
    ledger: Ledger
    secret: Secret
    share: float

    def domain(self, column: Column, bins: int) -> Column:
        """Return the column with every domain fact filled in."""
        column = self._begun(column)
        if column.kind == "categorical" and column.categories is None:
            return replace(column, categories=self._categories(column))
        if not column.numeric or column.bins is not None:
            return column
        if column.bounds is None:
            column = replace(column, bounds=self._bounds(column))
            if column.kind == "float" and column.decimals is None:
                column = self._with_decimals(column)
        return replace(column, bins=self._bins(column, bins))

    def apart(self, column: Column, low: Column, bins: int) -> Column:
        """Return a column whose values follow those of `low`, a complete one, with its facts and bins of distances."""
        column = self._begun(column)
        if column.distances is not None:
            return column
        own = _Distances(self.table, self.ledger, self.secret, self.share, low, column)
        strict = is_strict(self.table.schema, low.name, column.name)
        distance = distance_of(low, column, strict=strict)
        if column.bounds is None:
            least, most = own._bounds(distance)
            least = max(least, distance.step if strict else 0.0)
            first, last = low.bounds or (0.0, 0.0)
            column = replace(column, bounds=stepped(first + least, last + max(most, least), column))
            if column.kind == "float" and column.decimals is None:
                column = self._with_decimals(column)
            distance = distance_of(low, column, strict=strict)
            distance = replace(distance, bounds=stepped(least, max(most, least), distance))
        return replace(column, after=low.name, distances=own._bins(distance, bins))

    def _begun(self, column: Column) -> Column:
        """Return the column with what does not depend on its bounds, categories aside."""
        if column.nullable is None:
            column = replace(column, nullable=True)  # how many are missing, one-way marginals tell
        if column.cycle is not None and column.rhythm is None:
            column = replace(column, rhythm=self._rhythm(column))
        return column

    def _categories(self, column: Column) -> tuple[str, ...]:
        """Return the categories frequent enough to be told from one unit's own, and a name for the rest."""

        def observed() -> tuple[NDArray[np.object_], NDArray[np.int64]]:
            values = np.asarray(self.table.private[column.name].cat.categories, dtype=object)
            codes = (block.cat.codes + 1 for block in self.table.blocks(column.name))  # that of missing is -1
            counts = np.sum([np.bincount(found, minlength=len(values) + 1) for found in codes], axis=0)
            return values, counts[1:]

        unknown = [c for c in self.table.schema.modelled if c.kind == "categorical" and c.categories is None]
        found = noisy_categories(
            observed,
            sigma=self._sigma("categories"),
            delta=self.ledger.budget.delta * DISCOVERY_DELTA_SHARE / len(unknown) if self.ledger.budget else 0.0,
            rows_per_unit=self.table.schema.unit.rows,
            ledger=self.ledger,
            secret=self.secret,
            why=f"categories of {column.name!r}",
        )
        named = sorted({str(value) for value in found} - {OTHER})  # which may also stand in the table
        return (*named, *([OTHER] if self._sigma("categories") or len(named) < len(found) or not found else []))

    def _bounds(self, column: Column) -> tuple[float, float]:
        """Return bounds that hold nearly all values; see `_reach`."""
        edges = _coarse_edges(column)
        counts, scale = self._histogram(column, "bounds", lambda: self._cells(column, edges))
        if scale == 0:  # not private: the extremes themselves
            low = min(float(np.nanmin(axis, initial=np.inf)) for axis in self._axes(column))
            high = max(float(np.nanmax(axis, initial=-np.inf)) for axis in self._axes(column))
            return (low, high) if low <= high else (0.0, 0.0)  # every value is missing: any bounds will do
        first, last = _reach(counts / scale, edges)
        if last < first:
            more = (
                ", and other bounds as well: the next try is charged too"
                if len(unbounded(self.table.schema)) > 1
                else ""
            )
            raise SchemaError(
                f"Column {column.name!r}: its bounds are lost in the noise at this budget; declare them{more}."
            )
        low, high = edges[first], edges[last + 1]
        step = column.step
        if step:
            low, high = np.ceil(low / step) * step, np.ceil(high / step) * step - step
        return float(low), float(high)

    def _with_decimals(self, column: Column) -> Column:
        """Return the column with the fewest decimals that nearly all values need; unchanged when they need many."""

        def needed() -> NDArray[np.int64]:
            return np.asarray(np.sum([_decimals(axis) for axis in self._axes(column)], axis=0))

        counts, scale = self._histogram(column, "decimals", needed)
        enough = np.cumsum(counts) >= 0.99 * counts.sum() - 2 * scale
        decimals = int(np.argmax(enough)) if enough[: MOST_DECIMALS + 1].any() else None
        if decimals is None:
            return column
        low, high = column.bounds or (0.0, 0.0)
        grain = 10.0**decimals
        bounds = (float(np.floor(low * grain) / grain), float(np.ceil(high * grain) / grain))
        return replace(column, decimals=decimals, bounds=bounds)

    def _rhythm(self, column: Column) -> tuple[float, ...]:
        """Return how often each hour of the day or the week comes, or each weekday; see `grid.rhythm`."""
        cycle = column.cycle or "week"

        def counted() -> NDArray[np.int64]:
            places = (
                place_in_cycle(axis[~np.isnan(axis)], cycle, column.step, column.timezone)
                for axis in self._axes(column)
            )
            cells = cycle_cells(cycle, column.step)
            return np.asarray(np.sum([np.bincount(each, minlength=cells) for each in places], axis=0))

        counts, scale = self._histogram(column, "rhythm", counted)
        return tuple(map(float, grid.rhythm(counts, scale)))

    def _bins(self, column: Column, bins: int) -> tuple[float, ...]:
        """Return noisy-quantile bins over the column's bounds, spikes as narrow bins of their own."""
        low, high = column.bounds or (0.0, 0.0)
        if high == low:  # constant, which the bounds say: there is nothing to measure
            return low, high + column.step if column.step else float(np.nextafter(high, np.inf))
        top = high + column.step
        edges = grid.first_edges(low, top, column.step)
        counts, scale = self._histogram(column, "grid", lambda: self._cells(column, edges, low))
        if scale == 0 and (exact := self._one_each(column, bins, low, top)):  # not private: the values themselves
            return exact
        cells = grid.Grid(edges, counts, np.full(len(counts), scale**2))
        for _ in range(ROUNDS if scale > 0 else FREE_ROUNDS):
            finer = grid.split_heavy(cells, column.step, bins)
            if len(finer) == len(cells.edges):
                break
            counts, scale = self._histogram(column, "split", partial(self._cells, column, finer, low))
            cells = grid.refine(cells, finer, counts, scale**2)
        edges = grid.halved_tails(grid.quantile_bins(cells, ANCHORS), cells.edges)
        counts, scale = self._histogram(column, "anchors", lambda: self._cells(column, edges, low))
        anchors = grid.Grid(edges, counts, np.full(len(counts), scale**2))
        cells = grid.refine(anchors, cells.edges, cells.counts, float(cells.variances.mean()))
        return tuple(map(float, grid.cut_tails(grid.quantile_bins(cells, bins), anchors, bins)))

    def _one_each(self, column: Column, bins: int, low: float, top: float) -> tuple[float, ...]:
        """Return a bin for every value and for every gap, of a column of few values that lie apart; else none.

        Where most values have a neighbour one step away, quantiles serve as well, with fewer bins to learn.
        """
        step, values = column.step, np.empty(0)
        for axis in self._axes(column):
            values = np.union1d(values, _snapped(axis[~np.isnan(axis)], low, step))
            if len(values) > bins:
                return ()
        top = top if step else float(np.nextafter(top, np.inf))  # the highest value has a bin as well
        ends = _snapped(values + step, low, step) if step else np.nextafter(values, np.inf)
        edges = np.unique([low, *values, *ends])
        edges = np.append(edges[(edges >= low) & (edges < top - step / 2)], top)
        return tuple(map(float, edges)) if 1.5 * len(values) < len(edges) <= bins + 1 else ()

    def _cells(self, column: Column, edges: NDArray[np.float64], low: float | None = None) -> NDArray[np.int64]:
        """Count a column's values per cell, rounded to whole steps from `low` if that is given."""
        counts = np.zeros(len(edges) - 1, np.int64)
        edges = edges if low is None else _snapped(edges, low, column.step)  # a value on an edge belongs above it
        for axis in self._axes(column):
            counts += grid.count_cells(axis if low is None else _snapped(axis, low, column.step), edges)
        return counts

    def _axes(self, column: Column) -> Iterator[NDArray[np.float64]]:
        """Yield a private column on the real axis, block by block."""
        return (to_axis(block, column) for block in self.table.blocks(column.name))

    def _histogram(
        self, column: Column, part: str, count: Callable[[], NDArray[np.int64]]
    ) -> tuple[NDArray[np.float64], float]:
        """Return a noisy histogram paid from the named part of the column's share, and its noise in rows."""
        k = self.table.schema.unit.rows
        sigma = self._sigma(part)
        counts = noisy_histogram(
            count,
            sigma=sigma,
            sensitivity=k,
            ledger=self.ledger,
            secret=self.secret,
            why=f"{part} of {column.name!r}",
        )
        return counts, sigma * k

    def _sigma(self, part: str) -> float:
        return self.ledger.sigma(self.share * SHARES[part])


@dataclass(frozen=True, eq=False, slots=True)
class _Distances(_Measure):
    """Measurements of how far the values of one column are from those of another, where neither is missing."""

    low: Column
    high: Column

    def _axes(self, column: Column) -> Iterator[NDArray[np.float64]]:
        """Yield the private distances, block by block; a row has one, as it has one value of the column."""
        blocks = zip(self.table.blocks(self.low.name), self.table.blocks(self.high.name), strict=True)
        return (to_axis(high, self.high) - to_axis(low, self.low) for low, high in blocks)


def _reach(counts: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and the last cell that hold values, given counts in standard deviations of their noise.

    Single cells that are CLEAR of it, then runs of cells on one side of zero that together are: half of a column may be
    0 and the other half spread over ten cells, none of which stands out. From there on outwards, up to zero, as long as
    the next cell is LIKELY: bounds that are wrong by a cell do less harm than a tail that is moved to its bound.
    (0, -1) where nothing is clear.
    """
    first, last = len(counts), -1
    cells, sums = np.arange(len(counts)), np.concatenate([[0.0], np.cumsum(counts)])
    for run, clear in CLEAR.items():
        start, end = cells[: len(cells) - run + 1], cells[run - 1 :]
        scores = (sums[end + 1] - sums[start]) / np.sqrt(run)
        scores[(edges[start] < 0) & (edges[end + 1] > 0)] = -np.inf
        while (scores := np.where((start > last) | (end < first), scores, -np.inf)).max() > clear:
            best = int(scores.argmax())
            held = start[best] + np.flatnonzero(counts[start[best] : end[best] + 1] > LIKELY)
            ends = (held[0], held[-1]) if len(held) else (start[best], end[best])
            first, last = min(first, int(ends[0])), max(last, int(ends[1]))
    if last < 0:
        return 0, -1
    while first > 0 and edges[first] != 0 and counts[first - 1] > LIKELY:
        first -= 1
    while last < len(counts) - 1 and edges[last + 1] != 0 and counts[last + 1] > LIKELY:
        last += 1
    return first, last


def _snapped(axis: NDArray[np.float64], low: float, step: float) -> NDArray[np.float64]:
    """Round values to whole steps from `low`, where there is a step."""
    return axis if step == 0 else low + np.round((axis - low) / step) * step


def _decimals(axis: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count values by the decimals that they need, those of more than MOST_DECIMALS last."""
    values = axis[~np.isnan(axis)]
    needs = np.full(len(values), MOST_DECIMALS + 1)
    for decimals in range(MOST_DECIMALS, -1, -1):
        needs[np.isclose(values, np.round(values, decimals), rtol=1e-12, atol=1e-12)] = decimals
    return np.bincount(needs, minlength=MOST_DECIMALS + 2)


def _coarse_edges(column: Column) -> NDArray[np.float64]:
    """Return the fixed edges among which bounds are looked for: powers of two to both sides, or calendar years."""
    if column.kind == "datetime":
        return np.arange(-70.0, 131.0) * YEAR
    powers = 2.0 ** np.arange(0 if column.kind == "integer" else -20, 54)
    return np.asarray(np.concatenate([-powers[::-1], [0.0], powers]), np.float64)
