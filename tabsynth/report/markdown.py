"""The report as Markdown, short enough for a comment on a pull request: the verdict, why, and a table of checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tabsynth.report import words

MARKS = {"passed": "✅", "failed": "❌"}  # a comment shows no colours
NO_WIDTH = "\u200b"  # a space between @ and a name, which a backslash does not undo
HEADINGS = ("Check", "Tier", "Verdict", "Value", "Interval", "Training rows", "Independent columns", "Threshold")
RIGHT = {"Value", "Interval", "Training rows", "Independent columns"}


def markdown(report: Mapping[str, Any]) -> str:
    """Return report.md for the contents of a report: no row and no distribution of any table stands in it.

    Its numbers were computed from private rows all the same, and it says so.
    """
    rows, stamp = report["rows"], report["created"][:16].replace("T", " ")
    held = "no holdout" if rows["holdout"] is None else f"{rows['holdout']:,} holdout rows"
    blocks = [
        f"## {MARKS['passed' if report['passed'] else 'failed']} {words.headline(report)}: {escape(report['title'])}",
        f"> **{report['notice']}**",
        escape(words.summary(report)),
        "\n".join(f"- {escape(reason)}" for reason in words.reasons(report)),
        "\n".join(_answer(answer) for answer in words.answers(report)),
        _checks(report["checks"]),
        f"{rows['synthetic']:,} synthetic rows, {rows['train']:,} training rows, {held}. "
        f"tabsynth {report['tabsynth']}, {stamp} UTC. The whole report is report.html.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: str) -> str:
    r"""Return text that Markdown and the HTML within it show as it is, on one line, and that calls nobody by name.

    >>> escape("a|b <i>*c*</i>")
    'a\\|b &lt;i&gt;\\*c\\*&lt;/i&gt;'
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", plain).replace("@", f"@{NO_WIDTH}")


def _answer(answer: Mapping[str, str]) -> str:
    mark = MARKS.get(answer["status"], "➖")
    said = " ".join(filter(None, (answer["words"], answer["figure"])))
    return f"- {mark} **{escape(answer['question'])}** {escape(said)} ({escape(answer['count'])})"


def _checks(checks: list[dict[str, Any]]) -> str:
    """Return the table of checks, or nothing where none was made."""
    if not checks:
        return ""
    rule = ["---:" if heading in RIGHT else "---" for heading in HEADINGS]
    lines = [HEADINGS, rule, *(_row(check) for check in checks)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(check: Mapping[str, Any]) -> list[str]:
    found = words.measured(check["estimate"]) if check["estimate"] else None
    others = [words.measured(check[key])["value"] if check[key] else "" for key in ("ceiling", "baseline")]
    verdict = f"{MARKS.get(check['status'], '➖')} {words.status(check)}"
    value = [found["value"], f"{found['low']} to {found['high']}"] if found else ["not measured", ""]
    return [escape(check["name"]), check["tier"], verdict, *value, *others, words.thresholds(check)]
