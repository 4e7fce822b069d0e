"""The walk: from a private table to a gated release, or from anybody's synthetic table to an audit.

Read top to bottom this is the program: read, split, fit, sample, evaluate, release. The command line adds nothing to it
but words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.files import file_digest
from tabsynth.fitting import fit_intake, make_secret, open_checkpoint, settle
from tabsynth.gate import USUAL, Gate, GateSettings, load_policy
from tabsynth.intake import SchemaLike, Source, audited_schema, take_in
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Verdict, evaluate
from tabsynth.policy.shadows import Shadows
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.quiet import quiet
from tabsynth.privacy.units import bound_contributions
from tabsynth.release import Release, check_folder, check_release_folder, release
from tabsynth.report import Report, build_report, canaries, measure_curves
from tabsynth.report.curves import out_of_time
from tabsynth.sources import file_name
from tabsynth.synthesizers.base import Progress, Synthesizer, silent
from tabsynth.synthesizers.model import Model
from tabsynth.table import read, read_foreign, split


@dataclass(frozen=True, slots=True)
class Audit:
    """The verdicts on a synthetic table and the inside report that shows them."""

    verdicts: tuple[Verdict, ...]
    report: Report
    left_out: tuple[str, ...] = ()  # what a budget of time had no room for: checks, then curves, by name

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the table."""
        return self.report.passed


def fit_table(
    source: Source,
    synthesizer: Synthesizer,
    open_ledger: Callable[[int | None], Ledger],
    *,
    budgeted: bool,
    schema: SchemaLike | None = None,
    discover: bool = False,
    target: str | None = None,
    delimiter: str | None = None,
    checkpoint: Path | str | None = None,
    looked: bool = False,
    seed: int | None = None,
    progress: Progress = silent,
) -> Model:
    """Read a table and fit a synthesizer to all of it; the ledger is opened once the table has been read.

    See `intake.take_in` for what each argument allows. A fit that was killed goes on from its `checkpoint` folder, and
    `open_ledger` is then told the number of that fit; `checkpoint.discard` the folder once the model is saved. `looked`
    pays for a search for personal data, see `fitting.fit_intake`.
    """
    intake = take_in(source, schema, budgeted=budgeted, discover=discover, target=target, delimiter=delimiter)
    synthesizer, intake = settle(synthesizer, intake, budgeted=budgeted)
    kept = None if checkpoint is None else open_checkpoint(checkpoint, intake, synthesizer, seed)
    ledger = open_ledger(kept.fit if kept else None)
    return fit_intake(intake, synthesizer, ledger, seed, progress, checkpoint=kept, looked=looked)


def release_table(
    source: Source,
    synthesizer: Synthesizer,
    open_ledger: Callable[[], Ledger],
    folder: Path | str,
    *,
    budgeted: bool,
    schema: SchemaLike | None = None,
    discover: bool = False,
    target: str | None = None,
    delimiter: str | None = None,
    asked: GateSettings = USUAL,
    rows: int | None = None,
    looked: bool = False,
    seed: int | None = None,
    progress: Progress = silent,
    on_check: Callable[[str], None] | None = None,
) -> Release:
    """Walk from a private table to a release folder.

    The folder, the policy, the schema and the table are checked before the ledger is opened and charged. `rows` is how
    many rows to sample, by default as many as the training part is known to have. `asked` says what the release must
    pass and whether the budget pays for that; a canary audit becomes a section of the inside report. `looked` pays for
    a search for personal data, see `fitting.fit_intake`.

    Under a budget the split, like the noise, is never seeded: with a split that anybody can repeat, taking one row away
    would move all rows after it. Each unit is cut to its `rows_per_unit` rows before the split, so that what the gate
    takes for training rows is what the synthesizer was trained on.

    Raises Refused when the gate refuses the release; then only the inside report was written. When the canary audit
    had found more than is claimed, nothing was charged either.
    """
    path = check_release_folder(folder)
    gate = Gate.of(asked, synthesizer, budgeted=budgeted)
    if rows is not None:
        _check.at_least("rows", rows, 2)
    intake = take_in(source, schema, budgeted=budgeted, discover=discover, target=target, delimiter=delimiter)
    synthesizer, intake = settle(synthesizer, intake, budgeted=budgeted)
    audited = None if asked.canary is None else kept_audit(asked.canary, synthesizer, budgeted, charged=gate.charged)
    gate.require_room(intake.table, asked.holdout, budgeted=budgeted)
    splitting, sampling, judging, drawing = np.random.default_rng(seed).spawn(4)
    secret = Secret() if budgeted else make_secret(None, seed)
    bounded = bound_contributions(intake.table, secret)
    train, held = split(bounded, asked.holdout, np.random.default_rng() if budgeted else splitting)
    ledger = open_ledger()
    if audited is not None:
        canaries.require_same_claim(audited, ledger.budget)
    judge = gate.opened(bounded.schema, ledger)
    model = fit_intake(replace(intake, table=train), synthesizer, ledger, seed, progress, looked=looked)
    wanted = rows or model.schema.rows or 2  # the completed schema's row count was declared or paid for
    drawn = model.sample(wanted, sampling)
    retrain = gate.retrainer(synthesizer, ledger.budget, bounded.schema, wanted)
    evidence = Evidence(model.schema, train.private, held.private, drawn, retrain)
    ledger.attempt()
    with quiet(ledger.bounded):
        verdicts = judge(evidence, judging, on_check)
        curves = measure_curves(evidence, gate.checks, drawing, ledger, on_check)
        report = build_report(
            verdicts, evidence, ledger=ledger, synthesizer=synthesizer, title=path.name, canary=audited, curves=curves
        )
    return release(
        drawn,
        model.schema,
        synthesizer,
        ledger,
        verdicts,
        path,
        inside=report,
        policy=gate.checks,
        seeds=None if seed is None else {"public": seed},
        mode=gate.mode,
    )


def audit_tables(
    train: Source,
    holdout: Source | None,
    synthetic: Source,
    folder: Path | str,
    *,
    schema: SchemaLike | None = None,
    target: str | None = None,
    delimiter: str | None = None,
    policy: Path | str | None = None,
    canary: Path | str | None = None,
    shadows: Shadows | None = None,
    budget: float | None = None,
    seed: int | None = None,
    on_check: Callable[[str], None] | None = None,
) -> Audit:
    """Judge a synthetic table of any origin and write the inside report into a new folder.

    Without a schema the kinds and values of the training table are used; synthetic values outside of them count as
    evidence, not as errors. Without a holdout no privacy metric can be measured, and their checks fail. `canary` is
    the folder of a canary audit: the rows do not pass when it found more than is claimed. `shadows` fits the
    synthesizer again, without a charge, for attacks that know what one row changes. `budget` is in seconds: as many
    checks are made as fit in it (`policy.evaluate`), then as many curves as fit in what is left.
    """
    path = check_folder(folder)
    require_apart(train, holdout)
    if shadows is not None and budget is not None:
        raise InputError("Nobody knows beforehand how long fits take: leave out the shadow models or the time budget.")
    audited = None if canary is None else canaries.read_audit(canary)
    checks = (*load_policy(policy), *(() if shadows is None else shadows.checks()))
    known = audited_schema(train, holdout, schema, target=target, delimiter=delimiter)
    real = read(train, known, delimiter=delimiter, check_domain=schema is not None).private
    held = None if holdout is None else read(holdout, known, delimiter=delimiter, check_domain=False).private
    foreign, unread = read_foreign(synthetic, known, delimiter=delimiter)
    rows = foreign.private
    retrain = None if shadows is None else shadows.retrainer(known, len(rows))
    evidence = Evidence(known, real, held, rows, retrain, drafted=schema is None, unread=unread)
    rng, start = np.random.default_rng(seed), perf_counter()
    verdicts = evaluate(evidence, checks, rng, on_check, budget=budget)
    made = [check for check, verdict in zip(checks, verdicts, strict=True) if not verdict.left_out]
    left = math.inf if budget is None else budget - (perf_counter() - start)
    curves = measure_curves(evidence, made, rng, progress=on_check, seconds=left)
    title = file_name(synthetic) or "Synthetic table"
    report = build_report(verdicts, evidence, title=title, canary=audited, curves=curves)
    report.write(path)
    return Audit(verdicts, report, _left_out(verdicts, curves, budget))


def _left_out(verdicts: Sequence[Verdict], curves: Mapping[str, Any], budget: float | None) -> tuple[str, ...]:
    """Name what a budget of time had no room for."""
    measured = [verdict for verdict in verdicts if verdict.estimate is not None]
    alone = budget is not None and bool(measured) and all(verdict.baseline is None for verdict in measured)
    names = [verdict.name for verdict in verdicts if verdict.left_out]
    return (*names, *(["baselines"] if alone else []), *out_of_time(curves))


def require_apart(train: Source, holdout: Source | None) -> None:
    """Raise InputError when the holdout is the training table itself, before either is read row by row.

    If the two share only some rows, every privacy check finds that out and measures nothing.
    """
    if holdout is None:
        return
    files = [Path(table) for table in (train, holdout) if isinstance(table, str | Path) and Path(table).is_file()]
    if train is holdout or (len(files) == 2 and _same_bytes(*files)):
        raise InputError("The holdout is the training table; it must hold rows that were never trained on.")


def _same_bytes(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and file_digest(one) == file_digest(other)


def kept_audit(folder: Path | str, synthesizer: Synthesizer, budgeted: bool, *, charged: bool) -> dict[str, Any]:
    """Return the canary audit in the folder: of this synthesizer, and with a claim that held.

    Raises InputError when the folder holds none, or one of another synthesizer; without a budget; and beside a charged
    gate, because the audit read private rows without a charge. Raises Refused when the claim did not hold.
    """
    if charged:
        raise InputError("A charged gate may use only what was paid for, and a canary audit was not: leave one out.")
    if not budgeted:
        raise InputError(canaries.NO_CLAIM)
    audited = canaries.read_audit(folder)
    canaries.require_same_synthesizer(audited, synthesizer)
    canaries.require_kept(audited, folder)
    return audited
