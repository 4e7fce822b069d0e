"""The pages in a real browser: drawn, printed, readable on a phone, complained of by nothing and open to everyone."""

import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import PROGRAM, Chromium
from dp_accounting import GaussianDpEvent
from test_comparison import TABLES
from test_page import CHINESE, VERDICTS

from tabsynth.audit.claim import Claim
from tabsynth.audit.result import Attack, AuditResult, Bound
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.mixing import mixing_curve
from tabsynth.policy import parse_policy
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.report import build_report, measure_curves
from tabsynth.report.audit_page import audit_report
from tabsynth.report.canaries import read_audit
from tabsynth.report.comparison import compare
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.independent import Independent

LARGEST = 5e6  # bytes of a page
PHONE, DESK = 390, 1100
AXE = find_spec("axe_playwright_python")
POLICY = parse_policy(
    "checks: [{metric: membership_auc, at_most: 1, settings: {exposed: true}}, {metric: membership_tpr, at_most: 1}, "
    "{metric: tstr, at_least: 0, settings: {learner: linear}}]",
    "test",
)
CITY, PAY, DAY, KIND = "城市", "收入（元）", "就诊时间", "类别"

AUDITED = AuditResult(
    "independent",
    Claim(2.0, 1e-6, 0.5),
    (Bound("距离", "one run", "nothing", 0.4, 0.3, 2.0), Bound("critic", "one run", "nothing", 3.0, 2.5, 2.0)),
    (Attack("距离", 0.6, 0.02, ((0.0, 0.0), (0.5, 0.6), (1.0, 1.0))),),
    400,
    2,
    0.95,
)
PAGES = ("report", "comparison", "audit")

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="No Chromium is installed, so no page was opened: apt-get install chromium"
)


def people(seed: int, rows: int = 900) -> pd.DataFrame:
    """Return rows of a table whose names and categories are Chinese."""
    rng = np.random.default_rng(seed)
    pay = rng.lognormal(9, 1, rows).round(2)
    kind = np.select([pay > 20_000, pay > 8_000], ["高收入", "中等收入"], "低收入")
    city = rng.choice(["北京市海淀区", "上海市", "广州市", "内蒙古自治区呼和浩特市"], rows)
    moments = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 200 * 24, rows), unit="h")
    table = pd.DataFrame({CITY: city, PAY: pay, DAY: moments, KIND: kind})
    return table.mask(rng.random(table.shape) < [[0.1, 0, 0, 0]])


SCHEMA = Schema(
    (
        Column(CITY, "categorical", nullable=True),
        Column(PAY, "float", decimals=2),
        Column(DAY, "datetime"),
        Column(KIND, "categorical", roles=("target",)),
    )
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    ledger = Ledger(Budget(1.0, 1e-6))
    ledger.spend_rest(GaussianDpEvent, why="边际分布")
    evidence = Evidence(SCHEMA, people(0), people(1), people(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tabsynth.report.curves.mixing_curve", partial(mixing_curve, learner="linear", repeats=1))
        curves = measure_curves(evidence, POLICY, np.random.default_rng(0), ledger)
    assert len(curves["attacks"]["groups"]) == 2
    assert curves["mixing"]["points"]
    attacked = audit_report(AUDITED, CHINESE, synthesizer=Independent(), budget=Budget(2.0, 1e-6))
    canary = read_audit(attacked.write(tmp_path_factory.mktemp("audits") / "attacked"))
    report = build_report(VERDICTS, evidence, ledger=ledger, title=CHINESE, curves=curves, canary=canary)
    compared = compare(TABLES, train=500, holdout=300, title=CHINESE)
    return {"report": report.html, "comparison": compared.html, "audit": attacked.html}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_seen_and_heard_on_every_screen_and_on_paper(pages, browser, tmp_path, name):
    """One load a page: what differs is how it is looked at."""
    assert CHINESE in pages[name]
    assert len(pages[name].encode()) < LARGEST
    assert browser.open(pages[name], tmp_path / "page.html") == []
    assert paper(browser) > 600
    assert len(browser.picture()) > 20_000  # an empty page has 6,000
    assert barriers(browser) == []
    browser.look(DESK, "dark")
    assert paper(browser) < 100
    assert barriers(browser, "color-contrast") == []
    browser.look(PHONE)
    assert browser.run("document.documentElement.scrollWidth") <= PHONE
    assert browser.run("document.documentElement.scrollHeight") > 1200
    assert browser.run(SMALL) == 0
    assert barriers(browser, *SHAPES) == []
    browser.look(A4, "dark", "print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run(WIDER) == []
    assert browser.print().startswith(b"%PDF")


def test_every_label_of_a_heat_map_is_seen_whole(pages, browser, tmp_path):
    outside = """[...document.querySelectorAll('.map text')].filter(label => {
      const own = label.getBoundingClientRect(), all = label.ownerSVGElement.getBoundingClientRect();
      return own.left < all.left - 0.5 || own.top < all.top - 0.5; }).length"""
    browser.open(pages["report"], tmp_path / "page.html")
    assert browser.run("document.querySelectorAll('.map text').length") == 3 * 2 * len(SCHEMA.columns)
    assert browser.run(outside) == 0
    browser.run("document.querySelectorAll('.map text').forEach(label => label.setAttribute('font-size', 2))")
    assert browser.run(outside) > 0  # the measure can tell


@pytest.fixture
def broken(pages):
    wide = '<img alt="" src="https://a.example/b.png"><table style="width:900px"><tr><td>wide</table>'
    planted = pages["audit"].replace("</main>", f'{wide}<p style="font-size:9px">small</p></main>')
    return planted.replace("--soft: #565b62", "--soft: #c6cbd2").replace('<html lang="en">', "<html>")


def test_what_is_wrong_would_be_seen(broken, browser, tmp_path):
    (said,) = browser.open(broken, tmp_path / "page.html")
    assert "Content Security Policy" in said
    browser.look(PHONE)
    assert browser.run("document.documentElement.scrollWidth") >= 900
    assert browser.run(SMALL) == 1
    browser.look(A4, media="print")
    assert browser.run(WIDER) == ["TABLE"]


@pytest.mark.skipif(AXE is None, reason="No axe, so no barrier was looked for: pip install axe-playwright-python")
def test_a_barrier_would_be_seen(broken, browser, tmp_path):
    browser.open(broken, tmp_path / "page.html")
    assert {found.split(":")[0] for found in barriers(browser)} >= {"color-contrast", "html-has-lang"}


A4 = 718  # pixels between the margins
SMALL = "[...document.querySelectorAll('p, td, h4')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length"
WIDER = """[...document.querySelectorAll('table, figure, article, section')].filter(
  e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName)"""
SHAPES = ("wcag2a", "wcag21a", "wcag22aa", "best-practice")  # all but colours, which the other views show


def paper(browser: Chromium) -> int:
    """Return how bright the page's ground is, from 0 to 765."""
    return sum(map(int, browser.run("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")))


def barriers(browser: Chromium, *only: str) -> list[str]:
    """Return what axe finds on the page that is open: each rule with the first three places; nothing without axe.

    Pictures are looked at as wholes: what is drawn within one is not read.
    """
    if AXE is None:
        return []
    if browser.run("typeof axe") == "undefined":
        browser.run(f"{(Path(AXE.origin).parent / 'axe.min.js').read_text(encoding='utf-8')}; 1")
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(only)} if only else {})
    said = "v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 150) + ' ' + n.failureSummary).join(' | ')"
    axe = f"axe.run({{exclude: [['svg > *']]}}, {json.dumps(options)})"
    return browser.run(f"{axe}.then(found => found.violations.map({said}))")
