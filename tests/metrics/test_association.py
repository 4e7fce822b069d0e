from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats.contingency import association

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.association import MEASURES, Association, Measure, matrix
from tabsynth.metrics.estimate import from_influence
from tabsynth.schema import Column, Schema

NAMES = get_args(Measure)


def sample(rng, rows):
    """A pair of dependent columns with ties, the first one with few values."""
    a = rng.integers(0, 4, rows).astype(float)
    return a, np.clip(np.round(a + rng.normal(0, 2, rows)), -1, 4)


def slow_ratio(groups, values):
    parts = [values[groups == group] for group in np.unique(groups)]
    between = sum(len(part) * (part.mean() - values.mean()) ** 2 for part in parts)
    return np.sqrt(between / ((values - values.mean()) ** 2).sum())


SLOW = {
    "pearson": lambda a, b: stats.pearsonr(a, b).statistic,
    "spearman": lambda a, b: stats.spearmanr(a, b).statistic,
    "cramers_v": lambda a, b: association(pd.crosstab(a, b).to_numpy(), method="cramer"),
    "correlation_ratio": slow_ratio,
}


@pytest.mark.parametrize("measure", NAMES)
def test_a_coefficient_is_that_of_another_implementation(measure, rng):
    a, b = sample(rng, 150)
    assert MEASURES[measure](a, b)[0] == pytest.approx(SLOW[measure](a, b))


@pytest.mark.parametrize("measure", NAMES)
def test_an_influence_is_what_one_row_more_or_less_does(measure, rng):
    a, b = sample(rng, 400)
    value, influence = MEASURES[measure](a, b)
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    # the jackknife: leaving row i out changes the coefficient by about -influence / (n - 1)
    left_out = np.array([MEASURES[measure](np.delete(a, i), np.delete(b, i))[0] for i in range(400)])
    assert np.corrcoef(influence, (value - left_out) * 399)[0, 1] > 0.99
    assert np.std((value - left_out) * 399) == pytest.approx(np.std(influence), rel=0.05)


@pytest.mark.parametrize("measure", NAMES)
def test_intervals_are_as_wide_as_coefficients_scatter_over_draws(measure, rng):
    found = [MEASURES[measure](*sample(rng, 300)) for _ in range(150)]
    widths = [from_influence(value, (influence,), 0.95, (-1, 1)) for value, influence in found]
    errors = [(one.high - one.low) / 2 / 1.959964 for one in widths]
    assert 0.8 < np.mean(errors) / np.std([value for value, _ in found]) < 1.2


@pytest.mark.parametrize(("measure", "over"), list(product(NAMES, ("mean", "worst"))))
def test_a_fresh_sample_scores_like_real_rows_and_independent_columns_do_not(measure, over, fresh, rng):
    metric = Association(measure, over)
    found, ceiling = metric(fresh, rng), metric(fresh.as_real(rng), rng)
    assert found.low - 0.02 <= ceiling.value <= found.high + 0.02
    assert found.value < 0.15
    assert metric(fresh.as_independent(rng), rng).low > found.value


def test_the_worst_pair_is_named(fresh, shuffle, rng):
    found = Association("cramers_v", "worst")(replace(fresh, rows=shuffle(fresh.rows, "region")), rng)
    assert found.note == "columns 'clinic' and 'region'"
    assert found.low > 0.85


def test_pairs_above_the_limit_are_drawn_and_the_cost_is_in_the_interval(fresh, rng):
    whole, part = Association("correlation_ratio")(fresh, rng), Association("correlation_ratio", pairs=9)(fresh, rng)
    assert part.note.startswith("9 of 42 pairs of columns, drawn at random, which costs a standard error of")
    assert part.low <= whole.value <= part.high
    worst = Association("correlation_ratio", "worst", pairs=9)(fresh, rng)
    assert worst.note.endswith("; 9 of 42 pairs of columns were looked at")


def test_matrices_hold_every_coefficient_by_name(fresh):
    correlations = matrix("spearman", fresh.train, fresh.columns)
    known = fresh.train[["age", "systolic"]].dropna().astype(float)
    assert correlations.loc["systolic", "age"] == pytest.approx(stats.spearmanr(*known.to_numpy().T).statistic)
    assert (correlations.to_numpy() == correlations.to_numpy().T).all()
    assert matrix("cramers_v", fresh.train, fresh.columns).loc["clinic", "region"] == pytest.approx(1)
    ratios = matrix("correlation_ratio", fresh.train, fresh.columns)
    assert ratios.loc["insurance", "copay"] > ratios.loc["clinic", "copay"]
    assert ratios.shape == (7, 6)
    assert not ratios.isna().any(axis=None)


def test_constant_missing_and_huge_values_have_no_association(rng):
    a, b = sample(rng, 50)
    for measure in NAMES:
        assert MEASURES[measure](np.full(50, 3.0), b)[0] == 0
        assert MEASURES[measure](a, np.full(50, 0.1))[0] == 0
    assert MEASURES["pearson"](a * 1e300, b)[0] == pytest.approx(MEASURES["pearson"](a, b)[0])
    schema = Schema((Column("a", "float", nullable=True), Column("b", "float", nullable=True)))
    frame = pd.DataFrame({"a": a, "b": a + 1})
    gone = Evidence(schema, frame, frame, frame.assign(b=np.nan))
    assert Association("pearson")(gone, rng).value == pytest.approx(1)


def test_questions_that_do_not_arise_say_so(rng):
    frame = pd.DataFrame({"town": ["a", "b"]})
    evidence = Evidence(Schema((Column("town", "categorical"),)), frame, frame, frame)
    for measure, told in zip(NAMES, ("numeric", "numeric", "categorical", "one numeric and one"), strict=True):
        with pytest.raises(NotApplicable, match=told):
            Association(measure)(evidence, rng)


@pytest.mark.parametrize("wrong", [lambda: Association("kendall"), lambda: Association(pairs=0)])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        wrong()
