"""An audit's result as audit.html and audit.json, for inside eyes only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabsynth.audit.result import AuditResult
from tabsynth.privacy.budget import Budget
from tabsynth.release import write_inside
from tabsynth.release.provenance import generator
from tabsynth.report.graphs import canary_group
from tabsynth.report.page import environment

HTML, JSON = "audit.html", "audit.json"
FORMAT = "tabsynth audit"


@dataclass(frozen=True, eq=False)
class AuditReport:
    """An audit in words, pictures and numbers. It was made with private rows: it is not for publication."""

    contents: Mapping[str, Any]

    @cached_property
    def html(self) -> str:
        """The whole page, self-contained."""
        bounds = sorted(self.contents["bounds"], key=lambda bound: -bound["epsilon"])
        made = self.contents["generator"]
        return (
            environment()
            .get_template("audit.html.j2")
            .render(
                r=self.contents,
                broken=self.contents["verdict"] != "consistent",
                bounds=bounds,
                best=bounds[0] if bounds else None,
                made=made,
                drawn=canary_group(self.contents),
            )
        )

    def files(self) -> dict[str, str]:
        """Return the files of the audit's folder by name."""
        text = json.dumps(self.contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return {HTML: self.html, JSON: text}

    def write(self, folder: Path | str) -> Path:
        """Write the files to a new folder in one atomic step; raise InputError when that cannot be done."""
        return write_inside(folder, self)


def audit_report(
    result: AuditResult, title: str = "Audit", *, synthesizer: Any = None, budget: Budget | None = None
) -> AuditReport:
    """Return the report on an audit; with the synthesizer and the budget that it was of, a release can refer to it."""
    made = {
        "format": FORMAT,
        "title": title,
        "created": datetime.now(UTC).isoformat(),
        "tabsynth": version("tabsynth"),
        "generator": None if synthesizer is None else generator(synthesizer),
        "budget": None if budget is None else budget.to_dict(),
    }
    return AuditReport(made | result.to_dict())
