"""A canary audit in the report of a release or of an audit: shown, held against the release, and decisive."""

import contextlib
import json
import shutil

import jsonschema
import numpy as np
import pandas as pd
import pytest

from tabsynth.audit.claim import Claim
from tabsynth.audit.result import Attack, AuditResult, Bound
from tabsynth.cli import run
from tabsynth.errors import InputError, Refused
from tabsynth.gate import GateSettings
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.report import json_schema
from tabsynth.report.audit_page import audit_report
from tabsynth.report.canaries import (
    read_audit,
    require_kept,
    require_same_claim,
    require_same_synthesizer,
)
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import plain
from tabsynth.walk import audit_tables, release_table

BUDGET = Budget(2.0, 1e-5)
HOSTILE = "<script>alert('x')</script>"


def audit(bound=0.5, against=2.0, synthesizer=None, budget=BUDGET):
    """An audit's report with two bounds, one of them given."""
    bounds = (
        Bound(HOSTILE, "one run", "nothing", 1.2 * bound, bound, against),
        Bound("critic (white box)", "one run, Gaussian curve", "a Gaussian's curve", 0.1, 0.05, float("inf")),
    )
    attacks = (Attack(HOSTILE, 0.6, 0.02, ((0.0, 0.0), (1.0, 1.0))),)
    result = AuditResult("independent", Claim(1.99, 1e-5, 0.5), bounds, attacks, 400, 2, 0.95)
    return audit_report(result, "attacked", synthesizer=synthesizer or Independent(), budget=budget)


@pytest.fixture
def folder(tmp_path):
    return audit().write(tmp_path / "attacked")


def test_the_numbers_are_read_back(folder):
    found = read_audit(folder)
    assert (found["verdict"], found["epsilon"]) == ("consistent", 0.5)
    assert (found["budget"], found["claim"]) == (
        {"epsilon": 2.0, "delta": 1e-5},
        {"epsilon": 1.99, "delta": 1e-5},
    )
    assert (found["canaries"], found["runs"], found["confidence"], found["generator"]["name"]) == (
        400,
        2,
        0.95,
        "independent",
    )
    assert [(b["method"], b["against"], b["exceeds"]) for b in found["bounds"]] == [
        ("one run", 2.0, False),
        ("one run, Gaussian curve", None, False),
    ]
    require_same_synthesizer(found, Independent())
    require_same_claim(found, BUDGET)
    require_kept(found, folder)


def altered(folder, change):
    path = folder / "audit.json"
    numbers = json.loads(path.read_text())
    path.write_text(change(numbers) or json.dumps(numbers))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda n: "{", "not JSON"),
        (lambda n: "[]", "not the numbers of a canary audit"),
        (lambda n: n.pop("bounds") and None, "not the numbers"),
        (lambda n: n.update(format="another"), "not the numbers"),
        (lambda n: n.update(generator=None), "not the numbers"),
        (lambda n: n.update(budget={"epsilon": "much"}), "not the numbers"),
        (lambda n: n["bounds"][0].update(jointly=3.0), "altered"),
        (lambda n: n.update(verdict="exceeds the claim"), "altered"),
    ],
)
def test_a_folder_that_is_no_audit_is_named(folder, change, rule):
    altered(folder, change)
    with pytest.raises(InputError, match=rf"audit\.json: .*{rule}"):
        read_audit(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="written by `tabsynth canary`"):
        read_audit(tmp_path / "nowhere")


def test_an_audit_of_something_else_is_refused(folder, monkeypatch):
    found = read_audit(folder)
    with pytest.raises(InputError, match=r"of bins .*; the release has 7"):
        require_same_synthesizer(found, Independent(bins=7))
    for fact, other in (("name", "marginals"), ("version", "0.0.1"), ("package", "mine")):
        changed = found | {"generator": found["generator"] | {fact: other}}
        with pytest.raises(InputError, match=rf"of {fact} '{other}'"):
            require_same_synthesizer(changed, Independent())
    more = found | {"generator": found["generator"] | {"settings": {"novel": 1} | found["generator"]["settings"]}}
    with pytest.raises(InputError, match="only one of the two knows 'novel'"):
        require_same_synthesizer(more, Independent())
    seeded = found | {"generator": found["generator"] | {"settings": {"seed": 9} | found["generator"]["settings"]}}
    require_same_synthesizer(seeded, Independent())  # a seed that may be published is no other synthesizer


def test_an_audit_of_a_smaller_budget_says_nothing_about_less_noise(folder):
    found = read_audit(folder)
    require_same_claim(found, Budget(1.0, 1e-6))  # one of a larger budget attacks less noise
    for larger in (Budget(2.1, 1e-5), Budget(2.0, 1e-4)):
        with pytest.raises(InputError, match="Audit it at its own budget"):
            require_same_claim(found, larger)
    for none in (None, Budget(float("inf"), 1e-5)):
        with pytest.raises(InputError, match="there is none"):
            require_same_claim(found, none)


# --- in the walk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def frame(people):
    return plain(people.private, people.schema)


def released(people, frame, tmp_path, canary, ledger=None, **settings):
    asked = GateSettings("small", canary=canary)
    options = {"budgeted": True, "schema": people.schema, "seed": 0, "asked": asked} | settings
    made = ledger or Ledger(BUDGET)
    with contextlib.suppress(Refused):  # of few rows some check may fail
        release_table(frame, Independent(), lambda: made, tmp_path / "out", **options)
    return json.loads((tmp_path / "out.inside" / "report.json").read_text()), tmp_path / "out.inside" / "report.html"


def test_a_release_shows_the_audit_and_publishes_nothing_of_it(people, frame, tmp_path, folder):
    report, page = released(people, frame, tmp_path, folder)
    jsonschema.validate(report, json_schema())
    assert report["canary"] == read_audit(folder)
    html = page.read_text()
    for text in ('id="canary"', 'href="#canary"', "Consistent with the claim.", "400 in 2 runs", "Gaussian curve"):
        assert text in html
    assert "<script" not in html
    for file in (tmp_path / "out").glob("*") if (tmp_path / "out").exists() else ():
        assert b"canar" not in file.read_bytes()


def test_a_report_without_an_audit_has_no_section(people, frame, tmp_path):
    report, page = released(people, frame, tmp_path, None)
    assert report["canary"] is None
    assert "canary" not in page.read_text()


@pytest.mark.parametrize(
    ("made", "settings", "error", "message"),
    [
        ({"bound": 3.0}, {}, Refused, "more than the synthesizer claims"),
        ({"synthesizer": Independent(bins=5)}, {}, InputError, "bins"),
        ({}, {"budgeted": False}, InputError, "there is none"),
        ({}, {"share": 0.1}, InputError, "charged gate"),
    ],
)
def test_nothing_is_charged_where_the_audit_forbids_it(people, tmp_path, made, settings, error, message):  # noqa: PLR0917
    canary, frame = audit(**made).write(tmp_path / "attacked"), plain(people.private, people.schema)
    asked = GateSettings(canary=canary, share=settings.pop("share", 0.0))
    settings = {"budgeted": True, "schema": people.schema, "asked": asked} | settings
    with pytest.raises(error, match=message):
        release_table(frame, Independent(), lambda: pytest.fail("opened"), tmp_path / "out", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attacked"]


def test_an_audit_of_a_smaller_budget_stops_the_release_before_a_charge(people, frame, tmp_path):
    canary = audit(budget=Budget(1.0, 1e-5)).write(tmp_path / "attacked")
    ledger = Ledger(BUDGET)
    with pytest.raises(InputError, match="of epsilon 1"):
        released(people, frame, tmp_path, canary, ledger)
    assert ledger.charges == ()


@pytest.mark.parametrize(("bound", "held"), [(0.5, True), (3.0, False)])
def test_an_audit_of_rows_fails_with_its_canaries(people, frame, tmp_path, bound, held):
    canary = audit(bound).write(tmp_path / "attacked")
    rng = np.random.default_rng(0)
    halves = np.array_split(rng.permutation(len(frame)), 3)
    train, holdout, rows = (frame.iloc[part].reset_index(drop=True) for part in halves)
    settings = {"schema": people.schema, "policy": "small", "seed": 0}
    before = audit_tables(train, holdout, rows, tmp_path / "plain", **settings)
    after = audit_tables(train, holdout, rows, tmp_path / "audited", canary=canary, **settings)
    assert after.passed == (before.passed and held)
    said = [reason for reason in after.report.contents["reasons"] if "canary" in reason]
    assert len(said) == (not held)
    page = (tmp_path / "audited" / "report.html").read_text()
    assert ("Exceeds the claim." in page) == (not held)
    assert ("The canary audit found more than the synthesizer claims" in page) == (not held)


# --- on the command line ---------------------------------------------------------------------------------------------


def test_from_canary_to_release(people, frame, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("people.csv", index=False)
    (tmp_path / "schema.json").write_text(json.dumps(people.schema.to_dict()))
    common = ["people.csv", "--schema", "schema.json", "--model", "independent", "--epsilon", "2", "--delta", "1e-5"]
    assert run(["canary", *common, "--set", "bins=5", "--canaries", "40", "-o", "attacked"]) == 0
    assert "bins" in (tmp_path / "attacked" / "audit.html").read_text()
    release = ["release", *common, "--policy", "small", "--canary", "attacked", "-o", "out"]
    capsys.readouterr()
    assert run(release) == 2
    assert "bins" in capsys.readouterr().err
    assert not (tmp_path / "people.csv.ledger").exists()
    assert run([*release, "--set", "bins=5"]) in {0, 3}
    assert json.loads((tmp_path / "out.inside" / "report.json").read_text())["canary"]["verdict"] == "consistent"
    shutil.rmtree("attacked")
    broken = audit(3.0, synthesizer=Independent(bins=5)).write("attacked")
    for name in ("train", "holdout", "rows"):
        pd.read_csv("people.csv").sample(200, random_state=len(name)).to_csv(f"{name}.csv", index=False)
    judged = ["audit", "--train", "train.csv", "--holdout", "holdout.csv", "--synthetic", "rows.csv", "--json"]
    capsys.readouterr()
    assert run([*judged, "--canary", str(broken), "-o", "judged"]) == 3
    assert not json.loads(capsys.readouterr().out)["passed"]
    again = [*release[:-1], "again", "--set", "bins=5"]
    assert run(again) == 3
    assert "more than the synthesizer claims" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "again.inside").exists()
