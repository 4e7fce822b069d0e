"""A table that is chosen and paid for: one row moves no score by more than one. The law of a choice is `select`'s."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tabsynth.charging import selection
from tabsynth.charging.selection import choose_table
from tabsynth.errors import BudgetExceeded
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("x", "float", bounds=(-5, 5)),
        Column("kind", "categorical", categories=("a", "b", "c"), nullable=True),
        Column("well", "boolean"),
    )
)


def people(seed: int, rows: int = 150, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=rows) + shift).clip(-5, 5)
    kind = pd.Series(rng.choice(["a", "b", "c"], rows)).where(x > -1.5)
    return pd.DataFrame({"x": x, "kind": kind, "well": pd.array(x > 0.3, dtype="boolean")})


CANDIDATES = {"near": people(1, 90), "far": people(2, 200, 1.5), "collapsed": people(3, 150).iloc[[0] * 40]}


def chosen(private, epsilon, secret, *, schema=SCHEMA, candidates=CANDIDATES, ledger=None):
    return choose_table(
        candidates,
        schema,
        private,
        size=150,
        epsilon=epsilon,
        ledger=ledger or Ledger(Budget(epsilon, 0.0)),
        secret=secret,
        rng=np.random.default_rng(0),
    )


@pytest.fixture
def scored(monkeypatch) -> Callable[..., np.ndarray]:
    """Return the scores that a choice among the candidates is made by, and the sensitivity it is charged with."""

    def of(private, schema=SCHEMA, candidates=CANDIDATES):
        seen = []

        def select(score, *, sensitivity, **_):
            seen.append((score(), sensitivity))
            return 0

        with monkeypatch.context() as patch:
            patch.setattr(selection, "select", select)
            chosen(private, 1.0, Secret.fixed(0), schema=schema, candidates=candidates)
        return seen[0]

    return of


def test_the_nearest_table_is_chosen_when_that_may_be_told(scored):
    scores, _ = scored(people(0))
    assert list(np.argsort(-scores)) == [0, 1, 2]
    assert chosen(people(0), 100.0, Secret()) == "near"
    backwards = dict(reversed(CANDIDATES.items()))
    assert chosen(people(0), 100.0, Secret(), candidates=backwards) == "near"


def test_one_row_moves_no_score_by_more_than_one(scored):
    private = people(0, 25)
    before, sensitivity = scored(private)
    moved = [np.abs(scored(private.drop(index=row).reset_index(drop=True))[0] - before) for row in range(25)]
    strange = pd.DataFrame({"x": [5.0], "kind": ["never seen"], "well": pd.array([pd.NA], dtype="boolean")})
    moved.append(np.abs(scored(pd.concat([private, strange], ignore_index=True))[0] - before))
    assert sensitivity == 1
    assert 0.5 < np.max(moved) <= 1 + 1e-9  # so half of it would be too little


def test_a_unit_of_several_rows_moves_more(scored):
    several = Schema((*SCHEMA.columns, Column("who", "categorical", roles=("group",))), rows_per_unit=4)
    private = people(0).assign(who="x")
    tables = {name: rows.assign(who="x") for name, rows in CANDIDATES.items()}
    assert scored(private, several, tables)[1] == 4


def test_it_is_charged_before_a_row_is_looked_at(monkeypatch):
    ledger = Ledger(Budget(0.5, 0.0))
    monkeypatch.setattr(selection, "Evidence", lambda *_: pytest.fail("looked"))
    with pytest.raises(BudgetExceeded):
        chosen(people(0), 0.6, Secret(), ledger=ledger)
    assert ledger.charges == ()
    monkeypatch.undo()
    chosen(people(0), 0.5, Secret(), ledger=ledger)
    assert ledger.spent.epsilon == pytest.approx(0.5)
    assert [charge.why for charge in ledger.charges] == ["choice among 3 synthetic tables"]
