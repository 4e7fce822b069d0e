"""Where things stand in a drawing: places in percent of its width, so that it fits a phone and a poster alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import east_asian_width

LEVELS = 12  # shades of a heat map
LETTERS = 16  # of a label beside a heat map
LINES = 34  # of label text that would fit in the height of a heat map


def check_line(check: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lay a check out on a line: axis, allowed zone, thresholds, interval, ceiling, baseline; None without numbers.

    >>> nothing = {"value": 0.5, "low": 0.5, "high": 0.5, "note": ""}
    >>> limits = {"at_least": None, "at_most": 1.0}
    >>> check = {"estimate": nothing, "ceiling": None, "baseline": None, "limits": limits}
    >>> line = check_line(check)
    >>> line["zone"], [tick["text"] for tick in line["ticks"]]
    ({'x': 0.0, 'width': 100.0}, ['0.4', '0.6', '0.8', '1'])
    """
    if check["estimate"] is None:
        return None
    drawn = [check[key] for key in ("estimate", "ceiling", "baseline") if check[key] is not None]
    numbers = [each[end] for each in drawn for end in ("low", "value", "high")]
    at_least, at_most = check["limits"]["at_least"], check["limits"]["at_most"]
    known = [n for n in [*numbers, at_least, at_most] if n is not None]
    if not known:
        return None
    low, high, step = axis(known)

    def place(value: float | None, absent: float) -> float:
        return absent if value is None else round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    def placed(estimate: Mapping[str, Any] | None) -> dict[str, float] | None:
        if estimate is None or estimate["value"] is None:
            return None
        ends = {"low": place(estimate["low"], 0.0), "high": place(estimate["high"], 100.0)}
        return {"value": place(estimate["value"], 0.0), **ends, "width": round(ends["high"] - ends["low"], 2)}

    start, end = place(at_least, 0.0), place(at_most, 100.0)
    return {
        "zone": {"x": start, "width": round(max(0.0, end - start), 2)},
        "bounds": _bounds(None if at_least is None else start, None if at_most is None else end),
        "estimate": placed(check["estimate"]),
        "ceiling": placed(check["ceiling"]),
        "baseline": placed(check["baseline"]),
        "ticks": [{"x": place(tick, 0.0), "text": f"{tick:.6g}"} for tick in _ticks(low, high, step)],
    }


def _bounds(at_least: float | None, at_most: float | None) -> list[dict[str, Any]]:
    """Return the places of the thresholds, with the side on which each label has room.

    A label stands within the allowed zone, unless the zone is too narrow for it.
    """
    if at_least is not None and at_most is not None:
        narrow = at_most - at_least < 60
        return [
            {"end": "at_least", "x": at_least, "right": not narrow},
            {"end": "at_most", "x": at_most, "right": narrow},
        ]
    if at_least is not None:
        return [{"end": "at_least", "x": at_least, "right": at_least <= 60}]
    return [] if at_most is None else [{"end": "at_most", "x": at_most, "right": at_most < 40}]


def axis(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Return the ends and the step of an axis of round numbers that holds all `numbers`.

    >>> axis([0.03, 0.1])
    (0.02, 0.1, 0.02)
    """
    low, high = min(numbers), max(numbers)
    size = max(abs(low), abs(high))
    span = high - low
    if span < max(1e-9, 1e-6 * size):  # one number, as far as a reader can tell
        span = size if size > 1e-9 else 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return round(first * step, 12), round(last * step, 12), step


def _ticks(low: float, high: float, step: float) -> list[float]:
    return [round(low + i * step, 12) + 0.0 for i in range(round((high - low) / step) + 1)]


def histogram(bins: Sequence[Mapping[str, float]]) -> dict[str, str] | None:
    """Return two step outlines on a 100 x 100 canvas, both scaled to the tallest bin; None without bins.

    >>> histogram([{"real": 1.0, "synthetic": 0.5}])["synthetic"]
    'M0 100V50H100V100'
    """
    if not bins:
        return None
    tallest = max(max(each["real"], each["synthetic"]) for each in bins) or 1.0
    return {side: _steps([each[side] / tallest for each in bins]) for side in ("real", "synthetic")}


def _steps(heights: Sequence[float]) -> str:
    """Return the SVG path of a row of bars' outline."""
    width = 100 / len(heights)
    parts = [f"V{_number(100 - 100 * height)}H{_number((i + 1) * width)}" for i, height in enumerate(heights)]
    return f"M0 100{''.join(parts)}V100"


def heat_map(matrix: Sequence[Sequence[float]], top: float = 1.0) -> list[dict[str, Any]]:
    """Return one path of unit cells for every shade that occurs, with its opacity; the diagonal is left out.

    The darkest shade stands for `top` and above.

    >>> heat_map([[1.0, 0.5], [0.5, 1.0]])
    [{'opacity': 0.5, 'path': 'M1 0h1v1h-1zM0 1h1v1h-1z'}]
    """
    cells: dict[int, list[str]] = {}
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            if i != j:
                cells.setdefault(round(min(1.0, abs(value) / top) * LEVELS), []).append(f"M{j} {i}h1v1h-1z")
    return [{"opacity": round(level / LEVELS, 3), "path": "".join(cells[level])} for level in sorted(cells)]


def heat_frame(names: Sequence[str]) -> dict[str, Any]:
    """Return the labels of a heat map, cut to fit, with their size, their gap and the margin they need, in cells.

    >>> heat_frame(["age", "a column with a long name"])["labels"]
    ['age', 'a column with a…']
    """
    labels = [_cut(name) for name in names]
    longest = 0.62 * max(map(_width, labels)) + 0.6  # a letter is about 0.62 of its size wide
    size = min(len(names) / (LINES - longest), 0.95)
    return {"labels": labels, "size": round(size, 3), "gap": round(0.4 * size, 3), "pad": round(longest * size, 3)}


def _cut(name: str) -> str:
    """Return a name of at most LETTERS widths."""
    if _width(name) <= LETTERS:
        return name
    while _width(name) > LETTERS - 1:
        name = name[:-1]
    return name + "…"


def _width(text: str) -> int:
    """Return how many letters wide a text is; an East Asian character counts as two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def highest(*matrices: Sequence[Sequence[float]]) -> float:
    """Return the largest value off the diagonals, rounded up to a tenth; at least 0.1, so that noise stays pale.

    >>> highest([[1.0, 0.42], [0.42, 1.0]])
    0.5
    """
    values = [v for matrix in matrices for i, row in enumerate(matrix) for j, v in enumerate(row) if i != j]
    return max(0.1, math.ceil(10 * max(values, default=0.0) - 1e-9) / 10)


def differences(real: Sequence[Sequence[float]], synthetic: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the absolute differences of two matrices."""
    return [[abs(a - b) for a, b in zip(*rows, strict=True)] for rows in zip(real, synthetic, strict=True)]


def furthest(found: Mapping[str, Any], count: int = 6) -> list[dict[str, Any]]:
    """Return the pairs of columns whose association differs most, largest difference first."""
    names, real, synthetic = found["columns"], found["real"], found["synthetic"]
    pairs = [
        {"pair": (names[i], names[j]), "real": real[i][j], "synthetic": synthetic[i][j]}
        for i in range(len(names))
        for j in range(i)
    ]
    return sorted(pairs, key=lambda pair: -abs(pair["real"] - pair["synthetic"]))[:count]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
