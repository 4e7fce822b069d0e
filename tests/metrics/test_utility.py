from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.prediction import Learning, Task, average_precision, calibration_error, f1
from tabsynth.metrics.utility import TRTR, TRTS, TSTR, TrainOnBoth, TSTRRatio
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
    y = {
        "boolean": signal > 0.5,
        "float": signal,
        "integer": np.where(signal > 0.5, 1, -1),
        "categorical": np.array(list("uvwxyzabcdefghij"))[cut],
    }[kind]
    return pd.DataFrame({"x": np.where(rng.random(size) < 0.05, np.nan, x), "g": g, "y": y})


@pytest.mark.parametrize("kind", ["boolean", "categorical", "float", "integer"])
def test_a_fresh_sample_keeps_the_skill_and_a_shuffled_target_loses_it(kind, shuffle, rng):
    evidence = made(kind)
    kept = TSTRRatio()(evidence, rng)
    assert kept.low > 0.85
    assert kept.value == pytest.approx(1, abs=0.1)
    lost = TSTRRatio()(replace(evidence, rows=shuffle(evidence.rows, "y")), rng)
    assert lost.high < 0.5


@pytest.mark.parametrize("kind", ["boolean", "categorical", "float", "integer"])
def test_columns_drawn_independently_teach_nothing(kind, rng):
    assert TSTRRatio()(made(kind).as_independent(rng), rng).high < 0.5


def test_real_rows_in_place_of_synthetic_ones_keep_everything(rng):
    assert TSTRRatio()(made().as_real(rng), rng).value == pytest.approx(1, abs=0.05)


def test_the_score_of_a_boolean_target_is_the_area_under_the_roc_curve(rng, monkeypatch):
    task = Task(made())
    found = rng.random(len(task.test))
    use(monkeypatch, np.stack([1 - found, found], axis=1), [0, 1])
    score, influence = task.score(task.test, "synthetic", Learning(), rng)
    labels = task.labels(task.test)
    assert score == pytest.approx(roc_auc_score(labels == 1, found))
    assert influence.mean() == pytest.approx(0, abs=1e-12)


def test_the_score_of_several_classes_is_the_mean_of_one_against_the_rest(rng, monkeypatch):
    task = Task(made("categorical"))
    found = rng.dirichlet([1, 1, 1], len(task.test))
    use(monkeypatch, found, [0, 1, 2])
    score = task.score(task.test, "synthetic", Learning(), rng)[0]
    assert score == pytest.approx(roc_auc_score(task.labels(task.test), found, multi_class="ovr", average="macro"))


def test_the_score_of_a_numeric_target_is_the_coefficient_of_determination(rng, monkeypatch):
    task = Task(made("float"))
    found = rng.normal(size=len(task.test))
    use(monkeypatch, found, None)
    score, influence = task.score(task.test, "synthetic", Learning(), rng)
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

    monkeypatch.setattr("tabsynth.metrics.prediction.untrained", lambda *_, **__: Guesses())


def test_few_integers_are_classes_and_many_are_amounts(rng):
    """A rare 0 or 1 is explained by next to nothing as an amount, so that no skill would be left to keep."""
    for column, few in (
        (Column("y", "integer", roles=("target",)), True),  # its training rows hold -1 and 1
        (Column("y", "integer", roles=("target",), bounds=(-1, 8)), True),
        (Column("y", "integer", roles=("target",), bounds=(-1, 9)), False),
        (Column("y", "float", roles=("target",), bounds=(-1, 1)), False),
    ):
        evidence = made("integer")
        own = replace(evidence, schema=Schema((*evidence.columns[:2], column)))
        assert Task(own).numeric is not few, column
        assert ("AUC" in TSTR()(own, rng).note) is few, column
    assert TSTR()(made("integer"), rng).value == pytest.approx(TSTR()(made(), rng).value)


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
    assert set(task.labels(many.train)) == set(range(11))
    found = TSTR(most=300)(many, rng)
    assert found.value > 0.7
    assert found.note == "AUC; models trained on 300 rows drawn at random"


@pytest.mark.parametrize("learner", ["boosting", "linear", "forest"])
@pytest.mark.parametrize("kind", ["categorical", "float"])
def test_every_model_learns_and_a_shuffled_target_teaches_none(kind, learner, shuffle, rng):
    evidence = made(kind, sizes=(400, 300, 400))
    kept = TSTR(learner=learner)(evidence, rng)
    assert kept.value > 0.65
    lost = TSTR(learner=learner)(replace(evidence, rows=shuffle(evidence.rows, "y")), rng)
    assert lost.high < kept.low
    assert TSTR(learner=learner).name == ("tstr" if learner == "boosting" else f"tstr_{learner}")


def test_f1_is_scikit_learns_and_its_influence_is_the_jackknifes(rng):
    guessed, inside = rng.random((2, 60)) < 0.4
    value, influence = f1(guessed, inside)
    assert value == pytest.approx(f1_score(inside, guessed))
    left = np.array([f1_score(np.delete(inside, i), np.delete(guessed, i)) for i in range(60)])
    assert (value - left) * 59 == pytest.approx(influence, abs=0.1)
    evidence = made("categorical")
    task = Task(evidence)
    guesses = task.guess(task.learn(evidence.train, "training", Learning(), np.random.default_rng(1)), task.matrix)
    expected = f1_score(task.labels(task.test), guesses.argmax(axis=1), average="macro")
    assert task.judge(guesses, "f1")[0] == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns_and_its_influence_is_the_jackknifes(ties, rng):
    inside = rng.random(400) < 0.1
    scores = rng.normal(size=400) + inside
    scores = np.round(scores) if ties else scores
    value, influence = average_precision(scores, inside)
    assert value == pytest.approx(average_precision_score(inside, scores))
    left = [average_precision(np.delete(scores, i), np.delete(inside, i))[0] for i in range(400)]
    jackknifed = -399 * (np.array(left) - value)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    assert np.corrcoef(influence, jackknifed)[0, 1] > 0.99
    assert influence.std() == pytest.approx(jackknifed.std(), rel=0.05)


def test_calibration_error_is_the_gap_of_confidence_and_right_guesses_by_bin(rng):
    guessed, truth = rng.dirichlet([1, 1, 1], 200), rng.integers(0, 3, 200)
    top, slow = guessed.max(axis=1), 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (top >= low) & (top < low + 0.1)
        if inside.any():
            slow += abs((top - (guessed.argmax(axis=1) == truth))[inside].mean()) * inside.mean()
    value, influence = calibration_error(guessed, truth)
    assert value == pytest.approx(slow)
    assert influence.mean() == pytest.approx(0, abs=1e-12)


def test_certainty_that_is_wrong_shows_in_calibration_and_guesses_at_random_in_f1(shuffle, rng):
    evidence = made("boolean")
    shuffled = replace(evidence, rows=shuffle(evidence.rows, "y"))
    sure = replace(evidence, rows=evidence.rows.assign(y=evidence.rows["x"].fillna(0) > 0))  # the noise is gone
    assert TSTR(scoring="calibration")(sure, rng).low > TSTR(scoring="calibration")(evidence, rng).high
    assert TSTR(scoring="f1")(shuffled, rng).high < TSTR(scoring="f1")(evidence, rng).low
    assert TSTR(scoring="f1").name == "tstr_f1"
    with pytest.raises(NotApplicable, match="R²"):
        TSTR(scoring="f1")(made("float"), rng)


def test_each_combination_trains_and_tests_on_its_own_rows(shuffle, rng):
    evidence = made()
    shuffled = replace(evidence, rows=shuffle(evidence.rows, "y"))
    assert TRTR()(shuffled, rng).value == pytest.approx(TRTR()(evidence, rng).value)
    assert TRTR()(evidence, rng).value == pytest.approx(TSTR()(replace(evidence, rows=evidence.train), rng).value)
    assert TRTS()(shuffled, rng).high < 0.6
    assert TRTS()(evidence, rng).low > 0.8
    assert TRTS()(replace(evidence, holdout=None), rng).value == pytest.approx(TRTS()(evidence, rng).value)
    both = TrainOnBoth()(evidence, rng)
    assert both.value > TRTR()(evidence, rng).low
    assert TrainOnBoth()(shuffled, rng).value < both.value
    with pytest.raises(NotMeasured, match="The synthetic table needs at least 10 rows"):
        TRTS()(replace(evidence, rows=evidence.rows.assign(y=True)), rng)


def test_repeats_put_the_training_into_the_interval(rng):
    evidence = made(sizes=(150, 2000, 150))
    once, often = TSTR(learner="linear")(evidence, rng), TSTR(learner="linear", repeats=8)(evidence, rng)
    assert often.high - often.low > once.high - once.low
    assert often.note == "AUC; linear model; mean of 8 trainings on rows drawn with replacement"
    # beside the scatter of the score over tables of this size, on one large holdout
    tables = [frame_of("boolean", 150, 100 + i, 3) for i in range(30)]
    scores = [TSTR(learner="linear")(replace(evidence, rows=table), rng).value for table in tables]
    added = np.sqrt(((often.high - often.low) / 2) ** 2 - ((once.high - once.low) / 2) ** 2) / 1.959964
    assert 0.8 < added / np.std(scores) < 4
    ratio = TSTRRatio(learner="linear", repeats=4)(evidence, rng)
    assert ratio.low < 1 < ratio.high
    assert TSTRRatio(learner="linear").name == "tstr_ratio_linear"


def test_huge_missing_and_new_values_are_learned_from(rng):
    evidence = made(sizes=(100, 100, 100))
    odd = evidence.rows.assign(x=np.where(np.arange(100) < 50, 1e300, np.nan), g="new")
    for learner in ("boosting", "linear", "forest"):
        assert TSTR(learner=learner)(Evidence(evidence.schema, evidence.train, evidence.holdout, odd), rng).value >= 0


@pytest.mark.parametrize("wrong", [{"learner": "svm"}, {"scoring": "mse"}, {"repeats": 0}, {"most": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        TSTR(**wrong)
