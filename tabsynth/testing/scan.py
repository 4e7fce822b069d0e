"""The leak scan: no value of the training table in a saved model, unless it was public, declared or paid for.

Files are searched for texts in several encodings and for numbers written out, arrays for columns, rows, sorted copies
and row numbers. What is paid for and what is not cannot always be told from the bytes: bounds on a column's public grid
are left to neighbour replay, and only what cannot be chance is reported, so that no clean model is accused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import SchemaError
from tabsynth.schema import OTHER, Schema
from tabsynth.synthesizers.model import MODEL
from tabsynth.table import Table, to_axis

SHORTEST = 4  # characters of a text that is searched for; shorter ones occur by chance
FEWEST = 12  # values that must agree before an array counts as a copy
MOST_SLICES = 4096  # of one array that are compared with columns
DIGITS = 10  # significant digits that a number needs before it can be known again


def scan_model(folder: Path | str, train: Table) -> tuple[str, ...]:
    """Return what of the training table is found in a saved model, one line a finding; nothing when it is clean.

    The model's own schema counts as paid for, save for a category that a single privacy unit holds: a threshold lets
    it pass with probability delta only. Findings name files, arrays and columns, never a value.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    strange = [path.name for path in paths if path.suffix not in (".json", ".safetensors")]
    found = [f"{name}: neither JSON nor safetensors" for name in strange]
    schema = _saved_schema(folder)
    found += _lone_categories(schema, train)
    texts = _private_texts(schema, train)
    for path in paths:
        found += [f"{path.name}: {what}" for what in _texts_in(path.read_bytes(), texts)]
        if path.suffix == ".json":
            found += [f"{path.name}: {what}" for what in _numbers_in(path, train)]
        if path.suffix == ".safetensors":
            found += [f"{path.name}: {what}" for what in _arrays_in(path, _copies(schema, train), train)]
    return tuple(dict.fromkeys(found))


def _saved_schema(folder: Path) -> Schema | None:
    """Return the schema that the model publishes, None where there is none to be read."""
    try:
        return Schema.from_dict(json.loads((folder / MODEL).read_text(encoding="utf-8"))["schema"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lone_categories(schema: Schema | None, train: Table) -> Iterator[str]:
    """Yield the columns whose published categories hold one that is not declared and one unit's alone."""
    units = train.units()
    for column in schema.modelled if schema else ():
        declared = train.schema[column.name].categories
        if column.kind != "categorical" or declared is not None:
            continue
        values = train.private[column.name].astype("object").to_numpy()
        holders = pd.Series(np.arange(len(values)) if units is None else units).groupby(values).nunique()
        if set(holders.index[holders == 1]) & set(column.categories or ()) - {OTHER}:
            yield f"{MODEL}: the categories of {column.name!r} hold one that a single unit has"


def _private_texts(schema: Schema | None, train: Table) -> dict[str, str]:
    """Map every text of the rows that was neither declared nor published as a domain to its column."""
    public = {level for each in (schema, train.schema) if each for column in each for level in column.levels or ()}
    public |= {*train.schema.names, OTHER}
    texts: dict[str, str] = {}
    for name in train.private:
        series = train.private[name]
        if train.schema[str(name)].kind == "categorical" or not train.schema[str(name)].modelled:
            found = {str(value) for value in series.dropna().unique()} - public
            texts |= {text: str(name) for text in found if len(text) >= SHORTEST and not _is_number(text)}
    return texts


def _is_number(text: str) -> bool:
    """Whether a text is a number, which occurs among digits by chance."""
    return text.replace(".", "").replace("-", "").isdigit()


def _texts_in(content: bytes, texts: dict[str, str]) -> Iterator[str]:
    """Yield the columns whose private texts stand in a file, in any of the usual encodings."""
    for column in dict.fromkeys(texts.values()):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "json"):
            if any(_encoded(text, encoding) in content for text, owner in texts.items() if owner == column):
                yield f"a value of {column!r} as {encoding}"
                break


def _encoded(text: str, encoding: str) -> bytes:
    return json.dumps(text).encode()[1:-1] if encoding == "json" else text.encode(encoding)


def _numbers_in(path: Path, train: Table) -> Iterator[str]:
    """Yield the columns of which a value with many digits is written out in a JSON file."""
    try:
        numbers = np.array(list(_numbers(json.loads(path.read_text(encoding="utf-8")))), np.float64)
    except (UnicodeDecodeError, json.JSONDecodeError):
        yield "not readable as JSON"
        return
    for name, values in _telling_numbers(train).items():
        if np.isin(numbers, values).any():
            yield f"a value of {name!r} as a number"


def _numbers(plain: Any) -> Iterator[float]:
    """Walk plain JSON values and yield every number."""
    if isinstance(plain, dict | list):
        for each in plain.values() if isinstance(plain, dict) else plain:
            yield from _numbers(each)
    elif isinstance(plain, int | float) and not isinstance(plain, bool) and abs(plain) < 2**63:
        yield float(plain)


def _telling_numbers(train: Table) -> dict[str, NDArray[np.float64]]:
    """Return, per column without a grid, its values of so many digits that they can be nobody else's."""
    telling = {}
    for column in train.schema.modelled:
        if not column.numeric:
            continue
        values = np.unique(to_axis(train.private[column.name], column))
        values = values[~np.isnan(values)]
        declared = [fact for fact in (column.bounds, column.bins) if fact is not None]
        public = np.concatenate([np.asarray(fact, np.float64) for fact in declared]) if declared else np.empty(0)
        kept = [value for value in values if _digits(value) >= DIGITS and value not in public]
        if column.step == 0 and kept:
            telling[column.name] = np.array(kept)
    return telling


def _digits(value: float) -> int:
    """Return the significant digits that a number needs."""
    return len(f"{value:.17e}".split("e")[0].replace(".", "").lstrip("-0")) if value and value != round(value, 6) else 0


def _copies(schema: Schema | None, train: Table) -> dict[str, NDArray[np.float64]]:
    """Return what an array may hold a copy of: each column's values, tokens and places within bins."""
    numeric = [column for column in train.schema.modelled if column.numeric]
    copies = {f"the values of {c.name!r}": to_axis(train.private[c.name], c) for c in numeric}
    encoded = None
    if schema is not None:
        try:
            encoder = Encoder(schema)
            encoded = encoder.encode(train.private)
        except (SchemaError, KeyError):
            encoded = None  # the model's domains do not hold the table: there are no tokens to look for
    if encoded is not None:
        for place, name in enumerate(encoder.names):
            copies[f"the tokens of {name!r}"] = encoded.tokens[:, place].astype(np.float64)
            copies[f"the places within bins of {name!r}"] = encoded.offsets[:, place].astype(np.float64)
    return copies


def _arrays_in(path: Path, copies: dict[str, NDArray[np.float64]], train: Table) -> Iterator[str]:
    """Yield what the arrays of a file copy from the table."""
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError):
        yield "not readable as safetensors"
        return
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.number):
            continue
        if _numbers_rows(array, len(train.private)):
            yield f"array {name!r} numbers the rows of the table"
        for slice_ in _slices(array.astype(np.float64)):
            yield from (f"array {name!r} holds {what}" for what, values in copies.items() if _is_copy(slice_, values))


def _numbers_rows(array: NDArray[Any], rows: int) -> bool:
    """Whether the array is a shuffle of (most of) the row numbers, from 0 or from 1."""
    flat = array.reshape(-1).astype(np.float64)
    if not FEWEST <= len(flat) <= rows + 1 or len(flat) < rows / 2:
        return False
    whole = bool(np.all(flat == np.floor(flat)) and flat.min() >= 0 and flat.max() <= rows)
    return whole and len(np.unique(flat)) == len(flat) and bool(np.any(np.diff(flat) < 0))


def _slices(array: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield the array laid flat and, of a matrix, its columns and rows."""
    yield array.reshape(-1)
    if array.ndim >= 2:
        matrix = array.reshape(array.shape[0], -1)
        yield from list(matrix.T)[:MOST_SLICES]
        yield from list(matrix)[:MOST_SLICES]


def _is_copy(found: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Whether `found` holds the column: all of it in any order, or a part that cannot be chance.

    Compared as float32, which is what models are kept in. A part is telling when its values are many, differ, and lie
    on no grid that weights or counts would share.
    """
    column = values[~np.isnan(values)].astype(np.float32)
    present = found[np.isfinite(found)].astype(np.float32)
    distinct = np.unique(column)
    if len(distinct) < 2 or len(present) < FEWEST:
        return False
    if len(present) == len(column) and np.array_equal(np.sort(present), np.sort(column)):
        return True
    telling = distinct[distinct != np.round(distinct)]
    if len(telling) < FEWEST:
        return False
    different = np.unique(present)
    shared = np.isin(different, telling).sum()
    return bool(shared >= FEWEST and shared >= 0.5 * len(different))
