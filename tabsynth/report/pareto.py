"""Utility against privacy: which checks span the picture, which tables are not beaten, and where all of it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tabsynth.report.drawing import axis
from tabsynth.report.glossary import complete, is_of
from tabsynth.report.words import DESCRIPTIVE

PREFERRED = {
    "utility": ("tstr_ratio", "tstr", "query_error"),
    "privacy": ("membership_auc", "membership_advantage", "membership_tpr", "attribute_inference"),
}
FALLBACK = {"utility": ("utility", "fidelity"), "privacy": ("privacy",)}  # tiers, in turn


def axes(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the check of either axis and which end of it is better; None when there is no such pair.

    An axis is a check with one threshold, measured on two tables at least. Preferred are those that most policies hold.
    """
    found = {side: _axis(tables, side) for side in PREFERRED}
    return found if all(found.values()) else None


def _axis(tables: Sequence[Mapping[str, Any]], side: str) -> dict[str, str] | None:
    """Return the first check that can be an axis, the preferred ones first."""
    measured: dict[str, int] = {}
    for check in (check for table in tables for check in table["checks"]):
        measured[check["name"]] = measured.get(check["name"], 0) + complete(check["estimate"])
    checks = [
        check
        for check in tables[0]["checks"]
        if (check["at_least"] is None) != (check["at_most"] is None) and measured[check["name"]] >= 2
    ]
    ranked = [check for name in PREFERRED[side] for check in checks if is_of(check["name"], (name,))]
    others = [check for check in checks if not is_of(check["name"], DESCRIPTIVE)]
    ranked += [check for tier in FALLBACK[side] for check in others if check["tier"] == tier]
    if not ranked:
        return None
    return {"check": ranked[0]["name"], "better": "lower" if ranked[0]["at_least"] is None else "higher"}


def front(tables: Sequence[Mapping[str, Any]], drawn: Mapping[str, Any] | None) -> set[str]:
    """Return the names of the tables that no other one equals or beats in both numbers and beats in one.

    Only tables that hold every check count: one that is refused is no choice, however useful.

    >>> def table(name, useful, told, passed=True):
    ...     estimates = {"u": useful, "p": told}
    ...     checks = [{"name": n, "estimate": {"value": v, "low": v, "high": v}} for n, v in estimates.items()]
    ...     return {"name": name, "passed": passed, "checks": checks}
    >>> sides = {"utility": {"check": "u", "better": "higher"}, "privacy": {"check": "p", "better": "lower"}}
    >>> refused = table("d", 0.99, 0.9, passed=False)
    >>> sorted(front([table("a", 0.9, 0.7), table("b", 0.8, 0.5), table("c", 0.8, 0.6), refused], sides))
    ['a', 'b']
    """
    if drawn is None:
        return set()
    scores = {}
    for table in (table for table in tables if table["passed"]):
        found = [_estimate(table, drawn[side]["check"]) for side in ("utility", "privacy")]
        if all(map(complete, found)):
            scores[table["name"]] = tuple(
                estimate["value"] * (1 if drawn[side]["better"] == "higher" else -1)
                for side, estimate in zip(("utility", "privacy"), found, strict=True)
                if estimate is not None
            )
    return {name for name, own in scores.items() if not any(_beats(other, own) for other in scores.values())}


def picture(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lay the tables out in percent of the picture, the better end of either axis to the right and to the top."""
    drawn = report["axes"]
    if drawn is None:
        return None
    placed = {side: _scale(report["tables"], drawn[side]) for side in ("utility", "privacy")}
    points = []
    for number, table in enumerate(report["tables"], start=1):
        if table["name"] in placed["utility"]["at"] and table["name"] in placed["privacy"]["at"]:
            x, y = (placed[side]["at"][table["name"]] for side in ("utility", "privacy"))
            points.append(
                {"number": number, "name": table["name"], "front": table["front"], "passed": table["passed"]}
                | {"x": x, "y": y}
            )
    best = sorted((point for point in points if point["front"]), key=lambda point: point["x"]["value"])
    steps = [{"from": a, "to": b} for a, b in pairwise(best)]
    ticks, limits = ({side: placed[side][part] for side in placed} for part in ("ticks", "limit"))
    return {"points": points, "steps": steps, "ticks": ticks, "limits": limits, "axes": drawn}


def _scale(tables: Sequence[Mapping[str, Any]], side: Mapping[str, str]) -> dict[str, Any]:
    """Return where estimates, ticks and the limit of an axis stand: 0 at its worse end, 100 at its better one."""
    found = {table["name"]: _estimate(table, side["check"]) for table in tables}
    known = {name: estimate for name, estimate in found.items() if complete(estimate)}
    limit = _limit(tables, side)
    shown = [estimate[end] for estimate in known.values() for end in ("low", "value", "high")]
    low, high, step = axis(shown if limit is None else [*shown, limit])

    def place(value: float) -> float:
        share = 100 * (value - low) / (high - low)
        return round(share if side["better"] == "higher" else 100 - share, 2)

    ticks = [low + i * step for i in range(round((high - low) / step) + 1)]
    return {
        "at": {name: {end: place(e[end]) for end in ("low", "value", "high")} for name, e in known.items()},
        "ticks": [{"at": place(tick), "text": f"{round(tick, 12) + 0.0:.6g}"} for tick in ticks],
        "limit": None if limit is None else place(limit),
    }


def _limit(tables: Sequence[Mapping[str, Any]], side: Mapping[str, str]) -> float | None:
    """Return the threshold of an axis, where it is the same for every table: one counted from zero."""
    check = next(check for check in tables[0]["checks"] if check["name"] == side["check"])
    end = "at_least" if side["better"] == "higher" else "at_most"
    found: float | None = check["limits"][end] if check["counted_from"] == "zero" else None
    return found


def _estimate(table: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((check["estimate"] for check in table["checks"] if check["name"] == name), None)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
