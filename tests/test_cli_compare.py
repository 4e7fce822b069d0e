"""`tabsynth compare` from the command line: several tables, one report, a line in the ledger, and clear refusals."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from dp_accounting import GaussianDpEvent

from tabsynth.cli import run
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger

POLICY = """\
checks:
  - {metric: tvd1, counted_from: ceiling, at_most: 0.15}
  - {metric: exact_match, at_least: -0.1, at_most: 0.05}
  - {metric: membership_auc, at_most: 0.65}
"""


def people(seed: int, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"收入": rng.lognormal(9, 1, rows).round(2), "城市": rng.choice(["北京", "上海"], rows)})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("train", "holdout", "fresh")):
        people(seed).to_csv(f"{name}.csv", index=False)
    (tmp_path / "copies").mkdir()
    people(0).to_csv("copies/copy.csv", index=False)
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    return tmp_path


REAL = ["--train", "train.csv", "--holdout", "holdout.csv", "--policy", "policy.yaml", "--seed", "0", "--json"]


def test_a_fresh_sample_and_a_copy_stand_in_one_report(folder, capsys):
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert {name: (table["passed"], table["front"]) for name, table in tables.items()} == {
        "fresh.csv": (True, True),
        "copy.csv": (False, False),
    }
    assert tables["copy.csv"]["checks"]["membership_auc"] == "failed"
    found = json.loads((folder / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert found["rows"] == {"train": 400, "holdout": 400}
    assert "Choosing by these numbers leaks" in (folder / "out" / "comparison.html").read_text(encoding="utf-8")
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "again"]) == 0
    again = json.loads((folder / "again" / "comparison.json").read_text(encoding="utf-8"))
    for one, other in zip(found["tables"], again["tables"], strict=True):
        assert [check["estimate"] for check in one["checks"]] == [check["estimate"] for check in other["checks"]]


def test_the_ledger_beside_the_table_keeps_a_line(folder, capsys):
    ledger = Ledger.open("train.csv.ledger", data="train.csv", lifetime=Budget(3.0, 1e-6), budget=Budget(1.0, 1e-6))
    ledger.charge(GaussianDpEvent(50.0), why="counts")
    ledger.close()
    assert run(["compare", "fresh.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    assert "no choice by these numbers may leave" in (folder / "train.csv.ledger").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("tables", "rule"),
    [
        (["fresh.csv"], "two synthetic tables at least"),
        (["fresh.csv", "none.csv"], "none.csv: no such file"),
        (["fresh.csv", "./fresh.csv"], "given more than once"),
        (["fresh.csv", "policy.yaml"], "policy.yaml"),
    ],
)
def test_bad_input_is_named(folder, capsys, tables, rule):
    assert run(["compare", *tables, *REAL, "-o", "out"]) == 2
    assert rule in json.loads(capsys.readouterr().out)["message"]
    assert not (folder / "out").exists()


def test_files_of_one_name_are_told_apart(folder, capsys):
    people(7).to_csv("copy.csv", index=False)
    assert run(["compare", "copy.csv", "copies/copy.csv", *REAL, "-o", "out"]) == 0
    assert list(json.loads(capsys.readouterr().out)["tables"]) == ["copy.csv", "copies/copy.csv"]
