"""The inside report as a page: self-contained, escaped, accessible, and the same numbers as its JSON."""

import json
import math
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise

import jsonschema
import numpy as np
import pandas as pd
import pytest
from dp_accounting import GaussianDpEvent
from verdicts import judged

from tabsynth.errors import InputError
from tabsynth.metrics.evidence import Evidence
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.report import build_report, json_schema
from tabsynth.report.contents import LETTERS
from tabsynth.schema import Column, Schema

HOSTILE = "<script>alert('x')</script>\"&"
CHINESE = "收入（元）"


@dataclass(frozen=True)
class Plain:
    name = "plain"
    note: str = HOSTILE


def frame(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            HOSTILE: pd.Categorical(rng.choice([HOSTILE, "b", "c"], n)),
            CHINESE: np.where(rng.random(n) < 0.5, 0.0, rng.lognormal(3, 1, n).round(2)),
            "age": pd.array(rng.integers(0, 99, n), dtype="Int64"),
            "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D"),
            "ill": pd.array(rng.random(n) < 0.1, dtype="boolean"),
        }
    )


SCHEMA = Schema(
    (
        Column(HOSTILE, "categorical", nullable=True),
        Column(CHINESE, "float", decimals=2),
        Column("age", "integer", bounds=(0, 99)),
        Column("day", "datetime"),
        Column("ill", "boolean", roles=("target",)),
    )
)


VERDICTS = (
    judged("tvd1", "fidelity", "passed", 0.06, at_most=0.15, counted_from="ceiling"),
    judged("tstr", "utility", "not applicable", reason="No target is declared.", at_least=0.5),
    judged("auc", "privacy", "failed", 0.81, reason=f"0.81 is too much {HOSTILE}", at_most=0.65),
    judged("match", "privacy", "passed", 0.01, at_least=-0.05, at_most=0.05),
    judged("crash", "fidelity", "failed", reason="The metric crashed (ValueError).", at_most=1.0),
)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    rng = np.random.default_rng(0)
    rows = frame(rng, 400)
    rows.loc[:40, HOSTILE] = None
    return Evidence(SCHEMA, frame(rng, 500), frame(rng, 300), rows)


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    paid = Ledger(Budget(1.0, 1e-6))
    for _ in range(3):
        paid.charge(GaussianDpEvent(20.0), why=f"counts of {HOSTILE}")
    paid.spend_rest(GaussianDpEvent, why="the rest")
    return paid


@pytest.fixture(scope="module")
def report(evidence, ledger):
    settings = {"policy": "default", "limit": math.inf}
    return build_report(VERDICTS, evidence, ledger=ledger, synthesizer=Plain(), title=HOSTILE, settings=settings)


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the page."""

    VOID = frozenset({"meta", "link", "br", "wbr", "img", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(report) -> Page:
    return Page(report.html)


def asks_the_network(html: str) -> list[str]:
    """List whatever in a page could make a browser load something."""
    page = Page(html)
    loads = ("src", "srcset", "data", "action", "poster", "background", "xlink:href")
    found = [tag for tag, _ in page.tags if tag in {"script", "link", "img", "iframe", "object", "embed", "base"}]
    found += [f"{tag} {key}" for tag, attrs in page.tags for key in loads if key in attrs]
    found += [f"href {a['href']}" for _, a in page.tags if "href" in a and not str(a["href"]).startswith("#")]
    return found + re.findall(r"url\([^)]*\)|@import|https?://|srcdoc", html)


def test_the_page_asks_nothing_of_the_network(report):
    assert asks_the_network(report.html) == []
    planted = report.html.replace("</main>", '<img src="https://a.example/b.png"></main>')
    assert asks_the_network(planted) == ["img", "img src", "https://"]


def test_the_page_is_well_formed_and_nothing_in_it_is_obeyed(page, report):
    assert (page.unbalanced, page.open) == ([], [])
    assert HOSTILE not in report.html
    assert page.text.count(HOSTILE) >= 6  # title, check, column, level, charge, setting
    assert CHINESE in page.text
    assert "&amp;lt;" not in report.html


def test_the_page_can_be_heard_and_walked(page):
    (root,) = page.all("html")
    assert root["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for svg in page.all("svg"):
        nested = "overflow" in svg
        assert nested or "aria-hidden" in svg or (svg.get("role") == "img" and svg.get("aria-label"))
    assert page.all("th")
    assert all("scope" in th for th in page.all("th"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids)


def test_the_page_warns_first_and_then_says_why(page, report):
    assert page.text.index("INSIDE: do not publish.") < page.text.index(" Refused\n") < page.text.index("In short")
    assert not report.passed
    assert "auc failed: 0.81 is too much" in page.text
    assert "2 of 5 checks held, 2 failed; 1 did not apply" in page.text
    for words in ("at most ceiling + 0.15", "No target is declared.", "The metric crashed", "epsilon = 0.99"):
        assert words in page.text


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_has_contrast_in_every_theme(report):
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    themes = re.findall(r":root \{(.*?)\}", report.html, re.S)
    assert len(themes) == 3  # light, dark, print
    for theme in themes:
        short = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", theme))
        colours = {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in short.items()}
        for ink in ("ink", "soft", "accent", "good", "bad", "c0", "c1", "c2", "c3", "c4", "c5"):
            assert min(contrast(colours[ink], colours[ground]) for ground in ("paper", "card")) >= 4.5, ink
        assert contrast(colours["warn-ink"], colours["warn-paper"]) >= 4.5


def test_the_json_validates_and_holds_the_page_s_numbers(report, page):
    jsonschema.Draft202012Validator.check_schema(json_schema())
    plain = json.loads(report.to_json())
    jsonschema.validate(plain, json_schema())
    assert plain == report.to_dict()
    assert [check["status"] for check in plain["checks"]] == [v.status for v in VERDICTS]
    assert plain["checks"][0]["limits"] == {"at_least": None, "at_most": pytest.approx(0.2)}
    assert plain["checks"][0]["at_most"] == 0.15
    assert plain["rows"] == {"train": 500, "holdout": 300, "synthetic": 400}
    del plain["checks"][0]["limits"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, json_schema())


def test_equal_charges_stand_in_one_line(page):
    (charges,) = re.findall(r"Own delta(.*?)A sample of", page.text, re.S)
    assert charges.count("counts of") == 1
    assert "\n3counts of" in charges


def test_many_charges_are_summed_up_and_listed(evidence):
    paid = Ledger(Budget(1.0, 1e-6))
    for column in "abcdefghijklm":
        paid.charge(GaussianDpEvent(ord(column) - 47.0), why=f"grid of '{column}'")
    paid.spend_rest(GaussianDpEvent, why="the rest")
    html = build_report(VERDICTS, evidence, ledger=paid).html
    summed, listed = html.split("<details>")
    assert "14 charges by what they paid for" in summed
    assert '<td class="n">13</td><td>grid</td><td>gaussian noise (noise multiplier 50 to 62)</td>' in summed
    assert "grid of &#39;" not in summed
    assert listed.count("grid of &#39;") == 13


def test_a_long_cell_is_cut(evidence):
    texts = pd.DataFrame({"note": ["word " * 400, "short"] * 20})
    report = build_report(VERDICTS, Evidence(Schema((Column("note", "categorical"),)), texts, None, texts))
    shown = {cell for row in report.to_dict()["sample"]["synthetic"] for cell in row}
    assert "short" in shown
    assert max(map(len, shown)) == LETTERS


def test_an_audit_needs_no_ledger_and_says_so(evidence):
    passed = build_report(VERDICTS[:2], evidence)
    assert passed.passed
    assert "This says nothing about how the rows were made." in Page(passed.html).text
    assert "Privacy ledger" not in passed.html
    jsonschema.validate(passed.to_dict(), json_schema())
    empty = build_report((), evidence)
    assert not empty.passed
    assert "No check was made." in Page(empty.html).text


def test_a_ledger_without_a_budget_is_called_not_private(evidence):
    ledger = Ledger(None)
    ledger.spend_rest(GaussianDpEvent, why="everything")
    text = Page(build_report(VERDICTS[:2], evidence, ledger=ledger).html).text
    assert "∞, not private" in text
    assert "Not differentially private: epsilon is infinite." in text


def test_a_wide_table_stays_small():
    rng = np.random.default_rng(0)
    names = [f"column {i}" for i in range(200)]
    columns = tuple(Column(name, "float" if i % 2 else "categorical") for i, name in enumerate(names))
    numbers, letters = rng.random((60, 200)), rng.choice(list("abcdefghijkl"), (60, 200))
    table = pd.DataFrame({name: (numbers if i % 2 else letters)[:, i] for i, name in enumerate(names)})
    report = build_report(VERDICTS, Evidence(Schema(columns), table, None, table))
    assert len(report.html.encode()) < 5e6
    assert len(report.to_dict()["associations"]["left_out"]) == 200 - 36
    jsonschema.validate(report.to_dict(), json_schema())


def test_awkward_tables_are_shown(evidence):
    one = pd.DataFrame({"a": pd.Categorical(["x"]), "b": [1.0], "c": pd.to_datetime(["2020-01-01"])})
    none = pd.DataFrame({"a": pd.Categorical([None], categories=["x"]), "b": [np.nan], "c": pd.to_datetime([None])})
    texts = pd.Categorical([str(i) for i in range(10_000)])
    many = pd.DataFrame({"a": texts, "b": np.full(10_000, 1e300), "c": one["c"][0]})
    schema = Schema((Column("a", "categorical"), Column("b", "float"), Column("c", "datetime")))
    for real in (one, none, many):
        for synthetic in (one, none, many):
            report = build_report(VERDICTS, Evidence(schema, real, None, synthetic))
            jsonschema.validate(report.to_dict(), json_schema())
            assert Page(report.html).unbalanced == []
    single = build_report(VERDICTS, Evidence(Schema((Column("a", "categorical"),)), one[["a"]], None, one[["a"]]))
    assert "The table has a single column." in single.html


def test_in_a_notebook_the_page_stands_in_a_frame_of_its_own(report):
    (frame_,) = Page(report._repr_html_()).all("iframe")
    assert frame_["srcdoc"] == report.html


def test_outside_a_notebook_it_is_shown_in_the_browser(report, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    report.show()
    (path,) = tmp_path.glob("*/inside/report.html")
    assert opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8") == report.html
    assert path.parent.stat().st_mode & 0o077 == 0


def test_it_is_written_once(report, tmp_path):
    folder = report.write(tmp_path / "audit")
    assert sorted(p.name for p in folder.iterdir()) == [
        "DO-NOT-SHARE.txt",
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
    ]
    with pytest.raises(InputError, match="already exists"):
        report.write(folder)
