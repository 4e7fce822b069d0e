"""A schema drafted from data, every line of it marked: what is read from private rows is published by keeping it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from tabsynth.columns.times import WEEK, zone_of
from tabsynth.conversion import convert, to_axis
from tabsynth.errors import TableError
from tabsynth.files import RawTable, chunks
from tabsynth.pii import FEWEST_PEOPLE, by_name, by_values
from tabsynth.schema import MISSING_TEXTS, Column, Kind, Schema
from tabsynth.sources import Readable, open_source

MARK = "# read from data: keeping this line publishes it"
HEADER = """\
# Drafted by reading the table itself. Everything in a schema is public: each marked line tells readers of a release
# something about the private rows. Replace what should not be known by facts of your own (a codebook, a form's limits)
# or delete the line and let discovery pay for it (--discover).
"""
TIME_FORMATS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%z",
    "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M",
)  # fmt: skip
DURATION_FORMS = {"clock": re.compile(r"-?\d+:\d\d(:\d\d(\.\d+)?)?"), "iso": re.compile(r"-?P[\dDTHMSW.,]+")}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
MOST_WORDS, NUMBERS_PER_WORD = 3, 10  # different ones, for words among numbers to be codes
MOST_CATEGORIES = 10_000
MOST_DECIMALS = 6
IDENTIFIER_NAME = re.compile(r"(^|[^a-z])(id|ids|uuid|guid|ssn|iban)$|Id$|ID$")
TRUTH_WORDS = {"true", "false"}  # yes/no and 1/0 keep their own spelling


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema read from data in full; writing it down as it stands publishes every fact in it."""

    schema: Schema

    def to_yaml(self) -> str:
        """Return the schema as YAML, every line marked that was read from data."""
        lines = [HEADER + f"rows: {self.schema.rows}  {MARK}", "columns:"]
        for column in self.schema:
            for place, (fact, value) in enumerate(column.to_dict().items()):
                written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
                text = written.removesuffix("\n").removesuffix("...").rstrip("\n")
                lines.append(f"{'    ' if place else '  - '}{fact}: {text}  {MARK}")
        return "\n".join(lines) + "\n"

    def kinds(self) -> Schema:
        """Return names and kinds alone, which are then published; every domain is left to discovery."""
        return Schema(tuple(map(_bare, self.schema)))


def _bare(column: Column) -> Column:
    """Return a column without what the data say of it; words among numbers are said by nothing but the data."""
    if column.codes is not None:
        return Column(column.name, "categorical", roles=column.roles, nullable=None)
    cycle: Any = "week" if column.kind == "datetime" else None  # not only where the data span some
    return replace(column, nullable=None, categories=None, bounds=None, decimals=None, cycle=cycle)


def draft(source: Readable, *, delimiter: str = ",") -> Draft:
    """Draft a schema by reading every value of a table; raise TableError naming what cannot be told.

    >>> people = pd.DataFrame({"age": [31, 40], "city": ["Ulm", "Bonn"]})
    >>> [(column.name, column.kind) for column in draft(people).schema]
    [('age', 'integer'), ('city', 'categorical')]
    """
    (raw,) = chunks(open_source(source, delimiter=delimiter), rows=None)
    if raw.columns.num_rows < 2:
        raise TableError(f"{raw.label}: at least two rows are needed to draft a schema.")
    names = raw.columns.column_names
    return Draft(Schema(tuple(_draft_column(raw, name) for name in names), rows=raw.columns.num_rows))


def _draft_column(raw: RawTable, name: str) -> Column:
    """Return the first kind that every value fits, with the domain that the values span."""
    for column in _candidates(raw, name):
        try:
            series = convert(raw, column, Schema((column,)).missing, check_domain=False)
        except TableError:
            continue
        if series.isna().all():
            raise TableError(f"{raw.label}: column {name!r}: every value is missing; drop it or declare it by hand.")
        if column.kind == "boolean" and not _is_truth(raw, name):
            continue
        return _with_domain(column, series)
    raise TableError(f"{raw.label}: column {name!r}: its kind cannot be told; declare it by hand.")


def _candidates(raw: RawTable, name: str) -> list[Column]:
    """List the kinds to try, the narrowest first."""
    category = Column(name, "categorical", nullable=True)
    kind = raw.columns.column(name).type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return [_moments(raw, name)]
    if pa.types.is_duration(kind) or (form := _duration_form(raw, name)) is not None:
        form = None if pa.types.is_duration(kind) else form
        return [Column(name, "duration", nullable=True, format=None if form == "clock" else form), category]
    kinds: tuple[Kind, ...] = ("boolean", "integer", "float")
    dates = [Column(name, "datetime", nullable=True, format=form) for form in TIME_FORMATS]
    words = _words_among_numbers(raw, name)
    coded = [Column(name, kind, nullable=True, codes=words) for kind in ("integer", "float")] if words else []
    return [*(Column(name, kind, nullable=True) for kind in kinds), *dates, *coded, category]


def _words_among_numbers(raw: RawTable, name: str) -> tuple[str, ...]:
    """Return the few words that stand among many numbers, none where the texts of a column are of another sort."""
    values = raw.columns.column(name)
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return ()
    texts = {str(text).strip() for text in pc.unique(values).to_pylist() if text is not None} - set(MISSING_TEXTS)
    words = sorted(text for text in texts if NUMBER.fullmatch(text) is None)
    return tuple(words) if len(words) <= MOST_WORDS and len(texts) >= NUMBERS_PER_WORD * len(words) else ()


def _moments(raw: RawTable, name: str) -> Column:
    """Return a column of moments as their type has them: days, or seconds in the zone that it names, if it does."""
    values = raw.columns.column(name)
    zone = getattr(values.type, "tz", None)
    days = pa.types.is_date(values.type) or pc.all(pc.equal(pc.floor_temporal(values, unit="day"), values)).as_py()
    if days and zone is None:
        return Column(name, "datetime", nullable=True, format=TIME_FORMATS[0])
    return Column(name, "datetime", nullable=True, format=TIME_FORMATS[1], timezone=_known_zone(zone))


def _known_zone(zone: str | None) -> str | None:
    """Return a zone by its name; a mere offset from UTC is none, its moments become UTC's."""
    try:
        return None if zone is None else zone_of(zone).key
    except ValueError:
        return "UTC"


def _duration_form(raw: RawTable, name: str) -> str | None:
    """Return the form that all texts of a column have as durations, None when they are none."""
    values = raw.columns.column(name)
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        return None
    texts = [text for text in pc.unique(values).to_pylist() if text is not None and text.strip() not in MISSING_TEXTS]
    forms = (form for form, shape in DURATION_FORMS.items() if texts and all(map(shape.fullmatch, texts)))
    return next(forms, None)


def _is_truth(raw: RawTable, name: str) -> bool:
    """Whether a column is boolean by type or spelled true and false."""
    column = Column(name, "categorical", nullable=True)
    values = convert(raw, column, Schema((column,)).missing, check_domain=False)
    return {str(word).lower() for word in values.cat.categories} <= TRUTH_WORDS


def _with_domain(column: Column, series: pd.Series) -> Column:
    """Return the column with the domain that its values span."""
    column = replace(column, nullable=bool(series.isna().any()))
    present = series.dropna()
    if (present.is_unique and _looks_like_identifier(column, present)) or _is_personal(column, present):
        return replace(column, roles=("identifier",))
    if column.kind == "categorical":
        found = sorted(map(str, present.unique()))
        return replace(column, categories=tuple(found)) if len(found) <= MOST_CATEGORIES else column
    if not column.numeric:
        return column
    axis = to_axis(present, column)
    axis = axis[~np.isnan(axis)]
    if column.kind in ("float", "duration"):
        column = replace(column, decimals=_decimals(axis))
    if column.kind == "datetime" and float(axis.max() - axis.min()) > WEEK:
        column = replace(column, cycle="week")  # else hours and weekdays are lost
    return replace(column, bounds=(float(axis.min()), float(axis.max())))


def _looks_like_identifier(column: Column, present: pd.Series) -> bool:
    """Whether unique values are names of rows: by the column's name, or because a text never repeats."""
    named = IDENTIFIER_NAME.search(column.name) is not None and column.kind in ("integer", "categorical")
    return named or (column.kind == "categorical" and len(present) > 20)


def _is_personal(column: Column, present: pd.Series) -> bool:
    """Whether a column holds people's names, addresses or numbers, by its own name or its values, unique or not."""
    if column.kind == "categorical" and present.nunique() <= FEWEST_PEOPLE:
        return False
    named, shown = by_name(column), by_values(column, present)
    return any(found is not None and found.personal for found in (named, shown))


def _decimals(axis: np.ndarray) -> int | None:
    """Return the fewest decimals that write every value, None when more than MOST_DECIMALS are needed."""
    for decimals in range(MOST_DECIMALS + 1):
        if np.allclose(axis, np.round(axis, decimals), rtol=1e-12, atol=1e-12):
            return decimals
    return None
