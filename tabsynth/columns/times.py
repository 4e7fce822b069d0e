"""Durations as people write them, time zones, and the place of a moment in the day or the week."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Cycle = Literal["day", "week"]
CYCLES: tuple[Cycle, ...] = get_args(Cycle)
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}  # seconds
FORMS = ("clock", "iso")  # 26:10:00 and PT26H10M
HOUR, DAY, WEEK = 3600.0, 86_400.0, 604_800.0  # seconds
MONDAY = -3 * DAY  # 1970 began on a Thursday

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_PART = r"\d+(?:[.,]\d+)?"
_ISO = re.compile(  # without years and months, which have no fixed length
    rf"([+-]?)P(?=.)(?:(?P<w>{_PART})W)?(?:(?P<d>{_PART})D)?"
    rf"(?:T(?=.)(?:(?P<h>{_PART})H)?(?:(?P<min>{_PART})M)?(?:(?P<s>{_PART}(?:e[+-]\d+)?)S)?)?"
)
_WORDED = re.compile(  # what pandas may read: left to itself it takes P1 for nothing and 1,5 h for 15 hours
    r"\s*[+-]?\s*(?=\d)(?:\d+(?:\.\d+)?\s*[a-zA-Zµ]+(?:,\s|\s)*)*(?:[+-]?\d+:\d\d(?::\d\d(?:\.\d+)?)?)?\s*"
)
_NO_SECONDS = re.compile(r"\s*([+-]?\d+:\d\d)\s*")


def seconds_of(value: Any, unit: str | None) -> float:
    """Return one duration in seconds: a number in its unit (seconds unless declared), a text or a timedelta.

    Raises ValueError or TypeError for what is none.

    >>> seconds_of("1:30:00", None), seconds_of("PT90M", None), seconds_of(1.5, "h"), seconds_of("2 days", "h")
    (5400.0, 5400.0, 5400.0, 172800.0)
    """
    if isinstance(value, timedelta | np.timedelta64):
        return pd.Timedelta(value).as_unit("ns").value // 1000 / 1e6
    if isinstance(value, bool):
        raise TypeError("a truth value is no duration")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        if iso := _ISO.fullmatch(value.strip()):
            widths = {name: width for name, width in UNITS.items() if name != "ms"} | {"w": WEEK}
            parts = [float(iso[name].replace(",", ".")) * width for name, width in widths.items() if iso[name]]
            length = parts[0] if len(parts) == 1 else round(sum(parts), 6)
            return -length if iso[1] == "-" else length
        if not _WORDED.fullmatch(value):
            raise ValueError("not a duration")
        short = _NO_SECONDS.fullmatch(value)
        return pd.Timedelta(f"{short[1]}:00" if short else value).as_unit("ns").value // 1000 / 1e6
    return float(value) * UNITS[unit or "s"]


def is_number(text: str) -> bool:
    """Whether a text is a number alone, which is a duration only in a declared unit."""
    return _NUMBER.fullmatch(text) is not None


def written(seconds: float, unit: str | None) -> float | str:
    """Return a duration as a schema has it: a number in its unit where that is exact, else seconds as ISO text.

    >>> written(5400.0, "h"), written(1.9, "min")
    (1.5, 'PT1.9S')
    """
    number = seconds / UNITS[unit or "s"]
    exact = number * UNITS[unit or "s"] == seconds
    return (int(number) if number == int(number) else number) if exact else f"PT{seconds!r}S".replace("PT-", "-PT")


def duration_text(microseconds: int, form: str) -> str:
    """Return a duration as text, fractions of a second only where there are any.

    >>> duration_text(93_600_000_000 + 61_500_000, "clock"), duration_text(-5_400_000_000, "iso")
    ('26:01:01.5', '-PT1H30M0S')
    """
    sign = "-" if microseconds < 0 else ""
    whole, rest = divmod(abs(microseconds), 1_000_000)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    if form == "iso":
        return f"{sign}PT{hours}H{minutes}M{seconds}{fraction}S"
    return f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name; raise ValueError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # of files and folders that happen to have the name too
        raise ValueError(f"no time zone {name!r}") from None


def cycle_cells(cycle: Cycle, step: float) -> int:
    """Return how many cells a cycle is told apart by: hours, or days where the column knows no hours.

    >>> cycle_cells("week", 1.0), cycle_cells("day", 60.0), cycle_cells("week", DAY)
    (168, 24, 7)
    """
    return round((WEEK if cycle == "week" else DAY) / cell_width(step))


def cell_width(step: float) -> float:
    """Return the width of a cycle's cell in seconds."""
    return DAY if step >= DAY else HOUR


def place_in_cycle(axis: NDArray[np.float64], cycle: Cycle, step: float, zone: str | None) -> NDArray[np.int64]:
    """Return the cell of the day or the week that each moment lies in, by the clock of its zone; no moment is NaN.

    >>> place_in_cycle(np.array([0.0, 3600.0]), "week", 1.0, None)  # the first hours of a Thursday
    array([72, 73])
    """
    local = axis if zone is None else axis + utc_offsets(axis, zone)
    period = WEEK if cycle == "week" else DAY
    return np.asarray(np.mod(local - MONDAY, period) // cell_width(step), np.int64)


def utc_offsets(axis: NDArray[np.float64], zone: str) -> NDArray[np.float64]:
    """Return by how many seconds the clocks of a zone are ahead of UTC at each moment."""
    moments = pd.DatetimeIndex(np.asarray(axis, np.int64).astype("datetime64[s]")).tz_localize("UTC")
    local = moments.tz_convert(zone_of(zone)).tz_localize(None)
    return np.asarray((local - moments.tz_localize(None)).total_seconds(), np.float64)
