import re
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from tabsynth import registry, selftest
from tabsynth.errors import InputError
from tabsynth.metrics import Estimate, Evidence, NotApplicable, NotMeasured
from tabsynth.policy import Check, Verdict, default_policy, evaluate, parse_policy, passes, read_policy, small_policy
from tabsynth.schema import Column, Schema

PRIVATE = "Anna, 1987"


@dataclass(frozen=True)
class Fake:
    """A metric that says what it is told to, or raises it."""

    says: object = Estimate(0.5, 0.4, 0.6)
    name: str = "fake"
    tier: str = "fidelity"

    def __call__(self, evidence, rng):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@dataclass(frozen=True)
class Levelled:
    """A privacy metric whose interval is as wide as its level."""

    level: float = 0.94
    name: str = "levelled"
    tier: ClassVar[str] = "privacy"

    def __call__(self, evidence, rng):
        return Estimate(0, 0, self.level)


@dataclass(frozen=True)
class Counted:
    """A metric that tells the evidence's three faces apart by their first row."""

    name: ClassVar[str] = "counted"
    tier: ClassVar[str] = "fidelity"

    def __call__(self, evidence, rng):
        value = evidence.rows["age"].nunique() / 100
        return Estimate(value, value, value)


@pytest.fixture(scope="module")
def fresh():
    return selftest.fresh(0, (4000, 2000, 4000))


def judged(check, evidence, seed=0) -> Verdict:
    (verdict,) = evaluate(evidence, [check], np.random.default_rng(seed))
    return verdict


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ({"at_most": 0.6}, "passed"),
        ({"at_most": 0.55}, "failed"),  # the value is within, the unlucky end is not
        ({"at_least": 0.4}, "passed"),
        ({"at_least": 0.45}, "failed"),
        ({"at_least": 0.3, "at_most": 0.7}, "passed"),
        ({"at_least": 0.45, "at_most": 0.7}, "failed"),
    ],
)
def test_a_check_is_judged_at_the_unlucky_end(limits, status, fresh):
    verdict = judged(Check(Fake(), **limits), fresh)
    assert verdict.status == status
    assert verdict.passed == (not verdict.failed) == (status == "passed")
    assert verdict.estimate == Estimate(0.5, 0.4, 0.6)
    assert "0.5 (0.4 to 0.6)" in verdict.reason


def test_thresholds_are_counted_from_the_ceiling_or_the_baseline(fresh):
    same = replace(fresh, rows=fresh.rows.assign(age=30))
    for origin in ("ceiling", "baseline"):
        verdict = judged(Check(Counted(), at_least=-0.1, counted_from=origin), same)
        assert verdict.failed
        assert origin in verdict.reason
        assert judged(Check(Counted(), at_least=-1, counted_from=origin), same).passed
    assert judged(Check(Counted(), at_least=-0.1), same).passed
    assert (verdict.estimate.value, verdict.ceiling.value > 0.9) == (0.01, True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (KeyError(PRIVATE), "The metric crashed (KeyError)."),
        (ZeroDivisionError(), "The metric crashed (ZeroDivisionError)."),
        (NotMeasured("It needs a holdout."), "It needs a holdout."),
        (None, "something other than an Estimate"),
        (float("nan"), "something other than an Estimate"),
    ],
)
def test_whatever_a_metric_does_there_is_one_failed_verdict_with_its_name(said, reason, fresh):
    verdicts = evaluate(fresh, [Check(Fake(said), at_most=1), Check(Fake(name="other"), at_most=1)], rng())
    assert [verdict.name for verdict in verdicts] == ["fake", "other"]
    assert [verdict.status for verdict in verdicts] == ["failed", "passed"]
    assert reason in verdicts[0].reason
    assert PRIVATE not in repr(verdicts)
    assert not passes(verdicts)


def test_an_estimate_of_nan_is_a_failed_verdict(fresh):
    class Nan(Fake):
        def __call__(self, evidence, rng):
            return Estimate(float("nan"), 0, 1)

    verdict = judged(Check(Nan(), at_most=1), fresh)
    assert verdict.failed
    assert "NaN" in verdict.reason


def test_a_check_that_does_not_apply_says_so_and_stops_a_release_only_where_it_is_required(fresh):
    silent = Check(Fake(NotApplicable("No target is declared.")), at_most=1)
    verdict = judged(silent, fresh)
    assert (verdict.status, verdict.passed, verdict.failed) == ("not applicable", False, False)
    assert not passes([verdict])  # nothing was shown
    assert passes([verdict, judged(Check(Fake(), at_most=1), fresh)])
    assert judged(replace(silent, required=True), fresh).failed


def test_no_verdicts_pass_nothing():
    assert not passes([])


def test_privacy_checks_share_one_confidence_level(fresh):
    policy = [Check(Levelled(name=name), at_most=2) for name in "abc"] + [Check(Fake(), at_most=2)]
    found = [verdict.estimate.high for verdict in evaluate(fresh, policy, rng())]
    assert found[:3] == pytest.approx([0.98] * 3)
    assert judged(Check(Levelled(), at_most=2), fresh).estimate.high == 0.94


def test_a_privacy_metric_without_a_level_cannot_share_it(fresh):
    policy = [Check(Fake(tier="privacy", name=name), at_most=2) for name in "ab"]
    verdicts = evaluate(fresh, policy, rng())
    assert all(verdict.failed and "'level'" in verdict.reason for verdict in verdicts)


def test_the_same_generator_gives_the_same_verdicts(fresh):
    names = {"tvd2", "membership_tpr"}
    policy = [check for check in default_policy() if check.metric.name in names]
    first, second = (evaluate(fresh, policy, np.random.default_rng(5)) for _ in range(2))
    assert [replace(verdict, seconds=0) for verdict in first] == [replace(verdict, seconds=0) for verdict in second]


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "without a threshold cannot fail"),
        ({"at_most": float("nan")}, "at_most must be a number"),
        ({"at_most": "low"}, "at_most must be a number"),
        ({"at_most": True}, "at_most must be a number"),
        ({"at_least": 2, "at_most": 1}, "must not exceed"),
        ({"at_most": 1, "counted_from": "floor"}, "counted_from must be one of"),
    ],
)
def test_a_check_needs_thresholds_that_make_sense(given, message):
    with pytest.raises(InputError, match=message):
        Check(Fake(), **given)


@pytest.mark.parametrize("metric", ["tvd2", Fake(tier="beauty"), object()])
def test_a_check_needs_a_metric(metric):
    with pytest.raises(InputError, match="needs a metric"):
        Check(metric, at_most=1)


# --- policy files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("checks: [", "not YAML"),
        ("[]", "non-empty list named 'checks'"),
        ("checks: []", "non-empty list named 'checks'"),
        ("checks: [{metric: tvd9, at_most: 1}]", "No metric 'tvd9'. Installed: .*exact_match, .*tvd2"),
        ("checks: [{at_most: 1}]", "needs the name of a 'metric'"),
        ("checks: [{metric: tvd2, at_most: high}]", "check 'tvd2': at_most must be a finite number; got 'high'"),
        ("checks: [{metric: tvd2, at_most: .nan}]", "at_most must be a finite number"),
        ("checks: [{metric: tvd2}]", "without a threshold"),
        ("checks: [{metric: tvd2, atmost: 1}]", "unknown entry 'atmost' in check 'tvd2'; known: metric, settings"),
        ("checks: [{metric: tvd2, at_most: 1, settings: {bins: 3}}]", "unknown entry 'bins' .*known: pairs, level"),
        ("checks: [{metric: tvd2, at_most: 1, settings: {pairs: many}}]", "setting has a value of the wrong kind"),
        ("checks: [{metric: tvd2, at_most: 1, settings: {pairs: 0}}]", "check 'tvd2': pairs must be"),
        ("checks: [{metric: tvd2, at_most: 1, settings: 3}]", "settings must be a mapping"),
        ("checks: [{metric: tvd2, at_most: 1, required: 7}]", "required must be true or false"),
        ("checks: [{metric: tvd2, at_most: 1}, {metric: tvd2, at_most: 2}]", "'tvd2' stands more than once"),
        ("level: 95\nchecks: [{metric: tvd2, at_most: 1}]", "level must lie strictly between 0 and 1"),
        ("confidence: 0.9\nchecks: [{metric: tvd2, at_most: 1}]", "unknown entry 'confidence' in the policy"),
    ],
)
def test_a_wrong_policy_file_is_named_with_its_rule(text, message, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"(?s){re.escape(str(path))}: .*{message}"):
        read_policy(path)


@dataclass(frozen=True)
class Unmade(Fake):
    def __post_init__(self):
        raise RuntimeError("patient 4711")


@pytest.mark.parametrize(
    ("points_at", "message"),
    [
        ("no_such_package:Metric", r"The metric 'ghost' cannot be imported \(ModuleNotFoundError: No module"),
        ("tabsynth.policy:Ghost", r"The metric 'ghost' cannot be imported \(AttributeError: .*'Ghost'\)"),
        (f"{__name__}:Unmade", r"check 'ghost': the metric could not be made \(RuntimeError\)\.$"),
    ],
)
def test_a_metric_that_cannot_be_had_is_named_with_the_reason(points_at, message, monkeypatch):
    ghost = EntryPoint("ghost", points_at, registry.METRICS)
    monkeypatch.setattr(registry, "entry_points", lambda group, **_: EntryPoints([ghost]))
    with pytest.raises(InputError, match=f"^here: {message}"):
        parse_policy("checks: [{metric: ghost, at_most: 1}]", "here")


def test_what_no_threshold_is_counted_from_may_be_left_unmeasured(fresh):
    policy = [Check(Counted(), at_least=-1), Check(replace(Fake(), name="other"), at_most=1, counted_from="baseline")]
    full, bare = (evaluate(fresh, policy, rng(), beside=beside) for beside in (True, False))
    assert [verdict.status for verdict in full] == [verdict.status for verdict in bare]
    assert (bare[0].ceiling, bare[0].baseline, bare[1].ceiling) == (None, None, None)
    assert bare[1].baseline == full[1].baseline is not None


def test_a_policy_file_that_is_not_there_names_the_installed_policies(tmp_path):
    with pytest.raises(
        InputError, match=r"no such policy file, nor an installed policy \(charged, default, small, thorough\)"
    ):
        read_policy(str(tmp_path / "none.yaml"))


def test_a_file_says_everything_a_check_can_hold(tmp_path):
    entry = "{metric: ks, settings: {over: worst}, at_most: 0.2, counted_from: ceiling, required: true}"
    (check,) = parse_policy(f"level: 0.9\nchecks: [{entry}]", "here")
    assert (check.metric.name, check.metric.over, check.metric.level) == ("ks_worst", "worst", 0.9)
    assert (check.at_most, check.at_least, check.counted_from, check.required) == (0.2, -np.inf, "ceiling", True)


def test_installed_policies_are_read_by_name():
    assert read_policy("default") == default_policy()
    assert read_policy("small") == small_policy()
    assert {"default", "small"} <= set(registry.names(registry.POLICIES))


AWKWARD = {
    "one row": {"g": ["a"], "x": [1.0]},
    "one category": {"g": ["a"] * 200, "x": np.arange(200.0)},
    "constant number": {"g": list("ab") * 100, "x": np.zeros(200)},
    "all missing": {"g": [None] * 200, "x": [np.nan] * 200},
    "ten thousand categories": {"g": np.arange(10_000).astype(str), "x": np.arange(10_000.0)},
    "repeated rows": {"g": list("ab") * 100, "x": [0.0, 1.0] * 100},
    "huge numbers": {"g": ["ü \U0001f600"] * 200, "x": np.geomspace(1e-300, 1e300, 200)},
}


@pytest.mark.parametrize("target", ["g", "x"])
@pytest.mark.parametrize("table", AWKWARD)
def test_no_metric_crashes_on_an_awkward_table(table, target):
    frame = pd.DataFrame(AWKWARD[table])
    columns = (Column("g", "categorical", nullable=True), Column("x", "float", nullable=True))
    schema = Schema(columns).with_target(target)
    evidence = Evidence(schema, frame, frame.iloc[::-1], frame)
    verdicts = evaluate(evidence, default_policy(), rng())
    assert len(verdicts) == len(default_policy())
    assert not [verdict for verdict in verdicts if "crashed" in verdict.reason]
    some = frame.iloc[:1000]
    halves = replace(evidence, train=some.iloc[::2], holdout=some.iloc[1::2]) if len(some) > 1 else evidence
    found = evaluate(halves, read_policy("thorough"), rng(), beside=False)
    assert not [verdict for verdict in found if "crashed" in verdict.reason]


# --- the default gate: each check is tripped by a fake, and none by a fresh sample ---------------------------------


def shuffled(evidence):
    order = np.random.default_rng(0).permutation(len(evidence.rows))
    return evidence.rows.assign(readmitted=evidence.rows["readmitted"].to_numpy()[order])


COPIED = {"exact_match", "unique_replay", "membership_auc", "membership_tpr", "attribute_inference"}
TIES = {"association_cramers_v_worst", "association_spearman_worst"}
CONSTANT = {"ks", "tvd1", "tvd1_worst", "tvd2", "tstr_ratio", "missing_worst", *TIES, "duplicates"}
FAKES = {
    "copy": (lambda e: e.train, COPIED),
    "constant": (lambda e: e.rows.iloc[np.zeros(len(e.rows), dtype=int)], CONSTANT),
    "one column constant": (lambda e: e.rows.assign(waiting_minutes=20), {"tvd1_worst"}),
    "shuffled target": (shuffled, {"tstr_ratio"}),
    "independent columns": (
        lambda e: e.as_independent(rng()).rows,
        {"tstr_ratio", *TIES, "broken_dependencies", "broken_constraints"},
    ),
    "impossible ages": (lambda e: e.rows.assign(age=e.rows["age"].where(e.rows["age"] > 5, 130)), {"out_of_domain"}),
}


def test_a_fresh_sample_passes_every_check(fresh):
    verdicts = evaluate(fresh, default_policy(), rng())
    assert [v.name for v in verdicts if v.status != "passed"] == ["text_replay"]
    assert {v.status for v in verdicts} == {"passed", "not applicable"}
    verdicts = [verdict for verdict in verdicts if verdict.passed]
    assert passes(verdicts)
    assert all(verdict.ceiling is not None and verdict.baseline is not None for verdict in verdicts)


@pytest.mark.parametrize("fake", FAKES)
def test_a_fake_is_refused_by_the_checks_that_should_notice(fake, fresh):
    make, expected = FAKES[fake]
    verdicts = evaluate(replace(fresh, rows=make(fresh)), default_policy(), rng())
    assert not passes(verdicts)
    assert {verdict.name for verdict in verdicts if verdict.failed} == expected


def test_every_check_of_the_default_gate_is_tripped_by_a_fake():
    tripped = set().union(*(expected for _, expected in FAKES.values()))
    assert tripped | {"text_replay"} == {c.metric.name for c in default_policy()}  # that one: tests/test_selftest.py


def test_without_a_holdout_the_default_gate_refuses_and_says_why(fresh):
    verdicts = evaluate(replace(fresh, holdout=None), default_policy(), rng())
    failed = {verdict.name: verdict.reason for verdict in verdicts if verdict.failed}
    assert set(failed) == {"tstr_ratio", *COPIED}
    assert all("holdout" in reason for reason in failed.values())


def test_a_small_table_gets_a_reason_that_says_what_would_help(fresh):
    small = replace(fresh, train=fresh.train.iloc[:240], holdout=fresh.holdout.iloc[:60], rows=fresh.rows.iloc[:240])
    reasons = {v.name: v.reason for v in evaluate(small, default_policy(), rng()) if v.failed}
    assert "more rows, of the holdout above all" in reasons["membership_tpr"]
    assert not passes(evaluate(replace(small, rows=small.train), small_policy(), rng()))
