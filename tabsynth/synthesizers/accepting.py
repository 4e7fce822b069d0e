"""Rows that keep every rule: what follows from other columns is derived, what still breaks a rule is drawn again.

All of it is done to synthetic rows, and so free. Rows that are drawn until they keep a rule follow the model's
distribution given the rule, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.constraints import Constraint, Dependency, Seen, Sum, Unique, domains_of, room
from tabsynth.constraints.rule import codes_of
from tabsynth.encoding.conditions import Condition
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, ModelError
from tabsynth.schema import Schema

Draw = Callable[[int, np.random.Generator], pd.DataFrame]
Derived = Dependency | Sum
LEAST_TRIES = 100_000  # rows drawn before giving up
LEAST_SHARE = 1e-4  # of drawn rows that are good; fewer are given up on
MOST_AT_ONCE = 250_000  # rows of one more draw
SPARE = 1.1  # times what is expected to be enough
LEARNED_FROM = 20_000  # rows that a dependency without a mapping is read from
MOST_SETTLED = 100_000  # combinations of several columns that settle another, when all are settled


@dataclass(frozen=True, eq=False, slots=True)
class Rules:
    """What rows have to keep: a schema's constraints, every dependency with a mapping, and conditions."""

    schema: Schema
    constraints: tuple[Constraint, ...]
    conditions: tuple[Condition, ...] = ()

    @property
    def derived(self) -> dict[str, Derived]:
        """The columns that are computed from others, in an order in which it can be done."""
        rules = {rule.over[-1]: rule for rule in self.constraints if isinstance(rule, Dependency | Sum)}
        try:
            order = TopologicalSorter({name: rule.over[:-1] for name, rule in rules.items()}).static_order()
            return {name: rules[name] for name in order if name in rules}
        except CycleError:
            return {}

    def derive(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return rows in which what follows from other columns does."""
        columns = {column.name: column for column in self.schema}
        for name, rule in self.derived.items():
            frame = frame.assign(**{name: rule.derive(frame, columns)})
        return frame

    def broken(self, frame: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
        """Return, by what it is called, which rows break each rule on a row, or condition."""
        columns = {column.name: column for column in self.schema}
        own = [rule for rule in self.constraints if not isinstance(rule, Unique)]  # those are for `Seen`
        found = {f"the constraint {rule.words}": rule.broken(frame, columns) for rule in own}
        return found | {f"the condition on {one.column.name!r}": ~one.holds(frame) for one in self.conditions}

    def refuse_small(self, rows: int) -> None:
        """Raise InputError when so many rows cannot all be different where they have to be."""
        columns = {column.name: column for column in self.schema}
        domains = domains_of(self.schema.columns)
        nullable = {column.name for column in self.schema if column.nullable}
        for one in self.conditions:
            if not one.missing:
                low, high = domains[one.column.name] if one.span else (0, 0)
                span = one.span and (max(float(low), one.span[0]), min(float(high), one.span[1]))
                domains[one.column.name] = span or one.values
                nullable.discard(one.column.name)
        for rule in self.constraints:
            if isinstance(rule, Unique) and (most := room(rule, columns, domains, nullable)) < rows:
                raise InputError(
                    f"Constraint {rule.words}: only {most:,.0f} different rows can be; asked for {rows:,}."
                )


def settled(schema: Schema, draw: Draw) -> tuple[Constraint, ...]:
    """Return the schema's constraints, with mappings for dependencies that have none.

    A mapping is read from a fixed sample, so it is the same whenever the model is asked.
    """
    sample: list[pd.DataFrame] = []

    def learned(rule: Constraint) -> Constraint:
        if not isinstance(rule, Dependency) or rule.mapping is not None:
            return rule
        if not sample:
            sample.append(draw(LEARNED_FROM, np.random.default_rng(0)))
        keys = [schema[name].levels or () for name in rule.determinants]
        values = schema[rule.dependent].levels or ()
        places = [codes_of(sample[0][name], texts) for name, texts in zip(rule.determinants, keys, strict=True)]
        image = codes_of(sample[0][rule.dependent], values)
        known = np.all([code >= 0 for code in (*places, image)], axis=0)
        shape = tuple(map(len, keys))
        flat = np.ravel_multi_index([code[known] for code in places], shape)
        # where the combinations are many, those that never came are taken not to occur
        all_of = np.arange(math.prod(shape)) if math.prod(shape) <= MOST_SETTLED else np.unique(flat)
        counts = np.zeros((len(all_of), len(values)))
        np.add.at(counts, (np.searchsorted(all_of, flat), image[known]), 1)
        values_of = [np.array(texts, object) for texts in keys]
        tuples = np.stack([t[at] for t, at in zip(values_of, np.unravel_index(all_of, shape), strict=True)], axis=1)
        settling = zip(tuples.tolist(), images(counts), strict=True)
        return replace(rule, mapping=tuple((*key, values[place]) for key, place in settling))

    return tuple(map(learned, schema.constraints))


def images(counts: NDArray[np.float64]) -> list[int]:
    """Return one image for every value, from how often they come together (values, images).

    It is the one that most rows have. Where none has most, because the model does not know, the values are dealt out,
    the most frequent first, so that the images come about as often as they did.

    >>> images(np.array([[5.0, 0.0], [2.0, 2.0], [2.0, 2.0]]))
    [0, 0, 1]
    """
    mass, room = counts.sum(axis=1), counts.sum(axis=0)
    sure = counts.max(axis=1) > mass / 2
    found = counts.argmax(axis=1)
    np.subtract.at(room, found[sure], mass[sure])
    for value in np.argsort(-mass, kind="stable"):
        if not sure[value]:
            found[value] = np.argmax((counts[value] + LEAST_SHARE) * np.maximum(room, LEAST_SHARE))
            room[found[value]] -= mass[value]
    return [int(place) for place in found]


def accepted(draw: Draw, rows: int, rng: np.random.Generator, rules: Rules, seen: Seen | None = None) -> pd.DataFrame:
    """Return `rows` rows that keep every rule; `attrs["acceptance"]` says which share of those drawn did.

    Rows that have to be different are taken in the order that they are drawn in, those in `seen` before them. Raises
    InputError when they cannot be so many; ModelError, naming the rule that was broken most often, when too few are
    good.
    """
    rules.refuse_small(rows)
    seen = seen or Seen(rules.constraints)
    kept: list[pd.DataFrame] = []
    have = drawn = 0
    window = _Window(bool(seen.rules))
    faults: dict[str, int] = {}
    while have < rows:
        share = window.share(have, drawn)
        more = math.ceil(min((rows - have) / share * SPARE, max(MOST_AT_ONCE, rows))) if drawn else rows
        frame = rules.derive(draw(more, rng))
        broken = rules.broken(frame)
        for what, rows_broken in broken.items():
            faults[what] = faults.get(what, 0) + int(rows_broken.sum())
        good = ~np.any([np.zeros(more, bool), *broken.values()], axis=0)
        if seen.rules:
            fresh = seen.fresh(frame, good)
            what = f"the constraint {seen.rules[0].words}"
            faults[what] = faults.get(what, 0) + int((good & ~fresh).sum())
            good = fresh
        kept.append(frame if good.all() else frame[good])
        have, drawn = have + int(good.sum()), drawn + more
        hopeless = window.passed(int(good.sum()), more)
        if have < rows and (hopeless or (drawn >= LEAST_TRIES and have < LEAST_SHARE * drawn)):
            raise ModelError(_too_few(have, drawn, faults))
    found = pd.concat(kept) if len(kept) > 1 else kept[0]
    if drawn > rows:
        found = Encoder(rules.schema).renumbered(found.iloc[:rows])
    found.attrs["acceptance"] = have / drawn
    return found


class _Window:
    """The share of rows that are good: of all, or of late where it falls, as it does when rows must differ."""

    def __init__(self, falling: bool) -> None:
        self._falling, self._had, self._of, self._idle = falling, 0, 0, 0

    def share(self, have: int, drawn: int) -> float:
        """Return the share to expect."""
        good, tried = (self._had, self._of) if self._falling else (have, drawn)
        return max((good + 1) / (tried + 1), LEAST_SHARE)

    def passed(self, good: int, drawn: int) -> bool:
        """Take note of a draw; return whether so many rows went by without a new one that there will be none."""
        self._had, self._of = good, drawn
        self._idle = 0 if good else self._idle + drawn
        return self._falling and self._idle >= LEAST_TRIES


def _too_few(have: int, drawn: int, faults: dict[str, int]) -> str:
    """Say how many rows were good and what was wrong with the others."""
    worst: Sequence[str] = sorted(faults, key=lambda what: -faults[what])
    said = "; ".join(f"{faults[what] / drawn:.3%} break {what}" for what in worst if faults[what])
    return f"Only {have:,} of {drawn:,} rows drawn keep every rule, too few to go on: {said}."
