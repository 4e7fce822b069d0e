"""The pages in a real browser: they are drawn, nothing is complained of, and they fit a phone."""

import json
import re
import shutil
import struct
import subprocess
from html import escape, unescape

import numpy as np
import pytest
from test_comparison import TABLES
from test_page import CHINESE, SCHEMA, VERDICTS, frame

from tabsynth.metrics.evidence import Evidence
from tabsynth.report import build_report
from tabsynth.report.comparison import compare

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LARGEST = 5e6  # bytes of a page
PHONE = 390

pytestmark = pytest.mark.skipif(BROWSER is None, reason="No Chromium is installed.")


def browse(folder, html, *flags):
    """Open a page without a head and return (standard output, what stood in the console)."""
    (folder / "page.html").write_text(html, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", "--timeout=30000", *flags, (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr)


def shoot(folder, html, width=1100, height=1500):
    """Take a picture of a page and return (its PNG, what stood in the console)."""
    picture = folder / "page.png"
    _, said = browse(folder, html, f"--window-size={width},{height}", f"--screenshot={picture}")
    png = picture.read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (width, height)
    return png, said


@pytest.fixture(scope="module")
def pages():
    rng = np.random.default_rng(0)
    report = build_report(VERDICTS, Evidence(SCHEMA, frame(rng, 500), frame(rng, 300), frame(rng, 400)), title=CHINESE)
    return {"report": report.html, "comparison": compare(TABLES, train=500, holdout=300, title=CHINESE).html}


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_is_drawn_without_a_complaint(pages, tmp_path, name):
    assert CHINESE in pages[name]
    assert len(pages[name].encode()) < LARGEST
    png, said = shoot(tmp_path, pages[name])
    assert said == []
    empty, _ = shoot(tmp_path, "<html lang=en><title>empty</title></html>")
    assert len(png) > 5 * len(empty)


def test_a_complaint_would_be_seen(pages, tmp_path):
    planted = pages["report"].replace("</main>", '<img alt="" src="https://a.example/b.png"></main>')
    _, said = shoot(tmp_path, planted)
    assert len(said) == 1
    assert "Content Security Policy" in said[0]


def test_the_pages_fit_a_phone(pages, tmp_path):
    wide = "<!doctype html><html><body><div style='width:900px'>wide</div></body></html>"
    framed = "".join(
        f'<iframe id="{name}" width="{PHONE}" height="800" srcdoc="{escape(html)}"></iframe>'
        for name, html in (pages | {"wide": wide}).items()
    )
    measure = (
        "onload = () => { const found = {}; for (const f of document.querySelectorAll('iframe'))"
        " { const d = f.contentDocument.documentElement; found[f.id] = [d.scrollWidth, d.scrollHeight]; }"
        " document.body.innerHTML = '<pre>' + JSON.stringify(found) + '</pre>'; };"
    )
    page = f"<!doctype html><html><body>{framed}<script>{measure}</script></body></html>"
    out, _ = browse(tmp_path, page, "--dump-dom")
    found = json.loads(unescape(re.search(r"<pre>(.*?)</pre>", out)[1]))
    assert found["wide"][0] >= 900  # the measure can tell
    for name in pages:
        width, height = found[name]
        assert width <= PHONE, name
        assert height > 2000, name
