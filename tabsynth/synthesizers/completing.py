"""Rows that begin with what is known of them: drawn until they keep every rule, each row a bounded number of times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.constraints import Constraint, Seen, Sum
from tabsynth.constraints.rule import numbers_of
from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial
from tabsynth.errors import InputError, ModelError
from tabsynth.synthesizers.accepting import LEAST_SHARE, Draw, Rules

Complete = Callable[[Partial, np.random.Generator], pd.DataFrame]
MOST_TRIES = 4096  # of one row
MOST_COPIES = 200_000  # rows of one draw
POOL = 20_000  # rows that are drawn at once to look for those that are asked for
MOST_DRAWN = 400_000  # rows after which those that hardly ever came are given up on


def completed(
    draw: Complete, partial: Partial, rng: np.random.Generator, rules: Rules, free: Collection[str] = ()
) -> pd.DataFrame:
    """Return one row for each partial one, with its known cells, that keeps every rule.

    Cells of `free` columns, which are derived from others, are not conditioned on: a row is kept when they come out as
    known. `attrs["acceptance"]` is the share of all rows drawn that were kept, those included that a family says, by
    "drawn" in the `attrs` of its rows, it looked through for them. Raises InputError when known cells break
    a rule by themselves, ModelError when some row keeps none however often it is drawn.
    """
    encoder = Encoder(rules.schema)
    refuse_broken(partial, rules)
    partial = implied(partial, rules)
    derived = np.isin(partial.names, list(free))
    seen = Seen(rules.constraints)
    kept: list[pd.DataFrame] = []
    places: list[NDArray[np.int64]] = []
    pending = np.arange(len(partial))
    drawn, tries, copies = 0, 0, 1
    while len(pending):
        copies = min(copies, max(1, MOST_COPIES // len(pending)))
        asked = partial.take(np.repeat(pending, copies))
        conditions = replace(asked, known=asked.known & ~derived & ~asked.loose)
        rows = rules.derive(draw(conditions, rng))
        frame = asked.pasted(asked.moved(rows))
        drawn, tries = drawn + rows.attrs.get("drawn", len(asked)), tries + copies
        broken = rules.broken(frame)
        good = asked.met(frame) & asked.near(rows) & ~np.any([np.zeros(len(frame), bool), *broken.values()], axis=0)
        good = good.reshape(len(pending), copies)
        good = _one_each(seen, frame, good)
        first = np.arange(len(pending)) * copies + good.argmax(axis=1)
        whole = good.any(axis=1)
        if whole.any():
            kept.append(frame.iloc[first[whole]])
            places.append(pending[whole])
        pending = pending[~whole]
        if len(pending) and tries >= MOST_TRIES:
            raise ModelError(_never(partial.take(pending), broken, seen.rules))
        copies = min(2 * tries, MOST_TRIES - tries)
    found = pd.concat(kept).iloc[np.argsort(np.concatenate(places))]
    found = encoder.renumbered(found)
    found.attrs["acceptance"] = len(partial) / drawn
    return found


def _one_each(seen: Seen, frame: pd.DataFrame, good: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return of good rows (rows, copies) the first of each that is like no row taken before; those are taken."""
    if not seen.rules:
        return good
    found = np.zeros_like(good)
    for copy in range(good.shape[1]):
        asked = good[:, copy] & ~found.any(axis=1)
        rows = np.flatnonzero(asked)
        found[rows, copy] = seen.fresh(frame.iloc[rows * good.shape[1] + copy])
    return found


def matched(draw: Draw, schema_encoder: Encoder, partial: Partial, rng: np.random.Generator) -> pd.DataFrame:
    """Return for each partial row one that was drawn and has its known cells' tokens: exact, however often it takes.

    Each distinct set of known cells takes the drawn rows that meet it in turn. Two sets may take the same drawn row:
    were it kept from the second, that one's rows would no longer follow the model. Raises ModelError when some set is
    still not met after a bounded number of rows. `attrs["drawn"]` says how many rows it takes to draw these one by one.
    """
    fresh = partial.fresh
    keys = np.concatenate([np.where(partial.known, partial.tokens, -1), fresh], axis=1)
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    waiting = {number: np.flatnonzero(which.reshape(-1) == number) for number in range(len(distinct))}
    columns = partial.known.shape[1]
    kept: list[pd.DataFrame] = []
    had, drawn_for = np.zeros((2, len(distinct)), np.int64)
    source, drawn, total = np.empty(len(partial), np.int64), 0, 0
    while waiting:
        hopeless = sum(had[number] < LEAST_SHARE * drawn for number in waiting)
        if drawn >= MOST_DRAWN and hopeless:
            raise ModelError(_unmatched(hopeless, len(distinct), drawn))
        frame = draw(POOL, rng)
        tokens = schema_encoder.encode(frame).tokens
        drawn, taken = drawn + POOL, list[int]()
        for number, rows in list(waiting.items()):
            met = _meeting(tokens, distinct[number, :columns], distinct[number, columns:] > 0, schema_encoder)
            some = min(len(met), len(rows))
            had[number] += len(met)
            drawn_for[number] += POOL
            source[rows[:some]] = total + len(taken) + np.arange(some)
            taken += met[:some].tolist()
            waiting[number] = rows[some:]
            if not len(waiting[number]):
                del waiting[number]
        kept.append(frame.iloc[taken])
        total += len(taken)
    found = pd.concat(kept, ignore_index=True).iloc[source].reset_index(drop=True)
    found.attrs["drawn"] = float((drawn_for / np.maximum(had, 1))[which.reshape(-1)].sum())
    return found


def _meeting(
    tokens: NDArray[np.int32], asked: NDArray[np.int64], values: NDArray[np.bool_], encoder: Encoder
) -> NDArray[np.int64]:
    """Return the places of rows of tokens that have the tokens asked for, -1 for any, and values where one must be."""
    good = np.ones(len(tokens), bool)
    for column, token in enumerate(asked):
        if token >= 0:
            good &= tokens[:, column] == token
        elif values[column]:
            good &= tokens[:, column] < encoder.codecs[column].values
    return np.flatnonzero(good)


def _unmatched(left: int, sets: int, drawn: int) -> str:
    return (
        f"Of {drawn:,} rows drawn hardly any has the known cells of {left:,} of {sets:,} kinds of partial rows, too "
        "few to go on. marginals and rows draw the rest of a row from its known cells, and need no such luck."
    )


def _never(partial: Partial, broken: dict[str, NDArray[np.bool_]], between: Sequence[Constraint]) -> str:
    """Say what stood in the way of the rows that never came out well."""
    said = [what for what, mask in broken.items() if mask.any()]
    said += [f"the constraint {rule.words}" for rule in between if not said]
    loose = [repr(name) for place, name in enumerate(partial.names) if partial.loose[:, place].any()]
    if not said and loose:
        said = [f"a value near that of {', '.join(loose)}: the model hardly ever draws one"]
    if not said:
        names = ", ".join(repr(name) for place, name in enumerate(partial.names) if partial.fresh[:, place].any())
        said = [f"a value in every one of {names}: the model nearly always leaves one missing"]
    return f"Known cells were completed {MOST_TRIES:,} times without keeping {'; '.join(said)}."


def implied(partial: Partial, rules: Rules) -> Partial:
    """Return the rows with what a sum settles: its only free cell, which has to be there, follows from the others.

    Raises InputError when it would leave its domain.
    """
    cells, known, tokens = partial.cells.copy(), partial.known.copy(), partial.tokens.copy()
    codecs = dict(zip(partial.names, Encoder(rules.schema).codecs, strict=True))
    for rule in rules.constraints:
        places = [partial.names.index(name) for name in rule.over]
        if not isinstance(rule, Sum) or not set(rule.over) <= set(cells):
            continue
        for name, place in zip(rule.over, places, strict=True):
            column = codecs[name].column
            others = [other for other in places if other != place]
            rows = ~known[:, place] & known[:, others].all(axis=1) & (partial.fresh[:, place] | (not column.nullable))
            if not rows.any():
                continue
            axis = {other: numbers_of(cells[other]) for other in rule.over}
            parts = sum((axis[part] for part in rule.parts if part != name), np.zeros(len(partial)))
            value = parts if name == rule.total else axis[rule.total] - parts
            decimals = 15 if not column.step else round(-np.log10(column.step))
            value = np.round(value, decimals)
            low, high = column.bounds or (-np.inf, np.inf)
            if not ((value[rows] >= low) & (value[rows] <= high)).all():
                raise InputError(f"A row is given cells that break the constraint {rule.words}.")
            old = cells[name]
            cells[name] = pd.Series(np.where(rows, value, axis[name]), index=old.index).astype(old.dtype)
            tokens[rows, place] = codecs[name].tokens(cells[name][rows])
            known[:, place] |= rows
    return replace(partial, cells=cells, known=known, tokens=tokens)


def refuse_broken(partial: Partial, rules: Rules) -> None:
    """Raise InputError when known cells break a constraint whatever the others are; no row and no value is named."""
    columns = {column.name: column for column in rules.schema}
    for rule in rules.constraints:
        if set(rule.over) <= set(partial.cells.columns):
            places = [partial.names.index(name) for name in rule.over]
            whole = partial.known[:, places].all(axis=1)
            if whole.any() and rule.broken(partial.take(np.flatnonzero(whole)).cells, columns).any():
                raise InputError(f"A row is given cells that break the constraint {rule.words}.")
