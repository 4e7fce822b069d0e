"""Rules and families together, small: what `benchmarks/constraint_violations.py` counts among a million rows."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from tabsynth.constraints import KINDS
from tabsynth.schema import Schema

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import constraint_violations as benchmark

QUICK = {
    "independent": {},
    "copula": {},
    "marginals": {"pairs": 2, "rounds": 1, "steps": 20, "iterations": 60},
    "rows": {"width": 8, "depth": 1, "epochs": 0.1},
}


@pytest.mark.parametrize("name", benchmark.SCHEMAS)
@pytest.mark.parametrize("family", QUICK)
def test_no_row_breaks_a_rule(family, name):
    broken, kept, _ = benchmark.count(family, name, 1000, fitted_to=300, **QUICK[family])
    assert broken == 0
    assert kept > 0.01


def test_every_kind_of_rule_is_counted_and_each_is_seen_to_be_broken():
    rules = [rule for _, rules in benchmark.SCHEMAS.values() for rule in rules]
    assert {rule.kind for rule in rules} == set(KINDS)
    for columns, rules in benchmark.SCHEMAS.values():
        frame = benchmark.keeping(columns, rules, 50).private
        other = benchmark.keeping(columns, (), 50, seed=1).private
        if "red" in other:
            other["red"] = 1 - other["red"]
        for rule in rules:
            schema = Schema(columns, constraints=(rule,))
            assert benchmark.violations(frame, schema) == 0
            mixed = pd.concat([frame, frame if rule.kind == "unique" else other], ignore_index=True)
            assert benchmark.violations(mixed, schema) > 0
