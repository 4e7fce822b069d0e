"""The charged gate: what a unit can move, what the noise does, what a copy and a fresh sample get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event as dp
from scipy.stats import binom

from tabsynth.charging import ChargedGate, charged_policy, form_of
from tabsynth.charging.attacks import area, found_at
from tabsynth.charging.distances import largest_gap, summed_gap
from tabsynth.datasets import clinic_visits
from tabsynth.errors import ConformanceError, InputError, LedgerError
from tabsynth.metrics import Estimate, Evidence
from tabsynth.metrics.estimate import auc
from tabsynth.metrics.fidelity import KS, TVD1, TVD2, ks, total_variation
from tabsynth.metrics.privacy import ExactMatch, MembershipAUC, MembershipTPR
from tabsynth.policy import Check, Verdict, default_policy, passes
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import RepeatedSecret, recording, replaying
from tabsynth.privacy.reserve import Part, Reserve
from tabsynth.schema import Column, Schema

RICH = Budget(30.0, 1e-5)
THREE = Budget(3.0, 1e-6)
EVERY = (
    *charged_policy(),
    Check(KS(over="worst"), at_most=0.9),
    Check(MembershipTPR(fpr=0.2), at_most=0.9),
)
SCHEMA = Schema(
    (
        Column("age", "integer", nullable=True),
        Column("pay", "float"),
        Column("city", "categorical"),
        Column("ill", "boolean"),
    )
)


@pytest.fixture(scope="module")
def fresh() -> Evidence:
    visits = clinic_visits(rows=9000)
    parts = np.split(np.arange(9000), [4000, 6000])
    return Evidence(visits.schema, *(visits.frame.iloc[part] for part in parts))


def table(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 9, rows).astype(object)
    age[rng.random(rows) < 0.1] = None
    city = rng.choice(["Bonn", "Ulm", "Köln"], rows).astype(object)
    city[0] = f"only here {seed}"
    return pd.DataFrame(
        {"age": age, "pay": rng.normal(size=rows).round(1), "city": city, "ill": rng.random(rows) < 0.3}
    )


def judged(evidence: Evidence, policy: Any = None, budget: Budget = RICH, seed: int = 0) -> tuple[Verdict, ...]:
    ledger = Ledger(budget)
    gate = ChargedGate(policy or charged_policy(), evidence.schema, ledger, Secret())
    ledger.spend_rest(dp.GaussianDpEvent, why="the fit")
    return gate.evaluate(evidence, np.random.default_rng(seed))


# --- the reserve -----------------------------------------------------------------------------------------------------


def test_a_reserve_is_charged_whole_before_anything_is_taken() -> None:
    ledger = Ledger(THREE)
    plan = [Part("rows"), Part("distances", 40, weight=3.0)]
    reserve = Reserve(plan, 0.2, rows_per_unit=2, ledger=ledger, secret=Secret())
    assert [charge.why for charge in ledger.charges] == ["rows", "distances"]
    whole = Ledger(THREE)
    alone = whole.sigma(0.2)
    scales = [reserve.take("rows", lambda: np.zeros(3, np.int64))[1]]
    answer, scale = reserve.take("distances", lambda: np.full(40, 100))
    assert scales[0] == pytest.approx(alone * 2 * np.sqrt(4))
    assert scale == pytest.approx(alone * 2 * np.sqrt(40 * 4 / 3))
    together = 1 / scales[0] ** 2 + 40 / scale**2
    assert together == pytest.approx(1 / (2 * alone) ** 2), "all parts compose to what was set aside"
    assert abs(answer.mean() - 100) < 6 * scale / np.sqrt(40)
    ledger.charge(dp.GaussianDpEvent(ledger.sigma(1.0)), why="the fit")
    assert 0.98 * 3 <= ledger.spent.epsilon <= 3


def test_what_was_not_planned_is_not_measured() -> None:
    def never() -> Any:
        raise AssertionError("rows were read")

    reserve = Reserve([Part("rows", 2)], 0.1, rows_per_unit=1, ledger=Ledger(THREE), secret=Secret())
    with pytest.raises(ConformanceError, match="'more' was not charged"):
        reserve.take("more", never)
    with pytest.raises(ConformanceError, match="charged for 2 numbers"):
        reserve.take("rows", lambda: np.zeros(3, np.int64))
    with pytest.raises(ConformanceError, match="taken before"):
        reserve.take("rows", never)


def test_a_reserve_needs_a_budget_a_plan_and_a_fresh_ledger() -> None:
    settings: dict[str, Any] = {"rows_per_unit": 1, "secret": Secret()}
    with pytest.raises(InputError, match="there is none"):
        Reserve([Part("a")], 0.1, ledger=Ledger(), **settings)
    for plan in ([], [Part("a"), Part("a")]):
        with pytest.raises(InputError, match="plan"):
            Reserve(plan, 0.1, ledger=Ledger(THREE), **settings)
    used = Ledger(THREE)
    used.charge(dp.GaussianDpEvent(40.0), why="counts")
    with pytest.raises(LedgerError, match="before the first charge"):
        Reserve([Part("a")], 0.1, ledger=used, **settings)
    seeded = Ledger(THREE)
    Reserve([Part("a")], 0.1, rows_per_unit=1, ledger=seeded, secret=Secret.fixed(1))
    assert not seeded.private


# --- sensitivity -----------------------------------------------------------------------------------------------------


def traced(evidence: Evidence, tape: Any, rows_per_unit: int = 1) -> list[Any]:
    ledger = Ledger(RICH)
    schema = replace(evidence.schema, rows_per_unit=rows_per_unit) if rows_per_unit > 1 else evidence.schema
    gate = ChargedGate(EVERY, schema, ledger, RepeatedSecret(tape))
    verdicts = gate.evaluate(evidence, np.random.default_rng(5))
    return [(v.name, v.status, v.reason, v.estimate, v.ceiling) for v in verdicts]


@pytest.mark.parametrize("seed", range(4))
def test_one_row_moves_no_measurement_further_than_charged_and_nothing_else_at_all(seed: int) -> None:
    """Neighbour replay of the gate: with the noisy answers replayed, the verdicts of neighbours are the same."""
    train, held, rows = table(90, seed), table(60, seed + 50), table(80, seed + 100)
    with recording() as tape:
        first = traced(Evidence(SCHEMA, train, held, rows), tape)
    assert all(status != "failed" or "crashed" not in reason for _, status, reason, *_ in first)
    gone = seed * 7 % 50
    neighbours = {
        "a training row": (train.drop(index=gone), held),
        "a holdout row": (train, held.drop(index=gone)),
        "the only holder of a category": (train.drop(index=0), held),
        "the only holder in the holdout": (train, held.drop(index=0)),
    }
    for name, (one, other) in neighbours.items():
        with replaying(tape, apart=1):
            assert traced(Evidence(SCHEMA, one, other, rows), tape) == first, name


@dataclass(frozen=True)
class Careless:
    """A metric whose charged form says that rows move it by 1, and they move it by 3."""

    level: float = 0.95
    name: ClassVar[str] = "careless"
    tier: ClassVar[str] = "fidelity"

    def __call__(self, evidence: Evidence, rng: Any) -> Estimate:
        raise NotImplementedError

    def charged_form(self) -> Any:
        return self

    def parts(self, schema: Schema) -> tuple[Part, ...]:
        return (Part("gate: careless"),)

    def measure(self, evidence: Evidence, take: Any, coin: Any, rng: Any) -> Estimate:
        noisy, _ = take("gate: careless", lambda: np.array([3 * len(evidence.train)]))
        return Estimate(*[float(noisy[0])] * 3)

    def ceiling(self, evidence: Evidence, rng: Any) -> None:
        return None


def test_the_replay_would_see_a_form_that_moves_too_far() -> None:
    train, held, rows = table(40, 1), table(40, 2), table(40, 3)

    def careless(one: pd.DataFrame, tape: Any) -> tuple[Verdict, ...]:
        gate = ChargedGate([Check(Careless(), at_most=1e9)], SCHEMA, Ledger(RICH), RepeatedSecret(tape))
        return gate.evaluate(Evidence(SCHEMA, one, held, rows), np.random.default_rng(0))

    with recording() as tape:
        assert passes(careless(train, tape)), "a plug-in's own form is used"
    with replaying(tape, apart=1):
        (verdict,) = careless(train.iloc[1:], tape)
    assert "further than the sensitivity charged" in verdict.reason


@pytest.mark.parametrize("gap", [summed_gap, largest_gap])
def test_gaps_move_by_at_most_one_with_a_row_at_the_kinks_too(gap: Callable[..., int]) -> None:
    rng = np.random.default_rng(0)
    moved = set()
    for _ in range(400):
        rows = rng.integers(0, 4, rng.integers(1, 30))
        real = rng.integers(0, 6, rng.integers(2, 30))
        cast = (lambda a: a) if gap is summed_gap else (lambda a: a.astype(float))
        size = int(rng.integers(1, 40))
        moved.add(gap(cast(rows), cast(real), size) - gap(cast(rows), cast(real[1:]), size))
    assert moved <= {-1, 0, 1}
    assert len(moved) > 1


# --- what is measured ------------------------------------------------------------------------------------------------


def test_gaps_are_the_uncharged_distances_when_the_number_of_rows_is_right() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        rows, real = rng.integers(0, 9, 200), rng.integers(0, 12, 150)
        exact = total_variation(rows, real)[0]
        assert summed_gap(rows, real, 150) / 300 == pytest.approx(exact, abs=1 / 300)
        values = rng.normal(size=200).round(1), np.where(rng.random(150) < 0.1, np.nan, rng.normal(size=150).round(1))
        assert largest_gap(*values, 150) / 150 == pytest.approx(ks(*values)[0], abs=1 / 150)


def test_the_area_of_histograms_is_that_of_their_scores() -> None:
    rng = np.random.default_rng(2)
    members, others = rng.integers(0, 12, 400), rng.integers(2, 14, 300)
    counts = np.bincount(members, minlength=14).astype(float), np.bincount(others, minlength=14).astype(float)
    exact, in_members, in_others = auc(-members.astype(float), -others.astype(float))
    found = area(*counts, 0.0, 0.95)
    assert found.value == pytest.approx(exact)
    error = np.sqrt(np.var(in_members) / 400 + np.var(in_others) / 300)
    assert found.high - found.value == pytest.approx(1.96 * error, rel=1e-3), "without noise it is DeLong's"


def test_intervals_of_noisy_histograms_hold_the_truth_as_often_as_they_say() -> None:
    """200 tables and noises: the area's interval covers near 95%, one that left the noise out would not."""
    rng = np.random.default_rng(3)
    p, q, scale = np.linspace(2, 1, 10) / 15, np.full(10, 0.1), 25.0
    truth = float(sum(p[i] * (q[i + 1 :].sum() + q[i] / 2) for i in range(10)))
    held = narrow = caught = 0
    true_tpr = float(p[:2].sum())  # at the first two cells, that is at 20% of the others
    for _ in range(200):
        noisy = [rng.multinomial(800, one) + scale * rng.normal(size=10) for one in (p, q)]
        found, blind = area(*noisy, scale, 0.95), area(*noisy, 0.0, 0.95)
        held += found.low <= truth <= found.high
        narrow += blind.low <= truth <= blind.high
        rate = found_at(0.2, *noisy, scale, 0.95)
        caught += rate.low <= true_tpr <= rate.high
    assert held >= binom.ppf(1e-4, 200, 0.95)
    assert caught >= binom.ppf(1e-4, 200, 0.95)
    assert narrow < binom.ppf(1e-4, 200, 0.95), "an interval without the noise would be found out"


def test_numbers_lie_near_the_uncharged_ones_when_the_budget_is_large(fresh: Evidence) -> None:
    rich = Budget(300.0, 1e-3)
    policy = [Check(metric, at_most=2.0) for metric in (KS(), TVD1(), TVD2(), ExactMatch(), MembershipAUC())]
    found = {v.name: v.estimate for v in judged(fresh, policy, rich)}
    for check in policy[:4]:
        exact = check.metric(fresh, np.random.default_rng(0))
        estimate = found[check.metric.name]
        assert estimate is not None
        assert estimate.value == pytest.approx(exact.value, abs=0.02)
        assert estimate.low <= exact.value <= estimate.high
    assert found["membership_auc"] is not None
    assert found["membership_auc"].value == pytest.approx(0.5, abs=0.03)


FAKES: dict[str, tuple[Callable[[Evidence], pd.DataFrame], set[str]]] = {
    "a copy": (lambda e: e.train, {"exact_match", "membership_auc", "membership_tpr_at_0.1"}),
    "a constant": (lambda e: pd.concat([e.rows.iloc[:1]] * 3000), {"ks", "tvd1", "tvd2"}),
}


@pytest.mark.parametrize("fake", FAKES)
def test_a_fake_is_refused_by_the_checks_that_should_notice(fresh: Evidence, fake: str) -> None:
    make, expected = FAKES[fake]
    failed = {v.name for v in judged(replace(fresh, rows=make(fresh))) if v.failed}
    assert expected <= failed


def test_a_fresh_sample_passes_at_a_moderate_budget(fresh: Evidence) -> None:
    verdicts = judged(fresh, budget=THREE)
    assert passes(verdicts), [v.reason for v in verdicts if v.failed]
    assert [v.name for v in verdicts] == [c.metric.name for c in charged_policy()]
    assert all("noisy counts" in v.reason for v in verdicts)


def test_few_rows_are_refused_in_words_that_come_from_the_noisy_count(fresh: Evidence) -> None:
    few = replace(fresh, train=fresh.train.iloc[:20], holdout=fresh.holdout.iloc[:10])
    verdicts = judged(few, budget=Budget(1000.0, 1e-3))
    assert all(v.failed for v in verdicts)
    assert all("as counted with noise" in v.reason for v in verdicts)


def test_a_table_without_numbers_has_no_ks() -> None:
    schema = Schema((Column("city", "categorical"),))
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"city": rng.choice(["a", "b"], 500)}) for _ in range(3)]
    statuses = {v.name: v.status for v in judged(Evidence(schema, *frames))}
    assert statuses["ks"] == statuses["tvd2"] == "not applicable"
    assert statuses["tvd1"] == "passed"


# --- what cannot be charged ------------------------------------------------------------------------------------------


def test_a_policy_with_a_check_of_unbounded_sensitivity_is_refused_before_any_charge(fresh: Evidence) -> None:
    ledger = Ledger(THREE)
    with pytest.raises(InputError, match=r"'missing_worst' cannot be charged.*exact_match, ks"):
        ChargedGate(default_policy(), fresh.schema, ledger, Secret())
    with pytest.raises(InputError, match="counted from the baseline"):
        ChargedGate([Check(TVD1(), at_most=0.5, counted_from="baseline")], fresh.schema, ledger, Secret())
    assert ledger.charges == ()
    assert form_of(TVD1()).parts(fresh.schema)[1].numbers == len(fresh.columns)


@pytest.mark.parametrize("settings", [{"attacks": ("classifier",)}, {"exposed": True}])
def test_an_attack_of_another_kind_than_distance_cannot_be_charged(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match="cannot be charged"):
        form_of(MembershipAUC(**settings))


def test_without_a_budget_nothing_can_be_charged(fresh: Evidence) -> None:
    with pytest.raises(InputError, match="there is none"):
        ChargedGate(charged_policy(), fresh.schema, Ledger(), Secret())
