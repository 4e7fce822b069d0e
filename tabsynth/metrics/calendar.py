"""Datetimes beyond their place on the axis: whether weekdays, hours and months are as frequent as in real rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from tabsynth.metrics.coding import Codes
from tabsynth.metrics.estimate import Estimate, NotApplicable
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.fidelity import Distance, OfColumns, total_variation

PARTS = {"weekday": 7, "hour": 24, "month": 12}  # of a datetime, and how many values each has


@dataclass(frozen=True, slots=True)
class Calendar(OfColumns):
    """Total variation distance of the weekdays, hours and months of datetime columns: the mean, or the worst.

    Two tables whose dates are alike on the axis may differ here: one knows that nobody comes on Sundays. A part that
    is the same in all real rows, such as the hour of dates, is left out unless synthetic rows differ from it. Missing
    is a value of its own.
    """

    stem: ClassVar[str] = "calendar"

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotApplicable without a datetime column."""
        found = dict(_distances(evidence))
        if not found:
            raise NotApplicable("The table has no datetime column.")
        return self._estimate(found)


def part_of(moments: pd.Series, part: str) -> Codes:
    """Return a part of every datetime as a number from 0; missing is one more.

    >>> part_of(pd.Series(pd.to_datetime(["2024-01-01 13:00", None])), "hour").tolist()
    [13, 24]
    """
    found = {"weekday": moments.dt.day_of_week, "hour": moments.dt.hour, "month": moments.dt.month - 1}
    return np.asarray(found[part].fillna(PARTS[part]), dtype=np.int64)


def _distances(evidence: Evidence) -> Iterator[tuple[str, Distance]]:
    """Yield the distance of every part of every datetime column that says anything, by a name for it."""
    for column in evidence.columns:
        if column.kind != "datetime":
            continue
        for part in PARTS:
            rows, real = (part_of(frame[column.name], part) for frame in (evidence.rows, evidence.reference))
            known = [cells[cells < PARTS[part]] for cells in (rows, real)]
            if len(np.unique(np.concatenate(known))) > 1:
                yield f"{column.name} ({part})", total_variation(rows, real)
