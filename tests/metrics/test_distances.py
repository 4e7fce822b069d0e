from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import distance
from scipy.stats import wasserstein_distance

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.distances import JensenShannon, Missing, Wasserstein, jensen_shannon, wasserstein
from tabsynth.metrics.estimate import from_influence
from tabsynth.schema import Column, Schema

METRICS = tuple(kind(over) for kind in (Wasserstein, JensenShannon, Missing) for over in ("mean", "worst"))


def test_the_wasserstein_distance_is_scipys_over_the_training_range(rng):
    a, b = rng.integers(0, 9, 80).astype(float), rng.normal(4, 2, 50)
    found = wasserstein(np.append(a, np.nan), np.append(b, [np.nan] * 3), np.array([0.0, 20.0, np.nan]))[0]
    assert found == pytest.approx(wasserstein_distance(a, b) / 20)


def test_the_jensen_shannon_distance_is_scipys(rng):
    a, b = rng.integers(0, 5, 60), rng.integers(1, 7, 90)
    expected = distance.jensenshannon(np.bincount(a, minlength=7), np.bincount(b, minlength=7), base=2)
    assert jensen_shannon(a, b)[0] == pytest.approx(expected)
    assert jensen_shannon(a, a)[0] == 0


@pytest.mark.parametrize("kind", ["wasserstein", "jensen_shannon"])
def test_intervals_are_as_wide_as_distances_scatter_over_draws(kind, rng):
    found = []
    for _ in range(200):
        rows, real = rng.normal(0.4, 1, 300), rng.normal(0, 1.3, 200)
        if kind == "wasserstein":
            rows[rng.random(300) < 0.3] = np.nan
            measured = wasserstein(rows, real, np.array([-4.0, 4.0]))
        else:
            measured = jensen_shannon(*(np.digitize(values, [-1, 0, 1]) for values in (rows, real)))
        found.append(from_influence(measured[0], measured[1:], 0.95, (0.0, 1.0)))
    errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
    assert 0.85 < np.mean(errors) / np.std([one.value for one in found]) < 1.15


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_fresh_sample_scores_like_real_rows_and_a_table_of_gaps_is_far(metric, fresh, rng):
    found, ceiling = metric(fresh, rng), metric(fresh.as_real(rng), rng)
    assert found.value < 0.1
    assert found.low <= ceiling.value + 0.02
    gone = replace(fresh, rows=fresh.rows.assign(**dict.fromkeys(fresh.rows, pd.NA)))
    assert metric(gone, rng).low > 0.5


def test_a_tail_that_is_moved_far_shows_in_wasserstein_and_a_lost_category_in_jensen_shannon(fresh, rng):
    far = fresh.rows["age"].where(fresh.rows["age"] < 60, 100)
    found = Wasserstein("worst")(replace(fresh, rows=fresh.rows.assign(age=far)), rng)
    assert found.note == "column 'age'"
    assert found.low > Wasserstein("worst")(fresh, rng).high
    lost = replace(fresh, rows=fresh.rows.loc[fresh.rows["department"] != "Paediatrics"])
    found = JensenShannon("worst")(lost, rng)
    assert found.note == "column 'department'"
    assert found.low > JensenShannon("worst")(fresh, rng).high


def test_a_column_without_its_gaps_shows_as_the_worst_share(fresh, rng):
    filled = replace(fresh, rows=fresh.rows.assign(systolic=fresh.rows["systolic"].fillna(120)))
    found = Missing("worst")(filled, rng)
    assert found.note == "column 'systolic'"
    real = fresh.holdout["systolic"].isna().mean()
    assert found.value == pytest.approx(real)
    assert found.low > Missing("worst")(fresh, rng).high


def test_huge_values_and_constant_columns_are_measured():
    flat = np.zeros(5)
    assert wasserstein(flat, flat, flat)[0] == 0
    assert wasserstein(flat + 1, flat, flat)[0] == 1
    assert wasserstein(np.full(5, 1e300), flat, np.array([0.0, 1.0]))[0] == 1
    nothing = np.full(3, np.nan)
    assert wasserstein(nothing, flat, flat)[0] == 1
    assert wasserstein(nothing, nothing, nothing)[0] == 0


def test_questions_that_do_not_arise_say_so(rng):
    frame = pd.DataFrame({"town": ["a", "b"]})
    evidence = Evidence(Schema((Column("town", "categorical"),)), frame, frame, frame)
    with pytest.raises(NotApplicable, match="no numeric or datetime column"):
        Wasserstein()(evidence, rng)
    with pytest.raises(NotApplicable, match="No value is missing"):
        Missing()(evidence, rng)


@pytest.mark.parametrize("wrong", [lambda: Wasserstein("median"), lambda: Missing(level=2.0)])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        wrong()


def test_gaps_of_synthetic_rows_alone_have_a_ceiling_to_be_counted_from(rng):
    schema = Schema((Column("town", "categorical", nullable=None),))
    real = pd.DataFrame({"town": ["a", "b"] * 500})
    rows = pd.DataFrame({"town": [None] * 10 + ["a", "b"] * 495})
    ceiling = Missing("worst")(Evidence(schema, real, real, real), rng)
    assert (ceiling.value, ceiling.high) == (0, pytest.approx(0, abs=0.02))
    assert Missing("worst")(Evidence(schema, real, real, rows), rng).value == pytest.approx(0.01)
