"""`smote`: neighbours by the slow obvious search, rows on the lines between them, and never under a budget."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import BudgetExceeded, InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.scan import scan_model
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import model
from tabsynth.synthesizers.smote import Smote, SmoteSampler, nearest
from tabsynth.table import Table, read
from tabsynth.testing import awkward_table, sealed

SCHEMA = Schema(
    (
        Column("x", "float", bounds=(-10.0, 10.0)),
        Column("y", "float", bounds=(-10.0, 10.0), nullable=True),
        Column("kind", "categorical", categories=("a", "b", "c")),
        Column("ill", "boolean", roles=("target",)),
    )
)


def people(rows: int = 300, missing: float = 0.0) -> Table:
    """Rows on two circles, the target on which of them."""
    rng = np.random.default_rng(0)
    ill, angle = rng.random(rows) < 0.3, rng.random(rows) * 2 * np.pi
    radius = np.where(ill, 8.0, 3.0)
    y = radius * np.sin(angle)
    y[rng.random(rows) < missing] = np.nan
    kind = np.array(["a", "b", "c"])[(angle // (2 * np.pi / 3)).astype(int)]
    return read(pd.DataFrame({"x": radius * np.cos(angle), "y": y, "kind": kind, "ill": ill}), SCHEMA)


def fitted(table: Table, **settings: object) -> SmoteSampler:
    sampler = Smote(**settings).fit(table, Ledger(), Secret())  # type: ignore[arg-type]
    assert isinstance(sampler, SmoteSampler)
    return sampler


def test_neighbours_are_those_of_the_slow_search() -> None:
    rng = np.random.default_rng(1)
    numbers, missing = rng.normal(size=(60, 3)), rng.random((60, 3)) < 0.2
    numbers[missing] = 0.0
    levels, classes = rng.integers(0, 3, (60, 2)).astype(np.int32), rng.integers(0, 2, 60).astype(np.int32)
    found = nearest(numbers, missing, levels, classes, 4)
    for row in range(60):
        gaps = np.where(missing[row] != missing, 1.0, (numbers[row] - numbers) ** 2).sum(axis=1)
        distance = gaps + (levels[row] != levels).sum(axis=1)
        distance[row] = np.inf
        distance[classes != classes[row]] = np.inf
        assert found[row].tolist() == np.argsort(distance, kind="stable")[:4].tolist()


def test_a_row_with_few_neighbours_has_them_repeated_and_one_alone_is_its_own() -> None:
    numbers = np.array([[0.0], [1.0], [5.0], [9.0]])
    none = np.zeros((4, 1), bool)
    found = nearest(numbers, none, np.zeros((4, 0), np.int32), np.array([0, 0, 0, 2], np.int32), 3)
    assert found.tolist() == [[1, 2, 1], [0, 2, 0], [1, 0, 1], [3, 3, 3]]


def test_every_row_lies_between_a_row_and_one_of_its_neighbours() -> None:
    table = people()
    sampler = fitted(table)
    rows = sampler.sample(2000, np.random.default_rng(0))
    points = rows[["x", "y"]].to_numpy("float64")
    own = table.private[["x", "y"]].to_numpy("float64")
    starts, ends = np.repeat(own, 5, axis=0), own[sampler._neighbours.reshape(-1)]
    along = ends - starts
    for point in points[:200]:
        share = ((point - starts) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-12)
        gap = np.linalg.norm(point - starts - np.clip(share, 0, 1)[:, None] * along, axis=1)
        assert gap.min() < 1e-4  # places within bins are float32
    assert np.median([np.abs(own - point).sum(axis=1).min() for point in points]) > 1e-3, "they are no copies"
    assert not np.isclose(np.linalg.norm(points, axis=1), np.where(rows["ill"], 8, 3), atol=1e-3).all()


def test_circles_and_classes_are_kept() -> None:
    rows = fitted(people(2000)).sample(4000, np.random.default_rng(0))
    radius = np.linalg.norm(rows[["x", "y"]].to_numpy("float64"), axis=1)
    assert np.mean(np.abs(radius - np.where(rows["ill"], 8.0, 3.0)) < 0.2) > 0.97
    assert rows["ill"].mean() == pytest.approx(0.3, abs=0.04)
    angle = np.arctan2(rows["y"].astype(float), rows["x"].astype(float)) % (2 * np.pi)
    agree = np.array(["a", "b", "c"])[(angle // (2 * np.pi / 3)).astype(int)] == rows["kind"].astype(str)
    assert agree.mean() > 0.97


@pytest.mark.parametrize("levels", ["majority", "either"])
def test_missing_values_keep_their_share(levels: str) -> None:
    rows = fitted(people(1000, missing=0.25), levels=levels).sample(4000, np.random.default_rng(0))
    assert rows["y"].isna().mean() == pytest.approx(0.25, abs=0.05)
    assert rows["y"].notna().any()


def test_the_majority_decides_and_the_nearest_among_equals() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.5, 4.5], "y": 1.0, "kind": ["a", "b", "c", "c"], "ill": True})
    free = Schema(tuple(Column(c.name, c.kind, c.roles, c.nullable, c.categories, c.bounds) for c in SCHEMA))
    sampler = fitted(read(frame, free), neighbours=3)
    rows = sampler.sample(300, np.random.default_rng(0))
    base = np.random.default_rng(0).integers(4, size=300)
    assert set(rows["kind"][base == 0]) == {"c"}, "two of three"
    assert sampler._neighbours[2, 0] == 3 or sampler._neighbours[2, 0] == 1
    assert set(rows["kind"][base == 3]) == {frame["kind"][sampler._neighbours[3, 0]]}, "all differ: the nearest"


def test_at_most_so_many_rows_are_kept() -> None:
    sampler = fitted(people(), most=40)
    assert sampler._numbers.shape == (40, 2)
    assert sampler._neighbours.max() < 40
    assert len(sampler.sample(100, np.random.default_rng(0))) == 100


def test_the_scan_finds_the_rows_in_the_model(tmp_path) -> None:
    table = awkward_table("every kind")
    model.fit(Smote(), table, Ledger(), Secret()).save(tmp_path / "model")
    assert scan_model(tmp_path / "model", table) != ()


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"most": 0}, {"levels": "all"}, {"bins": 0}, {"seed": -1}])
def test_bad_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Smote(**wrong)


@pytest.mark.parametrize("budget", [Budget(0.1, 1e-6), Budget(100.0, 1e-2)])
def test_any_budget_is_refused_before_a_row_is_touched(budget: Budget) -> None:
    ledger = Ledger(budget)
    with pytest.raises(BudgetExceeded):
        Smote().fit(sealed(SCHEMA), ledger, Secret())
    assert ledger.charges == ()


def test_a_saved_model_with_a_neighbour_that_is_none_is_refused(tmp_path) -> None:
    fit = model.fit(Smote(), people(), Ledger(), Secret())
    assert isinstance(fit.sampler, SmoteSampler)
    fit.sampler._neighbours[3, 0] = 300
    fit.save(tmp_path / "model")
    with pytest.raises(ModelError, match="damaged"):
        model.load(tmp_path / "model")
