"""`tabsynth canary`: a page, numbers, exit codes; nothing half-written, no private value said."""

import json

import pytest

from tabsynth.audit.claim import Claim
from tabsynth.audit.result import Attack, AuditResult, Bound
from tabsynth.audit.synthesizers import audit_synthesizer
from tabsynth.cli import run
from tabsynth.privacy.budget import Budget
from tabsynth.report.audit_page import audit_report
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import plain


@pytest.fixture
def files(people, tmp_path):
    plain(people.private, people.schema).to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "schema.json").write_text(json.dumps(people.schema.to_dict()))
    return tmp_path


def canary(files, *more, canaries="40", epsilon="2"):
    arguments = ["canary", str(files / "people.csv"), "--schema", str(files / "schema.json"), "--model", "independent"]
    numbers = ["--epsilon", epsilon, "--delta", "1e-5", "--canaries", canaries]
    return run([*arguments, *numbers, "-o", str(files / "out"), "--json", *more])


def test_a_clean_model_is_consistent(files, capsys):
    assert canary(files, "--runs", "2") == 0
    said = json.loads(capsys.readouterr().out)
    written = json.loads((files / "out" / "audit.json").read_text())
    assert said["verdict"] == written["verdict"] == "consistent"
    assert written["runs"] == 2
    assert written["canaries"] == 80
    page = (files / "out" / "audit.html").read_text()
    assert "Consistent with the claim" in page
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert sorted(path.name for path in files.iterdir()) == ["out", "people.csv", "schema.json"]


def test_a_model_that_leaks_exits_with_3(files, monkeypatch, capsys):
    from tabsynth.privacy import mechanisms

    monkeypatch.setattr(mechanisms, "_discrete_gaussian", lambda counts, scale, secret: counts)
    assert canary(files, "--runs", "8", canaries="25", epsilon="0.5") == 3
    assert json.loads(capsys.readouterr().out)["verdict"] == "exceeds the claim"
    assert "Exceeds the claim" in (files / "out" / "audit.html").read_text()


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ([], {"canaries": "601"}),
        ([], {"canaries": "0"}),
        ([], {"epsilon": "-1"}),
        ([], {"epsilon": "inf"}),
        (["--runs", "0"], {}),
        (["--model", "nothing"], {}),
        (["--schema", "nowhere.json"], {}),
        (["--delta", "1"], {}),
        (["--confidence", "2"], {}),
    ],
)
def test_bad_input_exits_with_2_and_writes_nothing(files, capsys, more, settings):
    assert canary(files, *more, **settings) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert "600" not in said["message"]
    assert sorted(path.name for path in files.iterdir()) == ["people.csv", "schema.json"]


def test_an_output_that_exists_is_left_alone(files):
    (files / "out").mkdir()
    assert canary(files) == 2
    assert list((files / "out").iterdir()) == []


def test_the_page_holds_the_numbers_and_escapes_names(people):
    bound = Bound("<b>attack</b>", "one run", "nothing", 2.5, 2.25, 1.0)
    attack = Attack("<b>attack</b>", 0.75, 0.1, ((0.0, 0.0), (0.5, 0.8), (1.0, 1.0)))
    result = AuditResult("a<i>", Claim(1.0, 1e-5, 0.27), (bound,), (attack,), 100, 1, 0.95)
    page = audit_report(result, title="t<u>").html
    for text in ("<b>", "<i>", "<u>"):
        assert text not in page
    for text in ("2.5", "2.25", "Exceeds the claim", "M84.95 4.85L100 0", "<td>0.750</td>"):
        assert text in page


def test_the_numbers_hold_no_private_value(people):
    """The audit's page and numbers are inside, and still hold no value of a row: rates and bounds only."""
    result = audit_synthesizer(people, Independent(), Budget(1.0, 1e-5), canaries=20, rows=50)
    text = json.dumps(result.to_dict())
    assert not any(f'"{city}"' in text for city in people.private["city"].unique())
