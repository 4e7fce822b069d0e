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

from tabsynth.constraints import Constraint, Dependency, Sum
from tabsynth.constraints.rule import codes_of
from tabsynth.encoding.conditions import Condition
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import ModelError
from tabsynth.schema import Schema

Draw = Callable[[int, np.random.Generator], pd.DataFrame]
Derived = Dependency | Sum
LEAST_TRIES = 100_000  # rows drawn before giving up
LEAST_SHARE = 1e-4  # of drawn rows that are good; fewer are given up on
MOST_AT_ONCE = 250_000  # rows of one more draw
SPARE = 1.1  # times what is expected to be enough
LEARNED_FROM = 20_000  # rows that a dependency without a mapping is read from


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
        """Return, by what it is called, which rows break each rule or condition."""
        columns = {column.name: column for column in self.schema}
        found = {f"the constraint {rule.words}": rule.broken(frame, columns) for rule in self.constraints}
        return found | {f"the condition on {one.column.name!r}": ~one.holds(frame) for one in self.conditions}


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
        texts = [schema[name].levels or () for name in rule.over]
        codes = [codes_of(sample[0][name], values) for name, values in zip(rule.over, texts, strict=True)]
        counts = np.zeros([len(values) for values in texts])
        known = (codes[0] >= 0) & (codes[1] >= 0)
        np.add.at(counts, (codes[0][known], codes[1][known]), 1)
        return replace(rule, mapping=tuple(zip(texts[0], (texts[1][place] for place in images(counts)), strict=True)))

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


def accepted(draw: Draw, rows: int, rng: np.random.Generator, rules: Rules) -> pd.DataFrame:
    """Return `rows` rows that keep every rule; `attrs["acceptance"]` says which share of those drawn did.

    Raises ModelError, naming the rule that was broken most often, when too few do.
    """
    kept: list[pd.DataFrame] = []
    have = drawn = 0
    faults: dict[str, int] = {}
    while have < rows:
        share = max((have + 1) / (drawn + 1), LEAST_SHARE)
        more = math.ceil(min((rows - have) / share * SPARE, max(MOST_AT_ONCE, rows))) if drawn else rows
        frame = rules.derive(draw(more, rng))
        broken = rules.broken(frame)
        for what, rows_broken in broken.items():
            faults[what] = faults.get(what, 0) + int(rows_broken.sum())
        good = ~np.any(list(broken.values()), axis=0)
        kept.append(frame if good.all() else frame[good])
        have, drawn = have + int(good.sum()), drawn + more
        if drawn >= LEAST_TRIES and have < LEAST_SHARE * drawn:
            raise ModelError(_too_few(have, drawn, faults))
    found = pd.concat(kept) if len(kept) > 1 else kept[0]
    if drawn > rows:
        found = Encoder(rules.schema).renumbered(found.iloc[:rows])
    found.attrs["acceptance"] = have / drawn
    return found


def _too_few(have: int, drawn: int, faults: dict[str, int]) -> str:
    """Say how many rows were good and what was wrong with the others."""
    worst: Sequence[str] = sorted(faults, key=lambda what: -faults[what])
    said = "; ".join(f"{faults[what] / drawn:.3%} break {what}" for what in worst if faults[what])
    return f"Only {have:,} of {drawn:,} rows drawn keep every rule, too few to go on: {said}."
