from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.inspection import permutation_importance

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.importance import ImportanceAgreement, importances, rank_correlation
from tabsynth.metrics.prediction import Learning, Task
from tabsynth.schema import Column, Schema

WEIGHTS = (4.0, 2.0, 1.0, 0.5)
METRIC = ImportanceAgreement(learner="linear", repeats=4)


def frame(rng, rows, weights=WEIGHTS):
    x = rng.normal(size=(rows, 4))
    return pd.DataFrame(x, columns=list("abcd")).assign(y=x @ weights + rng.normal(size=rows) > 0)


def made(rng, **settings):
    schema = Schema((*(Column(name, "float") for name in "abcd"), Column("y", "boolean", roles=("target",))))
    return Evidence(schema, frame(rng, 1500), frame(rng, 1500), frame(rng, 1500, **settings))


def test_importances_are_scikit_learns(rng):
    evidence, learning = made(rng), Learning("linear")
    task = Task(evidence)
    model = task.learn(evidence.train, "training", learning, np.random.default_rng(1))
    expected = permutation_importance(model, task.matrix, task.labels(task.test), scoring="roc_auc", n_repeats=20)
    found = np.mean([importances(task, model, rng) for _ in range(20)], axis=0)
    assert found == pytest.approx(expected.importances_mean, abs=0.01)


def test_rank_correlation_is_scipys(rng):
    a, b = rng.integers(0, 5, (2, 20)).astype(float)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(a, np.zeros(20)) == 0


def test_a_fresh_sample_agrees_and_other_reasons_do_not(rng):
    found = METRIC(made(rng), rng)
    assert found.value > 0.9
    assert found.note == "mean of 4 random halves of each table"
    assert METRIC(made(rng, weights=WEIGHTS[::-1]), rng).high < found.low
    assert "of 100 rows at most" in replace(METRIC, most=100)(made(rng), rng).note


def test_questions_that_do_not_arise_and_wrong_settings_say_so(rng):
    evidence = made(rng)
    two = Schema(evidence.columns[2:])
    kept = [part[["c", "d", "y"]] for part in (evidence.train, evidence.holdout, evidence.rows)]
    with pytest.raises(NotApplicable, match="fewer than 3 columns"):
        METRIC(Evidence(two, *kept), rng)
    with pytest.raises(NotMeasured, match="The synthetic table needs at least 10 rows"):
        METRIC(replace(evidence, rows=evidence.rows.assign(y=True)), rng)
    for wrong in ({"repeats": 1}, {"learner": "svm"}, {"level": 0}):
        with pytest.raises(InputError):
            ImportanceAgreement(**wrong)
