from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import Evidence
from tabsynth.metrics.fidelity import SEED
from tabsynth.metrics.queries import QueryError, Range, answer, random_query
from tabsynth.schema import Column, Schema


def test_the_answer_to_a_query_is_that_of_looking_at_each_row(fresh):
    age, clinic = fresh.schema["age"], fresh.schema["clinic"]
    named = [list(fresh.rows["clinic"].cat.categories).index(name) for name in ("Ashford", "Harbour")]
    query = (Range(age, 30, 41), Range(clinic, among=frozenset(named)))
    pairs = zip(fresh.rows["age"], fresh.rows["clinic"], strict=True)
    assert answer(query, fresh.rows).tolist() == [
        float(30 <= a <= 41 and c in ("Ashford", "Harbour")) for a, c in pairs
    ]


def test_a_missing_number_fulfils_no_condition_and_a_missing_category_is_a_value():
    frame = pd.DataFrame({"x": [np.nan, 1.0], "g": pd.Categorical([None, "a"])})
    x, g = Column("x", "float", nullable=True), Column("g", "categorical", nullable=True)
    assert answer((Range(x, -9, 9),), frame).tolist() == [0, 1]
    assert answer((Range(g, among=frozenset([-1])),), frame).tolist() == [1, 0]


def test_the_error_is_the_mean_over_the_queries(fresh, rng):
    found, own = QueryError(queries=40)(fresh, rng), np.random.default_rng(SEED)
    queries = [random_query(fresh.train, fresh.columns, own) for _ in range(40)]
    errors = [abs(answer(query, fresh.rows).mean() - answer(query, fresh.holdout).mean()) for query in queries]
    assert found.value == pytest.approx(np.mean(errors))
    assert {len(query) for query in queries} == {1, 2, 3}
    assert found.note.startswith("40 queries; median error relative to the count 0.")


def test_a_fresh_sample_answers_like_real_rows_and_fakes_do_not(fresh, rng):
    metric = QueryError(queries=200)
    found, ceiling = metric(fresh, rng), metric(fresh.as_real(rng), rng)
    assert found.low <= ceiling.value <= found.high
    assert found.value < 0.015
    constant = replace(fresh, rows=fresh.rows.iloc[np.zeros(3000, dtype=int)])
    assert metric(constant, rng).low > 0.1
    assert metric(replace(fresh, rows=fresh.rows.loc[fresh.rows["age"] > 50]), rng).low > found.high


def test_the_interval_is_as_wide_as_errors_scatter_over_draws_of_rows_and_of_queries(rng, monkeypatch):
    schema = Schema((Column("x", "float"), Column("g", "categorical")))

    def frame(rows, shift):
        return pd.DataFrame({"x": rng.normal(shift, 1, rows), "g": rng.choice(list("abc"), rows, p=[0.2, 0.3, 0.5])})

    train, found = frame(500, 0), []
    for seed in range(80):
        monkeypatch.setattr("tabsynth.metrics.queries.SEED", seed)
        found.append(QueryError(30)(Evidence(schema, train, frame(300, 0), frame(300, 0.6)), rng))
    errors = [(one.high - one.low) / 2 / 1.959964 for one in found]
    # errors of single queries scatter by their rows too, which thus count a little twice
    assert 0.9 < np.mean(errors) / np.std([one.value for one in found]) < 1.5


def test_a_column_without_values_and_wrong_settings_are_handled(rng):
    schema = Schema((Column("x", "float", nullable=True),))
    frame = pd.DataFrame({"x": [np.nan] * 4})
    assert QueryError(5)(Evidence(schema, frame, frame, frame), rng).value == 0
    for wrong in ({"queries": 1}, {"level": 2}):
        with pytest.raises(InputError):
            QueryError(**wrong)
