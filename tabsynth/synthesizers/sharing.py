"""Rows of which a stated share has a value: as many under each condition, and the others under none of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tabsynth.constraints import Seen
from tabsynth.encoding.conditions import Condition, conditions_of
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.schema import Schema

Sample = Callable[[int, tuple[Condition, ...], np.random.Generator, Seen], pd.DataFrame]


def in_shares(
    sample: Sample,
    rows: int,
    rng: np.random.Generator,
    schema: Schema,
    given: Mapping[str, Any],
    *,
    shares: Mapping[str, Mapping[Any, float]],
    seen: Seen | None = None,
) -> pd.DataFrame:
    """Return `rows` rows of which these shares, rounded, have these values of one column; the rest has its others.

    Every part follows the model's distribution given its value (or the rest: none of them) and `given`. Raises
    InputError for several columns, a numeric one, one that is in `given`, unknown values, and shares that are negative,
    sum to more than 1, or to less where no other value is left.
    """
    name, parts = _one_column(shares, schema)
    if name in given:
        raise InputError(f"Column {name!r} has both shares and a condition; leave one of them out.")
    found = [conditions_of({**given, name: value}, schema) for value in parts]
    own = [next(one for one in conditions if one.column.name == name) for conditions in found]
    if len({next(iter(one.values), None) for one in own}) < len(own):
        raise InputError(f"Column {name!r}: a value has two shares.")
    total = math.fsum(parts.values())
    if total < 1 - 1e-9:
        rest = _rest(schema, name, own)
        found.append(conditions_of({**given, name: rest}, schema))
    counts = apportioned(rows, [*parts.values(), 1 - total][: len(found)])
    before = seen or Seen(schema.constraints)
    drawn = [sample(count, conditions, rng, before) for count, conditions in zip(counts, found, strict=True) if count]
    whole = pd.concat(drawn, ignore_index=True).iloc[rng.permutation(rows)]
    result = Encoder(schema).renumbered(whole)
    accepted = [part.attrs.get("acceptance", 1.0) for part in drawn]
    result.attrs["acceptance"] = rows / sum(len(part) / share for part, share in zip(drawn, accepted, strict=True))
    return result


def apportioned(rows: int, shares: list[float]) -> list[int]:
    """Return whole numbers that sum to `rows` in these shares, the largest remainders rounded up.

    >>> apportioned(10, [0.25, 0.25, 0.5])
    [3, 2, 5]
    """
    exact = [rows * share for share in shares]
    counts = [math.floor(each + 1e-9) for each in exact]
    order = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in order[: rows - sum(counts)]:
        counts[place] += 1
    return counts


def shares_from_texts(texts: list[str], schema: Schema) -> dict[str, dict[Any, float]]:
    """Read shares of a command line: `column=value:share`; nothing before the colon is missing.

    >>> from tabsynth.schema import Column
    >>> shares_from_texts(["fraud=yes:0.3"], Schema((Column("fraud", "categorical", categories=("no", "yes")),)))
    {'fraud': {'yes': 0.3}}
    """
    found: dict[str, dict[Any, float]] = {}
    for text in texts:
        pair, _, share = text.rpartition(":")
        names = [column.name for column in schema.modelled if pair.startswith(f"{column.name}=")]
        try:
            part = float(share)
        except ValueError:
            part = math.nan
        if not names or math.isnan(part):
            raise InputError(f"A share is COLUMN=VALUE:SHARE, such as fraud=yes:0.3; got {text!r}.")
        name = max(names, key=len)
        value = pair[len(name) + 1 :] or None
        if found and name not in found:
            raise InputError(f"Shares are of the values of one column; got {next(iter(found))!r} and {name!r}.")
        if value in found.get(name, {}):
            raise InputError(f"Column {name!r}: a value has two shares.")
        found.setdefault(name, {})[value] = part
    return found


def _one_column(shares: Mapping[str, Mapping[Any, float]], schema: Schema) -> tuple[str, Mapping[Any, float]]:
    """Return the column and the shares of its values."""
    if not isinstance(shares, Mapping) or len(shares) != 1 or not isinstance(next(iter(shares.values())), Mapping):
        raise InputError('Shares are of the values of one column, such as {"fraud": {"yes": 0.3}}.')
    name, parts = next(iter(shares.items()))
    conditions_of({name: next(iter(parts), None)} if parts else {}, schema)
    if not parts or schema[name].numeric:
        raise InputError(f"Column {name!r}: shares are of the values of a categorical or boolean column.")
    if not all(isinstance(part, int | float) and 0 <= part <= 1 for part in parts.values()):
        raise InputError(f"Column {name!r}: a share is a number from 0 to 1.")
    if (total := math.fsum(parts.values())) > 1 + 1e-9:
        raise InputError(f"Column {name!r}: shares must sum to at most 1; got {total:g}.")
    return name, parts


def _rest(schema: Schema, name: str, own: list[Condition]) -> list[Any]:
    """Return the column's values that have no share, None for missing."""
    taken = frozenset[str]().union(*(one.values for one in own))
    rest: list[Any] = [value for value in schema[name].levels or () if value not in taken]
    if schema[name].nullable and not any(one.missing for one in own):
        rest.append(None)
    if not rest:
        raise InputError(f"Column {name!r}: shares of all its values must sum to 1.")
    return rest
