from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.fidelity import KS, LARGEST, TVD1, TVD2, TVD3, drawn, joint, ks, mean_of, total_variation
from tabsynth.schema import Column, Schema

METRICS = (KS(), KS("worst"), TVD1(), TVD1("worst"), TVD2(), TVD3())


def constant(evidence):
    return replace(evidence, rows=evidence.rows.iloc[np.zeros(len(evidence.rows), dtype=int)])


def test_the_distance_of_distributions_is_scipys(rng):
    a, b = rng.integers(0, 9, 80).astype(float), rng.integers(1, 9, 50).astype(float)
    assert ks(a, b)[0] == pytest.approx(ks_2samp(a, b).statistic)
    assert ks(b, a)[0] == pytest.approx(ks(a, b)[0])


def test_missing_values_count_in_the_distance_of_distributions():
    gaps = np.array([np.nan, np.nan, 1.0, 2.0])
    assert ks(gaps, np.array([1.0, 2.0]))[0] == pytest.approx(0.5)
    assert ks(gaps, gaps)[0] == 0


def test_total_variation_is_half_the_summed_differences_of_shares(rng):
    a, b = rng.integers(0, 5, 60), rng.integers(0, 7, 90)
    first, second = Counter(a.tolist()), Counter(b.tolist())
    assert total_variation(a, b)[0] == pytest.approx(sum(abs(first[k] / 60 - second[k] / 90) for k in range(7)) / 2)


def test_cells_of_a_pair_are_the_pairs_of_cells_however_many_there_are(rng):
    first, second = [rng.integers(0, 4, 50) for _ in range(2)], [rng.integers(0, 3, 50) for _ in range(2)]
    expected = total_variation(*joint(first, second))[0]
    assert expected == pytest.approx(total_variation(*(a * 3 + b for a, b in zip(first, second, strict=True)))[0])
    scattered = [column * LARGEST for column in first]
    assert max(int(cells.max()) for cells in joint(scattered, second)) < 100  # no table of 2^60 counts
    assert total_variation(*joint(scattered, second))[0] == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_fresh_sample_scores_like_real_rows(metric, fresh, rng):
    found, ceiling = metric(fresh, rng), metric(fresh.as_real(rng), rng)
    assert found.low <= ceiling.value <= found.high
    assert found.value < 0.25


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_constant_table_is_far(metric, fresh, rng):
    assert metric(constant(fresh), rng).low > 0.45


def test_columns_drawn_independently_show_in_pairs_only(fresh, rng):
    apart = fresh.as_independent(rng)
    assert TVD2()(apart, rng).low > TVD2()(fresh, rng).high
    assert TVD1()(apart, rng).low < TVD1()(fresh, rng).high


def test_one_shifted_column_shows_as_the_worst(fresh, rng):
    shifted = replace(fresh, rows=fresh.rows.assign(age=100 - fresh.rows["age"]))
    found = KS("worst")(shifted, rng)
    assert found.note == "column 'age'"
    assert found.value > KS("worst")(fresh, rng).high


def test_intervals_are_as_wide_as_distances_scatter_over_draws(draw, rng):
    pool = draw(8000, 6000, 8000)
    found = []
    for _ in range(24):
        train, holdout, rows = (frame.sample(400, random_state=int(rng.integers(2**31))) for frame in frames_of(pool))
        # with a shift the distances are off their floor, where the delta method has its derivative
        evidence = Evidence(pool.schema, train, holdout, rows.loc[rows["age"] > 40])
        found.append([metric(evidence, rng) for metric in (KS(), TVD1(), TVD2())])
    for estimates in zip(*found, strict=True):
        errors = [(one.high - one.low) / 2 / 1.959964 for one in estimates]
        assert 0.65 < np.mean(errors) / np.std([one.value for one in estimates]) < 1.5


def frames_of(evidence):
    return (frame.assign(visit_id=0) for frame in (evidence.train, evidence.holdout, evidence.rows))


def test_a_table_of_missing_values_is_measured_and_far(fresh, rng):
    gone = replace(fresh, rows=fresh.rows.assign(**dict.fromkeys(fresh.rows, pd.NA)))
    for metric in METRICS:
        assert metric(gone, rng).low > 0.5


def test_without_a_holdout_the_training_rows_are_compared_with(fresh, rng):
    copy = Evidence(fresh.schema, fresh.train, None, fresh.train)
    assert TVD2()(copy, rng).value == 0
    assert KS()(copy, rng).value == 0


def test_questions_that_do_not_arise_say_so(rng):
    schema = Schema((Column("town", "categorical"),))
    frame = pd.DataFrame({"town": ["a", "b"]})
    evidence = Evidence(schema, frame, frame, frame)
    with pytest.raises(NotApplicable, match="no numeric or datetime column"):
        KS()(evidence, rng)
    with pytest.raises(NotApplicable, match="single column"):
        TVD2()(evidence, rng)
    with pytest.raises(NotApplicable, match="fewer than three columns"):
        TVD3()(evidence, rng)
    assert TVD1()(evidence, rng).value == 0


def test_pairs_above_the_limit_are_drawn_and_the_note_says_so(fresh, rng):
    found, whole = TVD2(pairs=10)(fresh, rng), TVD2()(fresh, rng)
    assert found.note.startswith("10 of 78 pairs of columns, drawn at random, which costs a standard error of 0.0")
    assert found.low <= whole.value <= found.high
    assert found.high - found.low > whole.high - whole.low
    assert TVD3(triples=10)(fresh, rng).note.startswith("10 of 286 triples")


def test_what_a_draw_of_pairs_costs_is_the_scatter_between_draws():
    values = np.random.default_rng(0).random(60)
    distances = [(value, np.zeros(2), np.zeros(2)) for value in values]
    rng = np.random.default_rng(1)
    orders = [[distances[i] for i in rng.permutation(60)] for _ in range(400)]
    found = [mean_of(drawn(order, 20), 0.95, of=60, what="pairs") for order in orders]
    assert drawn(distances, 20) == drawn(distances, 20)
    errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
    assert np.mean(errors) / np.std([one.value for one in found]) == pytest.approx(1, abs=0.1)
    assert mean_of(distances, 0.95, of=60, what="pairs").note == ""


def test_total_variation_of_triples_is_that_of_tuples(rng):
    schema = Schema(tuple(Column(name, "categorical") for name in "abc"))
    real, rows = (pd.DataFrame(rng.choice(list("xyz"), (n, 3)), columns=list("abc")) for n in (70, 50))
    first, second = (Counter(frame.itertuples(index=False, name=None)) for frame in (rows, real))
    expected = sum(abs(first[key] / 50 - second[key] / 70) for key in first | second) / 2
    assert TVD3()(Evidence(schema, real, real, rows), rng).value == pytest.approx(expected)


def test_a_dependence_of_three_columns_shows_in_triples_only(rng):
    schema = Schema(tuple(Column(name, "boolean") for name in "abc"))

    def frame(odd):
        a, b, c = rng.random((3, 4000)) < 0.5
        return pd.DataFrame({"a": a, "b": b, "c": a ^ b if odd else c})

    evidence = Evidence(schema, frame(True), frame(True), frame(False))
    assert TVD2()(evidence, rng).high < 0.1
    assert TVD3()(evidence, rng).low > 0.4


@pytest.mark.parametrize("wrong", [lambda: KS("median"), lambda: TVD2(pairs=0), lambda: TVD1(level=2.0)])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        wrong()
