"""The verdicts as JUnit XML, which every continuous integration shows: one test case a check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from tabsynth.report import words

NOT_XML = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # what XML 1.0 cannot hold, escaped or not
GATE = "gate"


def junit(report: Mapping[str, Any]) -> str:
    """Return junit.xml for the contents of a report: it holds a failure exactly when the report did not pass.

    A check that failed is a failure with its reason, one that did not apply is skipped. What speaks against the table
    beside its checks (a ledger that was left open, say) is a test case of the gate each.
    """
    checks = report["checks"]
    cases = [_case(check) for check in checks]
    cases += [_reason(reason) for reason in report["reasons"] if reason not in _of_checks(checks)]
    counted = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{sum(check['seconds'] for check in checks):.3f}",
    }
    root = ET.Element("testsuites", {"name": "tabsynth", **counted})
    stamp = report["created"].removesuffix("+00:00")
    suite = ET.SubElement(root, "testsuite", {"name": _text(report["title"]), **counted, "timestamp": stamp})
    suite.extend(cases)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _case(check: Mapping[str, Any]) -> ET.Element:
    """Return the test case of one check, with its numbers as its output."""
    name, seconds = _text(check["name"]), f"{check['seconds']:.3f}"
    case = ET.Element("testcase", {"classname": f"tabsynth.{check['tier']}", "name": name, "time": seconds})
    reason = _text(check["reason"])
    if check["status"] == "failed":
        failure = ET.SubElement(case, "failure", {"type": check["tier"], "message": reason})
        failure.text = _text(words.spoken(check))
    elif check["status"] != "passed":
        ET.SubElement(case, "skipped", {"message": reason})
    ET.SubElement(case, "system-out").text = _text(words.spoken(check))
    return case


def _reason(reason: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": f"tabsynth.{GATE}", "name": _text(reason), "time": "0.000"})
    ET.SubElement(case, "failure", {"type": GATE, "message": _text(words.sentence(reason))})
    return case


def _of_checks(checks: list[dict[str, Any]]) -> set[str]:
    """Return the reasons that repeat the verdict of a check."""
    return {f"the check {check['name']} failed" for check in checks if check["status"] == "failed"}


def _text(text: str) -> str:
    return NOT_XML.sub("�", str(text))
