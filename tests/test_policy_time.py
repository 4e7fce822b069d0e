import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from tabsynth import selftest
from tabsynth.errors import InputError
from tabsynth.metrics import Estimate, costs
from tabsynth.policy import TIME_LIMIT, Check, evaluate, parse_policy, passes, thorough_policy
from tabsynth.policy.clock import plan, told


@pytest.fixture(scope="module")
def evidence():
    return selftest.fresh(0, (400, 200, 400))


@dataclass(frozen=True)
class Slow:
    """A metric that takes its time, and says how much of it when it is asked."""

    seconds: float = 0.0
    name: str = "slow"
    tier: str = "fidelity"
    level: float = 0.95
    says: float | None = None
    part: str = ""

    def __call__(self, evidence, rng):
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(0.005)
        return Estimate(0.5, 0.4, 0.6)

    @property
    def cost(self):
        if self.says is None:
            raise AttributeError
        return lambda evidence: {self.part or self.name: self.says}


class Leaves(Slow):
    def __call__(self, evidence, rng):
        raise SystemExit


@dataclass(frozen=True)
class PilotOnly:
    """A metric that is quick on few rows and slow in proportion to them."""

    name: ClassVar[str] = "proportional"
    tier: ClassVar[str] = "fidelity"

    def __call__(self, evidence, rng):
        time.sleep(len(evidence.rows) * 2e-5)
        return Estimate(0, 0, 0)


def judged(policy, evidence, **settings):
    return evaluate(evidence, policy, np.random.default_rng(0), beside=False, **settings)


def test_a_metric_that_hangs_is_a_failed_verdict_and_the_others_are_judged(evidence):
    start = time.monotonic()
    policy = [Check(Slow(3600), at_most=1, time_limit=0.2), Check(Slow(name="other"), at_most=1)]
    found = judged(policy, evidence)
    assert time.monotonic() - start < 5
    assert [(verdict.name, verdict.status) for verdict in found] == [("slow", "failed"), ("other", "passed")]
    assert "given up after 0.2 s" in found[0].reason
    assert not passes(found)
    for _ in range(200):  # the thread is ended, not left to spin
        if not any(thread.name == "metric" for thread in threading.enumerate()):
            break
        time.sleep(0.01)
    assert not any(thread.name == "metric" for thread in threading.enumerate())


def test_a_metric_within_its_limit_is_judged_as_ever(evidence):
    (verdict,) = judged([Check(Slow(0.05), at_most=1, time_limit=60)], evidence)
    assert verdict.passed
    assert 0.05 <= verdict.seconds < 10


def test_a_metric_that_leaves_the_program_is_a_failed_verdict(evidence):
    found = judged([Check(Leaves(), at_most=1), Check(Slow(name="other"), at_most=1)], evidence)
    assert [verdict.status for verdict in found] == ["failed", "passed"]
    assert "crashed (SystemExit)" in found[0].reason


def test_a_ceiling_that_hangs_fails_what_is_counted_from_it(evidence):
    class SlowTwice(Slow):
        def __call__(self, of, rng):
            return super().__call__(of, rng) if of is not evidence else Estimate(0, 0, 0)

    policy = [Check(SlowTwice(3600), at_most=1, time_limit=0.2, counted_from="ceiling")]
    (verdict,) = judged(policy, evidence)
    assert verdict.failed
    assert "ceiling it is counted from could not be measured. It was given up" in verdict.reason


def test_a_policy_file_says_how_long_a_check_may_take():
    text = "time_limit: 60\nchecks: [{metric: ks, at_most: 1}, {metric: tvd1, at_most: 1, time_limit: 5}]"
    assert [check.time_limit for check in parse_policy(text, "here")] == [60, 5]
    assert parse_policy("checks: [{metric: ks, at_most: 1}]", "here")[0].time_limit == TIME_LIMIT
    for wrong in ("0", "-1", "long", ".inf"):
        with pytest.raises(InputError, match=r"here: .*time_limit must be"):
            parse_policy(f"checks: [{{metric: ks, at_most: 1, time_limit: {wrong}}}]", "here")


def test_a_budget_leaves_out_what_does_not_fit_and_says_so(evidence):
    policy = [
        Check(Slow(name="dear", says=100.0), at_most=1),
        Check(Slow(name="cheap", says=0.1), at_most=1),
        Check(Slow(name="needed", says=5.0), at_most=1, required=True),
        Check(Slow(name="attack", says=2.0, tier="privacy"), at_most=1),
    ]
    found = {verdict.name: verdict for verdict in judged(policy, evidence, budget=10)}
    assert list(found) == ["dear", "cheap", "needed", "attack"]
    assert {name: verdict.status for name, verdict in found.items()} == {
        "dear": "not applicable", "cheap": "passed", "needed": "passed", "attack": "passed",
    }  # fmt: skip
    assert (found["dear"].left_out, found["cheap"].left_out) == (True, False)
    assert "Left out of a budget of 10 s: some 100 s were expected of it" in found["dear"].reason
    assert passes(tuple(found.values()))


@pytest.mark.parametrize("kept", [{"required": True}, {}])
def test_what_must_not_be_left_out_fails_when_it_is(kept, evidence):
    tier = "fidelity" if kept else "privacy"
    policy = [Check(Slow(name="dear", says=100.0, tier=tier), at_most=1, **kept), Check(Slow(says=0.1), at_most=1)]
    found = judged(policy, evidence, budget=10)
    assert [verdict.status for verdict in found] == ["failed", "passed"]
    assert not passes(found)


def test_what_takes_longer_than_it_said_does_not_break_the_budget(evidence):
    policy = [Check(Slow(3600, name=name, says=0.1), at_most=1) for name in "abc"]
    start = time.monotonic()
    found = judged(policy, evidence, budget=0.5)
    assert time.monotonic() - start < 5
    assert "given up" in found[0].reason
    assert [verdict.left_out for verdict in found] == [False, True, True]


def test_work_that_checks_share_counts_once(evidence):
    policy = [Check(Slow(name=name, says=6.0, part="scores"), at_most=1) for name in "ab"]
    assert plan(policy, evidence, 10, beside=False).order == (0, 1)
    apart = [Check(replace(check.metric, part=""), at_most=1) for check in policy]
    assert plan(apart, evidence, 10, beside=False).order == (0,)


def test_what_a_metric_does_not_say_is_measured_on_few_rows():
    evidence = selftest.fresh(0, (20_000, 1000, 20_000))
    chosen = plan([Check(PilotOnly(), at_most=1)], evidence, 1000, beside=True)
    assert 0.2 < chosen.seconds[0] / 3 < 4  # 0.4 s a view
    assert chosen.beside
    hangs = plan([Check(Slow(3600), at_most=1)], evidence, 2, beside=True)
    assert (hangs.order, hangs.seconds) == ((), (float("inf"),))


@dataclass(frozen=True)
class Misjudged(Slow):
    """A metric that says something impossible of its cost."""

    said: object = None

    @property
    def cost(self):
        return lambda evidence: {self.name: self.said}


@pytest.mark.parametrize("said", [float("nan"), -1.0, "long", None])
def test_what_cannot_be_a_cost_is_measured(said, evidence):
    chosen = plan([Check(Misjudged(said=said), at_most=1)], evidence, 1000, beside=False)
    assert chosen.order == (0,)
    assert 0 <= chosen.seconds[0] < 1000


def test_built_in_metrics_know_what_many_rows_cost_them(evidence, monkeypatch):
    monkeypatch.setattr(costs, "slowness", lambda: 1.0)
    many = replace(evidence, train=repeated(evidence.train, 100), rows=repeated(evidence.rows, 100))
    few, much = (
        {check.metric.name: said(view) for check in thorough_policy() if (said := getattr(check.metric, "cost", None))}
        for view in (evidence, many)
    )
    assert {"c2st", "tstr_ratio", "coverage", "membership_auc_all", "attribute_inference", "linkability"} <= set(few)
    # what draws rows stops growing, what looks at every pair grows with the pairs
    assert sum(much["coverage"].values()) == sum(few["coverage"].values())
    assert sum(much["tstr_ratio"].values()) < 4 * sum(few["tstr_ratio"].values())
    assert much["linkability"]["linkability"] > 80 * few["linkability"]["linkability"]
    assert set(much["membership_auc_all"]) == set(much["membership_tpr_all"])
    assert not set(much["membership_auc_all"]) & set(much["membership_advantage_all_exposed"])


def test_a_budget_takes_attacks_first_and_names_the_models_it_leaves_out(evidence, monkeypatch):
    monkeypatch.setattr(costs, "slowness", lambda: 1.0)
    names = ("c2st", "tstr_ratio", "coverage", "membership_auc_all", "membership_tpr_all")
    policy = [check for check in thorough_policy() if check.metric.name in names]
    needed = sum({part: s for check in policy[3:] for part, s in check.metric.cost(evidence).items()}.values())
    chosen = plan(policy, evidence, 1.1 * needed, beside=False)
    assert {policy[i].metric.name for i in chosen.order} >= set(names[3:])
    assert {policy[i].metric.name for i in chosen.order} & {"c2st", "tstr_ratio"} == set()
    assert plan(policy, evidence, 1000, beside=True).order != chosen.order


def repeated(frame, times):
    """Return a table that is as many times as long."""
    return pd.concat([frame] * times, ignore_index=True)


def test_a_budget_without_room_for_ceilings_measures_those_that_count(evidence):
    policy = [Check(Slow(name=origin, says=1.0), at_most=1, counted_from=origin) for origin in ("zero", "ceiling")]
    found = evaluate(evidence, policy, np.random.default_rng(0), budget=4)
    assert [verdict.ceiling is not None for verdict in found] == [False, True]
    assert [verdict.baseline for verdict in found] == [None, None]
    assert all(verdict.baseline for verdict in evaluate(evidence, policy, np.random.default_rng(0), budget=60))


def test_times_are_told_in_words():
    assert told(600) == "10 min"
