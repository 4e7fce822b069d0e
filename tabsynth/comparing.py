"""Several synthetic tables of one training table, fitted here or brought along, judged beside one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabsynth.charging.selection import SCORE, choose_table
from tabsynth.fitting import fit_intake, settle
from tabsynth.gate import load_policy
from tabsynth.intake import Intake, Source, audited_schema, take_in
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import evaluate
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.report.comparison import Candidate, Comparison, compare
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.synthesizers.model import Model
from tabsynth.table import read, read_foreign
from tabsynth.walk import require_apart


@dataclass(frozen=True, slots=True)
class Contest:
    """Synthesizers by name, each fitted to the training table with a ledger of `open_ledger`, and kept in `folder`.

    With `choose`, an epsilon, one of them is chosen by the training rows, charged to the ledger of `open_choice`.
    """

    models: Mapping[str, Synthesizer]
    open_ledger: Callable[[], Ledger]
    folder: Path
    budgeted: bool
    discover: bool = False
    choose: float | None = None
    open_choice: Callable[[], Ledger] | None = None


def compare_tables(
    synthetic: Mapping[str, Path],
    train: Source,
    holdout: Source | None,
    *,
    contest: Contest | None = None,
    title: str = "Comparison",
    schema: Path | None = None,
    target: str | None = None,
    delimiter: str | None = None,
    policy: Path | str | None = None,
    seed: int | None = None,
    on_check: Callable[[str, str], None] | None = None,
) -> Comparison:
    """Judge every table by the same policy, on the same real rows and with the same randomness.

    `synthetic` are files by name; the synthesizers of a `contest` are fitted first, once everything has been read. As
    in `audit_tables`, synthetic values outside of the schema are evidence, not errors. `on_check` is called with the
    table and the check that starts. Raises TableError, before anything is judged or charged, when a table lacks a
    column or the real rows break the schema.
    """
    checks = load_policy(policy)
    require_apart(train, holdout)
    intake = _taken_in(train, holdout, contest, schema, target=target, delimiter=delimiter)
    known, real = intake.table.schema, intake.table.private
    held = None if holdout is None else read(holdout, known, delimiter=delimiter, check_domain=False).private
    foreign = {name: read_foreign(path, known, delimiter=delimiter) for name, path in synthetic.items()}
    rows = {name: table.private for name, (table, _) in foreign.items()}
    unread = {name: wrong for name, (_, wrong) in foreign.items()}
    shared = np.random.SeedSequence(seed).entropy  # one seed for all: what differs is the tables
    ledgers: dict[str, Ledger] = {}
    chosen = None
    if contest is not None:
        drawn, ledgers = _fitted(contest, intake, seed)
        chosen = _chosen(contest, intake, drawn)
        rows |= drawn
    drafted, judged = contest is None and schema is None, []
    for name, own in rows.items():
        told = None if on_check is None else partial(on_check, name)
        ledger = ledgers.get(name)
        evidence = Evidence(known, real, held, own, drafted=drafted, unread=unread.get(name, {}))
        verdicts = evaluate(evidence, checks, np.random.default_rng(shared), told, ledger)
        judged.append(Candidate(name, len(own), verdicts, None if ledger is None else _spent(ledger)))
    settings = {"policy": "default" if policy is None else str(policy), "schema": known.fingerprint()}
    held_rows = None if held is None else len(held)
    return compare(judged, train=len(real), holdout=held_rows, title=title, settings=settings, choice=chosen)


def _taken_in(
    train: Source,
    holdout: Source | None,
    contest: Contest | None,
    schema: Path | None,
    *,
    target: str | None,
    delimiter: str | None,
) -> Intake:
    """Read the training table: as a fit would where there are fits, else as an audit does."""
    if contest is not None:
        budgeted, discover = contest.budgeted, contest.discover
        return take_in(train, schema, budgeted=budgeted, discover=discover, target=target, delimiter=delimiter)
    known = audited_schema(train, holdout, schema, target=target, delimiter=delimiter)
    return Intake(read(train, known, delimiter=delimiter, check_domain=schema is not None), ())


def _fitted(contest: Contest, intake: Intake, seed: int | None) -> tuple[dict[str, pd.DataFrame], dict[str, Ledger]]:
    """Fit, keep and sample every synthesizer; a model is kept as soon as it is fitted, since it is paid for."""
    rows, ledgers = {}, {}
    settled = {name: settle(model, intake, budgeted=contest.budgeted) for name, model in contest.models.items()}
    contest.folder.mkdir()
    for (name, (synthesizer, own)), rng in zip(
        settled.items(), np.random.default_rng(seed).spawn(len(settled)), strict=True
    ):
        ledgers[name] = contest.open_ledger()
        model: Model = fit_intake(own, synthesizer, ledgers[name], seed)
        model.save(contest.folder / name)
        rows[name] = model.sample(model.schema.rows or 2, rng)  # a row count that was declared or paid for
    return rows, ledgers


def _chosen(contest: Contest, intake: Intake, rows: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Choose a table by the training rows and charge for it, where that is asked for."""
    if contest.choose is None or contest.open_choice is None:
        return None
    secret, ledger = Secret(), contest.open_choice()
    size = len(next(iter(rows.values())))
    bounded = bound_contributions(intake.table, secret)
    name = choose_table(
        rows,
        intake.table.schema,
        bounded.private,
        size=size,
        epsilon=contest.choose,
        ledger=ledger,
        secret=secret,
        rng=np.random.default_rng(0),
    )
    ledger.close()
    return {
        "chosen": name,
        "epsilon": contest.choose,
        "score": SCORE,
        "rows": size,
        "rows_per_unit": intake.table.schema.unit.rows,
    }


def _spent(ledger: Ledger) -> dict[str, Any]:
    spent = ledger.spent.to_dict() if ledger.private else {"epsilon": None, "delta": None}
    return {"private": ledger.private, **spent}
