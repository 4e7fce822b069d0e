"""A report as an object: shown in a notebook, written to a folder, or read as numbers."""

from __future__ import annotations

import json
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from tabsynth.metrics.evidence import Evidence
from tabsynth.policy import Verdict
from tabsynth.privacy.ledger import Ledger
from tabsynth.release import write_inside
from tabsynth.report.contents import contents
from tabsynth.report.junit import junit
from tabsynth.report.markdown import markdown
from tabsynth.report.page import page


@dataclass(frozen=True, eq=False)
class Report:
    """An inside report. Its numbers were computed from private rows: it is not for publication."""

    contents: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the release."""
        return bool(self.contents["passed"])

    @cached_property
    def html(self) -> str:
        """The whole page, self-contained."""
        return page(self.contents)

    def to_dict(self) -> dict[str, Any]:
        """Return every number of the page as plain JSON values, as `json_schema` describes them."""
        return dict(self.contents)

    def to_json(self) -> str:
        """Return `to_dict` as JSON text."""
        return json.dumps(self.contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def files(self) -> dict[str, str]:
        """Return the files of an inside folder by name."""
        return {
            "report.html": self.html,
            "report.json": self.to_json(),
            "report.md": markdown(self.contents),
            "junit.xml": junit(self.contents),
        }

    def write(self, folder: Path | str) -> Path:
        """Write the files to a new folder in one atomic step; raise InputError when that cannot be done."""
        return write_inside(folder, self)

    def show(self) -> None:
        """Show the page in the notebook, else in the browser, from a temporary folder that only the user can read."""
        if _in_notebook():
            from IPython.display import display

            # not IPython's HTML, which warns of every frame and knows no srcdoc
            said = {"text/html": self._repr_html_(), "text/plain": f"Inside report: {self.contents['title']}"}
            display(said, raw=True)  # type: ignore[no-untyped-call]
            return
        folder = write_inside(Path(tempfile.mkdtemp(prefix="tabsynth-")) / "inside", self)
        webbrowser.open((folder / "report.html").as_uri())

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its styles and the notebook's do not meet."""
        return (
            f'<iframe title="tabsynth inside report" srcdoc="{escape(self.html)}" '
            'style="width:100%;height:44rem;border:1px solid #8888"></iframe>'
        )


def build_report(
    verdicts: Sequence[Verdict],
    evidence: Evidence,
    *,
    ledger: Ledger | None = None,
    synthesizer: Any = None,
    title: str = "Synthetic table",
    settings: Mapping[str, Any] | None = None,
    canary: Mapping[str, Any] | None = None,
    curves: Mapping[str, Any] | None = None,
) -> Report:
    """Return the inside report on synthetic rows.

    Without a ledger it is an audit of rows that any tool made, and only the verdicts decide. `settings` are shown as
    they are (a policy's name, a seed that may be published). `canary` is an audit of `canaries.read_audit`: the report
    does not pass when it found more than is claimed. `curves` are those of `measure_curves`, to be drawn.
    """
    made = contents(
        verdicts,
        evidence,
        ledger=ledger,
        synthesizer=synthesizer,
        title=title,
        settings=settings,
        canary=canary,
        curves=curves,
    )
    return Report(made)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})
