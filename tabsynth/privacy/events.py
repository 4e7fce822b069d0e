"""Events: what a mechanism did to the private rows, as frozen data that can be written down and read back.

Most are `dp_accounting` events; the discrete Gaussian is ours, because theirs has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dp_accounting import dp_event as dp

from tabsynth._check import at_least, positive
from tabsynth.errors import LedgerError

LARGEST_SENSITIVITY = 32


@dataclass(frozen=True)
class DiscreteGaussianDpEvent(dp.DpEvent):  # type: ignore[misc]
    """Whole counts plus discrete Gaussian noise, P(x) proportional to exp(-x^2 / (2 sigma^2)), independent per count.

    `sensitivity` is the L1 sensitivity: one unit adds at most this many to all the counts together (its rows).

    *Formal guarantee.* It is accounted as one count that moves by `sensitivity` (Canonne, Kamath, Steinke 2020,
    Theorem 7), the case in which a unit's k rows fall into one cell. When they spread over several cells, by
    k = k1 + ... + km, the shifts compose, and that costs no more:

    - fewer rows cost no more: shifts of a log-concave noise are ordered;
    - it is enough that (a) and (b) composed cost no more than (a + b) for every a + b <= k, because an order of whole
      privacy curves survives composition (Zhu, Dong, Wang 2022), so parts can be merged two at a time;
    - each curve is convex and piecewise linear in e^epsilon, so a pair is settled at the finitely many kinks of the
      curve of (a + b).

    The last step is a computation, not a closed proof: the tests do it for all pairs up to LARGEST_SENSITIVITY over a
    grid of sigma from 0.2 to 64 and find no exception. A larger sensitivity is refused.

    Raises InputError when a parameter is out of range.

    >>> DiscreteGaussianDpEvent(12.5)
    DiscreteGaussianDpEvent(sigma=12.5, sensitivity=1)
    """

    sigma: float
    sensitivity: int = 1

    def __post_init__(self) -> None:
        """Check both parameters and store plain numbers."""
        positive("sigma", self.sigma)
        at_least("sensitivity", self.sensitivity, 1)
        if self.sensitivity > LARGEST_SENSITIVITY:
            raise LedgerError(
                f"A unit of {self.sensitivity} rows is more than the {LARGEST_SENSITIVITY} that are accounted for; "
                "keep at most that many rows of each unit."
            )
        object.__setattr__(self, "sigma", float(self.sigma))
        object.__setattr__(self, "sensitivity", int(self.sensitivity))


@dataclass(frozen=True, slots=True)
class Charge:
    """One mechanism that was paid for: its event, why it ran, and a failure probability of its own (0 for most)."""

    event: Any
    why: str
    delta: float = 0.0


# name in a file -> class and its fields; a field named `event` or `events` holds further events
KINDS: Mapping[str, tuple[type[Any], tuple[str, ...]]] = {
    "gaussian": (dp.GaussianDpEvent, ("noise_multiplier",)),
    "discrete gaussian": (DiscreteGaussianDpEvent, ("sigma", "sensitivity")),
    "laplace": (dp.LaplaceDpEvent, ("noise_multiplier",)),
    "discrete laplace": (dp.DiscreteLaplaceDpEvent, ("noise_parameter", "sensitivity")),
    "mixture of gaussians": (
        dp.MixtureOfGaussiansDpEvent,
        ("standard_deviation", "sensitivities", "sampling_probs"),
    ),
    "poisson sampled": (dp.PoissonSampledDpEvent, ("sampling_probability", "event")),
    "repeated": (dp.SelfComposedDpEvent, ("count", "event")),
    "composed": (dp.ComposedDpEvent, ("events",)),
    "not private": (dp.NonPrivateDpEvent, ()),
    "nothing": (dp.NoOpDpEvent, ()),
}
_NAMES = {kind: name for name, (kind, _) in KINDS.items()}


def to_dict(event: Any) -> dict[str, Any]:
    """Return the event as plain JSON values; raise LedgerError naming an event that has no written form.

    >>> to_dict(dp.SelfComposedDpEvent(dp.GaussianDpEvent(2.0), 3))
    {'kind': 'repeated', 'count': 3, 'event': {'kind': 'gaussian', 'noise_multiplier': 2.0}}
    """
    if type(event) not in _NAMES:
        raise LedgerError(f"{event!r} has no written form. Known: {', '.join(KINDS)}.")
    name = _NAMES[type(event)]
    return {"kind": name} | {field: _plain(getattr(event, field)) for field in KINDS[name][1]}


def from_dict(plain: Mapping[str, Any]) -> Any:
    """Return the event written as `plain`; raise LedgerError when it is none.

    >>> from_dict({"kind": "laplace", "noise_multiplier": 3.0})
    LaplaceDpEvent(noise_multiplier=3.0)
    """
    kind, fields = KINDS.get(str(plain.get("kind")), (None, ()))
    if kind is None or set(plain) != {"kind", *fields}:
        raise LedgerError(f"{dict(plain)!r} is no event. Known: {', '.join(KINDS)}.")
    return kind(**{field: _read(field, plain[field]) for field in fields})


def in_words(event: Any) -> str:
    """Return the event as a reader of a report would say it.

    >>> in_words(dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(1.5)), 300))
    '300 times: a Poisson sample of 0.01 of the units, then gaussian noise (noise multiplier 1.5)'
    >>> in_words(dp.ComposedDpEvent([dp.GaussianDpEvent(2.0)] * 3))
    '3 times: gaussian noise (noise multiplier 2)'
    """
    if isinstance(event, dp.SelfComposedDpEvent):
        return f"{event.count} times: {in_words(event.event)}"
    if isinstance(event, dp.ComposedDpEvent):
        runs = ((words, len(list(same))) for words, same in groupby(map(in_words, event.events)))
        return "; ".join(words if times == 1 else f"{times} times: {words}" for words, times in runs)
    if isinstance(event, dp.PoissonSampledDpEvent):
        return f"a Poisson sample of {event.sampling_probability:.4g} of the units, then {in_words(event.event)}"
    plain = to_dict(event)
    name = plain.pop("kind")
    if not plain:
        return str(name)
    parameters = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in plain.items())
    return f"{name} noise ({parameters})"


def answers_of(event: Any) -> float:
    """Return how many answers a charge of this event pays for: one for each part, any number when it is repeated.

    >>> answers_of(dp.ComposedDpEvent([dp.GaussianDpEvent(2.0), dp.GaussianDpEvent(3.0)]))
    2.0
    """
    if isinstance(event, dp.SelfComposedDpEvent):
        return math.inf  # a step of training answers with one tensor for each parameter
    return float(len(event.events)) if isinstance(event, dp.ComposedDpEvent) else 1.0


def _short(value: Any) -> str:
    """Return a parameter with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Return a field's value as JSON has it."""
    if isinstance(value, dp.DpEvent):
        return to_dict(value)
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "__iter__"):
        return [_plain(item) for item in value]
    number = float(value)
    if not math.isfinite(number):
        raise LedgerError(f"An event's parameters must be finite; got {value!r}.")
    return number


def _read(field: str, value: Any) -> Any:
    """Return a field's value as the event holds it."""
    if field == "event":
        return from_dict(value)
    if field == "events":
        return [from_dict(item) for item in value]
    return tuple(value) if isinstance(value, list) else value
