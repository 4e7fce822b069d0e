from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotMeasured
from tabsynth.metrics.neighbours import place
from tabsynth.metrics.support import AlphaPrecision, BetaRecall, Coverage, Density, count_in_balls, spread_gap
from tabsynth.schema import Column, Schema

METRICS = (Density(), Coverage(), AlphaPrecision(), BetaRecall())
SCHEMA = Schema((Column("x", "float"), Column("y", "float"), Column("g", "categorical")))


def modes(rng, rows, shares=(0.5, 0.3, 0.2)):
    """Rows around three centres."""
    mode = rng.choice(3, rows, p=shares)
    return pd.DataFrame({"x": rng.normal(4 * mode, 1), "y": rng.normal(-3 * mode, 1), "g": np.array(list("abc"))[mode]})


def made(rng, rows=400, **settings):
    return Evidence(SCHEMA, modes(rng, 1000), modes(rng, 400), modes(rng, rows, **settings))


def test_counts_in_balls_are_those_of_all_pairs(rng):
    evidence = made(rng, 60)
    rows, real = (place(frame, evidence.train, evidence.columns) for frame in (evidence.rows, evidence.holdout[:80]))
    apart = [np.minimum(np.abs(a[:, None] - real[None]), 1).sum(axis=2) for a in (rows, real)]
    inside = apart[0] <= np.sort(apart[1], axis=1)[:, 3][None] + 1e-6
    found = count_in_balls(rows, real, 3)
    assert found.of_row.tolist() == inside.sum(axis=1).tolist()
    assert found.of_ball.tolist() == inside.sum(axis=0).tolist()
    assert found.alone_in.tolist() == (inside & (inside.sum(axis=0) == 1)).sum(axis=1).tolist()


def test_the_gap_of_spreads_is_the_mean_of_slow_distribution_functions(rng):
    asked, own = rng.integers(0, 9, 40) / 3, rng.integers(1, 12, 30) / 3
    slow = [abs((asked <= t).mean() - (own <= t).mean()) for t in own]
    gap, in_asked, in_own = spread_gap(asked, own)
    assert gap == pytest.approx(np.mean(slow))
    sign = [np.sign((asked <= t).mean() - (own <= t).mean()) for t in own]
    assert in_asked == pytest.approx([np.mean([s * (a <= t) for s, t in zip(sign, own, strict=True)]) for a in asked])
    expected = [slow[i] - np.mean([s * (own[i] <= t) for s, t in zip(sign, own, strict=True)]) for i in range(30)]
    assert in_own == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_fresh_sample_scores_as_theory_has_it(metric, draw, rng):
    found = [metric(draw(1500, 800, 800, seed), rng) for seed in range(3)]
    expected = {"density": 1.0, "coverage": 1 - 2**-5}.get(metric.name, 1.0)
    assert np.mean([one.value for one in found]) == pytest.approx(expected, abs=0.06)
    assert found[0].note == "800 rows of each table"


def test_each_notices_its_own_fault(fresh, rng):
    found = {metric.name: metric(fresh, rng) for metric in METRICS}

    def faked(rows):
        return {metric.name: metric(replace(fresh, rows=rows), rng) for metric in METRICS}

    apart = faked(fresh.as_independent(rng).rows)  # rows where no real ones are
    assert apart["density"].high < 0.8 < found["density"].low
    assert apart["alpha_precision"].high < 0.8 < found["alpha_precision"].low
    few = faked(fresh.rows.iloc[rng.integers(30, size=3000)])  # right rows, but thirty of them
    assert few["coverage"].high < 0.5 < found["coverage"].low
    assert few["beta_recall"].high < 0.5 < found["beta_recall"].low
    lost = faked(fresh.rows.loc[~fresh.rows["clinic"].isin(["Ashford", "Harbour", "Cedar Hill"])])  # modes are lost
    assert lost["coverage"].high < found["coverage"].low
    assert lost["beta_recall"].high < found["beta_recall"].low


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_intervals_are_as_wide_as_estimates_scatter_over_draws(metric, rng):
    found = [metric(made(rng, shares=(0.75, 0.2, 0.05)), rng) for _ in range(60)]
    errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
    assert 0.7 < np.mean(errors) / np.std([one.value for one in found]) < 1.5


def test_few_rows_are_not_measured_and_settings_are_checked(fresh, rng):
    assert Density(most=100)(fresh, rng).note == "100 rows of each table"
    with pytest.raises(NotMeasured, match="at least 20 rows"):
        Coverage()(replace(fresh, rows=fresh.rows.iloc[:19]), rng)
    for wrong in ({"k": 0}, {"most": 1}, {"level": 0}):
        with pytest.raises(InputError):
            Coverage(**wrong)
