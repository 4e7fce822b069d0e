"""The charged gate: its measurements are paid for before the fit, its verdicts follow from the noisy answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from time import perf_counter

import numpy as np
import pandas as pd

from tabsynth.charging.form import Form, form_of
from tabsynth.errors import InputError
from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Check, Verdict, allowance, conclude, corrected, parse_policy
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.reserve import Part, Reserve
from tabsynth.schema import Schema

SHARE = 0.1  # of the budget's mu squared


class ChargedGate:
    """A policy whose answers are inside the budget.

    Formal guarantee: the verdicts, statuses and numbers alike, are post-processing of the synthetic rows, of public
    facts and of the noisy counts that were charged here, before the fit. So a release that this gate let through, and
    the fact that it did, are differentially private at the ledger's total, for tables that differ by one unit, provided
    that (1) rows came into the training or the holdout part by a coin of their own, whose seed is secret, (2) units
    were bounded to `rows_per_unit` rows before, and (3) no metric crashes (a crash fails the check, and may depend on
    rows).
    """

    def __init__(
        self, policy: Sequence[Check], schema: Schema, ledger: Ledger, secret: Secret, share: float = SHARE
    ) -> None:
        """Charge for every check, in equal parts of `share`.

        Raises InputError, before anything is charged, without a budget or when a check has no form of bounded
        sensitivity; LedgerError when something was charged before.
        """
        if not ledger.private:
            raise InputError("A gate is charged to a budget, and there is none: set epsilon, or leave it uncharged.")
        self._checks = [(check, check_form(check)) for check in policy]
        self._ledger, self._secret = ledger, secret
        plan: list[Part] = []
        for _, form in self._checks:
            parts = form.parts(schema)
            total = sum(part.weight for part in parts)
            plan += [replace(part, weight=part.weight / total) for part in parts]
        self._reserve = Reserve(plan, share, rows_per_unit=schema.unit.rows, ledger=ledger, secret=secret)

    def evaluate(
        self, evidence: Evidence, rng: np.random.Generator, progress: Callable[[str], None] | None = None
    ) -> tuple[Verdict, ...]:
        """Judge every check on the evidence, in order; to be called once. `rng` may be public.

        Privacy checks share their level as in `policy.evaluate`. The ceiling is what two samples of the synthetic rows'
        own distribution score: it costs nothing.
        """
        privacy = sum(check.metric.tier == "privacy" for check, _ in self._checks)
        verdicts = []
        for (check, _), own in zip(self._checks, rng.spawn(len(self._checks)), strict=True):
            if progress is not None:
                progress(check.metric.name)
            start = perf_counter()
            found, ceiling = self._measure(check, privacy, evidence, own)
            seconds, allowed = perf_counter() - start, allowance(check.metric, self._ledger)
            verdicts.append(conclude(check, found, ceiling, None, seconds=seconds, allowed=allowed))
        return tuple(verdicts)

    def _measure(
        self, check: Check, privacy: int, evidence: Evidence, rng: np.random.Generator
    ) -> tuple[Estimate | Exception, Estimate | None]:
        """Return the estimate, or the error in its place, and the ceiling."""
        try:
            form = form_of(corrected(check.metric, privacy))
            found = form.measure(evidence, self._reserve.take, self._secret.poisson_sample, rng)
            return found, form.ceiling(public_part(evidence), rng) if check.counted_from == "ceiling" else None
        except Exception as error:  # one verdict a check, whatever happens
            return error, None


def public_part(evidence: Evidence) -> Evidence:
    """Return the synthetic rows alone, in every role, with no category that they do not hold.

    Categories of private rows would number the cells of a table of counts, and so show in the last digits of its sums.
    """
    own = {
        name: values.cat.remove_unused_categories() if isinstance(values.dtype, pd.CategoricalDtype) else values
        for name, values in evidence.rows.items()
    }
    rows = pd.DataFrame(own)
    return Evidence(evidence.schema, rows, rows, rows)


def check_form(check: Check) -> Form:
    """Return the form that a check is measured by; raise InputError when it has none."""
    if check.counted_from == "baseline":
        raise InputError(f"The check {check.metric.name!r} cannot be charged: it is counted from the baseline.")
    return form_of(check.metric)


def charged_policy() -> tuple[Check, ...]:
    """Return the policy of a charged gate unless another is given: checks that have a form of bounded sensitivity."""
    text = files("tabsynth").joinpath("policies/charged.yaml").read_text(encoding="utf-8")
    return parse_policy(text, "policy 'charged'")
