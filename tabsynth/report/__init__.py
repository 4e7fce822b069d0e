"""Verdicts and ledger as HTML, JSON, Markdown and JUnit XML, for inside eyes only."""

from tabsynth.report.build import Report, build_report
from tabsynth.report.comparison import Candidate, Comparison, compare
from tabsynth.report.curves import measure_curves
from tabsynth.report.json_schema import comparison_schema, json_schema

__all__ = [
    "Candidate",
    "Comparison",
    "Report",
    "build_report",
    "compare",
    "comparison_schema",
    "json_schema",
    "measure_curves",
]
