"""The report as Markdown and as JUnit XML: the verdicts and their numbers, and no row of any table."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pandas as pd
import pytest
from verdicts import judged

from tabsynth.metrics.evidence import Evidence
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.report import build_report, json_schema
from tabsynth.report.markdown import escape
from tabsynth.schema import Column, Schema

SECRET = "zq7-private-value"
HOSTILE = "<b>a|b</b>\x00 *c*\n# d @e"


VERDICTS = (
    judged("tvd1", "fidelity", "passed", 0.06, at_most=0.15, counted_from="ceiling"),
    judged("tstr", "utility", "not applicable", reason="No target is declared.", at_least=0.5),
    judged("auc", "privacy", "failed", 0.81, reason=f"0.81 is too much {HOSTILE}", at_most=0.65),
    judged("crash", "fidelity", "failed", reason="The metric crashed (ValueError).", at_most=1.0),
)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"收入": rng.choice([SECRET, "b"], 50), "age": rng.random(50)}) for _ in range(3)]
    return Evidence(Schema((Column("收入", "categorical"), Column("age", "float"))), *frames)


@pytest.fixture(scope="module")
def files(evidence) -> dict[str, str]:
    return build_report(VERDICTS, evidence, title=HOSTILE).files()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# --- Markdown --------------------------------------------------------------------------------------------------------


def test_the_verdict_stands_first_and_then_why(files):
    heading, *rest = files["report.md"].splitlines()
    assert heading.startswith("## ❌ Failed: ")
    said = "\n".join(rest)
    order = ["INSIDE.", "1 of 4 checks held, 2 failed", "auc failed: 0.81 is too much", "Can I use it?", "| Check |"]
    places = [said.index(escape(part) if part != "| Check |" else part) for part in order]
    assert places == sorted(places)


def test_every_check_is_a_row_with_its_numbers(files):
    table = [cells(line) for line in files["report.md"].splitlines() if line.startswith("| ")]
    assert {len(row) for row in table} == {8}
    rows = {row[0]: row for row in table[2:]}
    assert list(rows) == ["tvd1", "tstr", "auc", "crash"]
    assert rows["tvd1"][1:] == [
        *("fidelity", "✅ passed", "0.060", "0.040 to 0.090", "0.050", "0.600", "at most ceiling + 0.15"),
    ]
    assert rows["crash"][2:5] == ["❌ failed", "not measured", ""]
    assert rows["tstr"][2] == "➖ not applicable"


def test_no_row_of_a_table_stands_in_the_texts(files):
    assert SECRET in files["report.html"]  # the page may show it: the search can find it
    for name in ("report.md", "junit.xml"):
        assert SECRET not in files[name]
        assert "收入" not in files[name]


def test_nothing_in_the_markdown_is_obeyed(files):
    text = files["report.md"]
    assert "<b>" not in text
    assert "&lt;b&gt;a\\|b&lt;/b&gt;" in text
    assert not re.search(r"^# d", text, re.MULTILINE)
    assert "@e" not in text


def test_without_checks_there_is_no_table(evidence):
    text = build_report((), evidence).files()["report.md"]
    assert "No check was made." in text
    assert "| Check |" not in text


# --- JUnit -----------------------------------------------------------------------------------------------------------


def suite(xml: str) -> ET.Element:
    """Parse and hold the counts against the cases."""
    root = ET.fromstring(xml)
    assert root.tag == "testsuites"
    (found,) = root
    cases = found.findall("testcase")
    assert len(cases) == len(found)
    for element in (root, found):
        assert int(element.attrib["tests"]) == len(cases)
        assert int(element.attrib["errors"]) == 0
        for count, tag in (("failures", "failure"), ("skipped", "skipped")):
            assert int(element.attrib[count]) == sum(case.find(tag) is not None for case in cases)
    return found


def test_every_check_is_a_test_case(files):
    found = suite(files["junit.xml"])
    cases = {case.attrib["name"]: case for case in found}
    assert list(cases) == ["tvd1", "tstr", "auc", "crash"]
    assert cases["auc"].attrib == {"classname": "tabsynth.privacy", "name": "auc", "time": "0.500"}
    failure = cases["auc"].find("failure")
    assert failure.attrib["message"].startswith("0.81 is too much <b>a|b</b>�")
    assert "synthetic rows 0.810, 0.790 to 0.840" in failure.text
    assert cases["crash"].find("failure").attrib["message"] == "The metric crashed (ValueError)."
    assert cases["tstr"].find("skipped").attrib["message"] == "No target is declared."
    assert [child.tag for child in cases["tvd1"]] == ["system-out"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", found.attrib["timestamp"])
    assert float(found.attrib["time"]) == pytest.approx(2.0)


def test_it_fails_exactly_when_the_report_does(evidence):
    passing = build_report(VERDICTS[:1], evidence)
    assert passing.passed
    assert suite(passing.files()["junit.xml"]).attrib["failures"] == "0"
    still_open = build_report(VERDICTS[:1], evidence, ledger=Ledger(Budget(1.0, 1e-6)))
    assert not still_open.passed
    failed = [case.attrib for case in suite(still_open.files()["junit.xml"]) if case.find("failure") is not None]
    assert {case["classname"] for case in failed} == {"tabsynth.gate"}
    assert any("still open" in case["name"] for case in failed)
    nothing = suite(build_report((), evidence).files()["junit.xml"])
    assert [case.attrib["name"] for case in nothing] == ["no check was made"]
    assert nothing.attrib["failures"] == "1"


# --- Left out --------------------------------------------------------------------------------------------------------


def test_what_did_not_fit_the_time_is_called_so_everywhere(evidence):
    reason = "Left out of a budget of 2 s: some 9 s were expected of it."
    out = replace(judged("tstr", "utility", "not applicable", reason=reason, at_least=0.5), left_out=True)
    must = replace(judged("auc", "privacy", "failed", reason=reason, at_most=0.6), left_out=True)
    skipped = judged("text_replay", "privacy", "not applicable", reason="No text.", at_most=0.1)
    fits = build_report((VERDICTS[0], out, skipped), evidence)
    assert fits.passed
    jsonschema.validate(fits.to_dict(), json_schema())
    assert [check["left_out"] for check in fits.to_dict()["checks"]] == [False, True, False]
    said = (
        "Every check that was made held, 1 in all; 1 did not apply to this table; 1 did not fit the time that was given"
    )
    for name in ("report.html", "report.md"):
        assert said in fits.files()[name]
        assert "left out" in fits.files()[name]
    assert "Not measured: the checks that ask did not fit the time that was given." in fits.html
    cases = {case.attrib["name"]: case for case in suite(fits.files()["junit.xml"])}
    assert cases["tstr"].find("skipped").attrib["message"] == reason
    assert cases["tstr"].find("system-out").text.startswith("tstr: left out")
    refused = build_report((VERDICTS[0], must), evidence)
    assert not refused.passed
    assert "left out: failed" in refused.html
    assert "1 of 2 checks held, 1 failed." in refused.html
