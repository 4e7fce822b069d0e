from dataclasses import replace

import numpy as np
import pytest

from tabsynth.metrics.closest import DCR, NNDR, median
from tabsynth.metrics.membership import MembershipAUC
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.policy import Check, evaluate, passes

METRICS = (DCR(), NNDR())


def test_the_numbers_are_the_medians_of_their_definitions(draw, rng):
    evidence = draw(60, 20, 50)
    train, rows = (place(frame, evidence.train, evidence.columns) for frame in (evidence.train, evidence.rows))
    slow = np.sort(np.minimum(np.abs(rows[:, None] - train[None]), 1).sum(axis=2), axis=1)
    assert DCR()(evidence, rng).value == pytest.approx(np.median(slow[:, 0]) / len(evidence.columns), abs=1e-5)
    assert NNDR()(evidence, rng).value == pytest.approx(np.median(slow[:, 0] / slow[:, 1]), abs=1e-4)
    assert nearest(rows, train, k=1)[:, 0] == pytest.approx(slow[:, 0], abs=1e-5)


def test_the_interval_of_a_median_covers_it_and_misses_a_wrong_one(rng):
    found = [median(rng.normal(size=101), 0.9) for _ in range(400)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.88
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) < 0.5


def test_a_copy_is_at_distance_zero(fresh, rng):
    for metric in METRICS:
        assert metric(replace(fresh, rows=fresh.train), rng).value == 0
        assert metric(fresh, rng).low > 0
        assert "no proof of privacy" in metric(replace(fresh, holdout=None), rng).note


def test_they_pass_nothing_by_themselves(fresh):
    described = [Check(metric, at_least=0) for metric in METRICS]
    alone = evaluate(fresh, described, np.random.default_rng(0))
    assert [verdict.status for verdict in alone] == ["failed", "failed"]
    assert "proves no privacy" in alone[0].reason
    measured = Check(MembershipAUC(), at_most=0.65)
    assert passes(evaluate(fresh, [*described, measured], np.random.default_rng(0)))
    # a table that leaks and keeps its distance is refused by what measures
    shifted = replace(fresh, rows=fresh.train.assign(age=(fresh.train["age"] + 50) % 100))
    far, _, verdict = evaluate(shifted, [*described, measured], np.random.default_rng(0))
    assert verdict.failed
    assert far.failed
