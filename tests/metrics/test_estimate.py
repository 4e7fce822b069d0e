import numpy as np
import pytest
from scipy import stats

from tabsynth.errors import InputError
from tabsynth.metrics.estimate import Estimate, auc, check_level, clopper_pearson, difference, from_influence, wilson


@pytest.mark.parametrize(
    "ends", [(float("nan"), 0, 1), (0.5, float("nan"), 1), (0.5, 0, float("nan")), (2, 0, 1), (0, 1, 2)]
)
def test_nan_and_intervals_that_miss_their_value_cannot_be_built(ends):
    with pytest.raises(ValueError, match="low <= value <= high"):
        Estimate(*ends)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_a_level_lies_between_0_and_1(level):
    with pytest.raises(InputError, match="level"):
        check_level(level)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (3, 20), (20, 20), (7, 400)])
def test_clopper_pearson_leaves_half_the_error_in_each_binomial_tail(hits, trials):
    low, high = clopper_pearson(hits, trials, 0.9)
    if hits > 0:
        assert stats.binom.sf(hits - 1, trials, low) == pytest.approx(0.05)
    if hits < trials:
        assert stats.binom.cdf(hits, trials, high) == pytest.approx(0.05)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (3, 20), (20, 20)])
def test_wilson_ends_are_where_the_score_test_just_rejects(hits, trials):
    low, high = wilson(hits, trials, 0.95)
    for share in (low, high):
        if 0 < share < 1:
            z = abs(hits / trials - share) / np.sqrt(share * (1 - share) / trials)
            assert z == pytest.approx(1.959964, rel=1e-5)


def test_the_difference_of_proportions_covers_the_truth_as_often_as_it_says(rng):
    first, second = rng.binomial(300, 0.12, 1500), rng.binomial(150, 0.07, 1500)
    found = [difference((int(a), int(b)), (300, 150), 0.9) for a, b in zip(first, second, strict=True)]
    covered = np.mean([one.low <= 0.05 <= one.high for one in found])
    wrong = np.mean([one.low <= 0.05 + 0.05 <= one.high for one in found])
    assert 0.87 < covered < 0.94
    assert wrong < 0.6


def test_auc_equals_the_share_of_pairs_in_order(rng):
    positive, negative = rng.integers(0, 6, 40).astype(float), rng.integers(0, 5, 30).astype(float)
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    area, above, below = auc(positive, negative)
    assert area == pytest.approx(np.mean(pairs))
    assert above.mean() == pytest.approx(0)
    assert below.mean() == pytest.approx(0)


def test_the_interval_of_an_auc_is_as_wide_as_areas_scatter(rng):
    areas, halves = [], []
    for _ in range(600):
        area, above, below = auc(rng.normal(0.8, 1, 80), rng.normal(0, 1, 120))
        found = from_influence(area, (above, below), 0.95, (0, 1))
        areas.append(area)
        halves.append((found.high - found.low) / 2 / 1.959964)
    assert np.mean(halves) == pytest.approx(np.std(areas), rel=0.1)  # a third too small or too large would fail


def test_an_interval_is_cut_at_its_bounds_and_still_holds_its_value(rng):
    found = from_influence(0.99, (rng.normal(0, 1, 10),), 0.95, (0.0, 1.0))
    assert found.low < 0.99 < found.high == 1.0
