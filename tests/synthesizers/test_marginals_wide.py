"""Columns of hundreds of categories in `marginals`: merged by what they say of the target, where noise lets them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.constraints import Dependency
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import marginals as family
from tabsynth.synthesizers import model
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.marginals_wide import alike, wide_columns
from tabsynth.table import Table, read
from tabsynth.testing.replay import neighbour_replay

CRAFT = tuple(f"N{place:03}" for place in range(300))
CARRIERS = tuple("ABCDEF")
SCHEMA = Schema(
    (
        Column("craft", "categorical", categories=CRAFT, nullable=True),
        Column("carrier", "categorical", categories=CARRIERS, roles=("target",)),
        Column("hour", "integer", bounds=(0, 23)),
    ),
    rows=30_000,
)
QUICK = Marginals(pairs=2, rounds=1, steps=20, iterations=200)


def flights(seed: int = 0) -> Table:
    """Rows in which a craft flies for one carrier nine times in ten."""
    rng = np.random.default_rng(seed)
    craft = rng.integers(300, size=30_000)
    carrier = np.where(rng.random(30_000) < 0.9, craft % 6, rng.integers(6, size=30_000))
    names = pd.Series(np.array(CRAFT, object)[craft]).mask(rng.random(30_000) < 0.02)
    frame = {"craft": names, "carrier": np.array(CARRIERS, object)[carrier], "hour": rng.integers(24, size=30_000)}
    return read(pd.DataFrame(frame), SCHEMA)


def right(rows: pd.DataFrame) -> float:
    """Share of the rows with a craft that have its carrier."""
    known = rows[rows["craft"].notna()]
    craft = known["craft"].astype(str).str[1:].astype(int)
    return float((craft % 6 == known["carrier"].cat.codes).mean())


@pytest.mark.parametrize("epsilon", [None, 3.0])
def test_a_wide_column_keeps_what_goes_with_the_target(epsilon: float | None) -> None:
    ledger = Ledger(None if epsilon is None else Budget(epsilon, 1e-6))
    fitted = model.fit(QUICK, flights(), ledger, Secret())
    rows = fitted.sample(10_000, np.random.default_rng(0))
    assert right(rows) > 0.75  # of 0.917 in real rows
    assert rows["craft"].nunique() > 290
    assert rows["craft"].isna().mean() == pytest.approx(0.02, abs=0.01)
    assert ledger.closed
    assert epsilon is None or epsilon * 0.99 < ledger.spent.epsilon <= epsilon


def test_a_wide_column_and_the_target_may_be_all_there_is() -> None:
    few = Schema(SCHEMA.columns[:2], rows=SCHEMA.rows)
    ledger = Ledger(Budget(3.0, 1e-6))
    fitted = model.fit(QUICK, read(flights().private[list(few.names)], few), ledger, Secret())
    assert right(fitted.sample(10_000, np.random.default_rng(0))) > 0.75
    assert ledger.closed


def test_a_fit_of_a_wide_column_follows_from_what_was_paid_for() -> None:
    whole = flights()
    neighbour_replay(QUICK, replace(whole, schema=replace(SCHEMA, rows=len(whole.private))), budget=Budget(3.0, 1e-6))


def test_merged_by_frequency_it_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "wide_columns", lambda *_: ())
    rows = model.fit(QUICK, flights(), Ledger(), Secret()).sample(10_000, np.random.default_rng(0))
    assert right(rows) < 0.35


def ones(craft: float = 100.0) -> list[Marginal]:
    """Noisy counts of every column."""
    return [
        Marginal((0,), np.append(np.full(300, craft), 600.0), 5.0),
        Marginal((1,), np.full(6, 5000.0), 5.0),
        Marginal((2,), np.full(24, 1250.0), 5.0),
    ]


def test_what_counts_as_wide_follows_from_noisy_counts() -> None:
    def wide(schema: Schema = SCHEMA, *, craft: float = 100.0, noise: float = 10.0) -> tuple[int, ...]:
        return wide_columns(schema, ones(craft), schema.modelled.index(schema["carrier"]), 24, lambda _: noise)

    assert wide() == (0,)
    assert wide(craft=20.0) == ()  # drowned
    assert wide(noise=50.0) == ()
    assert wide_columns(SCHEMA, ones(), None, 24, lambda _: 10.0) == ()
    assert wide_columns(SCHEMA, ones(), 1, 301, lambda _: 10.0) == ()
    rule = Dependency("craft", "carrier", tuple((name, CARRIERS[place % 6]) for place, name in enumerate(CRAFT)))
    assert wide(replace(SCHEMA, constraints=(rule,))) == ()


def test_categories_alike_beside_the_target_share_a_group_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    counts = np.full((60, 3), 20.0)
    counts[np.arange(60), truth] = 200.0
    counts += rng.normal(0, 10, counts.shape)
    found = alike(Marginal((0,), counts.sum(1), 5.0), Marginal((0, 1), counts, 10.0), 3)
    assert len(np.unique(found)) == 3
    assert all(len(np.unique(truth[found == group])) == 1 for group in range(3))
    noise = alike(Marginal((0,), counts.sum(1), 5.0), Marginal((0, 1), rng.permuted(counts, axis=1), 10.0), 3)
    assert any(len(np.unique(truth[noise == group])) > 1 for group in range(3))


def test_categories_that_settle_the_target_are_as_many_groups_as_it_has_values() -> None:
    rows = np.random.default_rng(0).integers(50, 150, 300)
    counts = np.zeros((300, 6))
    counts[np.arange(300), np.arange(300) % 6] = rows
    found = alike(Marginal((0,), counts.sum(1), 0.0), Marginal((0, 1), counts, 0.0), 24)
    np.testing.assert_array_equal(found, np.arange(300) % 6)
