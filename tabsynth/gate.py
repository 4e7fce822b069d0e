"""The gate of a release: what it asks, what is refused before anything is charged, and who pays for its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from tabsynth import _check
from tabsynth.charging import ChargedGate, charged_policy, check_form
from tabsynth.dry_run import refuse_too_few
from tabsynth.errors import InputError
from tabsynth.metrics.evidence import Evidence, Retrain
from tabsynth.policy import Check, Verdict, default_policy, evaluate, read_policy
from tabsynth.policy.shadows import Shadows
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.release import filters
from tabsynth.release.refusing import ORACLE, Mode
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.table import Table

HOLDOUT = 0.2  # of the rows, which no synthesizer sees and the gate needs
Judge = Callable[[Evidence, np.random.Generator, Callable[[str], None] | None], Sequence[Verdict]]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a release must pass, as the caller asks for it.

    `policy` is a file or the name of an installed policy; None is the default one. `share` is the share of the budget
    (of mu squared) that pays for the gate's decision, before the fit takes the rest; at 0 the decision is one bit that
    is not paid for. `shadows` is how many more times to fit the synthesizer, each time with the whole budget and
    without a charge, for attacks that know what one row changes. `canary` is the folder of a canary audit of the same
    synthesizer, at this budget or a larger one. `holdout` is the share of rows that no fit sees.
    """

    policy: Path | str | None = None
    share: float = 0.0
    shadows: int = 0
    canary: Path | str | None = None
    holdout: float = HOLDOUT


USUAL = GateSettings()


@dataclass(frozen=True, slots=True)
class Gate:
    """What a release must pass: a policy, perhaps with shadow models, and the share of the budget that pays for it.

    Without a `share` the gate's decision is one bit that is not paid for.
    """

    policy: tuple[Check, ...]
    shadows: Shadows | None
    share: float

    @classmethod
    def of(cls, settings: GateSettings, synthesizer: Synthesizer, *, budgeted: bool) -> Self:
        """Return the gate, or raise InputError saying what of it cannot be; nothing has been read or charged.

        A charged gate decides by what was paid for, and shadow models are fitted to private rows without a charge.
        """
        share, shadows = settings.share, settings.shadows
        _check.within("the gate's share", share, 0, 0.9)
        if share > 0 and not budgeted:
            raise InputError("A charged gate needs a budget: set epsilon, or leave the gate uncharged.")
        checks = load_policy(settings.policy, charged=share > 0)
        if shadows and share > 0:
            raise InputError("A charged gate may use only what was paid for, and shadow models are not: leave one out.")
        found = cls(checks, Shadows(synthesizer, shadows) if shadows else None, share)
        for name in filters(synthesizer):
            raise InputError(f"The setting {name!r} names {ORACLE}. Remove it.")
        return found

    @property
    def charged(self) -> bool:
        """Whether its decision is paid for."""
        return self.share > 0

    @property
    def mode(self) -> Mode:
        """What a release says of its gate."""
        return "charged" if self.charged else "inside"

    @property
    def checks(self) -> tuple[Check, ...]:
        """The policy's checks, and those that shadow models allow."""
        return (*self.policy, *(() if self.shadows is None else self.shadows.checks()))

    def require_room(self, table: Table, holdout: float, *, budgeted: bool) -> None:
        """Raise InputError when nothing of the table's size could pass, as far as its number of rows is public."""
        rows = table.schema.rows or (None if budgeted else len(table.private))
        if rows is not None and not self.charged:
            refuse_too_few(self.policy, rows, holdout)

    def opened(self, schema: Schema, ledger: Ledger) -> Judge:
        """Return what judges the evidence; a charged gate takes its share of the ledger now, before a fit does."""
        if self.charged:
            return ChargedGate(self.checks, schema, ledger, Secret(), self.share).evaluate
        return lambda evidence, rng, progress: evaluate(evidence, self.checks, rng, progress, ledger)

    def retrainer(self, synthesizer: Synthesizer, budget: Budget | None, schema: Schema, rows: int) -> Retrain | None:
        """Return what fits the synthesizer anew for the shadow models, None where there are none."""
        if self.shadows is None:
            return None
        return replace(self.shadows, synthesizer=synthesizer, budget=budget).retrainer(schema, rows)


def load_policy(policy: Path | str | None, *, charged: bool = False) -> tuple[Check, ...]:
    """Return the checks of a policy file or an installed policy; when none is named the default of the gate's kind.

    For a charged gate, raises InputError naming a check that has no form of bounded sensitivity.
    """
    if not charged:
        return default_policy() if policy is None else read_policy(policy)
    checks = charged_policy() if policy is None else read_policy(policy)
    for check in checks:
        check_form(check)
    return checks
