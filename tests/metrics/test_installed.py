"""Every installed fidelity and utility metric: on awkward tables."""

import numpy as np
import pandas as pd
import pytest

from tabsynth import registry
from tabsynth.errors import TabsynthError
from tabsynth.metrics import Estimate, Evidence
from tabsynth.schema import Column, Schema

SMALLER = {"importance_agreement": {"repeats": 2}, "query_error": {"queries": 20}}
METRICS = {
    name: metric
    for name in registry.names(registry.METRICS)
    if (metric := registry.load(registry.METRICS, name)(**SMALLER.get(name, {}))).tier != "privacy"
}
AWKWARD = {
    "one row": {"g": ["a"], "x": [1.0], "z": [0.0]},
    "one category": {"g": ["a"] * 60, "x": np.arange(60.0), "z": np.arange(60.0)},
    "constant number": {"g": list("ab") * 30, "x": np.zeros(60), "z": np.zeros(60)},
    "all missing": {"g": [None] * 60, "x": [np.nan] * 60, "z": [np.nan] * 60},
    "many categories": {"g": np.arange(2000).astype(str), "x": np.arange(2000.0), "z": np.zeros(2000)},
    "repeated rows": {"g": list("ab") * 30, "x": [0.0, 1.0] * 30, "z": [1.0, 0.0] * 30},
    "huge numbers": {"g": ["ü \U0001f600"] * 60, "x": np.geomspace(1e-300, 1e300, 60), "z": np.full(60, 1e300)},
}


def test_the_names_in_policies_are_those_of_the_metrics():
    prefixed = {"association"}
    assert {name for name, metric in METRICS.items() if metric.name != name} <= prefixed


@pytest.mark.parametrize("target", ["g", "x"])
@pytest.mark.parametrize("table", AWKWARD)
def test_an_awkward_table_gets_a_number_or_a_reason(table, target):
    frame = pd.DataFrame(AWKWARD[table])
    columns = (
        Column("g", "categorical", nullable=True),
        Column("x", "float", nullable=True),
        Column("z", "float", nullable=True),
    )
    evidence = Evidence(Schema(columns).with_target(target), frame, frame.iloc[::-1], frame)
    for metric in METRICS.values():
        try:
            found = metric(evidence, np.random.default_rng(0))
        except TabsynthError:
            continue  # a reason in words; any other error fails this test
        assert isinstance(found, Estimate)


def test_a_synthetic_column_without_values_is_learned_from(fresh):
    gone = Evidence(fresh.schema, fresh.train, fresh.holdout, fresh.rows.assign(age=pd.NA))
    for name in ("tstr", "c2st"):
        assert 0.5 < METRICS[name](gone, np.random.default_rng(0)).value <= 1
