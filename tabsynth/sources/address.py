"""Addresses of tables in databases: a SQLAlchemy URL with `table=` or `query=` among its arguments."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tabsynth.errors import InputError

BEGINNING = re.compile(r"([A-Za-z][A-Za-z0-9_.+-]+)://")
SELECTING = {"select", "with", "values", "table", "from"}  # the first words of a query that only reads
IN_FILES = ("duckdb", "sqlite", "sqlite+pysqlite")


@dataclass(frozen=True, slots=True)
class Address:
    """Which database, and which of its tables or which query. The URL may hold a password and is never shown."""

    url: str = field(repr=False)  # as SQLAlchemy takes it
    kind: str
    table: str | None
    query: str | None = field(repr=False)

    @property
    def label(self) -> str:
        """What messages call it: no user, no password, no argument of the URL, no word of a query."""
        asked = "a query" if self.table is None else f"table {self.table!r}"
        parts = urlsplit(self.url)
        try:
            host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
        except ValueError:
            host, port = "", ""
        where = f"{host}{port}{parts.path}" if self.file is None else str(self.file)
        return f"{self.kind} {where}, {asked}" if where else f"{self.kind}, {asked}"

    @property
    def file(self) -> Path | None:
        """The file that is the whole database; None for a server."""
        return Path(self.url.partition(":///")[2].partition("?")[0]) if self.kind in IN_FILES else None

    @property
    def home(self) -> Path | None:
        """The path beside which the private companions of the table lie: DATABASE.TABLE; None for all else."""
        if self.file is None or self.table is None:
            return None
        file = Path(os.path.realpath(self.file)) if self.file.is_symlink() else self.file
        return file.with_name(f"{file.name}.{quote(self.table, safe=' ')}")


def is_address(given: object) -> bool:
    """Whether this looks like a URL, and not like a path.

    >>> is_address("sqlite:///people.db?table=people"), is_address("people.csv")
    (True, False)
    """
    return isinstance(given, str) and BEGINNING.match(given) is not None


def read_address(text: str) -> Address:
    """Take a URL apart; raise InputError when it names neither a table nor a query, or the query does not just read.

    `query=` comes last and takes the rest; in it, as in `table=`, a % before two hexadecimal digits is an escape.

    >>> read_address("sqlite:///people.db?query=SELECT age FROM people WHERE age > 17 & 1")
    Address(kind='sqlite', table=None)
    """
    before, _, arguments = text.partition("?")
    kind = before.partition("://")[0]
    rest, _, query = ("&" + arguments).partition("&query=")
    pairs = [pair.partition("=") for pair in rest.split("&") if pair]
    tables = [unquote(value) for name, _, value in pairs if name == "table"]
    others = "&".join(f"{name}{equals}{value}" for name, equals, value in pairs if name != "table")
    query = unquote(query).strip().rstrip(";")
    if len(tables) + bool(query) != 1 or not (query or tables[0]):
        raise InputError(f"{kind}: name one table (?table=NAME) or one query (?query=SELECT ...) in the URL.")
    if query and re.split(r"[\s(*]", query.lstrip("(\t\r\n "), maxsplit=1)[0].lower() not in SELECTING:
        raise InputError(f"{kind}: a query that reads begins with {', '.join(sorted(SELECTING)).upper()}.")
    url = f"{before}?{others}" if others else before
    if kind in IN_FILES and before.partition(":///")[2] in {"", ":memory:"}:
        raise InputError(f"{kind}: a database in a file is needed, as in {kind}:///PATH?table=NAME.")
    return Address(url, kind, tables[0] if tables else None, query or None)
