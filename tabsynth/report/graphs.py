"""Where curves stand in a drawing: on a canvas of 100 x 100, stretched to the page's width, y downwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabsynth.report.drawing import axis

SURE = 20  # false alarms; a rate that rests on fewer is mostly chance


def roc_picture(group: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ROC curves out on two logarithmic axes of the same length, from the smallest rate that rows can show to 1.

    `unsure` is the width of the part in which a false positive rate is fewer than SURE of the non-members.

    >>> curve = {"name": "a", "roc": [[0.01, 0.1], [0.1, 0.2], [1.0, 1.0]]}
    >>> drawn = roc_picture({"others": 100, "curves": [curve], "allowed": []})
    >>> drawn["curves"], [tick["text"] for tick in drawn["ticks"]], drawn["unsure"]
    (['M0 50L50 34.95L100 0'], ['1%', '10%', '100%'], 65.05)
    """
    decades = min(4, max(2, math.floor(math.log10(group["others"]) + 1e-9)))
    return {
        "curves": [_log_path(curve["roc"], decades) for curve in group["curves"]],
        "allowed": _log_path(group["allowed"], decades) if group["allowed"] else "",
        "ticks": [
            {"at": _place(10.0**-power, decades), "text": f"{100 * 10.0**-power:g}%"} for power in _down(decades)
        ],
        "unsure": _place(min(1.0, SURE / group["others"]), decades),
    }


def canary_group(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Return a canary audit's attacks as `roc_picture` takes them, under the most that the claim allows.

    An (epsilon, delta) claim allows a rate f of false alarms min(e^eps f + delta, 1 - e^-eps (1 - delta - f)) of finds.

    >>> claim = {"epsilon": math.log(2), "delta": 0.0}
    >>> group = canary_group({"claim": claim, "canaries": 400, "runs": 2, "attacks": []})
    >>> group["others"], [round(found, 2) for rate, found in group["allowed"] if rate in (0.01, 1)]
    (200, [0.02, 1.0])
    """
    epsilon, delta = audit["claim"]["epsilon"], float(audit["claim"]["delta"])
    tries = audit["canaries"] if audit["canaries"] > 1 else audit["runs"]
    rates = [10 ** (-power / 12) for power in range(48, -1, -1)]

    def allowed(rate: float) -> float:
        gain = math.exp(min(epsilon, 700))
        return max(0.0, min(1.0, gain * rate + delta, 1 - (1 - delta - rate) / gain))

    return {
        "others": max(1, tries // 2),
        "allowed": [] if epsilon is None else [(rate, allowed(rate)) for rate in rates],
        "curves": audit["attacks"],
    }


def mixing_picture(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay the mixing curve out: the share of synthetic rows to the right, the score upwards, intervals as strokes.

    `rare`, the line of the rarest class, is empty where there is none.
    """
    rare = [point["rare"] for point in points]
    lines = {"overall": [point["overall"] for point in points], "rare": rare if all(rare) else []}
    low, high, step = axis([each[end] for line in lines.values() for each in line for end in ("low", "value", "high")])

    def height(value: float) -> float:
        return round(100 - 100 * (value - low) / (high - low), 2)

    def placed(line: list[Any]) -> list[dict[str, float]]:
        return [
            {"x": round(100 * point["share"], 2), **{end: height(each[end]) for end in ("low", "value", "high")}}
            for point, each in zip(points, line, strict=bool(line))
        ]

    ticks = [round(low + i * step, 12) + 0.0 for i in range(round((high - low) / step) + 1)]
    return {
        **{name: placed(line) for name, line in lines.items()},
        "ticks": [{"at": height(tick), "text": f"{tick:.6g}"} for tick in ticks],
    }


def path(places: Sequence[Mapping[str, float]]) -> str:
    """Return a line through places as an SVG path.

    >>> path([{"x": 0, "value": 50}, {"x": 100, "value": 2.5}])
    'M0 50L100 2.5'
    """
    return "M" + "L".join(f"{place['x']:g} {place['value']:g}" for place in places)


def _log_path(rates: Sequence[Sequence[float]], decades: int) -> str:
    """Return a curve of (false, true) positive rates; rates below the axes lie on their edge."""
    shown = [(false, true) for false, true in rates if false >= 10.0**-decades * (1 - 1e-6)]
    return "M" + "L".join(f"{_place(f, decades):g} {round(100 - _place(t, decades), 2):g}" for f, t in shown)


def _place(rate: float, decades: int) -> float:
    """Return how far along its axis a rate stands, in percent."""
    return round(100 * max(0.0, 1 + math.log10(max(rate, 1e-12)) / decades), 2)


def _down(decades: int) -> range:
    return range(decades, -1, -1)
