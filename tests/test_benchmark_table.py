"""The benchmark's table: what ran is not run again, what failed says why, the page shows medians with their range."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
JUDGE = """
import json, sys
rows = len(open(sys.argv[3], encoding="utf-8").readlines())
print(json.dumps({"tvd2": 0.5, "tvd3": 0.25, "tstr": 0.75, "rows": rows}))
"""


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import table

    yield table
    sys.modules.pop("table")
    sys.modules.pop("table_fit")


@pytest.fixture
def small(tmp_path):
    """Return a command that fits and judges a small table, and its results file."""
    text = "age,ill\n" + "".join(f"{20 + i % 50},{'yes' if i % 3 else 'no'}\n" for i in range(400))
    for half in ("train", "test"):
        (tmp_path / f"small.{half}.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "judge.py").write_text(JUDGE, encoding="utf-8")
    results = tmp_path / "results.jsonl"
    command = [sys.executable, str(BENCHMARKS / "table.py"), "--results", str(results), "--seeds", "1"]
    return [*command, "--data", str(tmp_path), "--judge", str(tmp_path / "judge.py"), "--epsilon", "1"], results


def line(name, seed, epsilon=1.0, **figures):
    return {"table": "small", "epsilon": epsilon, "name": name, "seed": seed, **figures}


def test_a_stopped_run_goes_on_and_a_failure_is_a_line(small):
    command, results = small
    for _ in range(2):
        asked = [*command, "--family", "independent", "--peer", "dpmm-mst=no-such-python"]
        subprocess.run(asked, check=True, capture_output=True)
        good, bad = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    assert (good["name"], good["tvd2"], good["rows"]) == ("independent", 0.5, 401)
    assert 0 < good["spent"] <= 1
    assert good["fit"] > 0 < good["sampling"]
    assert (bad["name"], bad["failed"]) == ("dpmm-mst", "FileNotFoundError")


def test_settings_stand_behind_a_name(small):
    command, results = small
    asked = [*command, "--family", "independent:discovery=0.5", "independent:discovery=lots", "independent:shares=1"]
    subprocess.run(asked, check=True, capture_output=True)
    good, wrong, unknown = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    assert (good["name"], good["tvd2"]) == ("independent:discovery=0.5", 0.5)
    assert "discovery" in wrong["failed"]
    assert "has no setting 'shares'" in unknown["failed"]


def test_what_is_asked_is_held_against_medians(table, capsys, monkeypatch):
    asked = {("rows", "small", 1.0): (0.9, 0.05, 60, 1), ("vae", "small", None): (0.8, 0.1, 60, 1)}
    monkeypatch.setattr(table, "ASKED", asked)
    figures = {"tvd2": 0.04, "tstr": 0.91, "fit": 50.0, "c2st": 0.6}
    lines = [line("rows", 0, **figures), line("vae", 0, None, **figures), line("rows", 1, failed="why")]
    assert table.check(lines) == 0
    assert table.check(lines[:1]) == 1
    assert "vae, small, epsilon none: no figures" in capsys.readouterr().out
    assert table.check([*lines, *(line("rows", seed, **figures | {"tstr": 0.89}) for seed in (2, 3))]) == 1
    assert "tstr 0.89 (0.9)" in capsys.readouterr().out
    assert table.check([*lines, *(line("rows", seed, **figures | {"tvd2": 0.06}) for seed in (2, 3))]) == 1
    assert "missed: tvd2" in capsys.readouterr().out


def test_bins_that_a_peer_gets_give_every_number_back(table):
    from table_fit import quantile_bins

    rng = np.random.default_rng(0)
    spiky = rng.normal(size=500).round(2) * (rng.random(500) < 0.3)
    train = pd.DataFrame({"spiky": spiky, "few": rng.integers(0, 3, 500), "text": ["a", "b"] * 250})
    cut, back = quantile_bins(train)
    assert cut.nunique().le(32).all()
    assert list(cut) == list(train)
    again = back(cut)
    pd.testing.assert_series_equal(again["few"], train["few"], check_dtype=False)
    assert (again["spiky"] == 0).mean() == pytest.approx((spiky == 0).mean(), abs=0.02)


def test_medians_with_their_range_and_failures_below(table, tmp_path):
    lines = [line("rows", seed, tvd2=value, fit=10 * value) for seed, value in enumerate((0.3, 0.1, 0.2))]
    lines += [line("rows", 3, failed="over 600 s of processor time"), line("dpmm-mst", 0, tvd2=0.4, version="0.1.9")]
    lines += [line("sdv-ctgan:20", 0, epsilon=None, tvd2=0.5, version="2.0.0")]
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(map(json.dumps, [line("rows", 0, failed="once"), *lines])), encoding="utf-8")
    text = table.rendered(table.read(results))
    rows = text.splitlines()
    assert rows[2] == "| small | 1 | `rows` | 0.200 (0.100–0.300) |  |  |  | 2 (1–3) |  | 3 |"
    assert rows[3].startswith("| small | 1 | dpmm-mst 0.1.9 | 0.400 |")
    assert rows[4].startswith("| small | none | sdv-ctgan 2.0.0, 20 epochs | 0.500 |")
    assert (
        rows[-1] == "- small, epsilon 1, `rows`: over 600 s of processor time"
    )  # the line that was tried again is gone
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.START}old{table.END}after\n", encoding="utf-8")
    table.write(text, str(page))
    table.write(text, str(page))
    assert page.read_text(encoding="utf-8") == f"before\n{table.START}\n{text}\n{table.END}after\n"


def test_a_command_that_never_ends_is_stopped(table):
    assert table.ran([sys.executable, "-c", "while True: pass"], 1)["failed"] == "over 1 s of processor time"
    assert table.ran([sys.executable, "-c", "raise ValueError('why')"], 5) == {"failed": "ValueError: why"}
    assert table.ran(["no-such-python"], 5) == {"failed": "FileNotFoundError"}
