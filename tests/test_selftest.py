import json

import numpy as np
import pandas as pd
import pytest

from tabsynth import cli, selftest
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.policy import default_policy, evaluate, read_policy
from tabsynth.selftest import FAKES, FRESH, Outcome

SMALL = (4000, 2000, 4000)
COPIED = {"exact_match", "unique_replay", "attribute_inference", "singling_out", "linkability", "inference"}
TRIED = {  # by checks that take a second; the attacks on membership are tried beside their own tests
    "copy": COPIED - {"unique_replay", "attribute_inference"},
    "copy with 1% noise": {"singling_out", "inference"},
    "outliers copied": {"unique_replay"},
    "1% memorized": {"unique_replay"},
    "constant": {"ks", "tvd1", "tvd2"},
    "independent columns": {"tstr_ratio"},
    "independent numbers": {"association_spearman_worst"},
    "mode-collapsed": {"tvd2"},
    "one class dropped": {"tstr_ratio"},
    "shuffled labels": {"tstr_ratio"},
    "gaps filled": {"missing_worst"},
    "column shuffled": {"association_cramers_v_worst", "broken_dependencies", "broken_constraints"},
    "impossible values": {"out_of_domain"},
    "every row twice": {"duplicates"},
    "notes copied": {"text_replay"},
    "rare values lost": {"rare_categories"},
}


@pytest.fixture(scope="module")
def thorough():
    return read_policy("thorough")


@pytest.fixture(scope="module")
def evidence():
    return selftest.fresh(0, (1000, 500, 1000))


@pytest.mark.parametrize("fake", TRIED)
def test_a_fake_is_refused_by_each_check_that_should_notice(fake, thorough):
    policy = [check for check in thorough if check.metric.name in TRIED[fake]]
    found = selftest.selftest(policy, seeds=2, sizes=SMALL, only=[fake])
    assert found.refusals[fake] == dict.fromkeys(found.checks, 2)
    if (of := FAKES[fake].of) is not None:
        (verdict,) = evaluate(of(selftest.fresh(0, SMALL)), policy, np.random.default_rng(0), beside=False)
        assert verdict.passed
    assert found.caught == {FRESH: 0, fake: 2}
    assert found.problems == ()


def test_a_fresh_sample_passes_the_thorough_policy(thorough):
    assert selftest.judge(selftest.fresh(0), FRESH, thorough, 0) == ()


def test_outliers_are_noticed_among_the_exposed(thorough):
    policy = [check for check in thorough if check.metric.name == "membership_advantage_all_exposed"]
    assert selftest.selftest(policy, seeds=1, only=["outliers copied"]).caught == {FRESH: 0, "outliers copied": 1}


@pytest.mark.parametrize("name", ["default", "thorough"])
def test_every_check_of_a_policy_has_a_fake_that_it_should_notice(name):
    checks = [check.metric.name for check in read_policy(name)]
    assert [check for check in checks if not any(fake.meant(check) for fake in FAKES.values())] == []


def test_the_fakes_are_what_they_are_called(evidence):
    rng = np.random.default_rng(0)
    made = {name: fake.make(fake.of(evidence) if fake.of else evidence, rng) for name, fake in FAKES.items()}
    changed = made["copy with 1% noise"].ne(evidence.train).fillna(False).to_numpy(dtype=bool).mean()
    assert 0 < changed < 0.01  # some cells are replaced by an equal one
    for name, leaked in (("outliers copied", 50), ("1% memorized", 10)):
        points = [place(frame, evidence.train, evidence.columns) for frame in (made[name], evidence.train)]
        assert (nearest(points[0], points[1], k=1)[:, 0] == 0).sum() == leaked
        assert len(made[name]) == 1000
    assert len(made["constant"].drop_duplicates()) == 1
    assert len(made["mode-collapsed"].drop_duplicates()) == 100
    assert not made["one class dropped"]["readmitted"].any()
    assert made["shuffled labels"]["readmitted"].sum() == evidence.rows["readmitted"].sum()
    features = [frame.drop(columns="readmitted") for frame in (made["shuffled labels"], evidence.rows)]
    pd.testing.assert_frame_equal(*features)
    assert (made["shuffled labels"]["readmitted"] != evidence.rows["readmitted"]).any()


def outcome(caught, seeds):
    return Outcome(("ks",), seeds, {name: {"ks": count} for name, count in caught.items()}, caught)


@pytest.mark.parametrize(
    ("caught", "seeds", "problems"),
    [
        ({FRESH: 0, "copy": 3}, 3, []),
        ({FRESH: 1, "copy": 3}, 3, []),  # one in seven times even at the stated rate
        ({FRESH: 2, "copy": 3}, 3, [FRESH]),
        ({FRESH: 3, "copy": 20}, 20, []),
        ({FRESH: 5, "copy": 20}, 20, [FRESH]),
        ({FRESH: 0, "copy": 2}, 3, ["copy"]),
    ],
)
def test_a_fake_may_never_pass_and_fresh_samples_may_fail_at_the_stated_rate(caught, seeds, problems):
    assert [problem.split(":")[0] for problem in outcome(caught, seeds).problems] == problems


def test_the_default_policy_sees_one_row_in_a_hundred():
    policy = [check for check in default_policy() if check.metric.name in {"exact_match", "unique_replay"}]
    found = selftest.selftest(policy, seeds=2, sizes=SMALL, only=["1% memorized"])
    assert found.refusals["1% memorized"] == {"exact_match": 0, "unique_replay": 2}
    assert found.problems == ()
    blind = selftest.selftest(policy[:1], seeds=1, sizes=SMALL, only=["1% memorized"])
    assert "not noticed by unique_replay in 1 of 1" in blind.problems[0]


@pytest.fixture
def two_fakes(monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "FAKES", {name: FAKES[name] for name in ("copy", "1% memorized")})
    path = tmp_path / "policy.yaml"
    entries = {"exact": "{metric: exact_match, at_most: 0.05}", "unique": "{metric: unique_replay, at_most: 0.005}"}
    path.write_text("checks:\n" + "".join(f"  - {entry}\n" for entry in entries.values()), encoding="utf-8")
    blind = tmp_path / "blind.yaml"
    blind.write_text(f"checks:\n  - {entries['exact']}\n", encoding="utf-8")
    return path, blind


def test_the_command_says_what_was_noticed(two_fakes, capsys):
    sees, blind = two_fakes
    assert cli.run(["selftest", "--seeds", "1", "--policy", str(sees), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["problems"]) == (True, [])
    assert found["refusals"]["copy"] == {"exact_match": 1, "unique_replay": 1}
    assert found["refusals"][FRESH] == {"exact_match": 0, "unique_replay": 0}
    assert cli.run(["selftest", "--seeds", "1", "--policy", str(blind)]) == 3
    assert "Not so: 1% memorized" in capsys.readouterr().err


def test_a_policy_that_is_not_there_is_refused(capsys):
    assert cli.run(["selftest", "--policy", "none.yaml"]) == 2
    assert cli.run(["selftest", "--seeds", "0"]) == 2
    assert "seeds must be" in capsys.readouterr().err
