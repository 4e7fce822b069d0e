"""Several synthetic tables of one training table in one report, for inside eyes only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabsynth.errors import InputError
from tabsynth.policy import Verdict, passes
from tabsynth.release import write_inside
from tabsynth.release.provenance import plain
from tabsynth.report.contents import NOTICE, TIERS, check_entry
from tabsynth.report.page import environment
from tabsynth.report.pareto import axes, front, picture

HTML, JSON = "comparison.html", "comparison.json"
FORMAT_VERSION = 1
SELECTION = 0.1  # epsilon of the choice whose price is worked out
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """A synthetic table under a name of its own, and what a policy says of it.

    `privacy` is what its fit was charged: private, epsilon and delta. None for a table that came along.
    """

    name: str
    rows: int
    verdicts: tuple[Verdict, ...]
    privacy: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Verdicts on several tables side by side. Their numbers were computed from private rows: not for publication."""

    contents: Mapping[str, Any]

    @cached_property
    def html(self) -> str:
        """The whole page, self-contained."""
        tables = self.contents["tables"]
        return (
            environment()
            .get_template("comparison.html.j2")
            .render(
                r=self.contents,
                drawn=picture(self.contents),
                lines=side_by_side(self.contents),
                passed=[table["name"] for table in tables if table["passed"]],
                best=[table["name"] for table in tables if table["front"]],
            )
        )

    def files(self) -> dict[str, str]:
        """Return the files of the comparison's folder by name."""
        text = json.dumps(self.contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return {HTML: self.html, JSON: text}

    def write(self, folder: Path | str) -> Path:
        """Write the files to a new folder in one atomic step; raise InputError when that cannot be done."""
        return write_inside(folder, self)


def compare(
    candidates: Sequence[Candidate],
    *,
    train: int,
    holdout: int | None,
    title: str = "Comparison",
    settings: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Comparison:
    """Return the comparison of tables that one policy judged on the same `train` and `holdout` rows (their numbers).

    `choice` is one that was charged: its name, epsilon and score, the rows that were expected, and those of a unit.

    Raises InputError unless there are two at least, under names of their own, judged by the same checks.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) != len(names) or len(names) < 2:
        raise InputError("A comparison takes two tables at least, each under a name of its own.")
    if len({tuple(verdict.name for verdict in candidate.verdicts) for candidate in candidates}) > 1:
        raise InputError("A comparison takes tables that the same checks judged.")
    tables = [
        {
            "name": candidate.name,
            "rows": candidate.rows,
            "privacy": None if candidate.privacy is None else plain(dict(candidate.privacy)),
            "passed": passes(candidate.verdicts),
            "checks": [check_entry(verdict) for verdict in candidate.verdicts],
        }
        for candidate in candidates
    ]
    drawn = axes(tables)
    best = front(tables, drawn)
    return Comparison(
        {
            "format": "tabsynth comparison",
            "format_version": FORMAT_VERSION,
            "notice": NOTICE,
            "tabsynth": version("tabsynth"),
            "title": title,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": {"train": train, "holdout": holdout},
            "axes": drawn,
            "tables": [table | {"front": table["name"] in best} for table in tables],
            "charge": charge(len(names), train),
            "choice": None if choice is None else _choice(choice, len(names)),
            "settings": plain(dict(settings or {})),
        }
    )


def charge(tables: int, rows: int) -> dict[str, Any]:
    """Return what choosing one of `tables` tells, and how close to the best a choice comes that is paid for.

    A choice by permute-and-flip at epsilon `SELECTION` on a score that one row moves by at most 1 / `rows` loses no
    more than `loss` with the confidence given: the bound of the exponential mechanism, 2 ln(tables / (1 - confidence))
    / (epsilon rows) (Dwork and Roth 2014, theorem 3.11), than which it is never worse (McKenna and Sheldon 2020).

    >>> found = charge(4, 1000)
    >>> round(found["bits"], 3), round(found["loss"], 3)
    (2.0, 0.088)
    """
    worst = loss(tables, rows, SELECTION)
    return {"bits": math.log2(tables), "epsilon": SELECTION, "confidence": CONFIDENCE, "rows": rows, "loss": worst}


def loss(tables: int, rows: float, epsilon: float) -> float:
    """Return how far below the best a paid choice may score, for a score that one row moves by 1 / `rows`."""
    return 2 * math.log(tables / (1 - CONFIDENCE)) / (epsilon * rows)


def _choice(made: Mapping[str, Any], tables: int) -> dict[str, Any]:
    """Return a choice with what it may have lost; its score is a distance of shares, half a difference of counts."""
    rows = 2 * made["rows"] / made["rows_per_unit"]
    facts = {key: made[key] for key in ("chosen", "epsilon", "score")}
    return facts | {"confidence": CONFIDENCE, "loss": loss(tables, rows, made["epsilon"])}


def side_by_side(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one line for each check, privacy first, with the check of every table in the order of the tables."""
    checks = [list(same) for same in zip(*(table["checks"] for table in report["tables"]), strict=True)]
    lines = [{"name": same[0]["name"], "tier": same[0]["tier"], "checks": same} for same in checks]
    return sorted(lines, key=lambda line: TIERS.index(line["tier"]))
