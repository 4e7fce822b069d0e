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
    found = UniqueReplay()(evidence, rng)
    assert found.value == pytest.approx(slow)
    assert f"of {len(first)} unique training rows" in found.note


def test_fresh_samples_replay_none_beyond_chance():
    found = [UniqueReplay(0.9)(paired(np.random.default_rng(seed)), None) for seed in range(60)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.83
    error = np.std([one.value for one in found]) / np.sqrt(len(found))
    assert abs(np.mean([one.value for one in found])) < 3.5 * error


def test_a_replay_of_unique_rows_is_found_where_all_rows_together_hide_it():
    for seed in range(5):
        evidence = paired(np.random.default_rng(seed))
        unique = alone(evidence.train)
        hidden = unique.iloc[: len(unique) // 2]
        leak = replace(evidence, rows=pd.concat([hidden, evidence.rows.iloc[len(hidden) :]]))
        assert UniqueReplay()(leak, None).low > 0.15
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


def test_without_a_holdout_nothing_is_said(fresh, rng):
    with pytest.raises(NotMeasured, match="needs a holdout"):
        UniqueReplay()(replace(fresh, holdout=None), rng)
