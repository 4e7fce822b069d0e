"""A completed schema's columns as tokens: bins of numbers, indices of categories, and a token for missing.

Free text has one token, which says that there is some: the text itself goes by other ways.

Tokens of numeric columns keep the order of their bins; the place within the bin travels beside them as an offset in
[0, 1). A codec knows its column's schema and nothing else, so it may be saved and published as the schema may.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, from_axis, to_axis, with_codes
from tabsynth.encoding.warping import NARROW, warp_of
from tabsynth.errors import SchemaError
from tabsynth.schema import OTHER, Column

TEXT_HINT = "only the synthesizer 'text' writes it"
LAST_PLACE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True, slots=True)
class Codec:
    """One column's values as tokens 0 to `size` - 1.

    `grid` is how far apart the values lie of a column that has no step of its own, where that is known; else 0.

    Raises SchemaError when the column's domain is not complete.

    >>> codec = Codec(Column("age", "integer", bounds=(0, 9), bins=(0, 5, 10), nullable=True))
    >>> codec.size, codec.has_offset
    (3, True)
    """

    column: Column
    grid: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a column whose domain is not complete."""
        missing = self.column.undeclared()
        if self.column.numeric and self.column.bins is None:
            missing = (*missing, "bins")
        if self.column.cycle is not None and self.column.rhythm is None:
            missing = (*missing, "rhythm")
        if missing:
            raise SchemaError(
                f"Column {self.column.name!r}: {missing[0]} must be declared or discovered before encoding."
            )

    @property
    def bins(self) -> int:
        """The number of tokens that stand for numbers: the first ones of a numeric column."""
        return len(self.column.bins or ()) - 1 if self.column.numeric else 0

    @property
    def values(self) -> int:
        """The number of tokens that stand for a value: numbers, then codes; or categories."""
        if self.column.numeric:
            return self.bins + len(self.column.codes or ())
        if self.column.kind == "text":
            return 1
        return len(self.column.levels or ())

    @property
    def size(self) -> int:
        """The number of tokens, the one for missing included."""
        return self.values + bool(self.column.nullable)

    @property
    def spread(self) -> NDArray[np.bool_]:
        """Whether each token stands for more than one value, shape (size,): wide bins do."""
        wide = np.zeros(self.size, np.bool_)
        if self.column.numeric:
            edges = self._edges()
            wide[: self.bins] = np.diff(edges) > (1.5 * self.column.step or self._narrow(edges))
        return wide

    @property
    def has_offset(self) -> bool:
        """Whether a place within some token's bin carries information."""
        return bool(self.spread.any())

    def tokens(self, series: pd.Series) -> NDArray[np.int32]:
        """Return the token of every value, shape (n,); values outside the domain go to the nearest bin."""
        if self.column.numeric:
            axis = to_axis(series, self.column)
            coded = code_places(series, self.column)
            # edges are rounded as values are, so that a value on an edge is not taken for one below it
            codes = np.searchsorted(self._snapped(self._edges())[1:-1], self._snapped(axis), side="right")
            codes = np.where(coded >= 0, self.bins + coded, codes)
            missing = np.isnan(axis) & (coded < 0)
        elif self.column.kind == "text":
            missing = series.isna().to_numpy(bool)
            codes = np.zeros(len(series), np.int64)
        else:
            codes = self._category_codes(series)
            missing = codes < 0
        if missing.any() and not self.column.nullable:
            raise SchemaError(
                f"Column {self.column.name!r}: a value is missing or unknown, which its domain does not allow."
            )
        return np.where(missing, self.values, codes).astype(np.int32)

    def offsets(self, series: pd.Series, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the place of every value within its bin, in [0, 1), one half where a bin holds no places."""
        if not self.has_offset:
            return np.full(len(tokens), 0.5, np.float32)
        axis = self._snapped(to_axis(series, self.column))
        low, width = self._bin(tokens)
        # the middle of a step, so that decoding does not depend on how a float rounds
        place = (self._measured(axis + self.column.step / 2) - low) / width
        return np.where(np.isnan(place), 0.5, np.clip(place, 0.0, LAST_PLACE)).astype(np.float32)

    def decode(self, tokens: NDArray[np.int32], offsets: NDArray[np.float32]) -> pd.Series:
        """Return canonical values for tokens and offsets; every value lies in the declared domain.

        Raises SchemaError for a column of free text, of which a token says nothing.
        """
        if self.column.kind == "text":
            raise SchemaError(f"Column {self.column.name!r}: free text cannot be made of tokens; {TEXT_HINT}.")
        if not self.column.numeric:
            return self._decode_levels(tokens)
        low, width = self._bin(tokens)
        axis = self._stepped(self._placed(low + offsets.astype(np.float64) * width))
        spike = self._spikes()[np.minimum(tokens, self.bins - 1)]
        axis = np.clip(np.where(np.isnan(spike), axis, spike), *(self.column.bounds or (-np.inf, np.inf)))
        if self.column.codes is None:
            return from_axis(np.where(tokens == self.values, np.nan, axis), self.column)
        numbers = from_axis(np.where(tokens >= self.bins, np.nan, self._beside_codes(axis)), self.column)
        coded = np.where((tokens >= self.bins) & (tokens < self.values), tokens - self.bins, -1)
        return with_codes(numbers, coded.astype(np.int64), self.column).rename(self.column.name)

    def portion(self, low: float, high: float) -> NDArray[np.float64]:
        """Return where the places lie, within each token's bin, that decode to a value in [low, high].

        Shape (2, size): the place it begins at and the one it ends before, the same where there is none. A bin that
        stands for one value lies in the range as a whole or not at all. Missing does not.
        """
        edges, step = self._edges(), self.column.step
        bounds = self.column.bounds or (-np.inf, np.inf)
        start, end = low, high
        if step > 0:
            start = edges[0] + np.ceil((low - edges[0]) / step - 1e-9) * step
            end = edges[0] + (np.floor((high - edges[0]) / step + 1e-9) + 1) * step
        start = edges[0] if low <= bounds[0] else start  # values beyond the bounds are decoded as the bounds
        end = edges[-1] if high >= bounds[1] else end
        measured = self._measured(edges)
        ends = self._measured(np.array([[start], [end]], np.float64))
        places = np.clip((ends - measured[:-1]) / np.diff(measured), 0.0, 1.0)
        spike = self._spikes()
        held = (spike >= low) & (spike <= high)
        places = np.where(np.isnan(spike), places, np.stack([np.zeros_like(spike), held]))
        places[1] = np.maximum(places[0], places[1])
        return np.pad(places, ((0, 0), (0, self.size - self.bins)))

    def ends(self) -> NDArray[np.float64]:
        """Return the smallest and the largest number of each token, shape (2, size), NaN for codes and missing.

        Where every real number is allowed, the largest is an upper bound.
        """
        edges = self._edges()
        sides = [self._stepped(edges[:-1]), self._stepped(edges[1:] - self.column.step * 1e-3)]
        values = np.clip(np.stack(sides), *(self.column.bounds or (-np.inf, np.inf)))
        return np.pad(values, ((0, 0), (0, self.size - self.bins)), constant_values=np.nan)

    def _edges(self) -> NDArray[np.float64]:
        return np.asarray(self.column.bins, np.float64)

    def _bin(self, tokens: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower edge and width of every token's bin, by the column's rhythm; the last bin's for any other."""
        edges, place = self._measured(self._edges()), np.minimum(tokens, self.bins - 1)
        return edges[place], np.diff(edges)[place]

    def _measured(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places of the axis in the measure within which a bin's values are even."""
        warp = warp_of(self.column)
        return axis if warp is None else warp(axis)

    def _placed(self, measure: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places of the axis, the inverse of `_measured`."""
        warp = warp_of(self.column)
        return measure if warp is None else warp.back(measure)

    def _snapped(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round to the column's precision, so that a value falls in the bin it will be decoded from."""
        step, low = self.column.step, self._edges()[0]
        return axis if step == 0 else low + np.round((axis - low) / step) * step

    def _stepped(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Floor to the column's precision."""
        step, low = self.column.step, self._edges()[0]
        if step == 0:
            return axis
        floored = low + np.floor((axis - low) / step + 1e-9) * step
        return np.asarray(np.round(floored, self.column.digits or 0))

    def _beside_codes(self, axis: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers, those that would read as a code moved to the nearest value below it, or else above."""
        column = self.column
        numbers = sorted(float(code) for code in column.codes or () if not isinstance(code, str))
        for down, codes in ((True, numbers[::-1]), (False, numbers)):
            for code in codes:
                beside = (
                    code + (-1 if down else 1) * column.step
                    if column.step
                    else np.nextafter(code, -np.inf if down else np.inf)
                )
                beside = round(beside, column.digits) if column.digits is not None else beside
                inside = column.bounds is None or column.bounds[0] <= beside <= column.bounds[1]
                axis = np.where((axis == code) & inside, beside, axis)
        return axis

    def _spikes(self) -> NDArray[np.float64]:
        """Return, for every bin that is narrow and has no step, the roundest number in it; NaN for the others.

        A spike is known as a narrow bin only; the shortest decimal inside it is a guess made from public facts.
        """
        edges = self._edges()
        narrow = np.diff(edges) < self._narrow(edges)
        if self.column.step > 0:
            narrow[:] = False
        tops = np.append(edges[1:-1], np.nextafter(edges[-1], np.inf))  # the last bin holds its upper edge
        pairs = zip(edges[:-1], tops, narrow, strict=True)
        return np.array([roundest(low, high) if is_narrow else np.nan for low, high, is_narrow in pairs])

    def _narrow(self, edges: NDArray[np.float64]) -> float:
        """Return the width below which a bin of a column without a step stands for one value."""
        width = float(edges[-1] - edges[0]) * NARROW
        return min(width, 1.5 * self.grid) if self.grid else width

    def _category_codes(self, series: pd.Series) -> NDArray[np.int64]:
        if self.column.kind == "boolean":
            return np.asarray(series.astype("Int64").to_numpy(dtype=np.int64, na_value=-1), np.int64)
        levels = pd.Index(self.column.levels or ())
        unknown = list(levels).index(OTHER) if OTHER in levels else -1
        if not isinstance(series.dtype, pd.CategoricalDtype):
            series = series.astype("category")
        position = levels.get_indexer(series.cat.categories.astype("str"))
        position = np.append(np.where(position < 0, unknown, position), -1)
        return np.asarray(position[series.cat.codes], np.int64)

    def _decode_levels(self, tokens: NDArray[np.int32]) -> pd.Series:
        missing = tokens == self.values
        if self.column.kind == "boolean":
            return pd.Series(pd.arrays.BooleanArray(tokens == 1, missing), name=self.column.name)
        codes = np.where(missing, -1, tokens)
        dtype = pd.CategoricalDtype(list(self.column.levels or ()), ordered=self.column.ordered)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype), name=self.column.name)


def roundest(low: float, high: float) -> float:
    """Return the number with the fewest decimals in [low, high).

    >>> roundest(0.1999, 0.20004), roundest(-1e-7, 1e-7)
    (0.2, 0.0)
    """
    for decimals in range(-15, 16):
        grid = 10.0**-decimals
        candidate = round(np.ceil(low / grid) * grid, max(decimals, 0))
        if low <= candidate < high:
            return float(candidate) + 0.0  # no negative zero
    return float(low)
