"""A table of 32 columns with 529 and 224 categories, gaps and dependencies, small: `benchmarks/wide.py`."""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import wide

QUICK = {"rounds": 1, "pairs": 5, "steps": 40, "iterations": 150}


def test_a_wide_table_passes_the_gates_fidelity_checks_and_independent_columns_do_not():
    verdicts = wide.judged("marginals", 3600, None, **QUICK)
    assert [verdict.name for verdict in verdicts if not verdict.passed] == []
    assert len(verdicts) > 5
    assert not all(verdict.passed for verdict in wide.judged("independent", 3600, None))


def test_what_the_simulator_promises():
    frame = wide.simulated(3000)
    assert frame.shape == (3000, 32)
    assert frame["town"].nunique() > 450
    for first, second in (("town", "county"), ("county", "region"), ("trade", "branch")):
        assert (frame.dropna(subset=[first]).groupby(first)[second].nunique() == 1).all()
    gaps = frame[list(wide.SCORES)].isna().to_numpy()
    assert gaps.all(axis=1).mean() > 0.1  # missing together
    pd.testing.assert_frame_equal(frame, wide.simulated(3000))
