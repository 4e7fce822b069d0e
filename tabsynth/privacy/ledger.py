"""The ledger: what every look at the private rows cost, written down before the look is taken.

Append-only. A charge is composed with all earlier ones first; when together they would pass the budget, BudgetExceeded
is raised, nothing is recorded and nothing may run. There is one composition of all charges (see `accounting`).

A `Ledger` is for one fit and lives in memory, or, by `Ledger.open`, also in a file beside the data that all fits on
that data share, under a lifetime budget (see `ledger_file`). `closed` speaks of the one fit: the file stays open for
later ones. What a fit may spend is then the smaller of its own budget and what the lifetime budget still holds.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tabsynth._check import within
from tabsynth.errors import BudgetExceeded, InputError, LedgerError
from tabsynth.privacy import accounting, checkpoint, events
from tabsynth.privacy.budget import Budget, Spent, bounded
from tabsynth.privacy.events import Charge

if TYPE_CHECKING:
    from tabsynth.privacy.ledger_file import Fit, LedgerFile

__all__ = ["DISCOVERY_DELTA_SHARE", "Charge", "Ledger"]

DISCOVERY_DELTA_SHARE = 0.1  # of delta, set aside for charges that carry a delta of their own
LARGEST_NOISE = 2.0**15  # a noise multiplier beyond which nothing can be learned


class Ledger:
    """The charges of one fit against one budget; without a budget the fit is not private and epsilon is infinite.

    >>> from dp_accounting import GaussianDpEvent
    >>> ledger = Ledger(Budget(1.0, 1e-6))
    >>> ledger.charge(GaussianDpEvent(ledger.sigma(0.1)), why="one-way counts")
    >>> noise_multiplier = ledger.spend_rest(GaussianDpEvent, why="the rest")
    >>> 0.99 <= ledger.spent.epsilon <= 1.0, ledger.closed
    (True, True)
    """

    accountant = accounting.ACCOUNTANT

    def __init__(self, budget: Budget | None = None) -> None:
        self._budget = budget
        self._charges: list[Charge] = []
        self._notes: list[str] = []
        self._not_private: list[str] = []
        self._closed = False
        self._file: LedgerFile | None = None
        self._fit = 1
        self._set_aside = 0.0
        self._attempt: int | None = None
        self._resumed: Fit | None = None  # what the file has of this fit, when it is taken up again
        self._process = os.getpid()
        self._turn = threading.RLock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        data: Path | bytes,
        lifetime: Budget | None = None,
        budget: Budget | None = None,
        resumes: int | None = None,
        wait: float = 30.0,
    ) -> Ledger:
        """Open a ledger for one fit whose charges are also written to the file at `path`, made if there is none.

        `data` is the source file, or its bytes: the ledger is kept for it alone. `lifetime` bounds all fits together;
        it is set once, for good, and None takes what is there. `budget` is this fit's own. `resumes` is
        the number of a fit that was killed: what it was charged is not charged again when it is asked for in the same
        order, as a `checkpoint` sees to.

        Raises LedgerError when the file is altered, locked for longer than `wait` seconds, of another version, or for
        other data, and BudgetExceeded when a fit without a budget is to run under a lifetime budget.
        """
        from tabsynth.privacy.ledger_file import LedgerFile  # only where a file is asked for

        ledger = cls(budget)
        ledger._file = LedgerFile.open(path, data, lifetime, wait)
        with ledger._file.hold():
            if ledger._limited and not ledger.bounded:
                raise BudgetExceeded(
                    f"A fit without a budget is not private, and {path} has a lifetime budget: {ledger._file.lifetime}."
                )
            if resumes is None:
                ledger._fit = ledger._file.begin(budget)
            else:
                ledger._resumed = ledger._file.fit(resumes, budget)
                ledger._fit = resumes
        return ledger

    @property
    def number(self) -> int | None:
        """The number that the file gave this fit; None in memory."""
        return self._fit if self._file else None

    @property
    def budget(self) -> Budget | None:
        """What this fit may spend; None when it is not private."""
        return self._budget

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge of this fit, in order."""
        return tuple(self._charges)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that belong beside the charges, reasons for not being private among them."""
        return (*self._notes, *(f"Not private: {why}" for why in self._not_private))

    @property
    def closed(self) -> bool:
        """Whether the fit is over: a closed ledger takes no charge."""
        return self._closed

    @property
    def bounded(self) -> bool:
        """Whether a finite budget bounds this fit, so that all that is read of rows is noisy."""
        return bounded(self.budget)

    @property
    def private(self) -> bool:
        """Whether the charges bound what leaks: a finite budget, and nothing marked the ledger otherwise."""
        return self.bounded and not self._not_private

    @property
    def spent(self) -> Budget:
        """What the charges cost together, at the budget's delta; infinite epsilon when not private."""
        if self.budget is None or not self.private:
            return Spent(math.inf, self.budget.delta if self.budget else 0.0)
        return Spent(accounting.cost(self._charges, self.budget.delta), self.budget.delta)

    def charge(self, event: Any, *, why: str, delta: float = 0.0) -> None:
        """Record a mechanism before it runs: its event, the reason, and a failure probability outside the event.

        Raises BudgetExceeded, recording nothing, when it does not fit; LedgerError when the ledger is closed, the
        event cannot be composed, or the file cannot be written.
        """
        within("delta", delta, 0, 1)
        charge = Charge(event, why, float(delta))
        accounting.grouped([event])
        with self._held():
            self._require_open()
            if not self._made_before(charge) and not self._fits(charge):
                raise self._exceeded(why)
            self._record(charge)

    def sigma(self, share: float) -> float:
        """Return the noise multiplier of a Gaussian measurement worth `share` of the budget's mu squared.

        Gaussian mechanisms compose by adding mu squared (Dong, Roth, Su 2022), so shares that sum to 1 spend the
        budget. DISCOVERY_DELTA_SHARE of delta is left out of the reckoning, so that charges with a delta of their own,
        up to that much, fit beside them. Without a budget: 0.0, no noise.
        """
        if not 0 < share <= 1:
            raise InputError(f"share must be above 0 and at most 1; got {share!r}.")
        if not bounded(self.budget):
            return 0.0
        mu = accounting.gaussian_mu(Budget(self.budget.epsilon, self.budget.delta * (1 - DISCOVERY_DELTA_SHARE)))
        if mu == 0:
            raise InputError("A Gaussian measurement needs a delta above 0 in the budget.")
        return 1 / (mu * math.sqrt(share * (1 - self._set_aside)))

    def set_aside(self, share: float) -> float:
        """Keep `share` of the budget's mu squared from the fit, and return the noise multiplier that it is worth.

        Whoever calls this charges for it at once, before the fit: its shares, and what is left at its end, are then
        of the remainder. Without a budget: 0.0.

        Raises InputError unless the share lies between 0 and 1, and LedgerError after the first charge.
        """
        if not 0 < share < 1:
            raise InputError(f"share must lie between 0 and 1; got {share!r}.")
        if self._charges or self._closed or self._set_aside:
            raise LedgerError("A share of the budget is set aside once, before the first charge.")
        noise = self.sigma(share)
        self._set_aside = share
        return noise

    def spend_rest(self, event_of: Callable[[float], Any], *, why: str) -> float:
        """Charge the event of the smallest noise multiplier that still fits, close the ledger and return it.

        `event_of` maps a noise multiplier to an event that costs less as it grows. The total lands in [0.99, 1] of
        epsilon, of the fit's or the lifetime's, whichever binds. Raises BudgetExceeded when even a huge noise does
        not fit. Without a budget: 0.0, recorded as it is.
        """
        with self._held():
            self._require_open()
            noise = self._kept_noise(event_of, why) if self.bounded else 0.0
            self._record(Charge(event_of(noise), why), closes=True)
        return noise

    def close(self) -> None:
        """Take no further charge in this fit; what was not spent stays unspent."""
        with self._held():
            self._require_open()
            if self._file and not (self._resumed and self._resumed.closed):
                self._file.remark(self._fit, "closed", "closed with something left")
            self._closed = True

    def note(self, text: str) -> None:
        """Keep a remark beside the charges."""
        with self._held():
            if self._file and not (self._resumed and text in self._resumed.notes):
                self._file.remark(self._fit, "note", text)
            self._notes.append(text)

    def attempt(self) -> int | None:
        """Count an attempt at a gate, before the gate looks, and return its number among all of the file's.

        None without a file to count in. Until the attempt is decided it is the same one.
        """
        if self._file and self._attempt is None:
            with self._held():
                self._file.remark(self._fit, "attempt", "held against the gate")
                self._attempt = self._file.attempts
        return self._attempt

    def decided(self, decision: str) -> None:
        """Write down what the gate said of the attempt."""
        if self._file:
            with self._held():
                self._file.remark(self._fit, "decision", decision)
        self._attempt = None

    def mark_not_private(self, why: str) -> None:
        """Say, for good, that the charges no longer bound what leaks; call it before anything is let out.

        Raises BudgetExceeded under a lifetime budget, which cannot hold a fit that is not private.
        """
        if why in self._not_private:
            return
        self._not_private.append(why)
        with self._held():
            if self._file and self._limited:
                raise BudgetExceeded(
                    f"{self._file.path} has a lifetime budget, and this fit is not private: {why}. Nothing was run."
                )
            if self._file and not (self._resumed and why in self._resumed.not_private):
                self._file.remark(self._fit, "not private", why)

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain row per charge, for reports: what for, which mechanism, its own delta."""
        return [
            {"why": charge.why, "mechanism": events.in_words(charge.event), "delta": charge.delta}
            for charge in self._charges
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything about the ledger as plain JSON values; an infinite epsilon is None."""
        return {
            "private": self.private,
            "budget": None if self.budget is None else self.budget.to_dict(),
            "spent": self.spent.to_dict(),
            "accountant": self.accountant,
            "neighbours": accounting.NEIGHBOURS.name.lower().replace("_", " "),
            "charges": [
                row | {"event": events.to_dict(charge.event)}
                for row, charge in zip(self.rows(), self._charges, strict=True)
            ],
            "notes": list(self.notes),
            "file": None if self._file is None else {"fit": self._fit, "code": self._file.code},
        }

    def tpr_at_fpr(self, fpr: float) -> float:
        """Return the largest true positive rate the charges allow a membership attack at this false positive rate."""
        if not self.private:
            return 1.0
        own = math.fsum(charge.delta for charge in self._charges)
        return accounting.tpr_at_fpr((charge.event for charge in self._charges), fpr, own)

    def auc(self) -> float:
        """Return the largest area under the ROC curve that the charges allow a membership attack."""
        if not self.private:
            return 1.0
        own = math.fsum(charge.delta for charge in self._charges)
        return accounting.largest_auc((charge.event for charge in self._charges), own)

    def odds(self) -> tuple[float, float]:
        """Return what the charges allow an attacker at most: the share of right guesses at 50:50, and TPR at 1% FPR."""
        if not self.private:
            return 1.0, 1.0
        own = math.fsum(charge.delta for charge in self._charges)
        advantage = min(1.0, accounting.delta_of((charge.event for charge in self._charges), 0.0) + own)
        return (1 + advantage) / 2, self.tpr_at_fpr(0.01)

    def explain(self, unit: str = "one unit") -> str:
        """Say in plain words what the charges mean for one unit: an attacker's best odds, and the catch at 1% FPR."""
        if not self.private:
            return f"Not private: nothing bounds what an attacker can learn about {unit} (epsilon is infinite)."
        spent, (guessed, found) = self.spent, self.odds()
        return (
            f"epsilon {spent.epsilon:.3g} at delta {spent.delta:g}: an attacker who knows everything except whether "
            f"{unit} was in the table, and starts at 50:50, is right at most {guessed:.1%} of the time; "
            f"with 1% false alarms, at most {found:.1%} of those in the table are found."
        )

    def __copy__(self) -> Self:
        """Return this ledger: it is one account, however many hold it; a copy could spend the same budget again."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return this ledger; see `__copy__`. So clones of an estimator, in a grid search say, share one budget."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what to pickle: a record, closed, since what another process charges would not be known here."""
        return {name: value for name, value in vars(self).items() if name != "_turn"} | {"_closed": True}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take back what was pickled."""
        vars(self).update(state, _turn=threading.RLock())

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"Ledger({self.budget}, {len(self._charges)} charges, epsilon {self.spent.epsilon:.4g}, {state})"

    @property
    def _limited(self) -> bool:
        """Whether a lifetime budget stands over the fit."""
        return self._file is not None and bounded(self._file.lifetime)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other threads out, and other processes by the file's lock, where there is a file."""
        with self._turn, self._file.hold() if self._file else nullcontext():
            yield

    def _require_open(self) -> None:
        if self._closed or self._process != os.getpid():  # which would not know of a charge made here
            raise LedgerError("The ledger is closed: its fit has ended, or is elsewhere. A new fit takes a new ledger.")

    def _fits(self, charge: Charge) -> bool:
        """Whether the charge fits this fit's budget and the lifetime's."""
        if self.budget is not None and not accounting.fits(self.budget, [*self._charges, charge]):
            return False
        return self._file is None or self._file.affords(charge)

    def _made_before(self, charge: Charge) -> bool:
        """Whether the killed fit made this charge in this place; LedgerError when it made another one."""
        place = len(self._charges)
        if self._resumed is None or place >= len(self._resumed.charges):
            return False
        before = self._resumed.charges[place]
        same = events.to_dict(before.event) == events.to_dict(charge.event)
        if same and (before.why, before.delta) == (charge.why, charge.delta):
            return True
        raise LedgerError(f"Fit {self._fit} is taken up for {charge.why!r}, where it was charged for {before.why!r}.")

    def _kept_noise(self, event_of: Callable[[float], Any], why: str) -> float:
        """Return the smallest noise that fits, or that of the killed fit: other fits may have spent since."""
        resumable = checkpoint.current()
        if resumable is None:
            return self._smallest_noise(event_of, why)
        made = self._resumed is not None and len(self._charges) < len(self._resumed.charges)
        noise = resumable.answer(math.nan if made else self._smallest_noise(event_of, why), why=f"noise of {why}")
        if not made and not self._fits(Charge(event_of(noise), why)):
            raise self._exceeded(why)
        return noise

    def _smallest_noise(self, event_of: Callable[[float], Any], why: str) -> float:
        """Bracket the smallest noise that fits by factors of 4, then halve the bracket to 0.1%."""
        high = 1.0
        while not self._fits(Charge(event_of(high), why)):
            high *= 4
            if high > LARGEST_NOISE:
                raise self._exceeded(why)
        low = high / 4
        while low > 1 / LARGEST_NOISE and self._fits(Charge(event_of(low), why)):
            low, high = low / 4, low
        while high > low * 1.001:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self._fits(Charge(event_of(middle), why)) else (middle, high)
        return high

    def _record(self, charge: Charge, *, closes: bool = False) -> None:
        """Write the charge down, to disk first, unless the killed fit did."""
        if self._file and not self._made_before(charge):
            self._file.charge(self._fit, charge, closes=closes)
        self._charges.append(charge)
        self._closed = closes

    def _exceeded(self, why: str) -> BudgetExceeded:
        """Say what did not fit, in public numbers."""
        lifetime = f" or the lifetime budget {self._file.lifetime}" if self._file and self._limited else ""
        return BudgetExceeded(
            f"The charge for {why!r} would pass the budget {self.budget}{lifetime}; this fit has spent epsilon "
            f"{self.spent.epsilon:.4g} so far. The charge was not made and nothing was run."
        )
