"""Recording and replaying what mechanisms answered: how a test sees what reached the output without a mechanism.

Every mechanism passes its answer, noise added, through `answered`. Ordinarily that is a function that returns its
argument. Inside `recording()` the answers are kept; inside `replaying(tape)` a fit on another table gets the answers of
the first one, so that whatever still differs came from the rows by another way (arXiv 2602.17454). Where a mechanism
also hands in what it was about to answer without noise, two neighbours are held against the sensitivity it claims; and
a tape that is told of charges says which answers were given before they were paid for.

Replaying hands out answers that belong to another table: no ledger, model or figure made inside it is worth anything.
"""

from __future__ import annotations

import copy
import math
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import ConformanceError
from tabsynth.privacy import checkpoint
from tabsynth.privacy.noise import Secret

Answer = TypeVar("Answer")
SLACK = 1e-9  # of a sum of floating point scores


@dataclass(frozen=True, slots=True)
class Answered:
    """One mechanism's noisy answer, what it was asked for, the exact one, and whether it had been charged by then."""

    why: str
    answer: Any
    exact: Exact | None = None
    charged: bool = False


@dataclass(frozen=True, slots=True)
class Exact:
    """An answer without noise: named or numbered cells, and how far one unit may move them, in all or each."""

    cells: Mapping[Any, float] | NDArray[Any]
    sensitivity: float
    each: bool = False

    def moved_too_far(self, other: Exact, units: int) -> bool:
        """Whether two tables that differ by so many units answer further apart than the sensitivity allows."""
        gaps = [abs(float(a) - float(b)) for a, b in self._paired(other)]
        moved = max(gaps, default=0.0) if self.each else math.fsum(gaps)
        return moved > units * self.sensitivity * (1 + SLACK) + SLACK

    def _paired(self, other: Exact) -> Iterator[tuple[float, float]]:
        """Yield the values of the same cell in both answers; a name that is missing counts 0."""
        if isinstance(self.cells, Mapping) and isinstance(other.cells, Mapping):
            names = {**self.cells, **other.cells}
            yield from ((self.cells.get(name, 0.0), other.cells.get(name, 0.0)) for name in names)
        else:
            yield from zip(np.ravel(self.cells), np.ravel(other.cells), strict=True)  # type: ignore[arg-type]


@dataclass(slots=True)
class Tape:
    """The answers of one fit, in order, and the key of its noise; `place` is the next to replay, None on recording.

    `charges` holds what was charged so far, as a test's ledger tells it: the reason, and how many answers it pays for.
    `apart` is by how many units the replayed table differs from the recorded one, None when that is not said.
    """

    answers: list[Answered] = field(default_factory=list)
    key: int = field(default_factory=lambda: secrets.randbits(256))
    place: int | None = None
    charges: list[tuple[str, float]] = field(default_factory=list)
    apart: int | None = None

    def owes(self, why: str) -> bool:
        """Whether the charges made so far pay for one more answer of that name."""
        paid = math.fsum(answers for reason, answers in self.charges if reason == why)
        return sum(each.why == why for each in self.answers) + 1 > paid


_tape: ContextVar[Tape | None] = ContextVar("tape", default=None)


def answered(answer: Answer, *, why: str, exact: Exact | None = None, kept: bool = True) -> Answer:
    """Return a mechanism's noisy answer; while replaying, the one that was recorded in its place.

    `exact` is the answer without noise; it is looked at while replaying only. A fit that has a checkpoint gets the
    answer that was kept there in its place; `kept` is false for answers that come again by themselves.

    Raises ConformanceError when the recorded fit asked for something else at this point, or got an answer of another
    shape: the order and the shape of measurements must not depend on the rows; and when the exact answers of
    neighbours lie further apart than what was charged allows.
    """
    tape = _tape.get()
    if tape is None:
        resumable = checkpoint.current() if kept else None
        return resumable.answer(answer, why=why) if resumable else answer
    if tape.place is None:
        tape.answers.append(Answered(why, copy.deepcopy(answer), copy.deepcopy(exact), not tape.owes(why)))
        return answer
    recorded = tape.answers[tape.place] if tape.place < len(tape.answers) else Answered("nothing", None)
    tape.place += 1
    if recorded.why != why:
        raise ConformanceError(f"The fit measured {why!r} where on the other table it measured {recorded.why!r}.")
    if getattr(recorded.answer, "shape", None) != getattr(answer, "shape", None):
        raise ConformanceError(f"The answer to {why!r} has another shape than on the other table.")
    if exact and recorded.exact and tape.apart is not None and exact.moved_too_far(recorded.exact, tape.apart):
        raise ConformanceError(f"One unit moves the exact answer to {why!r} further than the sensitivity charged.")
    found: Answer = copy.deepcopy(recorded.answer)
    return found


@contextmanager
def recording() -> Iterator[Tape]:
    """Keep the answers of all mechanisms that run inside."""
    tape = Tape()
    token = _tape.set(tape)
    try:
        yield tape
    finally:
        _tape.reset(token)


@contextmanager
def replaying(tape: Tape, *, apart: int | None = None) -> Iterator[None]:
    """Give the mechanisms that run inside the answers on `tape`; raise ConformanceError unless all were asked for.

    With `apart`, by how many units the tables differ, exact answers are held against their sensitivity.
    """
    replayed = Tape(tape.answers, place=0, apart=apart)
    token = _tape.set(replayed)
    try:
        yield
    finally:
        _tape.reset(token)
    if replayed.place != len(tape.answers):
        missing = tape.answers[replayed.place or 0].why
        raise ConformanceError(f"The fit did not measure {missing!r}, as it did on the other table.")


class RepeatedSecret(Secret):
    """Noise for a recorded fit and its replays: each call has a stream of its own, the same in every fit.

    What is drawn after a table has had its say, such as the start of a network, so does not depend on how much was
    drawn for the table. The tape's key comes from the operating system, so the noise is as unpredictable as any.
    """

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._key = tape.key
        self._calls = 0

    def uniform(self, shape: int | tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Return what `Secret.uniform` does."""
        return self._next().uniform(shape)

    def normal(self, shape: int | tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Return what `Secret.normal` does."""
        return self._next().normal(shape)

    def poisson_sample(self, n: int, q: float) -> NDArray[np.int64]:
        """Return what `Secret.poisson_sample` does."""
        return self._next().poisson_sample(n, q)

    def _next(self) -> Secret:
        self._calls += 1
        return Secret.fixed(self._key * 2**32 + self._calls)
