from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotMeasured
from tabsynth.metrics.estimate import auc
from tabsynth.metrics.privacy import ExactMatch, MembershipAUC, MembershipTPR, membership, tpr_at
from tabsynth.metrics.sides import chance
from tabsynth.schema import Column, Schema

METRICS = (ExactMatch(), MembershipAUC(), MembershipTPR())


def copied(evidence, share=1.0, noise=0.0, seed=0):
    """The fresh sample with a share of training rows in it, each cell changed with probability `noise`."""
    rng = np.random.default_rng(seed)
    count = int(share * len(evidence.train))
    rows = evidence.train.iloc[rng.choice(len(evidence.train), count, replace=False)].reset_index(drop=True)
    for name in rows.columns:
        hit = np.flatnonzero(rng.random(count) < noise)
        rows[name] = (
            rows[name]
            .iloc[np.where(np.isin(np.arange(count), hit), rng.integers(count, size=count), np.arange(count))]
            .array
        )
    return replace(evidence, rows=pd.concat([rows, evidence.rows.iloc[count:]], ignore_index=True))


def binary(rows=2000, seed=0):
    """A table of three binary columns: eight different rows."""
    frame = pd.DataFrame(np.random.default_rng(seed).random((3 * rows, 3)) < 0.4, columns=list("abc"))
    schema = Schema(tuple(Column(name, "boolean") for name in "abc"))
    return Evidence(schema, *(frame.iloc[i * rows : (i + 1) * rows] for i in range(3)))


def test_a_copy_is_found_by_every_privacy_metric(fresh, rng):
    exact, area, tpr = (metric(copied(fresh), rng) for metric in METRICS)
    assert exact.low > 0.95
    assert area.low > 0.98
    assert tpr.low > 0.9


def test_a_fresh_sample_shows_nothing(fresh, rng):
    exact, area, tpr = (metric(fresh, rng) for metric in METRICS)
    assert exact.low <= 0 <= exact.high < 0.01
    assert area.low <= 0.5
    assert area.high < 0.57
    assert tpr.low <= 0.01
    assert tpr.high < 0.05


def test_noise_hides_a_copy_from_exact_matching_and_not_from_the_attacks(fresh, rng):
    exact, area, tpr = (metric(copied(fresh, noise=0.3), rng) for metric in METRICS)
    assert exact.high < 0.05
    assert area.low > 0.6
    assert tpr.low > 0.03


def test_a_tenth_of_the_training_rows_hardly_moves_the_auc_and_trips_the_others(fresh, rng):
    exact, area, tpr = (metric(copied(fresh, share=0.1), rng) for metric in METRICS)
    assert exact.value == pytest.approx(0.1, abs=0.005)
    assert area.value < 0.6
    assert tpr.low > 0.05


def test_columns_drawn_independently_leak_no_membership(fresh, rng):
    area, tpr = (metric(fresh.as_independent(rng), rng) for metric in METRICS[1:])
    assert area.low < 0.5 < area.high < 0.6
    assert tpr.high < 0.05


def test_training_rows_taken_out_of_a_sample_show_as_a_negative_share():
    evidence = binary()
    seen = evidence.train.drop_duplicates().iloc[:3].apply(tuple, axis=1)
    coarse = replace(evidence, rows=evidence.rows.loc[~evidence.rows.apply(tuple, axis=1).isin(set(seen))])
    assert abs(ExactMatch()(coarse, np.random.default_rng(0)).value) < 0.05  # out of the holdout too: no leak
    rare = evidence.schema, evidence.train.iloc[:30], evidence.holdout, evidence.rows
    gone = set(rare[1].apply(tuple, axis=1))
    found = ExactMatch()(
        Evidence(*rare[:3], rare[3].loc[~rare[3].apply(tuple, axis=1).isin(list(gone)[:5])]), np.random.default_rng(0)
    )
    assert found.low <= found.value <= found.high


def test_a_copy_of_a_table_of_eight_different_rows_cannot_be_told_from_a_sample(rng):
    evidence = binary()
    for metric in METRICS:
        found = metric(replace(evidence, rows=evidence.train), rng)
        assert found.low <= metric(evidence, rng).value <= found.high


def test_a_tiny_copy_is_found_and_a_tiny_fresh_sample_is_not(draw, rng):
    tiny = draw(240, 60, 240)
    assert ExactMatch()(copied(tiny), rng).low > 0.8
    assert MembershipAUC()(copied(tiny), rng).low > 0.9
    assert ExactMatch()(tiny, rng).high < 0.1
    assert MembershipAUC()(tiny, rng).high < 0.8


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_privacy_needs_a_holdout_that_is_apart_from_the_training_rows(metric, fresh, rng):
    with pytest.raises(NotMeasured, match="needs a holdout"):
        metric(replace(fresh, holdout=None), rng)
    with pytest.raises(NotMeasured, match="shares rows with the training table"):
        metric(replace(fresh, holdout=fresh.train.iloc[:1000]), rng)
    some = pd.concat([fresh.train.iloc[:15], fresh.holdout.iloc[:985]])
    with pytest.raises(NotMeasured, match="shares rows"):
        metric(replace(fresh, holdout=some), rng)


@pytest.mark.parametrize("values", [3, 100, 2_000, 10**9])
def test_samples_of_one_population_share_rows_by_chance_and_are_rarely_refused(values, rng):
    tables = rng.integers(0, values, (2_000, 2_500)).astype(np.uint64)
    refused = [chance(table[:2_000], table[2_000:]) < 0.01 for table in tables]
    assert binom.sf(sum(refused) - 1, len(refused), 0.01) > 1e-4


@pytest.mark.parametrize(("values", "share"), [(10**9, 0.01), (200_000, 0.05), (20_000, 0.25)])
def test_a_holdout_that_has_some_training_rows_in_it_is_noticed(values, share, rng):
    table = rng.integers(0, values, 12_500).astype(np.uint64)
    holdout = np.concatenate([table[: int(2_500 * share)], table[10_000 + int(2_500 * share) :]])
    assert chance(table[:10_000], table[10_000:]) > 0.001 > chance(table[:10_000], holdout)


def test_few_rows_are_not_attacked(fresh, rng):
    with pytest.raises(NotMeasured, match="at least 30 holdout rows"):
        MembershipAUC()(replace(fresh, holdout=fresh.holdout.iloc[:29]), rng)
    with pytest.raises(NotMeasured, match="not measurable: it needs 20,000 holdout rows"):
        MembershipTPR(fpr=0.001)(fresh, rng)


def test_a_synthetic_table_of_one_row_is_measured(fresh, rng):
    one = replace(fresh, rows=fresh.rows.iloc[:1])
    assert MembershipAUC()(one, rng).low <= 0.5
    assert ExactMatch()(one, rng).value == pytest.approx(0, abs=0.001)


def test_the_share_found_is_that_above_the_threshold_of_the_false_positive_rate(rng):
    members, others = rng.normal(1, 1, 700), rng.normal(0, 1, 1000)
    found = tpr_at(0.01, members, others, 0.95, rng)
    assert found.value == pytest.approx((members > np.sort(others)[-11]).mean())
    assert found.low < found.value < found.high


def test_ties_are_broken_at_random_which_is_guessing(rng):
    assert tpr_at(0.1, np.zeros(2000), np.zeros(2000), 0.95, rng).value == pytest.approx(0.1, abs=0.03)


def test_the_interval_of_the_share_found_covers_the_truth_and_misses_a_wrong_one(rng):
    # a fifth of the members stand out surely; of the others one in a hundred passes: 0.208
    found = []
    for _ in range(300):
        members = np.where(rng.random(500) < 0.2, 10, rng.normal(size=500))
        found.append(tpr_at(0.01, members, rng.normal(size=500), 0.9, rng))
    assert np.mean([one.low <= 0.208 <= one.high for one in found]) >= 0.9
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) < 0.2


@pytest.mark.parametrize(
    "wrong", [lambda: MembershipTPR(fpr=0), lambda: MembershipAUC(queries=3), lambda: ExactMatch(0)]
)
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        wrong()


def test_every_attack_is_at_half_on_fresh_samples_however_few_the_columns():
    # ranks taken among the members would place them where no holdout row can be: an attack on the scale, not the table
    schema = Schema((Column("x", "float"),))
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        frames = [pd.DataFrame({"x": rng.normal(size=size)}) for size in (200, 100, 200)]
        scores, _ = membership(Evidence(schema, *frames), 5000, rng)
        found.append([auc(*both)[0] for both in scores.values()])
    scatter = np.std(found, axis=0) / np.sqrt(len(found))
    assert np.mean(found, axis=0) == pytest.approx(0.5, abs=3.5 * scatter.max())
