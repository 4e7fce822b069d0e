"""Several tables in one report: side by side, in one picture, and with the price of choosing."""

import json
import math

import jsonschema
import numpy as np
import pytest
from test_page import CHINESE, HOSTILE, Page, asks_the_network

from tabsynth.errors import InputError
from tabsynth.metrics.estimate import Estimate
from tabsynth.policy import Verdict
from tabsynth.report.comparison import Candidate, charge, compare, side_by_side
from tabsynth.report.json_schema import comparison_schema
from tabsynth.report.pareto import axes, front, picture


def verdict(name, tier, value, passed=True, **limits):
    bounds = {"at_least": -math.inf, "at_most": math.inf, "counted_from": "zero"} | limits
    estimate = None if value is None else Estimate(value, value - 0.05, value + 0.05)
    status, nothing = "passed" if passed else "failed", (None, None)
    return Verdict(name, tier, status, "" if passed else "No.", estimate, *nothing, **bounds, seconds=0.1)


def candidate(name, useful, told, passed=True):
    return Candidate(
        name,
        100,
        (
            verdict("tstr_ratio", "utility", useful, at_least=0.5),
            verdict("exact_match", "privacy", 0.0, at_least=-0.1, at_most=0.1),
            verdict("membership_auc", "privacy", told, passed, at_most=0.65),
        ),
    )


TABLES = (
    candidate(HOSTILE, 0.9, 0.6),
    candidate(CHINESE, 0.7, 0.5),
    candidate("beaten.csv", 0.6, 0.55),
    candidate("copy.csv", 1.0, 0.95, passed=False),
)


@pytest.fixture(scope="module")
def comparison():
    return compare(TABLES, train=1000, holdout=500, settings={"policy": "default"})


def test_the_picture_is_spanned_by_what_most_policies_ask(comparison):
    assert comparison.contents["axes"] == {
        "utility": {"check": "tstr_ratio", "better": "higher"},
        "privacy": {"check": "membership_auc", "better": "lower"},
    }
    assert {t["name"] for t in comparison.contents["tables"] if t["front"]} == {HOSTILE, CHINESE}


def test_better_is_up_and_to_the_right(comparison):
    points = {point["name"]: point for point in picture(comparison.contents)["points"]}
    assert points[HOSTILE]["x"]["value"] > points[CHINESE]["x"]["value"] > points["beaten.csv"]["x"]["value"]
    assert points[CHINESE]["y"]["value"] > points[HOSTILE]["y"]["value"] > points["copy.csv"]["y"]["value"]
    places = [place for point in points.values() for side in "xy" for place in point[side].values()]
    assert min(places) >= 0
    assert max(places) <= 100


def test_the_limits_stand_where_the_checks_have_them(comparison):
    drawn = picture(comparison.contents)
    for side, limit in (("utility", 0.5), ("privacy", 0.65)):
        ticks = sorted((float(tick["text"]), tick["at"]) for tick in drawn["ticks"][side])
        assert drawn["limits"][side] == pytest.approx(np.interp(limit, *zip(*ticks, strict=True)), abs=0.02)
    counted = {"at_least": 0.1, "counted_from": "baseline"}
    tables = [
        Candidate(name, 9, (verdict("tstr_ratio", "utility", 0.8, **counted), verdict("m", "privacy", 0.5, at_most=1)))
        for name in "ab"
    ]
    assert picture(compare(tables, train=9, holdout=9).contents)["limits"]["utility"] is None
    assert "refused: membership_auc" in comparison.html


def test_the_front_is_that_of_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(20):
        numbers = rng.integers(0, 5, (8, 2)) / 4
        plain = compare([candidate(str(i), a, b) for i, (a, b) in enumerate(numbers)], train=10, holdout=9).contents
        tables = plain["tables"]
        slow = {
            str(i)
            for i, (a, b) in enumerate(numbers)
            if not any((c >= a and d <= b) and (c > a or d < b) for c, d in numbers)
        }
        assert front(tables, axes(tables)) == slow


def test_what_was_not_measured_is_not_drawn():
    tables = (candidate("a", 0.9, None, passed=False), candidate("b", 0.8, 0.5), candidate("c", 0.7, 0.5))
    found = compare(tables, train=10, holdout=None)
    assert [point["name"] for point in picture(found.contents)["points"]] == ["b", "c"]
    assert "not drawn" in Page(found.html).text
    nothing = compare([candidate(name, 0.9, None, passed=False) for name in "ab"], train=10, holdout=None)
    assert nothing.contents["axes"] is None
    assert "there is nothing to draw" in Page(nothing.html).text


def test_without_a_target_fidelity_stands_for_utility():
    tables = [
        Candidate(
            name,
            5,
            (verdict("tvd1", "fidelity", gap, at_most=0.2), verdict("linkability", "privacy", told, at_most=0.3)),
        )
        for name, gap, told in (("a", 0.1, 0.1), ("b", 0.15, 0.12))
    ]
    found = compare(tables, train=10, holdout=9).contents
    assert [found["axes"][side]["check"] for side in ("utility", "privacy")] == ["tvd1", "linkability"]
    assert [table["front"] for table in found["tables"]] == [True, False]


def test_the_page_is_whole_and_asks_nothing_of_the_network(comparison):
    page = Page(comparison.html)
    assert (page.unbalanced, page.open) == ([], [])
    assert asks_the_network(comparison.html) == []
    assert HOSTILE not in comparison.html
    for said in (HOSTILE, CHINESE, "Choosing by these numbers leaks", "up to 2 bits", "3 of 4 hold every check"):
        assert said in page.text
    assert all(svg.get("aria-label") or "aria-hidden" in svg for svg in page.all("svg"))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {a["href"][1:] for a in page.all("a")} <= ids


def test_the_checks_stand_side_by_side_privacy_first(comparison):
    lines = side_by_side(comparison.contents)
    assert [line["name"] for line in lines] == ["exact_match", "membership_auc", "tstr_ratio"]
    assert [check["estimate"]["value"] for check in lines[1]["checks"]] == [0.6, 0.5, 0.55, 0.95]


def test_the_price_of_a_choice_holds_for_the_exponential_mechanism():
    """Against its exact law: the chance of a score that lies further below the best than is said is 5% at most."""
    rng = np.random.default_rng(1)
    for tables, rows in ((2, 100), (4, 1000), (50, 300)):
        paid = charge(tables, rows)
        beyond = []
        for scale in (0.5, 1.0, 1.001, 3.0):  # of the loss: all others just beyond it are the worst case
            scores = np.r_[1.0, np.full(tables - 1, 1.0 - scale * paid["loss"]) - 1e-9 * rng.random(tables - 1)]
            weights = np.exp(paid["epsilon"] * rows * (scores - 1) / 2)
            beyond.append(float(weights[scores < 1 - paid["loss"]].sum() / weights.sum()))
        assert max(beyond) <= 0.05
        assert max(beyond) > 0.02  # and the price is not a loose one


@pytest.mark.parametrize(
    ("tables", "rule"),
    [
        (TABLES[:1], "two tables at least"),
        ((TABLES[0], TABLES[0]), "a name of its own"),
        ((TABLES[0], Candidate("b", 5, TABLES[1].verdicts[:2])), "the same checks"),
    ],
)
def test_what_cannot_be_compared_is_refused(tables, rule):
    with pytest.raises(InputError, match=rule):
        compare(tables, train=10, holdout=9)


def test_the_json_validates(comparison):
    jsonschema.Draft202012Validator.check_schema(comparison_schema())
    nothing = compare([candidate(name, 0.9, None, passed=False) for name in "ab"], train=10, holdout=None)
    for found in (comparison, nothing):
        jsonschema.validate(json.loads(found.files()["comparison.json"]), comparison_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(dict(comparison.contents) | {"axes": {}}, comparison_schema())


def test_it_is_written_once_and_as_json(comparison, tmp_path):
    folder = comparison.write(tmp_path / "compared")
    assert sorted(p.name for p in folder.iterdir()) == ["DO-NOT-SHARE.txt", "comparison.html", "comparison.json"]
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8")) == comparison.contents
    with pytest.raises(InputError, match="already exists"):
        comparison.write(folder)
