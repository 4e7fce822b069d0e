"""The leak scan: no value of the training table in a saved model, unless it was public, declared or paid for.

Files are searched for texts in several encodings and for numbers written out, arrays for columns, rows, sorted copies
and row numbers. What is paid for and what is not cannot always be told from the bytes: bounds on a column's public grid
are left to neighbour replay, and only what cannot be chance is reported, so that no clean model is accused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tabsynth.conversion import to_axis
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import SchemaError
from tabsynth.schema import OTHER, Column, Schema
from tabsynth.schema_file import read_schema
from tabsynth.sources import Readable
from tabsynth.synthesizers.model import MODEL, load
from tabsynth.table import Table, read

SHORTEST = 4  # characters of a text that is searched for (and bytes of a word); shorter ones occur by chance
FEWEST = 12  # values that must agree before an array counts as a copy
MOST_SLICES = 4096  # of one array that are compared with columns
DIGITS = 10  # significant digits that a number needs before it can be known again
WRITTEN = ("format", "unit", "timezone", "codes", "max_length")  # what a table is read by, and no domain
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "json")

Found = tuple[str | None, str]  # the column, if it is one, and what was found
Copy = tuple[str, str, NDArray[np.float64]]  # a column, what of it, and the numbers


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing of the training table in a saved model: in which file, of which column (None: of no single one), what.

    It never quotes a value; as text it is one line.
    """

    file: str
    column: str | None
    kind: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}"


def scan(folder: Path | str, train: Table) -> tuple[Finding, ...]:
    """Return what of the training table is found in a saved model; nothing when it is clean.

    The model's own schema counts as paid for, save for a category that a single privacy unit holds: a threshold lets
    it pass with probability delta only. Findings name files, arrays and columns, never a value.
    """
    folder = Path(folder)
    schema = _saved_schema(folder)
    texts = _private_texts(schema, train)
    copies = _copies(schema, train)
    found = [Finding(MODEL, column, what) for column, what in _lone_categories(schema, train)]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = _shown(path.name, texts)
        if path.suffix not in (".json", ".safetensors"):
            found.append(Finding(name, None, "neither JSON nor safetensors"))
        each = list(_texts_in(path.read_bytes(), texts))
        if path.suffix == ".json":
            each += _numbers_in(path, train)
        if path.suffix == ".safetensors":
            each += _arrays_in(path, copies, texts, len(train.private))
        found += [Finding(name, column, what) for column, what in each]
    return tuple(dict.fromkeys(found))


def scan_model(folder: Path | str, train: Table) -> tuple[str, ...]:
    """Return what `scan` finds, one line a finding."""
    return tuple(map(str, scan(folder, train)))


def scan_files(
    model: Path | str,
    train: Readable,
    schema: Path | str | Schema | None = None,
    *,
    delimiter: str | None = None,
) -> tuple[Finding, ...]:
    """Scan a saved model for the values of a training table of any source.

    Without the schema that the model was fitted with, the model's own says which columns there are and of which kind;
    then nothing counts as declared.

    Raises ModelError when the model is damaged or of another version, SchemaError or TableError when the table does
    not fit.
    """
    known = undeclared(load(model).schema)
    if schema is not None:
        known = schema if isinstance(schema, Schema) else read_schema(schema)
    return scan(model, read(train, known, delimiter=delimiter))


def undeclared(schema: Schema) -> Schema:
    """Return a schema with every domain and every rule left open: names, kinds, roles, and how values are written."""
    columns = (
        Column(each.name, each.kind, each.roles, nullable=None, **{fact: getattr(each, fact) for fact in WRITTEN})
        for each in schema
    )
    return replace(schema, columns=tuple(columns), rows=None, constraints=())


def _shown(name: str, texts: Mapping[str, str]) -> str:
    """Return a file's or an array's name, unless it spells a private text itself."""
    return "(a name that holds a value)" if any(text in name for text in texts) else name


def _saved_schema(folder: Path) -> Schema | None:
    """Return the schema that the model publishes, None where there is none to be read."""
    try:
        return Schema.from_dict(json.loads((folder / MODEL).read_text(encoding="utf-8"))["schema"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lone_categories(schema: Schema | None, train: Table) -> Iterator[Found]:
    """Yield the columns whose published categories hold one that is not declared and one unit's alone."""
    units = train.units()
    for column in schema.modelled if schema else ():
        declared = train.schema[column.name].categories
        if column.kind != "categorical" or declared is not None:
            continue
        values = train.private[column.name].astype("object").to_numpy()
        holders = pd.Series(np.arange(len(values)) if units is None else units).groupby(values).nunique()
        if set(holders.index[holders == 1]) & set(column.categories or ()) - {OTHER}:
            yield column.name, f"the categories of {column.name!r} hold one that a single unit has"


def _private_texts(schema: Schema | None, train: Table) -> dict[str, str]:
    """Map every text of the rows that was neither declared nor published as a domain to its column."""
    public = {level for each in (schema, train.schema) if each for column in each for level in column.levels or ()}
    public |= {*train.schema.names, OTHER}
    texts: dict[str, str] = {}
    for name in train.private:
        series = train.private[name]
        if train.schema[str(name)].kind in ("categorical", "text") or not train.schema[str(name)].modelled:
            found = {str(value) for value in series.dropna().unique()} - public
            texts |= {text: str(name) for text in found if len(text) >= SHORTEST and not _is_number(text)}
    return texts


def _is_number(text: str) -> bool:
    """Whether a text is a number, which occurs among digits by chance."""
    return text.replace(".", "").replace("-", "").isdigit()


def _texts_in(content: bytes, texts: Mapping[str, str]) -> Iterator[Found]:
    """Yield the columns whose private texts stand in a file, in any of the usual encodings."""
    starts = _starts(content)
    owners, found = list(texts.values()), dict[str, str]()
    for encoding in ENCODINGS:
        spelled = [_encoded(text, encoding) for text in texts]
        first = np.frombuffer(b"".join(each[:SHORTEST] for each in spelled), "<u4")
        for place in np.flatnonzero(np.isin(first, starts)):  # few texts start as anything in the file does
            column = owners[place]
            if column not in found and spelled[place] in content:
                found[column] = encoding
    yield from ((column, f"a value of {column!r} as {encoding}") for column, encoding in found.items())


def _starts(content: bytes) -> NDArray[np.uint32]:
    """Return every run of SHORTEST bytes in a file, as numbers."""
    whole = (content[shift : shift + (len(content) - shift) // SHORTEST * SHORTEST] for shift in range(SHORTEST))
    return np.unique(np.concatenate([np.frombuffer(part, "<u4") for part in whole]))


def _encoded(text: str, encoding: str) -> bytes:
    return json.dumps(text).encode()[1:-1] if encoding == "json" else text.encode(encoding)


def _numbers_in(path: Path, train: Table) -> Iterator[Found]:
    """Yield the columns of which a value with many digits is written out in a JSON file."""
    try:
        numbers = np.array(list(_numbers(json.loads(path.read_text(encoding="utf-8")))), np.float64)
    except (UnicodeDecodeError, json.JSONDecodeError):
        yield None, "not readable as JSON"
        return
    for name, values in _telling_numbers(train).items():
        if np.isin(numbers, values).any():
            yield name, f"a value of {name!r} as a number"


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


def _copies(schema: Schema | None, train: Table) -> list[Copy]:
    """Return what an array may hold a copy of: each column's values, tokens and places within bins."""
    numeric = [column for column in train.schema.modelled if column.numeric]
    copies = [(c.name, f"the values of {c.name!r}", to_axis(train.private[c.name], c)) for c in numeric]
    if schema is None:
        return copies
    try:
        encoder = Encoder(schema)
        encoded = encoder.encode(train.private)
    except (SchemaError, KeyError):
        return copies  # the model's domains do not hold the table: there are no tokens to look for
    for place, name in enumerate(encoder.names):
        copies.append((name, f"the tokens of {name!r}", encoded.tokens[:, place].astype(np.float64)))
        copies.append((name, f"the places within bins of {name!r}", encoded.offsets[:, place].astype(np.float64)))
    return copies


def _arrays_in(path: Path, copies: list[Copy], texts: Mapping[str, str], rows: int) -> Iterator[Found]:
    """Yield what the arrays of a file copy from the table."""
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError):
        yield None, "not readable as safetensors"
        return
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.number):
            continue
        shown = f"array {_shown(name, texts)!r}"
        if _numbers_rows(array, rows):
            yield None, f"{shown} numbers the rows of the table"
        numbers = array.astype(np.float32)
        yield from ((column, f"{shown} holds {what}") for column, what, values in copies if _holds(numbers, values))


def _numbers_rows(array: NDArray[Any], rows: int) -> bool:
    """Whether the array is a shuffle of (most of) the row numbers, from 0 or from 1."""
    flat = array.reshape(-1).astype(np.float64)
    if not FEWEST <= len(flat) <= rows + 1 or len(flat) < rows / 2:
        return False
    whole = bool(np.all(flat == np.floor(flat)) and flat.min() >= 0 and flat.max() <= rows)
    return whole and len(np.unique(flat)) == len(flat) and bool(np.any(np.diff(flat) < 0))


def _holds(array: NDArray[np.float32], values: NDArray[np.float64]) -> bool:
    """Whether the array, laid flat or by rows or columns, holds the column: all of it in any order, or a telling part.

    Compared as float32, which is what models are kept in. A part is telling when its values are many, differ, and lie
    on no grid that weights or counts would share.
    """
    column = np.sort(values[~np.isnan(values)].astype(np.float32))
    distinct = np.unique(column)
    if len(distinct) < 2 or array.size < FEWEST:
        return False
    telling = distinct[distinct != np.round(distinct)]
    known = np.isin(array, telling)
    partly = int(known.sum()) >= FEWEST
    return any(
        (len(part) == len(column) and np.array_equal(np.sort(part), column)) or (partly and _is_telling(part, telling))
        for part in _slices(array)
        if partly or len(part) == len(column)
    )


def _is_telling(part: NDArray[np.float32], telling: NDArray[np.float32]) -> bool:
    different = np.unique(part)
    shared = int(np.isin(different, telling).sum())
    return shared >= FEWEST and shared >= 0.5 * len(different)


def _slices(array: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the finite values of the array laid flat and of a matrix's columns and rows, too short ones left out."""
    matrix = array.reshape(array.shape[0], -1) if array.ndim >= 2 else array.reshape(1, -1)
    for part in [array.reshape(-1), *list(matrix.T)[:MOST_SLICES], *list(matrix)[:MOST_SLICES]]:
        finite = part[np.isfinite(part)]
        if len(finite) >= FEWEST:
            yield finite
