from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotMeasured
from tabsynth.metrics.detection import C2ST
from tabsynth.schema import Column, Schema


def test_a_fresh_sample_cannot_be_told_from_real_rows(draw, rng):
    held = [C2ST(most=400)(draw(400, 400, 400, seed), rng) for seed in range(4)]
    assert all(one.low < 0.5 + 0.05 for one in held)
    assert np.mean([one.value for one in held]) == pytest.approx(0.5, abs=0.04)
    assert held[0].note == "400 rows of each table"


def test_a_table_that_only_its_dependence_gives_away_is_told(fresh, shuffle, rng):
    assert C2ST(most=1000)(fresh.as_independent(rng), rng).low > 0.7
    assert C2ST(most=1000)(replace(fresh, rows=shuffle(fresh.rows, "region")), rng).low > 0.6


def test_the_area_is_that_of_the_known_best_score(rng):
    # of two shifted normals the value itself is the best score, and its AUC is known
    schema = Schema((Column("x", "float"),))
    real, rows = (pd.DataFrame({"x": rng.normal(shift, 1, 3000)}) for shift in (0, 1))
    best = roc_auc_score(np.repeat([0, 1], 3000), np.concatenate([real["x"], rows["x"]]))
    found = C2ST()(Evidence(schema, real, real, rows), rng)
    assert found.low - 0.02 < best < found.high + 0.02


def test_few_rows_are_not_measured_and_settings_are_checked(fresh, rng):
    with pytest.raises(NotMeasured, match="at least 20 rows"):
        C2ST()(replace(fresh, rows=fresh.rows.iloc[:19]), rng)
    for wrong in ({"most": 5}, {"folds": 1}, {"level": 0}):
        with pytest.raises(InputError):
            C2ST(**wrong)
