"""The ledger as a file beside the data: all fits on one data source, under one lifetime budget.

The first line holds the lifetime budget and a commitment to the data source: an HMAC of its bytes under the ledger's
key, which says nothing to who lacks the key. Each fit then writes a line when it starts, one line per charge, its
remarks, and one line each time its rows are held against a gate. A charge is on disk before the mechanism runs, and it
is checked against the lifetime budget together with all charges of all fits, composed at once, under a lock that spans
reading, checking and writing: two processes that race never overspend. See `chain` for how the lines are kept and what
is detected.

Who looks at the rows without being charged, because nothing of it may leave, writes a line as well: a `Use`. No line
holds anything that was computed from rows, nor a time.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_accounting import GaussianDpEvent, LaplaceDpEvent

from tabsynth.errors import BudgetExceeded, LedgerError
from tabsynth.privacy import accounting, events
from tabsynth.privacy.budget import Budget, bounded
from tabsynth.privacy.chain import WAIT, Chain
from tabsynth.privacy.events import Charge

KINDS = frozenset(
    {"header", "lifetime", "use", "fit", "charge", "note", "not private", "closed", "attempt", "decision"}
)


@dataclass(frozen=True, slots=True)
class Fit:
    """What one fit wrote: its budget, its charges and remarks, and whether it came to its end.

    `attempts` counts how often its rows were held against a gate, `decisions` what the gate said; an attempt without a
    decision was interrupted.
    """

    number: int
    budget: Budget | None
    charges: tuple[Charge, ...]
    notes: tuple[str, ...]
    not_private: tuple[str, ...]
    closed: bool
    attempts: int = 0
    decisions: tuple[str, ...] = ()

    @property
    def private(self) -> bool:
        """Whether the charges bound what the fit leaked."""
        return bounded(self.budget) and not self.not_private


@dataclass(frozen=True, slots=True)
class Use:
    """A look at the rows that was not charged: the command, why it cost nothing, and the number of its line."""

    line: int
    command: str
    text: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified ledger file says: fits and uses in order, the lifetime budget, a code that commits to it all."""

    lifetime: Budget | None
    fits: tuple[Fit, ...]
    lines: int
    code: str
    uses: tuple[Use, ...] = ()

    def epsilon(self, delta: float | None = None) -> float:
        """Return what all fits cost together at `delta` (the lifetime's by default); infinite if one was not private.

        Raises LedgerError when no delta is given and there is no lifetime budget.
        """
        if delta is None:
            if self.lifetime is None:
                raise LedgerError("Without a lifetime budget, say at which delta the epsilon is wanted.")
            delta = self.lifetime.delta
        charges = [charge for fit in self.fits for charge in fit.charges]
        return accounting.cost(charges, delta) if not self.loose else math.inf

    @property
    def loose(self) -> tuple[int, ...]:
        """The numbers of the fits that were charged for something and are not private."""
        return tuple(fit.number for fit in self.fits if fit.charges and not fit.private)

    def room(self, budget: Budget) -> float:
        """Return about how much of a budget's epsilon the lifetime budget has left for one more fit, 0.0 for nothing.

        Exact to 1% for a fit that is one Gaussian mechanism (Laplace, when delta is 0); others come close to it.
        """
        charges = [charge for fit in self.fits for charge in fit.charges]

        def affords(epsilon: float) -> bool:
            mu = accounting.gaussian_mu(Budget(epsilon, budget.delta))
            event = GaussianDpEvent(1 / mu) if mu > 0 else LaplaceDpEvent(1 / epsilon)
            return self.lifetime is None or accounting.fits(self.lifetime, [*charges, Charge(event, "one more fit")])

        if affords(budget.epsilon):
            return budget.epsilon
        low, high = budget.epsilon / 1024, budget.epsilon
        if not affords(low):
            return 0.0
        while high > 1.01 * low:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if affords(middle) else (low, middle)
        return low


class LedgerFile:
    """One ledger file, opened for one data source. Read and write inside `with file.hold():`."""

    def __init__(self, path: Path | str, wait: float = WAIT) -> None:
        self._chain = Chain(path, wait)
        self._charges: list[Charge] = []
        self._lifetime: Budget | None = None
        self._read = 0

    @classmethod
    def open(
        cls, path: Path | str, data: Path | bytes, lifetime: Budget | None, wait: float = WAIT, *, create: bool = True
    ) -> LedgerFile:
        """Open the ledger at `path` for `data` (a file, or bytes), or create it with a lifetime budget over all fits.

        A lifetime budget is set once: when the ledger is created, or later where it has none; None takes what is there.
        Without `create` everything is looked at and nothing added.

        Raises LedgerError when the ledger is altered, locked, of another version, kept for other data, has another
        lifetime budget than the one given, or is missing and not to be created; BudgetExceeded when what was spent
        passes the lifetime budget that is to be set.
        """
        file, source = cls(path, wait), _digest(data)
        with file.hold(create=create):
            commitment = file._chain.mac("data", source)
            if not file._chain.lines:
                if not create:
                    return file  # its creation was interrupted; it says nothing yet
                file._chain.append("header", lifetime=_pair(lifetime), data=commitment)
                file._catch_up()
            if not hmac.compare_digest(str(file._chain.lines[0]["data"]), commitment):
                raise LedgerError(
                    f"{path} is kept for other data: the table is not the file it was, or is another one. Restore the "
                    "file, or name a new ledger (--ledger PATH); for people who are in both tables the epsilons of "
                    "both ledgers add up."
                )
            file._limit(lifetime, write=create)
        return file

    @property
    def path(self) -> Path:
        """Where the lines are."""
        return self._chain.path

    @property
    def lifetime(self) -> Budget | None:
        """The budget over all fits; None when they are recorded without a limit."""
        return self._lifetime

    @contextmanager
    def hold(self, *, create: bool = False) -> Iterator[None]:
        """Hold the lock, with every line that any process wrote read and verified."""
        with self._chain.hold(create=create):
            self._catch_up()
            yield

    def begin(self, budget: Budget | None) -> int:
        """Write down that a fit starts, and return its number."""
        number = 1 + [line["kind"] for line in self._chain.lines].count("fit")
        self._chain.append("fit", fit=number, budget=_pair(budget))
        return number

    def fit(self, number: int, budget: Budget | None) -> Fit:
        """Return what a fit wrote so far; LedgerError when there is none of that number, or with another budget."""
        found = [fit for fit in self.statement().fits if fit.number == number]
        if not found or found[0].budget != budget:
            raise LedgerError(f"{self.path} has no fit {number} with the budget {budget} that could be taken up.")
        return found[0]

    def charge(self, fit: int, charge: Charge, *, closes: bool) -> None:
        """Write a charge down; it is on disk when this returns."""
        event = events.to_dict(charge.event)
        self._chain.append("charge", fit=fit, event=event, why=charge.why, delta=charge.delta, closes=closes)

    def remark(self, fit: int, kind: str, text: str) -> None:
        """Write a `note`, why a fit is `not private`, that it is `closed`, an `attempt` at a gate or its `decision`."""
        self._chain.append(kind, fit=fit, text=text)

    def use(self, command: str, text: str) -> None:
        """Write down that a command looks at the rows, and why it is charged nothing; both are public words."""
        if not self._chain.lines:
            raise LedgerError(f"{self.path} is empty: no ledger was begun.")
        self._chain.append("use", command=command, text=text)

    @property
    def attempts(self) -> int:
        """How often rows of any fit were held against a gate."""
        return [line["kind"] for line in self._chain.lines].count("attempt")

    def affords(self, charge: Charge) -> bool:
        """Whether the lifetime budget holds this charge and all charges of all fits together."""
        return self.lifetime is None or accounting.fits(self.lifetime, [*self._charges, charge])

    def statement(self) -> Statement:
        """Return what the lines say."""
        by_fit: dict[int, list[dict[str, Any]]] = {}
        uses = []
        for number, line in enumerate(self._chain.lines, start=1):
            if "fit" in line:
                by_fit.setdefault(line["fit"], []).append(line)
            elif line["kind"] == "use":
                uses.append(Use(number, str(line["command"]), str(line["text"])))
        fits = tuple(_fit(number, lines) for number, lines in by_fit.items())
        return Statement(self.lifetime, fits, len(self._chain.lines), self._chain.code, tuple(uses))

    @property
    def code(self) -> str:
        """The code of the last line read: it commits to the whole ledger so far."""
        return self._chain.code

    def _catch_up(self) -> None:
        """Take in what the lines since the last look say of charges and of the lifetime budget."""
        for number, line in enumerate(self._chain.lines[self._read :], start=self._read + 1):
            if line["kind"] not in KINDS:
                raise LedgerError(f"{self.path}, line {number}: a newer version of this program wrote it.")
            if line["kind"] == "charge":
                self._charges.append(_charge(line))
            if "lifetime" in line:
                self._lifetime = _budget(line["lifetime"])
        self._read = len(self._chain.lines)

    def _limit(self, lifetime: Budget | None, *, write: bool) -> None:
        """Set the lifetime budget where there is none; raise where there is another, or too much was spent."""
        if lifetime is None or self.lifetime == lifetime:
            return
        if self.lifetime is not None:
            raise LedgerError(
                f"{self.path} has the lifetime budget {self.lifetime}; {lifetime} was given. It was set for good."
            )
        if lifetime.private and (self.statement().loose or not accounting.fits(lifetime, self._charges)):
            raise BudgetExceeded(f"What {self.path} holds passes the lifetime budget {lifetime} already.")
        if write:
            self._chain.append("lifetime", lifetime=_pair(lifetime))
            self._catch_up()


def verify(path: Path | str, wait: float = WAIT) -> Statement:
    """Walk the whole chain and return what it says; raise LedgerError naming the line and the rule that is broken."""
    file = LedgerFile(path, wait)
    with file.hold():
        if not file._chain.lines:
            raise LedgerError(f"{path} is empty: no ledger was begun.")
        return file.statement()


def _fit(number: int, own: list[dict[str, Any]]) -> Fit:
    """Put together the lines of one fit, of which the first says that it starts."""
    charges = [line for line in own if line["kind"] == "charge"]
    return Fit(
        number=number,
        budget=_budget(own[0]["budget"]),
        charges=tuple(map(_charge, charges)),
        notes=tuple(line["text"] for line in own if line["kind"] == "note"),
        not_private=tuple(line["text"] for line in own if line["kind"] == "not private"),
        closed=any(line["closes"] for line in charges) or any(line["kind"] == "closed" for line in own),
        attempts=[line["kind"] for line in own].count("attempt"),
        decisions=tuple(line["text"] for line in own if line["kind"] == "decision"),
    )


def _charge(line: dict[str, Any]) -> Charge:
    return Charge(events.from_dict(line["event"]), str(line["why"]), float(line["delta"]))


def _pair(budget: Budget | None) -> list[float | None] | None:
    """Return a budget as JSON has it; an infinite epsilon is null."""
    return None if budget is None else [budget.epsilon if budget.private else None, budget.delta]


def _budget(pair: list[float | None] | None) -> Budget | None:
    return None if pair is None else Budget(math.inf if pair[0] is None else pair[0], pair[1] or 0.0)


def _digest(data: Path | bytes) -> bytes:
    """Return the SHA-256 of a data source."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).digest()
    try:
        with Path(data).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise LedgerError(f"{data}: the data source cannot be read ({error.strerror}).") from error
