"""The tools that must catch a fault, each run on something small. An examiner says what it found, if anything."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from tabsynth import fitting
from tabsynth.audit.many_run import audit_mechanism, mechanisms
from tabsynth.charging.charged_gate import ChargedGate, charged_policy
from tabsynth.errors import ConformanceError, Refused
from tabsynth.intake import Intake
from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Verdict
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import RepeatedSecret, Tape, recording, replaying
from tabsynth.release import release
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import Table, read
from tabsynth.testing import checks, neighbour_replay, scan_model

BUDGET = Budget(4.0, 1e-5)
GENEROUS = Budget(30.0, 1e-5)  # for domains of few rows, which a small budget cannot tell from its noise
RUNS = 500  # with a unit, and as many without
SMALL = {
    "warm_steps": 2,
    "noise_width": 4,
    "generator_width": 8,
    "generator_depth": 1,
    "critic_widths": (16,),
    "generator_batch": 16,
}
CRITIC = CTGAN(critic_steps=24, batch=60, **SMALL)
FEW_A_BATCH = CTGAN(critic_steps=40, batch=2, **SMALL)
SUITE = ("fit and sample, every kind", "the table is forgotten", "charges come before reads")


def declared(seed: int, rows: int = 120, rows_per_unit: int = 1) -> Table:
    """Return a table of declared facts: one rare city, one holder of a site, one missing and one extreme cost."""
    rng = np.random.default_rng(seed)
    city, site = rng.choice(["Ulm", "Bonn"], rows).astype(object), np.full(rows, "north", object)
    cost = np.round(rng.uniform(5, 60, rows), 6)
    city[0], cost[1], cost[2], site[3] = "Jena", np.nan, 96.5 + rng.random(), "south"
    frame = pd.DataFrame({"city": city, "ill": rng.random(rows) < 0.4, "site": site, "cost": cost})
    columns = [
        Column("city", "categorical", categories=("Ulm", "Bonn", "Jena"), nullable=False),
        Column("ill", "boolean", roles=("target",), nullable=False),
        Column("site", "categorical", categories=("north", "south"), nullable=False),
        Column("cost", "float", bounds=(0.0, 100.0), bins=(0.0, 20.0, 40.0, 60.0, 100.0), nullable=True),
    ]
    if rows_per_unit > 1:
        columns.append(Column("who", "categorical", roles=("group",)))
        frame["who"] = [f"person {i // 6}" for i in range(rows)]
    return read(frame, Schema(tuple(columns), rows=rows, rows_per_unit=rows_per_unit))


def undeclared(seed: int, rows: int = 400) -> Table:
    """Return a table without domains, one person in ten alone in a town."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Ulm", "Bonn"], rows).astype(object)
    city[: rows // 10] = [f"town number {i}" for i in range(rows // 10)]
    frame = pd.DataFrame({"city": city, "cost": np.round(rng.uniform(10, 60, rows), 6)})
    return read(frame, Schema((Column("city", "categorical", nullable=None), Column("cost", "float", nullable=None))))


def fitted(synthesizer, table: Table, budget: Budget = BUDGET) -> str:
    """Fit, and return what the product itself raised on the way."""
    try:
        model.fit(synthesizer, table, Ledger(budget), Secret())
    except ConformanceError as error:
        return str(error)
    return ""


def run_time(seed: int) -> str:
    """Let what ran be compared with what was charged, in fits of CTGAN and of a table of groups."""
    critic = fitted(CRITIC, declared(seed))
    return critic or fitted(FEW_A_BATCH, declared(seed)) or fitted(Independent(), declared(seed, rows_per_unit=3))


def suite(seed: int) -> str:
    """Run the checks of the conformance suite that need no replay, on one of its tables."""
    return first_failure(lambda: [check() for name, check in checks(Independent(bins=4), BUDGET) if name in SUITE])


def replay_of_independent(seed: int) -> str:
    """Replay mechanisms' answers on neighbours: domains declared, then discovered."""
    found = first_failure(lambda: neighbour_replay(Independent(bins=4), declared(seed), budget=BUDGET))
    return found or first_failure(lambda: neighbour_replay(Independent(bins=4), undeclared(seed), budget=GENEROUS))


def replay_of_ctgan(seed: int) -> str:
    """Replay mechanisms' answers on neighbours, those of DP-SGD among them."""
    return first_failure(lambda: neighbour_replay(CRITIC, declared(seed), budget=BUDGET))


def scan(seed: int) -> str:
    """Look for the table in a saved model: domains declared, then discovered."""
    found: list[str] = []
    for table, budget in ((declared(seed), BUDGET), (undeclared(seed), GENEROUS)):
        with TemporaryDirectory() as folder:
            model.fit(Independent(bins=4), table, Ledger(budget), Secret()).save(Path(folder) / "model")
            found += scan_model(Path(folder) / "model", table)
    return "; ".join(found)


def audit_of_mechanisms(seed: int) -> str:
    """Tell runs with a unit from runs without it, and hold the bound against the claim."""
    for mechanism in mechanisms(BUDGET):
        if mechanism.name not in {"noisy_count", "noisy_categories, a category of others"}:
            result = audit_mechanism(mechanism, delta=BUDGET.delta, runs=RUNS)
            if result.verdict != "consistent":
                return f"{mechanism.name}: epsilon {result.epsilon:.2f} or more, {result.claim.epsilon:.2f} claimed"
    return ""


def gate(seed: int) -> str:
    """Release a fit, refused and not, with two sets of private figures: nothing outside may depend on them."""
    table, synthesizer = declared(seed), Independent(bins=4)
    ledger = Ledger(BUDGET)
    fit = fitting.fit_intake(Intake(table, ()), synthesizer, ledger, seed)
    rows = fit.sample(50, np.random.default_rng(seed))
    outside = []
    with TemporaryDirectory() as folder:
        for name, figure, status in (("a", 0.1, "passed"), ("b", 0.9, "passed"), ("c", 0.9, "failed")):
            judged, to = [verdict(figure, status)], Path(folder) / name
            try:
                out = release(rows, fit.schema, synthesizer, ledger, judged, to, inside=NoReport())
            except Refused as refused:
                if status == "passed":
                    return str(refused).replace(folder, "")
                continue
            if status == "failed":
                return "a release whose check failed was written"
            outside.append(public_part(out.folder))
    return "" if outside[0] == outside[1] else "what is outside depends on figures of the gate"


def count_of_tries(seed: int) -> str:
    """Be refused twice and let out once, with a ledger file: the third is said to be the third."""
    with TemporaryDirectory() as folder:
        ledger = Ledger.open(Path(folder) / "ledger.jsonl", data=b"rows", budget=BUDGET)
        fit = model.fit(Independent(bins=4), declared(seed), ledger, Secret())
        rows = fit.sample(50, np.random.default_rng(seed))
        for number, status in enumerate(("failed", "failed", "passed")):
            judged, to = [verdict(0.5, status)], Path(folder) / str(number)
            try:
                release(rows, fit.schema, Independent(bins=4), ledger, judged, to, inside=NoReport())
            except Refused:
                continue
        said = json.loads((to / "provenance.json").read_text(encoding="utf-8"))["gate"]["attempts"]
    return "" if said == 3 else f"the third try is said to be number {said}"


def replay_of_the_gate(seed: int) -> str:
    """Replay the answers of a charged gate on tables that lack a row, of the training part or of the holdout."""
    train, holdout = declared(seed).private, declared(seed + 1000).private
    rows = Evidence(declared(seed).schema, train, holdout, declared(seed + 2000).private)
    shorter = {"a training row": replace(rows, train=train.drop(index=0))}
    shorter |= {f"holdout row {i}": replace(rows, holdout=holdout.drop(index=i)) for i in (0, 1, 2, 3, 60)}
    with recording() as tape:
        first = charged_verdicts(rows, tape)
    for name, other in shorter.items():
        try:
            with replaying(tape, apart=1):
                again = charged_verdicts(other, tape)
        except ConformanceError as error:
            return str(error)
        if again != first:
            return f"without {name} the gate says something else, though it was answered alike"
    return ""


def charged_verdicts(evidence: Evidence, tape: Tape) -> list[tuple[str, str, str]]:
    """Return what a charged gate says of each check, and why."""
    gate = ChargedGate(charged_policy(), evidence.schema, Ledger(BUDGET), RepeatedSecret(tape))
    return [(v.name, v.status, v.reason) for v in gate.evaluate(evidence, np.random.default_rng(0))]


def verdict(figure: float, status: str) -> Verdict:
    """Return a verdict whose every number is the same."""
    numbers = Estimate(figure, figure, figure)
    return Verdict("m", "privacy", status, "", numbers, numbers, numbers, -math.inf, math.inf, "zero", figure)


class NoReport:
    """An inside report without pages."""

    def files(self):
        """Return no files."""
        return {}


def public_part(folder: Path) -> str:
    """Return a release's provenance without what differs in any two releases."""
    account = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    account["release"] = account["files"] = None
    return json.dumps(account, sort_keys=True)


def first_failure(examine: Callable[[], object]) -> str:
    """Return what a tool said when it failed, in the words of its assertion or of the product."""
    try:
        examine()
    except (AssertionError, ConformanceError) as error:
        return str(error)
    return ""


EXAMINERS: dict[str, Callable[[int], str]] = {
    "run time": run_time,
    "suite": suite,
    "replay, independent": replay_of_independent,
    "replay, CTGAN": replay_of_ctgan,
    "scan": scan,
    "audit of mechanisms": audit_of_mechanisms,
    "gate": gate,
    "count of tries": count_of_tries,
    "replay of the gate": replay_of_the_gate,
}
