"""Tables and queries of databases as sources: DuckDB by itself, all others through SQLAlchemy, read and never written.

What a driver says may quote values, a query or a password, so no message of one is passed on: only the rule.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import cached_property
from importlib import import_module
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tabsynth.cells import EXACT, text_of
from tabsynth.errors import InputError, TableError, TabsynthError
from tabsynth.files import check_names
from tabsynth.sources.address import Address
from tabsynth.sources.base import BATCH_ROWS, Source, as_simple, simple

INVALID = "is no SQL that this database reads, or names a table or column that it does not have"
UNKNOWN = "there is no such table in the database"
UNREACHABLE = "it cannot be connected to: the address, the user, the password, or it is not running"
UNREADABLE = "not a readable database, or locked by another process"
DROPPED = "the database broke off on the way"


class DuckDB(Source):
    """A table or a query of a DuckDB file, in Arrow from end to end."""

    def __init__(self, address: Address) -> None:
        self.label, self._file = address.label, str(address.file)
        self._driver = needed("duckdb", "duckdb", self.label)
        # as a part of another query only one that reads is accepted
        asked = [f"(\n{address.query}\n)"] if address.table is None else _quoted(address.table)
        with self._connected() as connection:
            found = {query: self._described(connection, query) for query in (f"SELECT * FROM {one}" for one in asked)}
        known = {query: schema for query, schema in found.items() if schema is not None}
        if not known:
            raise TableError(f"{self.label}: {INVALID if address.table is None else UNKNOWN}.")
        self._query, columns = next(iter(known.items()))
        check_names(self.label, columns.names)
        self.schema = simple(columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Run the query and take its rows as they come."""
        with self._connected() as connection, telling(self.label, DROPPED):
            relation = connection.sql(self._query)
            read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
            with closing(read(BATCH_ROWS)) as reader:
                for batch in reader:
                    yield as_simple(batch, self.schema, self.label)

    def _described(self, connection: Any, query: str) -> pa.Schema | None:
        """Return the columns of a query's rows; None when the query cannot be run."""
        try:
            return connection.sql(f"{query} LIMIT 0").to_arrow_table().schema
        except self._driver.Error:
            return None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        with telling(self.label, UNREADABLE):
            connection = self._driver.connect(self._file, read_only=True)
        with closing(connection):
            yield connection


class Sql(Source):
    """A table or a query of any database that SQLAlchemy has a driver for.

    Rows come as Python values. Neither a query nor every database promises their types, so all rows are read once to
    find a type for each column: whole numbers, numbers, booleans, dates, moments, and text for any mixture. Whichever
    it is, each value reads as it would in any other of them.
    """

    def __init__(self, address: Address) -> None:
        self.label = address.label
        self._alchemy = needed("sqlalchemy", "sql", self.label)
        self._engine = self._make_engine(address)
        self._closed_door = UNREACHABLE if address.file is None else UNREADABLE
        with self._connected() as connection:
            self._query = address.query or self._selecting(connection, str(address.table))
            with telling(self.label, INVALID), closing(self._result(connection)) as result:
                self._names = list(map(str, result.keys()))
        check_names(self.label, self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order, known before any row is read."""
        return tuple(self._names)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns' types, for which all rows are read once."""
        found: list[set[type]] = [set() for _ in self._names]
        for rows in self._rows():
            for types, values in zip(found, zip(*rows, strict=True), strict=True):
                types.update(_types(values))
        return pa.schema([(name, _arrow_type(types)) for name, types in zip(self._names, found, strict=True)])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Run the query and take its rows as they come."""
        for rows in self._rows():
            columns = [
                self._column(field, values) for field, values in zip(self.schema, zip(*rows, strict=True), strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _column(self, field: pa.Field, values: Sequence[Any]) -> pa.Array:
        """Return Python values as a column; the table may have changed since its types were found."""
        make = text_of if field.type == pa.string() else float if field.type == pa.float64() else None
        try:
            plain = [value if type(value) in SAME else _plain(value) for value in values]
            made = plain if make is None else [None if value is None else make(value) for value in plain]
            return pa.array(made, field.type)
        except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
            raise TableError(f"{self.label}: column {field.name!r} changed its type while it was read.") from None

    def _rows(self) -> Iterator[Sequence[Any]]:
        with self._connected() as connection, telling(self.label, DROPPED), closing(self._result(connection)) as result:
            yield from result.partitions(BATCH_ROWS)

    def _result(self, connection: Any) -> Any:
        """Run the query; rows are fetched as they are asked for, where the driver can do so."""
        streaming = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS)
        return streaming.exec_driver_sql(self._query)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect for one reading; the transaction is never committed."""
        with telling(self.label, self._closed_door):
            connection = self._engine.connect()
        with closing(connection):
            yield connection

    def _make_engine(self, address: Address) -> Any:
        """Return what connects, read only where the database can be told so."""
        options: dict[str, Any] = {"poolclass": self._alchemy.pool.NullPool}
        if address.file is not None:
            uri = f"file:{quote(str(address.file))}?mode=ro"
            options["creator"] = lambda: sqlite3.connect(uri, uri=True, check_same_thread=False)
        if address.kind.startswith("postgresql"):
            options["execution_options"] = {"postgresql_readonly": True}
        try:
            return self._alchemy.create_engine(address.url, **options)
        except ModuleNotFoundError as error:
            raise InputError(f"{self.label}: its driver is missing; pip install {error.name}") from None
        except self._alchemy.exc.NoSuchModuleError:
            raise InputError(
                f"{address.kind}: no such kind of database is installed; duckdb, sqlite, or one of SQLAlchemy's."
            ) from None
        except Exception:  # of SQLAlchemy or a driver; it may quote the URL
            raise InputError(f"{address.kind}: not a database URL that SQLAlchemy reads.") from None

    def _selecting(self, connection: Any, table: str) -> str:
        """Return the query for all of a table, which may be named with its schema before it."""
        with telling(self.label, self._closed_door):
            inspector = self._alchemy.inspect(connection)
            schema, _, name = table.rpartition(".")
            quoted = self._engine.dialect.identifier_preparer.quote_identifier
            if inspector.has_table(table):
                return f"SELECT * FROM {quoted(table)}"
            if schema and inspector.has_table(name, schema=schema):
                return f"SELECT * FROM {quoted(schema)}.{quoted(name)}"
        raise TableError(f"{self.label}: {UNKNOWN}.")


def open_database(address: Address) -> DuckDB | Sql:
    """Return the source at an address; raise TableError or InputError naming the rule that is broken."""
    if address.file is not None and not address.file.is_file():
        raise TableError(f"{address.label}: no such file.")
    return DuckDB(address) if address.kind == "duckdb" else Sql(address)


def needed(module: str, extra: str, label: str) -> Any:
    """Return an optional package; raise InputError naming the extra that brings it."""
    try:
        return import_module(module)
    except ImportError:
        raise InputError(f'{label}: needs the package {module}: pip install "tabsynth[{extra}]"') from None


@contextmanager
def telling(label: str, rule: str) -> Iterator[None]:
    """Turn whatever a driver raises into a TableError with a rule and the name of the error, and none of its words."""
    try:
        yield
    except TabsynthError:
        raise
    except Exception as error:
        raise TableError(f"{label}: {rule} ({type(error).__name__}).") from None


class _Large:
    """Stands for whole numbers that a float cannot hold to the last digit."""


class _Huge:
    """Stands for whole numbers that no column of them can hold."""


TYPES: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    _Large: pa.int64(),
    float: pa.float64(),
    Decimal: pa.float64(),
    str: pa.string(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
    datetime.timedelta: pa.duration("us"),
}
SAME = {type(None), bool, int, float, str}  # what is read as it comes


def _plain(value: Any) -> Any:
    """Return a value as columns of its own sort hold it, so that a column of mixed sorts holds it alike."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    return value


def _types(values: Sequence[Any]) -> set[type]:
    """Return the types of values, whole numbers by how large they are."""
    found = set(map(type, values))
    if int in found:
        largest = max(abs(value) for value in values if type(value) is int)
        found |= {_Huge} if largest >= 2**63 else {_Large} if largest >= EXACT else set()
    return found


def _arrow_type(found: set[type]) -> pa.DataType:
    """Return the type that holds values of all these Python types to the last digit: text when nothing else does.

    >>> _arrow_type({int, float, type(None)})
    DataType(double)
    """
    kinds = {TYPES.get(one, pa.string()) for one in found - {type(None)}}
    if kinds == {pa.int64(), pa.float64()} and _Large not in found:
        return pa.float64()
    return kinds.pop() if len(kinds) == 1 else pa.string()


def _quoted(table: str) -> list[str]:
    """Return what a table's name may mean: itself, or its schema's name and its own."""
    names = [[table], table.split(".")]
    return [".".join('"' + part.replace('"', '""') + '"' for part in parts) for parts in names]
