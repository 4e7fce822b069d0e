from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.metrics import Evidence, NotApplicable, NotMeasured
from tabsynth.metrics.replay import ExactMatch, UniqueReplay
from tabsynth.schema import Column, Schema


def paired(rng, size=4000):
    """Two columns of 60 values: most rows repeat, some stand alone."""
    schema = Schema((Column("x", "integer"), Column("y", "integer")))
    frames = [pd.DataFrame(np.minimum(rng.geometric(0.1, (n, 2)), 60), columns=["x", "y"]) for n in (size,) * 3]
    return Evidence(schema, *frames)


def alone(frame):
    return frame.loc[~frame.duplicated(keep=False)]


def test_the_unique_rows_are_counted_as_they_read(rng):
    evidence = paired(rng)
    train, holdout, rows = (list(map(tuple, e.to_numpy())) for e in (evidence.train, evidence.holdout, evidence.rows))
    times = Counter(train + holdout)
    first, second = ([row for row in side if times[row] == 1] for side in (train, holdout))
    slow = np.mean([row in set(rows) for row in first]) - np.mean([row in set(rows) for row in second])
    found = UniqueReplay(apart=0)(evidence, rng)
    assert found.value == pytest.approx(slow * len(first) / len(train))
    assert f"of {len(first)} unique training rows" in found.note


def test_rows_that_stand_apart_are_counted_as_they_read(rng):
    schema = Schema(tuple(Column(name, "integer") for name in "xyz"))
    frames = [pd.DataFrame(rng.integers(40, size=(200, 3)), columns=list("xyz")) for _ in range(3)]
    frames[2] = pd.concat([frames[0].iloc[:50], frames[1].iloc[:20], frames[2]])
    evidence = Evidence(schema, *frames)
    train, holdout, rows = (list(map(tuple, e.to_numpy())) for e in (evidence.train, evidence.holdout, evidence.rows))

    def stands_apart(row):
        return sum(sum(a == b for a, b in zip(row, other, strict=True)) >= 2 for other in train + holdout) == 1

    first, second = ([row for row in side if stands_apart(row)] for side in (train, holdout))
    assert 30 < len(first) < 150
    slow = np.mean([row in set(rows) for row in first]) - np.mean([row in set(rows) for row in second])
    found = UniqueReplay()(evidence, rng)
    assert found.value == pytest.approx(slow * len(first) / 200)
    assert f"of {len(first)} unique training rows" in found.note


def test_where_rows_have_near_equals_a_fresh_sample_replays_few_of_those_that_stand_apart(rng):
    names = list("abcdefgh")
    schema = Schema(tuple(Column(name, "integer") for name in names))
    frames = [pd.DataFrame(np.minimum(rng.geometric(0.4, (4000, 8)), 8), columns=names) for _ in range(3)]
    near, apart = (UniqueReplay(apart=one)(Evidence(schema, *frames), None) for one in (0, 1))
    assert near.high - near.value > 0.006  # so wide that a limit of 0.005 would refuse half of all fresh samples
    assert apart.high < 0.005


def test_fresh_samples_replay_none_beyond_chance():
    found = [UniqueReplay(0.9, apart=0)(paired(np.random.default_rng(seed)), None) for seed in range(60)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.83
    error = np.std([one.value for one in found]) / np.sqrt(len(found))
    assert abs(np.mean([one.value for one in found])) < 3.5 * error


def test_a_replay_of_unique_rows_is_found_where_all_rows_together_hide_it():
    for seed in range(5):
        evidence = paired(np.random.default_rng(seed))
        unique = alone(evidence.train)
        hidden = unique.iloc[: len(unique) // 2]
        leak = replace(evidence, rows=pd.concat([hidden, evidence.rows.iloc[len(hidden) :]]))
        assert UniqueReplay(apart=0)(leak, None).low > 0.01
        assert ExactMatch()(leak, None).value < 0.1


def test_a_copy_of_one_row_in_a_hundred_is_found(draw):
    for seed in range(3):
        evidence = draw(4000, 2000, 4000, seed)
        leak = replace(evidence, rows=pd.concat([evidence.train.iloc[:40], evidence.rows.iloc[40:]]))
        assert UniqueReplay()(leak, None).low > 0.005
        assert UniqueReplay()(evidence, None).high < 0.005


def test_where_every_row_repeats_there_is_nobody_to_replay(rng):
    schema = Schema((Column("x", "boolean"),))
    frames = [pd.DataFrame({"x": rng.random(100) < 0.5}) for _ in range(3)]
    with pytest.raises(NotApplicable, match="nobody to replay"):
        UniqueReplay()(Evidence(schema, *frames), rng)


def test_where_few_different_rows_are_possible_the_note_says_that_a_copy_looks_like_a_sample(rng):
    columns = tuple(Column(name, "boolean") for name in "xyz")
    frames = [pd.DataFrame(rng.random((400, 3)) < 0.5, columns=list("xyz")) for _ in range(3)]
    told = "a copy cannot be told from a sample"
    assert told in ExactMatch()(Evidence(Schema(columns), *frames), rng).note
    assert told not in ExactMatch()(paired(rng), rng).note


def test_without_a_holdout_nothing_is_said(fresh, rng):
    with pytest.raises(NotMeasured, match="needs a holdout"):
        UniqueReplay()(replace(fresh, holdout=None), rng)
