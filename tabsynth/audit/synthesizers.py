"""The audit of a synthesizer: canaries planted in a table, fits of their own, and bounds held against the claim."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabsynth import _check
from tabsynth.audit.attacks import Sight
from tabsynth.audit.bounds import check_confidence
from tabsynth.audit.canaries import Canaries, make_canaries, own_canaries
from tabsynth.audit.claim import Claim
from tabsynth.audit.gradients import GRADIENTS
from tabsynth.audit.one_run import Plan, Trial, pooled
from tabsynth.audit.result import AuditResult, Worlds, judge_many_runs, judge_one_run
from tabsynth.audit.store import Store
from tabsynth.errors import InputError
from tabsynth.privacy.budget import Budget
from tabsynth.synthesizers.base import Progress, Synthesizer, silent
from tabsynth.table import Table, digest

MOST_ROWS = 50_000  # that are drawn for the black box unless more are asked for
FEWEST_RUNS = 20  # with a single canary: below, no threshold can be fixed on runs set aside


@dataclass(slots=True)
class _Worker:
    """What a process holds between runs: the plan, and the reference once it was needed."""

    plan: Plan
    kept: Sight | None = None

    def reference(self) -> Sight:
        """Return the reference, fitted when it is asked for first."""
        if self.kept is None:
            self.kept = self.plan.reference()
        return self.kept

    def run(self, number: int, progress: Progress = silent) -> dict[str, Any]:
        """Make one run."""
        return self.plan.trial(number, self.reference, progress).to_dict()


def audit_synthesizer(
    table: Table,
    synthesizer: Synthesizer,
    budget: Budget,
    *,
    canaries: int | pd.DataFrame = 1000,
    runs: int = 1,
    rows: int | None = None,
    gradients: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    workers: int = 1,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> AuditResult:
    """Estimate, from below, the epsilon that a synthesizer really has on a table, and compare it with its claim.

    `canaries` rows are made up to be found (or given, as raw rows), each planted by a coin of its own. Each of the
    `runs` is a fit under the whole `budget`, with new coins. With one canary and many runs the classical audit is made,
    else the one-run audit over all runs together.

    Attacks: on `rows` synthetic rows (by default four times as many as the table has, at most 50,000; with 0 the black
    box is left out), on the model's likelihood or critic where it offers one, and on `gradients` canaries in its DP-SGD
    where it has one (None: as many as canaries, up to 1000). All but the last are held against a reference, fitted once
    to the table without canaries.

    Ledgers live in memory and are charged for themselves alone: the audit spends nothing of the data's budget,
    and for that reason neither its models nor its numbers may be released.

    `seed` fixes which canaries are made up and what is drawn from models; coins and noise are never seeded. With a
    `folder`, runs are kept there, and an audit that was killed goes on when it is started again. `workers` processes
    share the runs. `progress` is told of runs, or of the steps of a single one.

    Raises InputError before anything is fitted when canaries do not fit the schema, are more than the rows, or when
    there is no claim to audit.
    """
    plan = _plan(table, synthesizer, budget, canaries=canaries, rows=rows, gradients=gradients, seed=seed)
    _check.at_least("runs", runs, FEWEST_RUNS if len(plan.canaries) == 1 else 1)
    _check.at_least("workers", workers, 1)
    check_confidence(confidence)
    store = Store(folder, _described(plan))
    for number, run in _make(plan, store.missing(runs), workers, progress if runs == 1 else silent):
        store.keep(number, run)
        if runs > 1:
            progress(runs - len(store.missing(runs)), runs, {})
    return judge([Trial.from_dict(run) for run in store.runs()[:runs]], synthesizer.name, budget, confidence)


def judge(trials: list[Trial], name: str, budget: Budget, confidence: float) -> AuditResult:
    """Hold all trials against the largest claim among them."""
    claims = [trial.claim for trial in trials]
    claim = Claim(
        max(each.epsilon for each in claims),
        budget.delta,
        max(each.mu for each in claims),
        max(each.failure for each in claims),
    )
    scores = pooled(trials)
    if not scores:
        raise InputError(f"{name!r} offers no white box to attack; let the black box have rows.")
    single = {name: scored for name, scored in scores.items() if len(scored[1]) == len(trials)}
    if not single or len(trials) < FEWEST_RUNS:
        return judge_one_run(name, claim, scores, runs=len(trials), normal=[GRADIENTS], confidence=confidence)
    worlds = {
        attack: Worlds.split(values[coin], values[~coin], claim.delta) for attack, (values, coin) in single.items()
    }
    return judge_many_runs(name, claim, worlds, confidence=confidence)


def _plan(
    table: Table,
    synthesizer: Synthesizer,
    budget: Budget,
    *,
    canaries: int | pd.DataFrame,
    rows: int | None,
    gradients: int | None,
    seed: int,
) -> Plan:
    """Check everything that can be wrong and fix what is fixed beforehand."""
    if not budget.private:
        raise InputError("There is no claim to audit without a budget: give a finite epsilon.")
    if rows is not None:
        _check.at_least("rows", rows, 0)
    _check.at_least("seed", seed, 0)
    made: Canaries
    if isinstance(canaries, pd.DataFrame):
        made = own_canaries(canaries, table)
    else:
        made = make_canaries(table, canaries, np.random.default_rng(seed))
    slipped = (min(len(made), 1000) if len(made) > 1 else 0) if gradients is None else gradients
    _check.at_least("gradients", slipped, 0)
    drawn = min(4 * len(table.private), MOST_ROWS) if rows is None else rows
    return Plan(table, synthesizer, budget, made, drawn, slipped, seed)


def _make(plan: Plan, numbers: list[int], workers: int, progress: Progress) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield runs as they are done, in this process or in several."""
    if workers == 1 or len(numbers) < 2:
        worker = _Worker(plan)
        for number in numbers:
            yield number, worker.run(number, progress)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(numbers)), multiprocessing.get_context("spawn"), initializer=_start, initargs=(plan,)
    )
    try:
        futures = {pool.submit(_run, number): number for number in numbers}
        for done in as_completed(futures):
            yield futures[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


_worker: _Worker | None = None  # of a process of the pool


def _start(plan: Plan) -> None:
    """Set a process of the pool up."""
    global _worker  # noqa: PLW0603
    _worker = _Worker(plan)


def _run(number: int) -> dict[str, Any]:
    """Make one run in a process of the pool."""
    assert _worker is not None
    return _worker.run(number)


def _described(plan: Plan) -> dict[str, Any]:
    """Return what makes two plans the same, for the folder of runs."""
    settings = asdict(plan.synthesizer)  # type: ignore[call-overload]
    return {
        "synthesizer": plan.synthesizer.name,
        "settings": repr(settings),
        "budget": [plan.budget.epsilon, plan.budget.delta],
        "schema": plan.table.schema.fingerprint(),
        "rows": plan.rows,
        "gradients": plan.gradients,
        "seed": plan.seed,
        "data": digest(plan.table.private, plan.canaries.frame),
    }
