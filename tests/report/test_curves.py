"""The curves of the inside report: what is measured for them, where they are drawn, and that rows stay inside."""

import json
import math
import time
from functools import partial

import jsonschema
import numpy as np
import pandas as pd
import pytest
from dp_accounting import GaussianDpEvent
from test_page import Page

from tabsynth.gate import GateSettings
from tabsynth.metrics.attacks import attack
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.mixing import mixing_curve
from tabsynth.metrics.roc import roc
from tabsynth.policy import evaluate, parse_policy
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.release import read_release
from tabsynth.report import build_report, json_schema, measure_curves
from tabsynth.report.contents import SAMPLE_ROWS
from tabsynth.report.curves import FPRS, OUT_OF_TIME, out_of_time, rates_at
from tabsynth.report.distributions import cycles
from tabsynth.report.graphs import mixing_picture, roc_picture
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.independent import Independent
from tabsynth.walk import release_table

POLICY = parse_policy(
    """\
checks:
  - {metric: membership_auc, at_most: 0.65}
  - {metric: membership_tpr, at_most: 0.1, settings: {attacks: [classifier, distance]}}
  - {metric: exact_match, at_most: 0.1}
  - {metric: tstr, at_least: 0.5}
""",
    "test",
)
EXPOSED = parse_policy("checks: [{metric: membership_auc, at_most: 0.6, settings: {exposed: true}}]", "test")
MATCH = parse_policy("checks: [{metric: exact_match, at_most: 1}]", "test")
SCHEMA = Schema(
    (
        Column("x", "float", bounds=(-9, 9)),
        Column("y", "float", bounds=(-9, 9)),
        Column("class", "categorical", categories=("a", "b", "c"), roles=("target",)),
    )
)


def people(seed: int, rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows).clip(-8, 8)
    kind = np.select([x + rng.normal(size=rows) > 2, x > 0], ["c", "b"], "a")
    return pd.DataFrame({"x": x, "y": rng.normal(size=rows).clip(-8, 8), "class": kind})


def measured(rows, policy=POLICY, ledger=None, holdout=True, schema=SCHEMA):
    evidence = Evidence(schema, people(0), people(1) if holdout else None, rows)
    return evidence, measure_curves(evidence, policy, np.random.default_rng(0), ledger)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The curve of a linear model, once: it is the report that is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tabsynth.report.curves.mixing_curve", partial(mixing_curve, learner="linear", repeats=1))
        yield


@pytest.fixture(scope="module")
def ledger():
    paid = Ledger(Budget(1.0, 1e-5))
    paid.spend_rest(GaussianDpEvent, why="all")
    return paid


@pytest.fixture(scope="module")
def fresh(ledger, quick):
    return measured(people(2), POLICY + EXPOSED, ledger)


def test_rates_are_those_of_thresholds_that_fall_at_random():
    """Against the slow way: of the non-members tied at the threshold, and the members with them, the same share."""
    rng = np.random.default_rng(0)
    members, others = rng.integers(2, 9, 70).astype(float), rng.integers(0, 7, 50).astype(float)
    for fpr in (0.004, 0.02, 0.1, 0.37, 0.5, 0.99, 1.0):
        accused, found = 0.0, 0.0
        for score in sorted(set(members) | set(others), reverse=True):
            tied = (others == score).mean()
            share = 1.0 if accused + tied <= fpr else (fpr - accused) / tied
            accused, found = accused + share * tied, found + share * (members == score).mean()
            if share < 1:
                break
        assert rates_at(np.array([fpr]), *roc(members, others))[0] == pytest.approx(found)


def test_a_copy_is_found_and_a_fresh_sample_is_not(fresh):
    (group, exposed) = fresh[1]["attacks"]["groups"]
    assert [curve["name"] for curve in group["curves"]] == [
        "distance", "calibrated distance", "density ratio", "classifier",
    ]  # fmt: skip
    assert (group["members"], group["others"], exposed["exposed"]) == (300, 600, True)
    copied = measured(people(0))[1]["attacks"]["groups"][0]["curves"]
    at = FPRS.index(0.01)
    assert copied[0]["roc"][at][1] > 0.9
    for curve in group["curves"]:
        assert curve["roc"][at][1] < 0.06
        assert curve["auc"]["low"] < 0.56
        assert curve["roc"][-1] == [1.0, 1.0]
        assert curve["tpr_at_0_1_percent"] is None  # 600 rows do not say
        rates = [rate for _, rate in curve["roc"]]
        assert rates == sorted(rates)


def test_an_attack_that_a_check_made_is_not_made_again(monkeypatch):
    made = []
    monkeypatch.setattr("tabsynth.metrics.membership.attack", lambda *a: made.append(a[1]) or attack(*a))
    evidence = Evidence(SCHEMA, people(0), people(1), people(2))
    asked = [check for check in POLICY if check.metric.name.startswith("membership")] + [*EXPOSED]
    evaluate(evidence, asked, np.random.default_rng(0), beside=False)
    before = list(made)
    assert before
    found = measure_curves(evidence, asked, np.random.default_rng(1))["attacks"]
    assert len(found["groups"][0]["curves"]) == 4
    assert made == before
    measure_curves(Evidence(SCHEMA, people(0), people(1), people(3)), asked, np.random.default_rng(1))
    assert len(made) > len(before)  # of evidence that nobody asked, they are


def test_the_most_exposed_rows_are_attacked_where_no_check_asks_for_them(fresh):
    whole = Evidence(SCHEMA, people(0), people(1), people(2))
    groups = measure_curves(whole, POLICY, np.random.default_rng(0))["attacks"]["groups"]
    assert [group["exposed"] for group in groups] == [False, True]
    names = [[curve["name"] for curve in group["curves"]] for group in groups]
    assert names[0] == names[1]


def test_what_does_not_fit_the_time_is_not_drawn_and_says_so(fresh, monkeypatch):
    evidence = fresh[0]
    nothing = measure_curves(evidence, POLICY, np.random.default_rng(0), seconds=0.0)
    assert {part["why_not"] for part in nothing.values()} == {OUT_OF_TIME}
    assert out_of_time(nothing) == ("roc_curves", "mixing_curve")
    assert out_of_time(fresh[1]) == ()
    monkeypatch.setattr("tabsynth.report.curves.mixing_curve", lambda *_, **__: time.sleep(30))
    some = measure_curves(evidence, POLICY, np.random.default_rng(0), seconds=5.0)
    assert out_of_time(some) == ("mixing_curve",)
    assert (
        "Not drawn. It did not fit the time that was given." in Page(build_report((), evidence, curves=some).html).text
    )


def test_the_budget_s_curve_stands_above_guessing(fresh, ledger):
    group, exposed = fresh[1]["attacks"]["groups"]
    assert [rate for fpr, rate in group["allowed"] if fpr == 0.01] == [pytest.approx(ledger.tpr_at_fpr(0.01), abs=1e-6)]
    assert all(rate >= fpr for fpr, rate in group["allowed"])
    assert exposed["allowed"] == []  # which rows are exposed is not what a budget speaks of
    nothing = measured(people(2), MATCH)[1]
    assert nothing["attacks"] == {"groups": [], "why_not": "no check of membership was made"}
    assert nothing["mixing"] == {"score": "", "rare_score": "", "points": []} | {
        "why_not": "no check of utility was made"
    }


def test_the_mixing_curve_shows_what_synthetic_rows_lack(fresh):
    found = fresh[1]["mixing"]
    assert found["score"] == "AUC"
    assert [point["share"] for point in found["points"]] == [0, 0.25, 0.5, 0.75, 1]
    noise = people(2).assign(**{"class": np.random.default_rng(3).permutation(people(2)["class"])})
    lost = measured(noise)[1]["mixing"]["points"]
    assert lost[-1]["overall"]["high"] < lost[0]["overall"]["low"]
    assert found["points"][-1]["overall"]["high"] > lost[0]["overall"]["low"]


def test_the_pages_say_what_they_lack_and_why(fresh, monkeypatch):
    evidence, curves = measured(people(2), holdout=False)
    page = Page(build_report((), evidence, curves=curves).html)
    assert page.text.count("Not drawn. It needs a holdout") == 2
    with monkeypatch.context() as broken_panel:
        broken_panel.setattr("tabsynth.report.curves.panel", lambda *_, **__: 1 / 0)
        crashed = measured(people(2))[1]
    assert crashed["attacks"]["why_not"] == "the measurement crashed (ZeroDivisionError)"
    assert crashed["mixing"]["points"]
    small = Evidence(SCHEMA, people(0, 400), people(1), people(2))
    part = measure_curves(small, POLICY + EXPOSED, np.random.default_rng(0))["attacks"]
    assert [group["exposed"] for group in part["groups"]] == [False]
    assert (
        "Some attacks are not drawn. The most exposed tenth"
        in Page(build_report((), small, curves=curves | {"attacks": part}).html).text
    )
    whole = build_report((), fresh[0], curves=fresh[1])
    jsonschema.validate(whole.to_dict(), json_schema())
    text = Page(whole.html).text
    assert "Not drawn." not in text
    for said in (
        "Random rows: 300 training rows, 600 holdout rows",
        "The most exposed tenth",
        "of the rarest class",
        "not measurable",
        "A rate at 0.1% is not measurable with fewer than 20,000 of them.",
    ):
        assert said in text
    broken = json.loads(whole.to_json())
    broken["attacks"]["groups"][0]["curves"][0]["roc"][0] = [0.5]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, json_schema())


def test_roc_curves_stand_where_logarithms_put_them():
    rates = [[0.001, 0.004], [0.01, 0.05], [0.1, 0.3], [1.0, 1.0]]
    drawn = roc_picture({"others": 1500, "curves": [{"roc": rates}], "allowed": rates})
    places = [tuple(map(float, place.split())) for place in drawn["curves"][0].strip("M").split("L")]
    slow = [(100 * (3 + math.log10(f)) / 3, 100 - 100 * (3 + math.log10(t)) / 3) for f, t in rates]
    assert np.array(places) == pytest.approx(np.array(slow), abs=0.01)
    assert drawn["allowed"] == drawn["curves"][0]
    assert drawn["unsure"] == pytest.approx(100 * (3 + math.log10(20 / 1500)) / 3, abs=0.01)
    few = roc_picture({"others": 15, "curves": [{"roc": rates}], "allowed": []})
    assert few["unsure"] == 100
    assert len(few["ticks"]) == 3


def test_the_rare_class_is_drawn_where_there_is_one():
    def point(share, overall, rare):
        return {"share": share} | {
            key: value and {"value": value, "low": value - 0.01, "high": value + 0.01}
            for key, value in (("overall", overall), ("rare", rare))
        }

    apart = mixing_picture([point(0.0, 0.9, 0.8), point(1.0, 0.7, 0.6)])
    assert [place["x"] for place in apart["rare"]] == [0, 100]
    assert apart["rare"][0]["value"] > apart["overall"][0]["value"]  # y grows downwards
    assert mixing_picture([point(0.0, 0.9, None), point(1.0, 0.7, None)])["rare"] == []


def test_weekdays_and_hours_are_those_of_the_calendar():
    rng = np.random.default_rng(0)
    column = Column("at", "datetime")
    moments = [pd.Series(pd.to_datetime(rng.integers(-1e9, 2e9, n), unit="s")) for n in (500, 300)]
    week, day = cycles(column, *moments)
    for side, series in zip(("real", "synthetic"), moments, strict=True):
        slow = [float((series.dt.day_of_week == weekday).mean()) for weekday in range(7)]
        assert [each[side] for each in week["bins"]] == pytest.approx(slow)
        slow = [float((series.dt.hour == hour).mean()) for hour in range(24)]
        assert [each[side] for each in day["bins"]] == pytest.approx(slow)
    assert cycles(column, pd.Series(pd.to_datetime([None])), moments[0]) == []
    days = pd.Series(pd.date_range("2024-03-01", periods=5))
    assert cycles(column, days, days) == []  # five days have no week to show


def test_real_rows_are_quoted_inside_and_nowhere_else(tmp_path):
    """Every real number is unlike any other, so that one of them anywhere in the release would be seen."""
    table = people(0).assign(x=np.random.default_rng(9).permutation(np.linspace(-8, 8, 600)) + 0.123456789)
    policy = tmp_path / "policy.yaml"
    policy.write_text("checks: [{metric: tvd1, at_most: 1}]", encoding="utf-8")
    ledger = Ledger(Budget(1.0, 1e-6))
    schema = Schema(SCHEMA.columns, rows=500)
    release_table(
        table,
        Independent(),
        lambda: ledger,
        tmp_path / "out",
        budgeted=True,
        schema=schema,
        asked=GateSettings(policy),
        rows=200,
    )
    inside = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "out.inside").iterdir()}
    sample = json.loads(inside["report.json"])["sample"]
    quoted = [row[0] for row in sample["real"]]
    assert len(quoted) == SAMPLE_ROWS
    assert set(quoted) <= {f"{value:.10g}" for value in table["x"]}
    assert all(number in inside["report.html"] for number in quoted)
    assert not any(number in inside[name] for number in quoted for name in ("report.md", "junit.xml"))
    outside = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".parquet"]
    said = "".join(path.read_text(encoding="utf-8") for path in outside)
    assert len(said) > 2000
    assert not any(number[:8] in said for number in quoted)
    assert not set(read_release(tmp_path / "out").rows()["x"]) & set(table["x"])
