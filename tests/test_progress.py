"""Bars for people: what they say, and that they are silent where nobody looks."""

import io
import re

import pytest
from rich.console import Console

from tabsynth import progress


@pytest.fixture
def screen(monkeypatch):
    """A terminal that keeps what is drawn on it."""
    drawn = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=drawn, force_terminal=True, width=100))
    return drawn


def test_a_bar_names_the_check_that_runs(screen):
    lines = []
    with progress.check_bar(2, lines.append, show=True) as starts:
        assert "checking" not in screen.getvalue()
        for name in ("ks", "tvd1 of [a].csv"):
            starts(name)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"checking tvd1 of \[a\]\.csv .* 1/2", text)
    assert lines == []


def test_where_nobody_looks_each_check_is_a_line(screen, monkeypatch):
    lines = []
    monkeypatch.setattr(progress, "someone_looks", lambda: False)
    with progress.check_bar(2, lines.append) as starts:
        starts("ks")
    assert (lines, screen.getvalue()) == (["ks"], "")
