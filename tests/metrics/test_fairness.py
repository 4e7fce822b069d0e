from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.fairness import SubgroupGap
from tabsynth.metrics.prediction import Learning, Task
from tabsynth.schema import Column, Schema

AUC, RATE = SubgroupGap(), SubgroupGap(gap="positive_rate")


def frame(rng, rows, *, reversed_in=None, favoured=0.0):
    """A target that depends on x; in one group the other way round, or more often true in group a."""
    g, x = rng.choice(list("ab"), rows), rng.normal(size=rows)
    slope = np.where(g == reversed_in, -1, 1)
    return pd.DataFrame({"x": x, "g": g, "y": slope * x + favoured * (g == "a") + rng.normal(size=rows) > 1})


def made(rng, **settings):
    columns = (
        Column("x", "float"),
        Column("g", "categorical", roles=("sensitive",)),
        Column("y", "boolean", roles=("target",)),
    )
    return Evidence(Schema(columns), frame(rng, 2000), frame(rng, 1200), frame(rng, 2000, **settings))


def test_the_gap_is_that_of_the_groups_scores(rng):
    evidence = made(rng, reversed_in="b")
    found = AUC(evidence, np.random.default_rng(3))
    task, own, gaps = Task(evidence), np.random.default_rng(3), []
    for rows in (evidence.rows, evidence.train):
        scores = task.guess(task.learn(rows, "some", Learning(), own), task.matrix)[:, 1]
        areas = [
            roc_auc_score(task.test["y"].astype(bool)[task.test["g"] == g], scores[task.test["g"] == g]) for g in "ab"
        ]
        gaps.append(max(areas) - min(areas))
    assert found.value == pytest.approx(gaps[0] - gaps[1])
    assert found.note.startswith("column 'g', 2 groups; gap 0.")


def test_a_fresh_sample_opens_no_gap_and_fakes_do(rng):
    for metric, fake in ((AUC, {"reversed_in": "b"}), (RATE, {"favoured": 3.0})):
        fresh, faked = metric(made(rng), rng), metric(made(rng, **fake), rng)
        assert fresh.low < 0.05
        assert abs(fresh.value) < 0.1
        assert faked.low > 0.2


def test_the_interval_is_as_wide_as_the_gap_scatters_over_holdouts(rng):
    evidence = made(rng, favoured=1.0)
    metric = SubgroupGap(gap="positive_rate", learner="linear")
    found = [metric(replace(evidence, holdout=frame(rng, 600)), rng) for _ in range(40)]
    errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
    assert 0.65 < np.mean(errors) / np.std([one.value for one in found]) < 1.4


def test_questions_that_do_not_arise_and_wrong_settings_say_so(rng):
    evidence = made(rng)
    with pytest.raises(NotApplicable, match="column 'x'"):
        SubgroupGap("x")(evidence, rng)
    assert SubgroupGap("g").name == "subgroup_gap_g"
    assert RATE.name == "subgroup_gap_positive_rate"
    plain = Schema(tuple(replace(c, roles=()) if c.name == "g" else c for c in evidence.columns))
    with pytest.raises(NotApplicable, match="declared sensitive"):
        AUC(replace(evidence, schema=plain), rng)
    with pytest.raises(NotMeasured, match="Two groups"):
        AUC(replace(evidence, holdout=evidence.holdout.assign(g="a")), rng)
    with pytest.raises(NotApplicable, match="two classes"):
        AUC(replace(evidence, schema=evidence.schema.with_target("x")), rng)
    for wrong in ({"gap": "f1"}, {"most": 0}, {"learner": "svm"}):
        with pytest.raises(InputError):
            SubgroupGap(**wrong)
