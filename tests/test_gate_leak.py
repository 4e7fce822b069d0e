"""What a gate gives away by its decision: stated, counted, or paid for; and what it will not let anyone do."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event as dp

from tabsynth.cli import run
from tabsynth.datasets import clinic_visits
from tabsynth.errors import InputError, Refused
from tabsynth.gate import GateSettings
from tabsynth.metrics import Evidence
from tabsynth.metrics.privacy import ExactMatch, MembershipAUC, MembershipTPR
from tabsynth.policy import Check, evaluate
from tabsynth.privacy import ledger_file
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.release import filters, json_schema, refusals, release
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema
from tabsynth.synthesizers.independent import Independent
from tabsynth.walk import release_table

SCHEMA = Schema(
    (
        Column("age", "integer", bounds=(0, 99), bins=(0, 25, 50, 75, 100)),
        Column("city", "categorical", categories=("Bonn", "Ulm")),
        Column("ill", "boolean", roles=("target",)),
    )
)


def people(rows: int = 4000, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ages = rng.integers(0, 100, rows)
    return pd.DataFrame({"age": ages, "city": rng.choice(["Bonn", "Ulm"], rows), "ill": rng.random(rows) < 0.3})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    write_schema(SCHEMA, "people.yaml")
    (tmp_path / "easy.yaml").write_text("checks: [{metric: tvd1, at_most: 0.9}]")
    (tmp_path / "never.yaml").write_text("checks: [{metric: tvd1, at_most: 0.001}]")
    return tmp_path


RELEASE = ["release", "people.csv", "--schema", "people.yaml", "--model", "independent", "--epsilon", "3"]


def account(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))


# --- attempts --------------------------------------------------------------------------------------------------------


def test_every_attempt_is_a_line_of_the_ledger_and_a_number_in_the_provenance(folder: Path) -> None:
    with_ledger = [*RELEASE, "--ledger", "l.jsonl"]
    assert run([*with_ledger, "--policy", "never.yaml", "-o", "one"]) == 3
    assert run([*with_ledger, "--policy", "never.yaml", "-o", "two"]) == 3
    assert run([*with_ledger, "--policy", "easy.yaml", "-o", "three"]) == 0
    fits = ledger_file.verify(folder / "l.jsonl").fits
    assert [fit.decisions for fit in fits] == [("refused",), ("refused",), ("released",)]
    gate = account(folder / "three")["gate"]
    assert gate["attempts"] == 3
    assert gate["mode"] == "inside"
    for words in ("one bit", "does not cover", "one more", "Attempts made: 3"):
        assert words in gate["statement"]
    assert "Attempts made: 3" in (folder / "three" / "README.md").read_text(encoding="utf-8")


def test_an_attempt_that_crashes_was_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tabsynth.gate.evaluate", crash)
        assert run([*RELEASE, "--ledger", "l.jsonl", "--policy", "easy.yaml", "-o", "one"]) == 130
    assert run([*RELEASE, "--ledger", "l.jsonl", "--policy", "easy.yaml", "-o", "two"]) == 0
    assert account(folder / "two")["gate"]["attempts"] == 2


def test_without_a_ledger_file_the_provenance_says_that_nobody_counted(folder: Path) -> None:
    release_table(
        pd.read_csv("people.csv"),
        Independent(),
        lambda: Ledger(Budget(3.0, 1e-6)),
        "out",
        budgeted=True,
        schema="people.yaml",
        asked=GateSettings("easy.yaml"),
    )
    gate = account(folder / "out")["gate"]
    assert gate["attempts"] is None
    assert "Attempts are not counted: no ledger file was kept" in gate["statement"]


# --- the charged gate ------------------------------------------------------------------------------------------------


def test_a_charged_gate_is_paid_before_the_fit_and_says_so(folder: Path) -> None:
    assert run([*RELEASE, "--charge-gate", "--ledger", "l.jsonl", "-o", "out"]) == 0
    found = account(folder / "out")
    whys = [charge["why"] for charge in found["privacy"]["charges"]]
    gates = [why.startswith("gate: ") for why in whys]
    assert any(gates)
    assert gates == sorted(gates, reverse=True), "all of the gate's charges stand before the fit's"
    assert 2.9 < found["privacy"]["spent"]["epsilon"] <= 3 * (1 + 1e-9)
    assert found["gate"]["mode"] == "charged"
    assert "inside the budget" in found["gate"]["statement"]
    assert "does not cover" not in found["gate"]["statement"]
    assert found["gate"]["attempts"] == 1
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(found, json_schema())
    assert run(["ledger", "split", "l.jsonl"]) == 0


@pytest.mark.parametrize(
    ("extra", "rule"),
    [
        (["--epsilon", "3", "--policy", "default"], "'missing_worst' cannot be charged"),
        ([], "A charged gate needs a budget: set epsilon"),
    ],
)
def test_what_cannot_be_charged_is_refused_before_anything_is(
    folder: Path, capsys: pytest.CaptureFixture[str], extra: list[str], rule: str
) -> None:
    command = [*RELEASE[:-2], *extra, "--charge-gate", "--ledger", "l.jsonl", "-o", "out"]
    assert run(command) == 2
    assert rule in " ".join(capsys.readouterr().err.split())
    assert not (folder / "l.jsonl").exists()


def test_a_gate_that_was_not_charged_cannot_be_called_so() -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    ledger.spend_rest(dp.GaussianDpEvent, why="the fit")
    assert "nothing was charged for it" in refusals((), ledger, mode="charged")[0]


@pytest.mark.parametrize("budgeted", [True, False])
def test_what_a_check_warns_of_is_not_told_where_a_budget_is_kept(
    budgeted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(*_: Any, **__: Any) -> list[Any]:
        warnings.warn("a row overflows", RuntimeWarning, stacklevel=1)
        return []

    monkeypatch.setattr("tabsynth.gate.evaluate", warning)
    ledger = Ledger(Budget(3.0, 1e-6)) if budgeted else Ledger()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(Refused, match="no check was made"):
            release_table(people(), Independent(), lambda: ledger, tmp_path / "out", budgeted=budgeted, schema=SCHEMA)
    assert [str(each.message) for each in told] == ([] if budgeted else ["a row overflows"])


def test_a_public_seed_does_not_repeat_the_split_under_a_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a split that anybody can repeat, one row less moves all rows after it to other sides."""
    seen = []

    def judged(evidence: Evidence, *_: Any) -> tuple[()]:
        seen.append(evidence.train["age"].to_numpy(np.int64).tobytes())
        return ()

    monkeypatch.setattr("tabsynth.gate.evaluate", judged)
    for budget in (None, Budget(1.0, 1e-6)):
        for name in ("a", "b"):
            with pytest.raises(Refused):
                release_table(
                    people(300),
                    Independent(),
                    lambda budget=budget: Ledger(budget),
                    folder / name,
                    budgeted=budget is not None,
                    schema=SCHEMA,
                    asked=GateSettings("small"),
                    seed=7,
                )
    assert seen[0] == seen[1]
    assert seen[2] != seen[3]


# --- attacks against what the budget allows --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh() -> Evidence:
    visits = clinic_visits(rows=6000)
    parts = np.split(np.arange(6000), [2500, 4000])
    return Evidence(visits.schema, *(visits.frame.iloc[part] for part in parts))


def spent(epsilon: float) -> Ledger:
    ledger = Ledger(Budget(epsilon, 1e-6))
    ledger.spend_rest(dp.GaussianDpEvent, why="the fit")
    return ledger


@pytest.mark.parametrize("metric", [MembershipAUC(), MembershipTPR(fpr=0.05)])
def test_an_attack_above_what_the_budget_allows_is_a_fault_whatever_the_thresholds(
    fresh: Evidence, metric: Any
) -> None:
    """A synthesizer that claims epsilon 1 and copies rows: no risk limit is needed to refuse it."""
    copied = replace(fresh, rows=fresh.train)
    (verdict,) = evaluate(copied, [Check(metric, at_most=1.0)], np.random.default_rng(0), ledger=spent(1.0))
    assert verdict.failed
    assert verdict.beyond_the_budget
    assert verdict.allowed is not None
    assert verdict.allowed < 0.6
    assert "not bad luck" in verdict.reason
    assert "a fault, not bad luck" in "; ".join(refusals([verdict], spent(1.0)))
    (unbudgeted,) = evaluate(copied, [Check(metric, at_most=1.0)], np.random.default_rng(0))
    assert unbudgeted.passed
    assert unbudgeted.allowed is None
    (large,) = evaluate(copied, [Check(metric, at_most=1.0)], np.random.default_rng(0), ledger=spent(40.0))
    assert large.passed, "at epsilon 40 a copy is allowed; the risk limits are there for that"


def test_the_risk_limits_stay_under_a_budget(fresh: Evidence) -> None:
    copied = replace(fresh, rows=fresh.train)
    (verdict,) = evaluate(copied, [Check(MembershipAUC(), at_most=0.65)], np.random.default_rng(0), ledger=spent(40.0))
    assert verdict.failed
    assert not verdict.beyond_the_budget


def test_no_fresh_sample_is_accused(fresh: Evidence) -> None:
    """Eight draws at a budget so small that hardly anything is allowed."""
    policy, ledger = [Check(MembershipAUC(queries=200), at_most=1.0)], spent(0.1)
    order = np.random.default_rng(1)
    for seed in range(8):
        pool = pd.concat([fresh.train, fresh.holdout, fresh.rows]).sample(1200, random_state=int(order.integers(1e6)))
        parts = [pool.iloc[start : start + 400] for start in (0, 400, 800)]
        (verdict,) = evaluate(Evidence(fresh.schema, *parts), policy, np.random.default_rng(seed), ledger=ledger)
        assert not verdict.beyond_the_budget, verdict.reason


# --- filters ---------------------------------------------------------------------------------------------------------


def test_dropping_rows_that_equal_training_rows_is_found_by_what_is_missing() -> None:
    """On a table with few different rows a fresh sample holds them; a filtered one holds the holdout's only."""
    frames = [people(1500, seed) for seed in (1, 2, 3)]
    for frame in frames:
        frame["visit"] = np.random.default_rng(len(frame) + int(frame["age"].sum())).integers(0, 4, len(frame))
    schema = Schema((*SCHEMA.columns, Column("visit", "integer", bounds=(0, 3))))
    evidence = Evidence(schema, *frames)
    check = Check(ExactMatch(), at_least=-0.10, at_most=0.10)
    (honest,) = evaluate(evidence, [check], np.random.default_rng(0))
    assert honest.passed
    assert honest.estimate is not None
    drawn = evidence.rows
    known = set(map(tuple, evidence.train.astype(str).to_numpy()))
    kept = [tuple(row) not in known for row in drawn.astype(str).to_numpy()]
    assert 0.2 < np.mean(kept) < 0.8, "a fresh sample has matches here"
    (filtered,) = evaluate(replace(evidence, rows=drawn[kept]), [check], np.random.default_rng(0))
    assert filtered.failed
    assert filtered.estimate is not None
    assert filtered.estimate.high < -0.10


@dataclass(frozen=True)
class Inner:
    filter_real_rows: bool = False


@dataclass(frozen=True)
class Filtering(Independent):
    """A plug-in with a switch that must not be on."""

    drop_training_rows: bool = True
    after: Inner = Inner()
    drop_last: bool = True
    name: ClassVar[str] = "independent"


NAMES = ["drop_matches", "remove_real_rows", "filter_training_records", "reject_copies", "dedupe_against_train"]
HARMLESS = ["drop_last", "remove_outliers", "match_weight", "train_share", "reject_sampling", "drop_missing"]


@pytest.mark.parametrize(("names", "told"), [(NAMES, True), (HARMLESS, False)])
def test_filters_are_known_by_their_names(names: list[str], told: bool) -> None:
    for name in names:
        settings = dataclass(frozen=True)(type("Settings", (), {"__annotations__": {name: bool}, name: True}))
        assert (filters(settings()) == (name,)) is told, name
        assert filters(replace(settings(), **{name: False})) == ()
    assert filters(Filtering(drop_training_rows=False, after=Inner(True))) == ("filter_real_rows",)


def test_such_a_setting_is_refused_before_any_charge_and_at_the_door(folder: Path) -> None:
    opened = []
    with pytest.raises(InputError, match=r"'drop_training_rows' names a filter .* who was in the table"):
        release_table(
            people(200),
            Filtering(),
            lambda: opened.append(1) or Ledger(Budget(1.0, 1e-6)),  # type: ignore[arg-type, return-value]
            folder / "out",
            budgeted=True,
            schema=SCHEMA,
        )
    assert not opened
    with pytest.raises(Refused, match="drop_training_rows"):
        release(
            people(10),
            SCHEMA,
            Filtering(),
            spent(1.0),
            (),
            folder / "by-hand",
            inside=type("Inside", (), {"files": lambda self: {"report.html": "", "report.json": "{}"}})(),
        )
    assert not (folder / "by-hand").exists()
