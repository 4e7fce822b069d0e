"""Structural zeros: combinations of codes that declared rules leave out of a model altogether.

A rule between categories is held exactly: tokens that it treats alike are put into codes of their own, so that every
combination of codes is allowed as a whole or not at all. Of rules between numbers the model holds as much as their bins
say; rows that break them within a bin are left to be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tabsynth.constraints import Combinations, Constraint, Dependency, Inequality, OneHot, Sum
from tabsynth.encoding.codec import Codec
from tabsynth.graphical.coarsening import Codes
from tabsynth.graphical.elimination import Clique, order_and_cells

MOST_CODES = 300  # of a column, once its codes are cut by rules
MOST_COMBINATIONS = 1_000_000  # of classes, before codes are looked at


@dataclass(frozen=True, eq=False, slots=True)
class Zeros:
    """Which combinations of codes may be, over `columns`, an axis each."""

    columns: Clique
    allowed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Structure:
    """Codes that are cut where rules ask for it, what the rules leave out, and the rules that are held exactly.

    `links` are pairs of columns of which one settles the other nobody knows how: to be measured.
    """

    codes: Codes
    zeros: tuple[Zeros, ...] = ()
    links: tuple[Clique, ...] = ()
    keeps: tuple[Constraint, ...] = ()


def structure_of(
    rules: Sequence[Constraint],
    codecs: Sequence[Codec],
    codes: Codes,
    cliques: Sequence[Clique],
    cells: int,
    *,
    alone: Mapping[tuple[int, int], int] | None = None,
) -> Structure:
    """Return what a model with these cliques can hold of the rules while none of its tables passes `cells` cells.

    `alone` are pairs of columns, the second of which is known by its distance from the first, with how many of its
    first tokens are for rows in which the first is missing. Their order is kept by itself.
    """
    alone = alone or {}
    building = _Building(codecs, codes, list(cliques), cells)
    held = [rule for rule in rules if isinstance(rule, Combinations | Dependency | OneHot) and building.add_exact(rule)]
    for pair, tokens in alone.items():
        building.add_alone(pair, tokens)
    apart = {codecs[high].column.name for _, high in alone}
    for rule in rules:
        if isinstance(rule, Inequality | Sum) and not apart & set(rule.over):
            building.add_rough(rule)
    links = [building.add_link(rule) for rule in rules if isinstance(rule, Dependency) and rule.mapping is None]
    zeros = [Zeros(columns, building.allowed(columns, held_by)) for columns, held_by in building.held]
    return Structure(building.codes, tuple(zeros), tuple(filter(None, links)), tuple(held))


@dataclass(frozen=True, eq=False, slots=True)
class _Classes:
    """A rule between tokens: each column's tokens in classes, and which combinations of classes may be."""

    of_token: tuple[NDArray[np.int64], ...]
    allowed: NDArray[np.bool_]


@dataclass(eq=False, slots=True)
class _Building:
    codecs: Sequence[Codec]
    codes: Codes
    cliques: list[Clique]
    cells: int
    held: list[tuple[Clique, _Classes | Inequality | Sum]] = field(default_factory=list)

    def add_exact(self, rule: Combinations | Dependency | OneHot) -> bool:
        """Hold a rule between categories if it fits, and say whether it did."""
        columns = self._places(rule)
        classes = _classes(rule, [self.codecs[column] for column in columns])
        return classes is not None and self._add_classes(columns, classes)

    def add_alone(self, pair: Clique, tokens: int) -> None:
        """Let a distance go with a value that it is from, and tokens of values that are alone with none, if it fits."""
        low, high = (self.codecs[column] for column in pair)
        if tokens:
            lows = np.arange(low.size) >= low.values
            highs = np.arange(high.size)
            highs = np.where(highs < tokens, 1, np.where(highs < high.values, 0, 2))
            together = np.array([[True, False, True], [False, True, True]])[:, : 2 + bool(high.column.nullable)]
            self._add_classes(pair, _Classes((lows.astype(np.int64), highs.astype(np.int64)), together))

    def _add_classes(self, columns: Clique, classes: _Classes) -> bool:
        """Hold a rule between classes of tokens if it fits, and say whether it did."""
        cut = self.codes
        for column, of_token in zip(columns, classes.of_token, strict=True):
            cut = cut.cut(column, of_token)
        if max(cut.sizes[column] for column in columns) > MOST_CODES or not self._fits(columns, cut):
            return False
        self.codes = cut
        self.cliques.append(columns)
        self.held.append((columns, classes))
        return True

    def add_rough(self, rule: Inequality | Sum) -> None:
        """Hold of a rule between numbers what bins say, if it fits."""
        columns = self._places(rule)
        if self._fits(columns, self.codes):
            self.cliques.append(columns)
            self.held.append((columns, rule))

    def add_link(self, rule: Dependency) -> Clique | None:
        """Return the two columns if they can be measured together."""
        columns = self._places(rule)
        if not self._fits(columns, self.codes):
            return None
        self.cliques.append(columns)
        return columns

    def allowed(self, columns: Clique, held: _Classes | Inequality | Sum) -> NDArray[np.bool_]:
        """Return which combinations of the final codes may be."""
        if isinstance(held, _Classes):
            firsts = [_first_tokens(self.codes.groups[column]) for column in columns]
            classes = [of_token[first] for of_token, first in zip(held.of_token, firsts, strict=True)]
            return held.allowed[np.ix_(*classes)]
        ends = [_ends(self.codecs[column], self.codes.groups[column]) for column in columns]
        axes = [[end.reshape([-1 if axis == own else 1 for axis in range(len(ends))]) for end in pair]
                for own, pair in enumerate(ends)]  # fmt: skip
        *parts, (low, high) = axes
        if isinstance(held, Inequality):
            found = ~((parts[0][0] >= high) if held.strict else (parts[0][0] > high))
        else:
            slack = self.codecs[columns[-1]].column.step / 2 + 1e-6 * (1 + np.abs(high))
            least, most = (sum(pair[side] for pair in parts) for side in (0, 1))
            found = ~((least > high + slack) | (most < low - slack))
        return np.asarray(found)

    def _places(self, rule: Constraint) -> Clique:
        names = [codec.column.name for codec in self.codecs]
        return tuple(names.index(name) for name in rule.over)

    def _fits(self, columns: Clique, codes: Codes) -> bool:
        if math.prod(codes.sizes[column] for column in columns) > self.cells:
            return False
        return order_and_cells([*self.cliques, columns], codes.sizes)[1] <= self.cells


def _first_tokens(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a token of every code."""
    return np.unique(group, return_index=True)[1]


def _ends(codec: Codec, group: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest value of every code, NaN for missing, of which no rule says anything."""
    lows, highs = codec.ends()
    codes = range(int(group.max()) + 1)
    return (
        np.array([lows[group == code].min() for code in codes]),
        np.array([highs[group == code].max() for code in codes]),
    )


def _classes(rule: Combinations | Dependency | OneHot, codecs: Sequence[Codec]) -> _Classes | None:
    """Return the rule in classes of tokens; None where it cannot be told by tokens, or has too many combinations."""
    if isinstance(rule, OneHot):
        return _one_hot_classes(codecs)
    if isinstance(rule, Dependency):
        return None if rule.mapping is None else _classes(Combinations(rule.over, rule.mapping), codecs)
    partners: list[dict[str, set[tuple[str, ...]]]] = [{} for _ in codecs]
    for values in rule.tuples:
        for place, value in enumerate(values):
            partners[place].setdefault(value, set()).add(values[:place] + values[place + 1 :])
    of_token, class_of = [], []
    for codec, found in zip(codecs, partners, strict=True):
        numbers: dict[frozenset[tuple[str, ...]], int] = {}
        named = {
            level: numbers.setdefault(frozenset(found.get(level, ())), len(numbers))
            for level in codec.column.levels or ()
        }
        missing = [len(numbers)] * (codec.size - codec.values)
        of_token.append(np.array([*named.values(), *missing], np.int64))
        class_of.append(named)
    shape = [int(tokens.max()) + 1 for tokens in of_token]
    if math.prod(shape) > MOST_COMBINATIONS:
        return None
    listed = rule.allowed is not None
    allowed = np.full(shape, not listed)
    for values in rule.tuples:
        allowed[tuple(named[value] for named, value in zip(class_of, values, strict=True))] = listed
    return _Classes(tuple(of_token), _silent_on_missing(allowed, codecs))


def _one_hot_classes(codecs: Sequence[Codec]) -> _Classes | None:
    """Return the classes false, true and missing; None for a number whose bin holds both 0 and 1."""
    if any(codec.values != 2 for codec in codecs) or math.prod(codec.size for codec in codecs) > MOST_COMBINATIONS:
        return None
    ones = sum(np.ix_(*[np.arange(codec.size) for codec in codecs]), np.zeros(()))
    allowed = np.asarray(ones == 1)
    return _Classes(tuple(np.arange(codec.size) for codec in codecs), _silent_on_missing(allowed, codecs))


def _silent_on_missing(allowed: NDArray[np.bool_], codecs: Sequence[Codec]) -> NDArray[np.bool_]:
    """Return the table with every combination allowed in which something is missing: the last class of its column."""
    for axis, codec in enumerate(codecs):
        if codec.size > codec.values:
            np.moveaxis(allowed, axis, 0)[-1] = True
    return allowed
