"""What a column is likely to be, given the rest of a row: read from a model that knows probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.columns.column import CLASSES, Column
from tabsynth.constraints import Constraint, Mask, Unique
from tabsynth.encoding.codec import Codec
from tabsynth.encoding.encoder import Encoder
from tabsynth.encoding.partial import Partial, partial_rows
from tabsynth.errors import InputError
from tabsynth.schema import Schema

Predict = Callable[[Partial, int], NDArray[np.float64]]


def predicted(predict: Predict, frame: pd.DataFrame, schema: Schema, target: str) -> pd.DataFrame:
    """Return the probability of each value of the target, (rows, values); see `Sampler.predict_proba`."""
    column = next((column for column in schema.modelled if column.name == target), None)
    if column is None or column.classes is None:
        names = ", ".join(column.name for column in schema.modelled if column.classes) or "none"
        raise InputError(
            f"The target must be a categorical or boolean column, or hold at most {CLASSES} integers; got {target!r}. "
            f"There are: {names}."
        )
    others = [column.name for column in schema.modelled if column.name != target]
    if absent := [name for name in others if name not in frame.columns]:
        raise InputError(f"Column {absent[0]!r} is needed to predict {target!r}.")
    if not others:
        raise InputError(f"Column {target!r} is the only one that is modelled: there is nothing to predict it from.")
    partial = _whole(partial_rows(frame[others], schema, filled=True), schema, target)
    levels = column.classes
    shares = predict(partial, partial.names.index(target))
    if column.numeric:
        shares = shares @ _held(column)
    silent = (Unique,)  # of one row, a rule between rows says nothing
    own = [rule for rule in schema.constraints if target in rule.over and not isinstance(rule, silent)]
    rules = [rule for rule in own if getattr(rule, "mapping", ()) is not None]
    if rules:
        may = np.stack([~_broken(partial.cells, schema, rules, target, level) for level in levels], axis=1)
        left = shares * may
        total = left.sum(axis=1, keepdims=True)
        if not (total > 0).all():
            raise InputError(f"A row has cells with which no value of {target!r} keeps the constraints.")
        shares = left / total
    return pd.DataFrame(shares, columns=list(levels), index=frame.index)


def _held(column: Column) -> NDArray[np.float64]:
    """Return the share of each bin's rows that hold each of a column's integers, (bins, integers)."""
    codec = Codec(column)
    places = [codec.portion(value, value)[:, : codec.bins] for value in map(float, column.classes or ())]
    return np.stack([end - start for start, end in places], axis=1)


def _whole(partial: Partial, schema: Schema, target: str) -> Partial:
    """Return rows whose missing cells are known to be missing; raise InputError where they cannot be."""
    tokens = partial.tokens.copy()
    for place, codec in enumerate(Encoder(schema).codecs):
        absent = ~partial.known[:, place]
        if codec.column.name == target or not absent.any():
            continue
        if not codec.column.nullable:
            raise InputError(f"Column {codec.column.name!r} is never missing under the model; fill it first.")
        tokens[absent, place] = codec.values
    return replace(partial, tokens=tokens, known=np.ones_like(partial.known))


def _broken(cells: pd.DataFrame, schema: Schema, rules: Sequence[Constraint], target: str, level: str) -> Mask:
    """Return which rows break a constraint with this value of the target."""
    column = schema[target]
    if column.kind == "boolean":
        own = pd.Series(np.full(len(cells), level == "True"), dtype="boolean")
    elif column.numeric:
        own = pd.Series(np.full(len(cells), int(level)), dtype="Int64")
    else:
        dtype = pd.CategoricalDtype(list(column.levels or ()))
        own = pd.Series(pd.Categorical([level] * len(cells), dtype=dtype))
    frame, columns = cells.assign(**{target: own}), {column.name: column for column in schema}
    return np.asarray(np.any([rule.broken(frame, columns) for rule in rules], axis=0))
