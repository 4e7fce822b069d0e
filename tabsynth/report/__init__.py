"""Verdicts and ledger as HTML, JSON, Markdown and JUnit XML, for inside eyes only."""

from tabsynth.report.build import Report, build_report
from tabsynth.report.json_schema import json_schema

__all__ = ["Report", "build_report", "json_schema"]
