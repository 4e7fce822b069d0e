"""What `tabsynth audit` says of tables that are not what they should be: always an answer, the rule, never a row."""

import json

import numpy as np
import pandas as pd
import pytest

from tabsynth.cli import run

POLICY = """\
checks:
  - {metric: tvd1, counted_from: ceiling, at_most: 0.15}
  - {metric: out_of_domain, at_most: 0.05}
  - {metric: tstr, at_least: 0.5, settings: {learner: linear}}
  - {metric: exact_match, at_least: -0.1, at_most: 0.1}
  - {metric: membership_auc, at_most: 0.7}
"""


def people(seed: int, rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    return pd.DataFrame(
        {
            "age": age,
            "pay": rng.lognormal(8, 1, rows).round(2),
            "city": rng.choice(["Delft", "Gent", "Lille"], rows),
            "ill": np.where(rng.random(rows) < age / 100, "yes", "no"),
        }
    )


@pytest.fixture
def audited(tmp_path, monkeypatch, capsys):
    """Return what an audit answers of tables given as frames: the exit code, and the JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tabsynth.report.curves.mixing_curve", lambda *_, **__: 1 / 0)  # too slow to be made each time
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")

    def answer(synthetic, train=None, holdout=None):
        tables = {"synthetic": synthetic, "train": people(0) if train is None else train}
        tables["holdout"] = people(1) if holdout is None else holdout
        for name, frame in tables.items():
            frame.to_csv(f"{name}.csv", index=False)
        files = [part for name in tables for part in (f"--{name}", f"{name}.csv")]
        code = run(
            ["audit", *files, "--target", "ill", "--policy", "policy.yaml", "--seed", "0", "--json", "-o", "out"]
        )
        return code, json.loads(capsys.readouterr().out)

    return answer


FRESH = people(2)


@pytest.mark.parametrize(
    ("synthetic", "rule"),
    [
        (FRESH.drop(columns=["age"]), "column 'age' of the schema is missing"),
        (FRESH.rename(columns={"age": "Age"}), "column 'age' of the schema is missing"),
        (FRESH.iloc[:1], "one row; at least two are needed"),
        (FRESH.iloc[:0], "no rows; at least two are needed"),
        (pd.DataFrame(), "no complete line"),
    ],
    ids=["lacking", "renamed", "one row", "no rows", "empty"],
)
@pytest.mark.filterwarnings("ignore:.*not judged, since the schema does not know them")
def test_a_table_of_another_form_is_refused_by_its_rule(audited, tmp_path, synthetic, rule):
    code, said = audited(synthetic)
    assert (code, said["ok"]) == (2, False)
    assert rule in said["message"]
    assert "synthetic.csv" in said["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("synthetic", "failing"),
    [
        (FRESH[FRESH.columns[::-1]], set()),
        (FRESH.astype({"age": float}), set()),
        (FRESH.assign(more=1), set()),
        (FRESH.assign(age=FRESH["age"] + 0.25), {"tvd1", "out_of_domain"}),
        (FRESH.assign(age="42 years"), {"tvd1", "out_of_domain"}),
        (FRESH.assign(city="Atlantis"), {"tvd1", "out_of_domain"}),
        (FRESH.assign(ill="no"), {"tstr_linear"}),
        (pd.DataFrame(index=range(200), columns=FRESH.columns), {"tvd1", "tstr_linear"}),
        (people(0), {"exact_match", "membership_auc"}),
    ],
    ids=[
        "another order",
        "other dtypes",
        "a column more",
        "fractions",
        "words",
        "a new category",
        "one class",
        "all missing",
        "the training rows",
    ],
)
@pytest.mark.filterwarnings("ignore:.*not judged, since the schema does not know them")
@pytest.mark.filterwarnings("ignore:.*cannot be read as integer")
def test_a_table_of_other_content_is_judged(audited, tmp_path, synthetic, failing):
    code, said = audited(synthetic)
    assert failing <= {name for name, status in said["checks"].items() if status == "failed"}
    assert code == (3 if failing else 0)
    assert len(said["checks"]) == 5
    assert (tmp_path / "out" / "report.html").exists()


def test_the_training_table_is_no_holdout(audited, tmp_path):
    code, said = audited(FRESH, holdout=people(0))  # another file of the same bytes
    assert code == 2
    assert said["message"] == "The holdout is the training table; it must hold rows that were never trained on."
    assert not (tmp_path / "out").exists()
    compare = ["compare", "synthetic.csv", "holdout.csv", "--train", "train.csv", "-o", "compared"]
    assert run([*compare, "--holdout", "train.csv"]) == 2
    assert not (tmp_path / "compared").exists()


@pytest.mark.parametrize("shared", [0.2, 0.98])
def test_a_holdout_that_was_trained_on_is_found(audited, tmp_path, shared):
    copied = people(0).iloc[: int(300 * shared)]
    code, said = audited(FRESH, holdout=pd.concat([copied, people(1).iloc[len(copied) :]]))
    assert code == 3
    assert {said["checks"][name] for name in ("exact_match", "membership_auc")} == {"failed"}
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    reasons = {check["reason"] for check in report["checks"] if check["tier"] == "privacy"}
    assert reasons == {"The holdout shares rows with the training table; it must hold rows that were never trained on."}


def test_a_target_of_one_class_is_no_question(audited, tmp_path):
    tables = [frame.assign(ill="no") for frame in (FRESH, people(0), people(1))]
    code, said = audited(*tables)
    assert (code, said["checks"]["tstr_linear"]) == (0, "not applicable")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert "The target has a single value" in next(c["reason"] for c in report["checks"] if c["name"] == "tstr_linear")


def test_a_holdout_may_have_fractions_where_training_rows_have_none(audited):
    held = people(1).astype({"age": float})
    held.loc[7, "age"] += 0.5
    code, answer = audited(FRESH, holdout=held)
    assert code == 0, answer
