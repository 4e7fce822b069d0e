"""Time: what hangs is given up, and what does not fit a budget of time is left out, by name.

A metric runs in a thread of its own, so that it can be waited for no longer than its limit. A thread that hangs in
Python code is then ended; one that hangs inside compiled code cannot be, and is left behind until the program ends.
"""

from __future__ import annotations

import ctypes
import math
import re
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import pandas as pd

from tabsynth.errors import InputError, TabsynthError
from tabsynth.metrics.evidence import Evidence, Metric
from tabsynth.policy.check import Check

PILOT = 1000  # rows of each table that a metric is timed on when it does not say what it costs, or this share of them
PILOT_SHARE = 0.02
SHARE = 0.05  # of a budget that the pilot of one metric may take
VIEWS = 3  # synthetic rows, real rows in their place, independent columns in their place


class OutOfTime(TabsynthError):
    """A metric that was given up."""


def timed(call: Callable[[], object], seconds: float, what: str) -> object:
    """Return what `call` returns or raises, or OutOfTime when it takes longer than `seconds`."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:  # a plug-in may raise anything, `sys.exit` included
            found.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="metric", daemon=True)
    thread.start()
    thread.join(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
    if found:
        return found[0]
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    return OutOfTime(f"It was given up after {told(seconds)}, {what}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """What fits a budget: the places of the checks in the order in which they are run, and what was expected of each.

    `beside` says whether ceilings and baselines that nothing is counted from fit too.
    """

    order: tuple[int, ...]
    seconds: tuple[float, ...]
    beside: bool


def plan(policy: Sequence[Check], evidence: Evidence, budget: float, *, beside: bool) -> Plan:
    """Choose the checks that fit: those that must not be left out first, then the others, cheap ones first.

    What a metric costs is what it says (`cost`: seconds by what is computed, so that what two metrics share counts
    once), or else what it takes on a part of the rows of each table, in proportion: right for what reads every row a
    fixed number of times, as the built-in metrics do that say nothing.
    """
    small = _pilot(evidence)
    costs = [cost(check.metric, evidence, small, SHARE * budget) for check in policy]
    whole = sum({part: seconds for parts in costs for part, seconds in parts.items()}.values())
    beside = beside and VIEWS * whole <= budget
    known: set[Hashable] = set()
    left, order, expected = budget, [], [0.0] * len(policy)
    totals = [sum(parts.values()) for parts in costs]
    for place in sorted(range(len(policy)), key=lambda i: (not must(policy[i]), totals[i], i)):
        views = VIEWS if beside else 1 if policy[place].counted_from == "zero" else 2
        new = {part: seconds for part, seconds in costs[place].items() if part not in known}
        expected[place] = views * sum(new.values())
        if expected[place] <= left:
            left -= expected[place]
            order.append(place)
            known |= set(new)
    return Plan(tuple(order), tuple(expected), beside)


def must(check: Check) -> bool:
    """Whether a check that was left out counts as failed: what was not shown of privacy is no pass."""
    descriptive = bool(getattr(check.metric, "descriptive", False))
    return check.required or (check.metric.tier == "privacy" and not descriptive)


def cost(metric: Metric, evidence: Evidence, small: Evidence, most: float) -> Mapping[Hashable, float]:
    """Return the seconds that a metric is expected to take, by what is computed.

    One that says nothing, or nothing that could be true, is timed.
    """
    if (declared := _declared(metric, evidence)) is not None:
        return declared
    start = perf_counter()
    if isinstance(timed(lambda: metric(small, np.random.default_rng(0)), most, ""), OutOfTime):
        return {metric.name: float("inf")}
    return {metric.name: (perf_counter() - start) * max(1.0, _rows(evidence) / _rows(small))}


def _declared(metric: Metric, evidence: Evidence) -> Mapping[Hashable, float] | None:
    """Return the seconds that a metric says it takes, by what is computed; None where it says none."""
    say = getattr(metric, "cost", None)
    if not callable(say):
        return None
    try:
        parts = {part: float(seconds) for part, seconds in say(evidence).items()}
    except Exception:  # a plug-in may raise anything, and what is wrong with it is for its verdict to say
        return None
    return parts if all(math.isfinite(seconds) and seconds >= 0 for seconds in parts.values()) else None


def told(seconds: float) -> str:
    """Return a time in words.

    >>> told(0.25), told(90), told(1800)
    ('0.25 s', '90 s', '30 min')
    """
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:.3g} s"


def seconds_of(text: str) -> float:
    """Return a time in seconds from text such as `90`, `90s`, `2m` or `1.5h`; raise InputError for any other.

    >>> seconds_of("2m"), seconds_of("90"), seconds_of("1.5h")
    (120.0, 90.0, 5400.0)
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([smh]?)", text.strip())
    if found is None or not float(found[1]):
        raise InputError(f"A time is a number of seconds above 0, or one with s, m or h, such as 2m; got {text!r}.")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def _pilot(evidence: Evidence) -> Evidence:
    """Return the first rows of each table: a thousand, or a fiftieth where that is more."""

    def first(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.iloc[: max(PILOT, round(PILOT_SHARE * len(frame)))]

    holdout = None if evidence.holdout is None else first(evidence.holdout)
    train, rows = first(evidence.train), first(evidence.rows)
    return replace(evidence, train=train, holdout=holdout, rows=rows, retrain=None, unread={})


def _rows(evidence: Evidence) -> int:
    return len(evidence.train) + len(evidence.rows) + (0 if evidence.holdout is None else len(evidence.holdout))
