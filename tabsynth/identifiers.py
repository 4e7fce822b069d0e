"""Identifiers made anew: names, addresses and numbers of nobody, from Faker, alike within a row.

What stands in the table is never read for this: identifiers are dropped when it is opened. A row gets one invented
person at one invented address, of which each column shows its part: the e-mail is made from the name, the city is that
of the address. E-mail addresses end in domains that are reserved for examples, so that none is anybody's.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tabsynth.errors import InputError
from tabsynth.schema import Column, Schema

LOCALE = "en_US"
DOMAINS = ("example.com", "example.net", "example.org")  # RFC 2606
REDRAWN = 50  # times, before a value that must be unique gets a number
NEEDS = 'Provider {!r} of column {!r} needs the package faker: pip install "tabsynth[faker]"'


def require_providers(schema: Schema) -> None:
    """Raise InputError when a declared provider needs a package or a locale that is not there."""
    for column in _provided(schema):
        if column.provider != "uuid":
            _faker(column)


class Identifiers:
    """Values for the identifier columns of a schema that declare a provider; unique over all calls where asked for.

    >>> key = Column("key", "categorical", roles=("identifier",), provider="uuid")
    >>> schema = Schema((key, Column("x", "boolean")))
    >>> rows = pd.DataFrame({"key": ["key-1", "key-2"], "x": [True, False]})
    >>> Identifiers(schema).filled(rows, np.random.default_rng(0))["key"].str.len().tolist()
    [36, 36]
    """

    def __init__(self, schema: Schema) -> None:
        self._columns = _provided(schema)
        self._seen: dict[str, set[str]] = {column.name: set() for column in self._columns if column.unique}

    def filled(self, rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Return the rows with these columns made anew; the same `rng` state gives the same values.

        Raises InputError when Faker is needed and not there.
        """
        columns = [column for column in self._columns if column.name in rows]
        if not columns:
            return rows
        source = rng.spawn(1)[0]
        people = {locale: _Person(columns, locale, source) for locale in {_locale(column) for column in columns}}
        values: dict[str, list[str]] = {column.name: [] for column in columns}
        for _ in range(len(rows)):
            for person in people.values():
                person.renew()
            for column in columns:
                values[column.name].append(self._unique(column, people[_locale(column)]))
        attributes = dict(rows.attrs)
        rows = rows.assign(**{name: pd.Series(found, index=rows.index, dtype=object) for name, found in values.items()})
        rows.attrs = attributes
        return rows

    def _unique(self, column: Column, person: _Person) -> str:
        """Return the column's part of the person, one that nobody had before where that is asked for."""
        value = person.part(str(column.provider))
        if (seen := self._seen.get(column.name)) is None:
            return value
        for _ in range(REDRAWN if column.provider in REDRAWABLE else 0):
            if value not in seen:
                break
            value = person.again(str(column.provider))
        number, first = 1, value
        while value in seen:
            number += 1
            value = _numbered(first, number + len(seen))
        seen.add(value)
        return value


class _Person:
    """One invented person after another, their parts drawn when they are first asked for."""

    def __init__(self, columns: Sequence[Column], locale: str, rng: np.random.Generator) -> None:
        own = [column for column in columns if _locale(column) == locale and column.provider != "uuid"]
        self._rng = rng
        self._fake = _faker(own[0]) if own else None
        if self._fake is not None:
            self._fake.seed_instance(int(rng.integers(2**63)))
        self._parts: dict[str, str] = {}

    def renew(self) -> None:
        """Forget the person of the last row."""
        self._parts = {}

    def part(self, provider: str) -> str:
        """Return one part of the person, the same however often it is asked for."""
        if provider not in self._parts:
            self._parts[provider] = MADE[provider](self)
        return self._parts[provider]

    def again(self, provider: str) -> str:
        """Return another value of a part that no other part shows."""
        self._parts.pop(provider)
        return self.part(provider)

    def drawn(self, *methods: str) -> str:
        """Return what the first of Faker's methods gives that the locale has, on one line."""
        method = next((method for method in methods if hasattr(self._fake, method)), None)
        return "" if method is None else str(getattr(self._fake, method)()).replace("\n", ", ")

    def handle(self) -> str:
        """Return the name in the letters of an e-mail address."""
        plain = unicodedata.normalize("NFKD", f"{self.part('first_name')}.{self.part('last_name')}")
        kept = re.sub(r"[^a-z0-9.]", "", plain.encode("ascii", "ignore").decode().lower()).strip(".")
        return kept or f"user{self._rng.integers(10**6)}"

    def of(self, choices: Sequence[str]) -> str:
        """Return one of a few texts."""
        return choices[int(self._rng.integers(len(choices)))]

    def uuid(self) -> str:
        """Return a random UUID (RFC 9562, version 4)."""
        return str(uuid.UUID(bytes=self._rng.bytes(16), version=4))


def _address(person: _Person) -> str:
    return ", ".join(filter(None, (person.part("street"), f"{person.part('postcode')} {person.part('city')}".strip())))


MADE: dict[str, Callable[[_Person], str]] = {
    "first_name": lambda person: person.drawn("first_name"),
    "last_name": lambda person: person.drawn("last_name"),
    "name": lambda person: f"{person.part('first_name')} {person.part('last_name')}",
    "username": lambda person: person.handle(),
    "email": lambda person: f"{person.part('username')}@{person.of(DOMAINS)}",
    "phone": lambda person: person.drawn("phone_number"),
    "street": lambda person: person.drawn("street_address", "street_name"),
    "city": lambda person: person.drawn("city", "city_name"),
    "postcode": lambda person: person.drawn("postcode", "zipcode"),
    "address": _address,
    "company": lambda person: person.drawn("company"),
    "iban": lambda person: person.drawn("iban"),
    "national_id": lambda person: person.drawn("ssn", "bothify"),
    "ip": lambda person: person.drawn("ipv4_private"),
    "uuid": lambda person: person.uuid(),
}
REDRAWABLE = {"phone", "company", "iban", "national_id", "ip", "uuid"}  # which no other part of a person shows


def _provided(schema: Schema) -> tuple[Column, ...]:
    return tuple(column for column in schema if column.provider is not None)


def _locale(column: Column) -> str:
    return column.locale or LOCALE


def _faker(column: Column) -> Any:
    """Return Faker for a column's locale; raise InputError when it is not there."""
    try:
        import faker
    except ImportError:
        raise InputError(NEEDS.format(column.provider, column.name)) from None
    if _locale(column) not in faker.config.AVAILABLE_LOCALES:
        raise InputError(f"Column {column.name!r}: Faker has no locale {column.locale!r}; one is de_DE.")
    return faker.Faker(_locale(column))


def _numbered(value: str, number: int) -> str:
    """Return a value made another by a number, before the sign of an e-mail address.

    >>> _numbered("ada.king@example.org", 2), _numbered("Ada King", 2)
    ('ada.king2@example.org', 'Ada King 2')
    """
    name, sign, domain = value.partition("@")
    return f"{name}{number}@{domain}" if sign else f"{value}{'' if '.' in value and ' ' not in value else ' '}{number}"
