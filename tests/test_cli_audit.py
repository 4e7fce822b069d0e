import json
import time

import numpy as np
import pytest

from tabsynth import cli
from tabsynth.datasets import clinic_visits
from tabsynth.policy import seconds_of
from tabsynth.schema_file import write_schema


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Training rows, a holdout and a copy of the training rows as the synthetic table."""
    path = tmp_path_factory.mktemp("audited")
    visits = clinic_visits(rows=900, seed=0)
    train, holdout = visits.frame.iloc[:600], visits.frame.iloc[600:]
    train.to_csv(path / "train.csv", index=False)
    holdout.to_csv(path / "holdout.csv", index=False)
    train.iloc[np.random.default_rng(0).integers(600, size=600)].to_csv(path / "copies.csv", index=False)
    write_schema(visits.schema, path / "schema.yaml")
    (path / "quick.yaml").write_text("checks: [{metric: ks, at_most: 1}, {metric: exact_match, at_most: 2}]")
    (path / "slow.yaml").write_text("checks: [{metric: ks, at_most: 1}, {metric: tstr_ratio, at_least: -9}]")
    return path


def audit(folder, name, *more, policy="quick"):
    tables = {
        "--train": "train.csv",
        "--holdout": "holdout.csv",
        "--synthetic": "copies.csv",
        "--schema": "schema.yaml",
    }
    named = [part for option, file in tables.items() for part in (option, str(folder / file))]
    given = ["audit", *named, "--policy", str(folder / f"{policy}.yaml"), "-o", str(folder / name), "--seed", "0"]
    return cli.run([*given, "--json", *more])


def test_shadow_models_catch_a_memorizer_and_say_that_they_stay_inside(folder, capsys):
    assert audit(folder, "shadowed", "--shadows", "4", "--model", "bootstrap") == 3
    said = json.loads(capsys.readouterr().out)
    assert said["checks"] == {
        "ks": "passed", "exact_match": "passed",
        "shadow_auc": "failed", "shadow_tpr": "failed", "shadow_advantage": "failed",
    }  # fmt: skip
    report = json.loads((folder / "shadowed" / "report.json").read_text(encoding="utf-8"))
    assert all("never to be released" in check["reason"] for check in report["checks"][2:])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--shadows", "4"], "name it with --model"),
        (["--model", "bootstrap"], "give --shadows as well"),
        (["--epsilon", "1"], "give --shadows as well"),
        (["--shadows", "5", "--model", "bootstrap"], "shadows must be even"),
        (["--shadows", "4", "--model", "nothing"], "No synthesizer 'nothing'"),
        (["--shadows", "4", "--model", "bootstrap", "--budget", "2m"], "leave out the shadow models or the time"),
        (["--budget", "soon"], "such as 2m; got 'soon'"),
        (["--budget", "0"], "seconds above 0"),
    ],
)
def test_what_does_not_go_together_is_refused_before_a_row_is_read(given, message, folder, capsys):
    assert audit(folder, "refused", *given) == 2
    assert message in json.loads(capsys.readouterr().out)["message"]
    assert not (folder / "refused").exists()


def test_a_budget_leaves_out_what_does_not_fit_and_names_it(folder, capsys):
    assert audit(folder, "quickly", "--budget", "0.001s", policy="slow") in {0, 3}
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert "tstr_ratio" in said["left_out"]
    assert said["checks"]["tstr_ratio"] == "not applicable"
    assert "Left out of the time budget" in told.err
    audit(folder, "whole", "--budget", "10m", policy="slow")
    assert json.loads(capsys.readouterr().out)["left_out"] == []
    tried = json.loads((folder / "whole" / "report.json").read_text())["mixing"]
    assert tried["why_not"] == "The holdout needs at least 10 rows of each of two target classes."


def test_a_budget_of_which_nothing_is_left_draws_no_curve_and_says_so(folder, capsys, monkeypatch):
    monkeypatch.setattr("tabsynth.report.curves.mixing_curve", lambda *_, **__: time.sleep(60))
    assert audit(folder, "undrawn", "--budget", "10s", policy="slow") in {0, 3}
    told = capsys.readouterr()
    assert json.loads(told.out)["left_out"][-1] == "mixing_curve"
    assert "mixing_curve. Nothing was shown of these." in " ".join(told.err.split())
    drawn = json.loads((folder / "undrawn" / "report.json").read_text())["mixing"]
    assert drawn["why_not"] == "it did not fit the time that was given"


def test_a_time_may_have_any_unit():
    assert [seconds_of(text) for text in ("90", "90s", "2m", " 0.5h ")] == [90, 90, 120, 1800]
