from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.utility import TSTR, Task, TSTRRatio
from tabsynth.schema import Column, Schema


def made(kind="boolean", sizes=(800, 400, 800), seed=0, classes=3):
    """A table whose target depends on two of its columns."""
    columns = (Column("x", "float", nullable=True), Column("g", "categorical"), Column("y", kind, roles=("target",)))
    frames = [frame_of(kind, size, seed + i, classes) for i, size in enumerate(sizes)]
    return Evidence(Schema(columns), *frames)


def frame_of(kind, size, seed, classes):
    rng = np.random.default_rng(seed)
    x, g = rng.normal(size=size), rng.choice(list("abc"), size)
    signal = x + (g == "a") + rng.normal(scale=0.5, size=size)
    cut = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]))
    y = {"boolean": signal > 0.5, "float": signal, "categorical": np.array(list("uvwxyzabcdefghij"))[cut]}[kind]
    return pd.DataFrame({"x": np.where(rng.random(size) < 0.05, np.nan, x), "g": g, "y": y})


@pytest.mark.parametrize("kind", ["boolean", "categorical", "float"])
def test_a_fresh_sample_keeps_the_skill_and_a_shuffled_target_loses_it(kind, shuffle, rng):
    evidence = made(kind)
    kept = TSTRRatio()(evidence, rng)
    assert kept.low > 0.85
    assert kept.value == pytest.approx(1, abs=0.1)
    lost = TSTRRatio()(replace(evidence, rows=shuffle(evidence.rows, "y")), rng)
    assert lost.high < 0.5


@pytest.mark.parametrize("kind", ["boolean", "categorical", "float"])
def test_columns_drawn_independently_teach_nothing(kind, rng):
    assert TSTRRatio()(made(kind).as_independent(rng), rng).high < 0.5


def test_real_rows_in_place_of_synthetic_ones_keep_everything(rng):
    assert TSTRRatio()(made().as_real(rng), rng).value == pytest.approx(1, abs=0.05)


def test_the_score_of_a_boolean_target_is_the_area_under_the_roc_curve(rng, monkeypatch):
    task = Task(made())
    found = rng.random(len(task.test))
    use(monkeypatch, np.stack([1 - found, found], axis=1), [0, 1])
    score, influence = task.score(task.test, "synthetic", 1000, rng)
    labels = task._labels(task.test)
    assert score == pytest.approx(roc_auc_score(labels == 1, found))
    assert influence.mean() == pytest.approx(0, abs=1e-12)


def test_the_score_of_several_classes_is_the_mean_of_one_against_the_rest(rng, monkeypatch):
    task = Task(made("categorical"))
    found = rng.dirichlet([1, 1, 1], len(task.test))
    use(monkeypatch, found, [0, 1, 2])
    score = task.score(task.test, "synthetic", 1000, rng)[0]
    assert score == pytest.approx(roc_auc_score(task._labels(task.test), found, multi_class="ovr", average="macro"))


def test_the_score_of_a_numeric_target_is_the_coefficient_of_determination(rng, monkeypatch):
    task = Task(made("float"))
    found = rng.normal(size=len(task.test))
    use(monkeypatch, found, None)
    score, influence = task.score(task.test, "synthetic", 1000, rng)
    assert score == pytest.approx(r2_score(task.test["y"], found * task.test["y"].abs().max()))
    assert influence.mean() == pytest.approx(0, abs=1e-12)


def use(monkeypatch, found, classes):
    """Put a model that has these guesses in the place of gradient boosting."""

    class Guesses:
        classes_ = classes

        def fit(self, matrix, labels):
            return self

        def predict(self, matrix):
            return found

        predict_proba = predict

    monkeypatch.setattr("tabsynth.metrics.utility._boosting", lambda kind, seed: Guesses())


def test_a_class_that_was_never_seen_scores_like_guessing(rng):
    evidence = made("categorical")
    without = replace(evidence, rows=evidence.rows.loc[evidence.rows["y"] != "u"])
    assert TSTR()(without, rng).value < TSTR()(evidence, rng).value - 0.1


def test_one_class_is_not_measured_and_says_why(rng):
    evidence = made()
    with pytest.raises(NotMeasured, match="fewer than two classes in the synthetic table"):
        TSTR()(replace(evidence, rows=evidence.rows.assign(y=True)), rng)
    with pytest.raises(NotMeasured, match="at least 10 rows of each of two target classes"):
        TSTR()(replace(evidence, holdout=evidence.holdout.assign(y=True)), rng)
    gone = made("float")
    with pytest.raises(NotMeasured, match="missing in every row of the synthetic table"):
        TSTR()(replace(gone, rows=gone.rows.assign(y=np.nan)), rng)
    with pytest.raises(NotMeasured, match="not all equal"):
        TSTR()(replace(gone, holdout=gone.holdout.assign(y=1.0)), rng)


def test_the_question_does_not_arise_without_a_target_a_feature_or_real_skill(shuffle, rng):
    evidence = made()
    frames = (evidence.train, evidence.holdout, evidence.rows)
    columns = tuple(replace(column, roles=()) for column in evidence.columns)
    with pytest.raises(NotApplicable, match="No target"):
        TSTR()(Evidence(Schema(columns), *frames), rng)
    with pytest.raises(NotApplicable, match="no column besides the target"):
        TSTR()(Evidence(Schema(evidence.columns[2:]), *(frame[["y"]] for frame in frames)), rng)
    with pytest.raises(NotApplicable, match="no skill to keep"):
        TSTRRatio()(
            replace(evidence, **{part: shuffle(getattr(evidence, part), "y") for part in ("train", "holdout")}), rng
        )


def test_utility_needs_a_holdout(rng):
    evidence = made()
    with pytest.raises(NotMeasured, match="needs a holdout"):
        TSTR()(replace(evidence, holdout=None), rng)


def test_more_classes_than_ten_and_sub_sampling_are_handled(rng):
    many = made("categorical", classes=14)
    task = Task(many)
    assert len(task.classes) == 10
    assert set(task._labels(many.train)) == set(range(11))
    found = TSTR(most=300)(many, rng)
    assert found.value > 0.7
    assert found.note == "AUC; models trained on 300 rows drawn at random"
