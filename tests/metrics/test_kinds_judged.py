"""Durations, moments of a zone, codes among numbers and ordered categories under the default policy."""

import numpy as np
import pandas as pd
import pytest

from tabsynth.metrics import Evidence
from tabsynth.metrics.distances import Missing
from tabsynth.policy import default_policy, evaluate, passes
from tabsynth.schema import DAY, Column, Schema
from tabsynth.table import read

TIME = "%Y-%m-%d %H:%M:%S"
SCHOOLS = ("low", "middle", "high")
SCHEMA = Schema(
    (
        Column("school", "categorical", categories=SCHOOLS, ordered=True),
        Column("wage", "integer", bounds=(0, 20_000), codes=("refused", 99_999), nullable=True),
        Column("seen", "datetime", format=TIME, timezone="Europe/Berlin", bounds=(1.6e9, 1.7e9), cycle="week"),
        Column("stay", "duration", unit="min", bounds=(0, 360_000), nullable=True),
        Column("ill", "boolean", roles=("target",)),
    )
)
SIZES = (2000, 1000, 2000)


def people(rows):
    """Return patients, of whom one in ten refuses to tell a wage and one in twenty cannot tell it."""
    rng = np.random.default_rng(0)
    school = rng.choice(3, rows, p=[0.3, 0.5, 0.2])
    wage = np.minimum(np.rint(rng.lognormal(7 + 0.4 * school, 0.5)), 20_000).astype(int).astype(object)
    told = rng.random(rows)
    wage[told < 0.1], wage[(told > 0.1) & (told < 0.15)], wage[told > 0.95] = "refused", 99_999, None
    stay = np.minimum(np.rint(rng.gamma(2, 200 + 100 * school)), 5999)
    seen = (1.6e9 // DAY + rng.integers(1, 1100, rows)) * DAY + np.rint(3600 * np.clip(rng.normal(12, 3, rows), 7, 19))
    return pd.DataFrame(
        {
            "school": np.array(SCHOOLS)[school],
            "wage": wage,
            "seen": pd.to_datetime(seen, unit="s").strftime(TIME),
            "stay": np.where(rng.random(rows) < 0.05, np.nan, stay),
            "ill": rng.random(rows) < 1 / (1 + np.exp((600 - stay) / 150)),
        }
    )


@pytest.fixture(scope="module")
def tables():
    table = read(people(sum(SIZES)), SCHEMA).private
    ends = np.cumsum(SIZES)
    return [table.iloc[end - size : end].reset_index(drop=True) for end, size in zip(ends, SIZES, strict=True)]


@pytest.mark.parametrize("copied", [False, True])
def test_a_fresh_sample_of_every_kind_passes_and_a_copy_does_not(tables, copied):
    train, holdout, fresh = tables
    evidence = Evidence(SCHEMA, train, holdout, train if copied else fresh)
    verdicts = evaluate(evidence, default_policy(), np.random.default_rng(0), beside=False)
    assert passes(verdicts) is not copied
    refusing = {verdict.name for verdict in verdicts if verdict.failed}
    copies = {"exact_match", "unique_replay", "membership_auc", "membership_tpr", "attribute_inference"}
    assert refusing == (copies if copied else set())


def test_codes_that_became_numbers_or_gaps_are_missed_as_gaps_are(tables, rng):
    train, holdout, fresh = tables
    coded = fresh["wage"].isin(["refused", 99_999])
    for value in (1000, None):
        rows = fresh.assign(wage=fresh["wage"].mask(coded, value))
        found = Missing("worst")(Evidence(SCHEMA, train, holdout, rows), rng)
        assert found.value == pytest.approx(0.15, abs=0.04)
        assert "'wage'" in found.note
    assert Missing("worst")(Evidence(SCHEMA, train, holdout, fresh), rng).value < 0.04
