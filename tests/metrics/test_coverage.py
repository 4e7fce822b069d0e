from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence, NotApplicable
from tabsynth.metrics.coverage import RareCategories, RarePairs
from tabsynth.schema import Column, Schema

SHARES = [0.5, 0.3, 0.1, 0.04, 0.03, 0.02, 0.01]


def sampled(rng, rows, shares=SHARES):
    return pd.DataFrame({name: rng.choice(list("abcdefg"), rows, p=shares) for name in ("x", "y")})


def made(rng, rows=2000, shares=SHARES):
    columns = tuple(Column(name, "categorical", categories=tuple("abcdefg")) for name in ("x", "y"))
    return Evidence(Schema(columns), sampled(rng, 4000), sampled(rng, 1500), sampled(rng, rows, shares))


def slow(evidence, names, rare, fewest):
    """The definition, cell by cell."""
    counts = [
        Counter(frame[names].astype(str).itertuples(index=False, name=None))
        for frame in (evidence.rows, evidence.holdout, evidence.train)
    ]
    sizes = len(evidence.rows), len(evidence.holdout), len(evidence.train)
    cells = [cell for cell in counts[2] if counts[2][cell] < rare * sizes[2] and counts[1][cell] >= fewest]
    return [min(1, counts[0][cell] / sizes[0] / (counts[1][cell] / sizes[1])) for cell in cells]


def test_what_is_kept_of_rare_cells_is_that_of_the_definition(rng):
    evidence = made(rng)
    expected = slow(evidence, ["x"], 0.05, 5) + slow(evidence, ["y"], 0.05, 5)
    assert RareCategories()(evidence, rng).value == pytest.approx(np.mean(expected))
    assert len(expected) == 8
    assert RarePairs()(evidence, rng).value == pytest.approx(np.mean(slow(evidence, ["x", "y"], 0.02, 5)))


def test_intervals_are_as_wide_as_what_is_kept_scatters_over_draws(rng):
    fewer = [0.53, 0.31, 0.11, 0.02, 0.015, 0.01, 0.005]  # half: off the edge at 1, where there is a derivative
    for metric in (RareCategories(), RarePairs()):
        found = [metric(made(rng, shares=fewer), rng) for _ in range(40)]
        errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
        assert 0.7 < np.mean(errors) / np.std([one.value for one in found]) < 1.4


def test_a_fresh_sample_keeps_rare_cells_and_a_collapsed_one_does_not(fresh, rng):
    for metric in (RareCategories(), RarePairs()):
        found, ceiling = metric(fresh, rng), metric(fresh.as_real(rng), rng)
        assert found.value == pytest.approx(ceiling.value, abs=0.05)
        assert found.value > 0.8
    collapsed = fresh.rows.loc[
        ~fresh.rows["readmitted"] & ~fresh.rows["diagnosis"].isin(["Skin"]) & (fresh.rows["insurance"] != "Self-pay")
    ]
    lost = RareCategories(rare=0.12)(replace(fresh, rows=collapsed), rng)
    assert lost.high < 0.8 < RareCategories(rare=0.12)(fresh, rng).low
    assert lost.note == "3 of 14 rare categories never appear"
    assert RarePairs()(replace(fresh, rows=collapsed), rng).high < 0.8


def test_right_categories_in_wrong_pairs_show_in_pairs_only(rng):
    evidence = made(rng)
    tied = pd.DataFrame({"x": evidence.rows["x"], "y": evidence.rows["x"]})
    assert RareCategories()(replace(evidence, rows=tied), rng).value > 0.8
    assert RarePairs()(replace(evidence, rows=tied), rng).high < 0.3


def test_pairs_of_columns_above_the_limit_are_drawn_and_named(fresh, rng):
    assert RarePairs(pairs=4)(fresh, rng).note.endswith("in 4 of 21 pairs of columns never appear")


def test_questions_that_do_not_arise_and_wrong_settings_say_so(rng):
    frame = pd.DataFrame({"x": [1.0, 2.0], "b": [True, False]})
    evidence = Evidence(Schema((Column("x", "float"), Column("b", "boolean"))), frame, frame, frame)
    for metric in (RareCategories(), RarePairs()):
        with pytest.raises(NotApplicable, match="no rare"):
            metric(evidence, rng)
    for wrong in (lambda: RareCategories(rare=0), lambda: RarePairs(pairs=0), lambda: RarePairs(fewest=0)):
        with pytest.raises(InputError):
            wrong()
