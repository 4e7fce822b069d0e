"""The text of a single value: what a table's cell is called where it is a category, a code or a text.

It depends on that value alone, never on the type that the other rows give its column: one private row could rewrite
them all otherwise, and with them every name that is later found under a budget.
"""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd

EXACT = 2**53  # below it a float is a whole number to the last digit
LONGEST = 100  # digits before or after the point that a decimal is written out with


@singledispatch
def text_of(value: Any) -> str | None:
    """Return a value as text; None for NaN. Equal numbers have equal texts, whichever types hold them.

    Moments are held to the microsecond, those with a zone are of UTC. Raises UnicodeDecodeError for bytes that are no
    UTF-8.

    >>> text_of(4006381333931.0), text_of(Decimal("1.50")), text_of(0.5), text_of(True), text_of(b"x")
    ('4006381333931', '1.5', '0.5', 'True', 'x')
    """
    return str(value)


@text_of.register
def _(value: str) -> str:
    return str.__str__(value)  # of an enumeration too, as Arrow has it


@text_of.register
def _(value: int) -> str:
    return repr(value) if isinstance(value, bool) else int.__repr__(value)


@text_of.register(float)
@text_of.register(np.floating)
def _(value: float) -> str | None:
    number = float(value)
    if math.isnan(number):
        return None
    return str(int(number)) if abs(number) < EXACT and number.is_integer() else repr(number)


@text_of.register
def _(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if not value.is_finite() or abs(value.adjusted()) > LONGEST:
        return str(value)
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


@text_of.register(bytes)
@text_of.register(bytearray)
@text_of.register(memoryview)
def _(value: bytes | bytearray | memoryview) -> str:
    return bytes(value).decode("utf-8")


@text_of.register
def _(value: datetime.datetime) -> str:
    plain = value.to_pydatetime(warn=False) if isinstance(value, pd.Timestamp) else value
    return plain.isoformat(" ") if plain.tzinfo is None else plain.astimezone(datetime.UTC).isoformat(" ")
