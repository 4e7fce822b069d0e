"""The estimator keeps scikit-learn's contract, returns what it was given, and says no before it charges."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tabsynth import Budget, Column, Ledger, PrivacyWarning, Schema, TabularSynthesizer
from tabsynth.errors import InputError, LedgerError, SchemaError, TableError
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals

SCHEMA = Schema(
    (
        Column("age", "integer", bounds=(0, 120)),
        Column("city", "categorical", categories=("Bonn", "Köln", "Ulm")),
        Column("ill", "boolean", roles=("target",)),
    )
)

EXPECTED_FAILURES: dict[str, str] = {}


def _people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, rows)
    return pd.DataFrame(
        {"age": age, "city": rng.choice(["Bonn", "Köln", "Ulm"], rows), "ill": rng.random(rows) < age / 120}
    )


@parametrize_with_checks(
    [
        TabularSynthesizer("independent", seed=0),
        TabularSynthesizer("independent", epsilon=200.0, delta=1e-3, discover=True),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_contract(estimator: TabularSynthesizer, check: Any) -> None:
    check(estimator)


def test_fit_sample_keeps_columns_and_dtypes() -> None:
    people = _people()
    rows = TabularSynthesizer("independent", epsilon=1.0, schema=SCHEMA).fit(people).sample(1000)
    assert rows.dtypes.equals(people.dtypes)
    assert len(rows) == 1000
    assert set(rows["city"]) <= {"Bonn", "Köln", "Ulm"}


def test_a_seed_fixes_samples_and_unbudgeted_fits_but_never_noise() -> None:
    people = _people()

    def drawn(**settings: Any) -> pd.DataFrame:
        return TabularSynthesizer("independent", schema=SCHEMA, seed=3, **settings).fit(people).sample(200)

    pd.testing.assert_frame_equal(drawn(), drawn())
    private = TabularSynthesizer("independent", schema=SCHEMA, epsilon=1.0, seed=3).fit(people)
    pd.testing.assert_frame_equal(private.sample(50, seed=9), private.sample(50, seed=9))
    again = TabularSynthesizer("independent", schema=SCHEMA, epsilon=1.0, seed=3).fit(people)
    weights = [model.model_.sampler.state()[1]["column.0"] for model in (private, again)]
    assert not np.array_equal(*weights)


def test_budget_is_spent_and_not_passed() -> None:
    fitted = TabularSynthesizer("independent", epsilon=1.0, delta=1e-6, schema=SCHEMA).fit(_people())
    assert fitted.ledger_.private
    assert 0.99 < fitted.ledger_.spent.epsilon <= 1.0
    assert "epsilon" in fitted._repr_html_()


def test_without_a_budget_it_says_so() -> None:
    fitted = TabularSynthesizer("independent").fit(_people())
    assert not fitted.ledger_.private
    assert "not private" in fitted._repr_html_()


def test_save_and_load(tmp_path: Path) -> None:
    fitted = TabularSynthesizer("independent", epsilon=1.0, schema=SCHEMA).fit(_people())
    fitted.save(tmp_path / "model")
    loaded = TabularSynthesizer.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.sample(100, seed=1), fitted.sample(100, seed=1), check_dtype=False)
    with pytest.raises(InputError, match="already exists"):
        fitted.save(tmp_path / "model")


def test_it_is_a_pipeline_step_and_clones() -> None:
    numbers = _people()[["age"]].assign(weight=np.linspace(50, 90, 400))
    pipeline = Pipeline(
        [("scale", StandardScaler().set_output(transform="pandas")), ("synthesizer", TabularSynthesizer("independent"))]
    ).fit(numbers)
    assert pipeline[-1].sample(10).columns.tolist() == ["age", "weight"]
    settings = Independent(bins=8)
    assert clone(TabularSynthesizer(settings, epsilon=2.0)).get_params()["model"] == settings


def test_y_joins_as_the_target() -> None:
    people = _people()
    fitted = TabularSynthesizer("independent").fit(people[["age", "city"]], people["ill"])
    assert fitted.schema_.target == "ill"
    assert fitted.n_features_in_ == 2


def test_missing_domains_are_an_error_under_a_budget_unless_discovered() -> None:
    partial = Schema((Column("age", "integer"), *SCHEMA.columns[1:]))
    with pytest.raises(SchemaError, match="'age': bounds must be known under differential privacy"):
        TabularSynthesizer("independent", epsilon=1.0, schema=partial).fit(_people())
    with pytest.raises(SchemaError, match="A schema is needed under differential privacy"):
        TabularSynthesizer("independent", epsilon=1.0).fit(_people())
    fitted = TabularSynthesizer("independent", epsilon=5.0, delta=1e-5, discover=True).fit(_people(5000))
    assert fitted.schema_.undeclared() == ()
    assert any("published" in note for note in fitted.ledger_.notes)
    assert set(fitted.sample(500)["city"].dropna()) <= {"Bonn", "Köln", "Ulm", "(other)"}  # by noise some are missing


@pytest.mark.parametrize("wider", [Ledger(), Ledger(Budget(3.0, 1e-6))], ids=["no budget", "a larger one"])
def test_a_ledger_that_allows_more_than_epsilon_is_refused(wider: Ledger) -> None:
    with pytest.raises(InputError, match=r"epsilon is 1, and the ledger allows (inf|3)"):
        TabularSynthesizer("independent", epsilon=1.0, schema=SCHEMA, ledger=wider).fit(_people())
    assert wider.charges == ()
    smaller = Ledger(Budget(1.0, 1e-6))
    TabularSynthesizer("independent", epsilon=1.0, schema=SCHEMA, ledger=smaller).fit(_people())
    assert smaller.charges


def test_bad_input_charges_nothing() -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    bad = _people().assign(age=999)
    with pytest.raises(TableError, match=r"'age'.*outside the declared bounds"):
        TabularSynthesizer("independent", schema=SCHEMA, ledger=ledger).fit(bad)
    with pytest.raises(SchemaError, match="No column 'wage'"):
        TabularSynthesizer("independent", schema=SCHEMA, target="wage", ledger=ledger).fit(_people())
    with pytest.raises(InputError, match=r"No synthesizer 'ctgn'. Installed: .*ctgan.*independent"):
        TabularSynthesizer("ctgn", schema=SCHEMA, ledger=ledger).fit(_people())
    assert ledger.charges == ()


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-6), (-1.0, 1e-6), (float("nan"), 1e-6), (1.0, 1.5), (1.0, -0.1)]
)
def test_a_budget_out_of_range_is_named(epsilon: float, delta: float) -> None:
    with pytest.raises(InputError, match=r"epsilon|delta"):
        TabularSynthesizer("independent", epsilon=epsilon, delta=delta, schema=SCHEMA).fit(_people())


def test_a_large_delta_warns() -> None:
    declared = Schema(SCHEMA.columns, rows=400)
    with pytest.warns(PrivacyWarning, match="above 1/rows"):
        TabularSynthesizer("independent", epsilon=1.0, delta=0.01, schema=declared).fit(_people())


def test_a_spent_ledger_takes_no_second_fit() -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    estimator = TabularSynthesizer("independent", schema=SCHEMA, ledger=ledger).fit(_people())
    with pytest.raises(LedgerError, match="closed"):
        estimator.fit(_people())


def test_under_a_budget_no_warning_tells_of_a_row_that_is_read() -> None:
    costs = np.append(np.random.default_rng(0).normal(50, 9, 300).round(2), 1e308)  # whose decimals overflow
    estimator = TabularSynthesizer("independent", epsilon=2.0, discover=True)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        estimator.fit(pd.DataFrame({"cost": costs}))


def test_clones_and_copies_spend_one_account() -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    estimator = TabularSynthesizer("independent", schema=SCHEMA, ledger=ledger)
    first, second, third = clone(estimator), clone(estimator), copy.deepcopy(estimator)
    first.fit(_people())
    assert ledger.charges == first.ledger_.charges != ()
    for other in (second, third):
        with pytest.raises(LedgerError, match="closed"):
            other.fit(_people())


def test_a_ledger_sent_to_another_process_is_a_record() -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    sent = pickle.loads(pickle.dumps(TabularSynthesizer("independent", schema=SCHEMA, ledger=ledger)))
    with pytest.raises(LedgerError, match="closed"):
        sent.fit(_people())
    assert not ledger.closed


@pytest.mark.parametrize("model", ["bootstrap", "smote", "trees"])
def test_what_is_never_private_is_refused_under_a_budget(model: str) -> None:
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(InputError, match=f"{model} is never private: no budget covers it. Use another model, such as"):
        TabularSynthesizer(model, ledger=ledger, schema=SCHEMA).fit(_people())
    assert ledger.charges == ()
    assert not ledger.closed


def test_the_estimator_conditions_fills_in_and_predicts() -> None:
    rng = np.random.default_rng(0)
    city = rng.choice(["Bonn", "Ulm"], 500)
    people = pd.DataFrame({"age": rng.integers(20, 60, 500), "city": city, "ill": city == "Ulm"})
    quick = Marginals(pairs=2, rounds=1, steps=20, iterations=100)
    fitted = TabularSynthesizer(quick, seed=0, target="ill").fit(people)
    partial = people.astype(object).mask(rng.random(people.shape) < 0.5)
    rows = fitted.sample(given=partial, seed=1)
    assert (partial.isna() | (rows == partial)).all().all()
    filled = fitted.impute(partial, seed=1)
    assert not filled.isna().any().any()
    assert (filled["ill"].astype(bool) == (filled["city"] == "Ulm")).mean() > 0.95
    assert fitted.sample(100, shares={"city": {"Ulm": 0.25}}, seed=1)["city"].value_counts()["Ulm"] == 25
    chances = fitted.predict_proba(people)
    assert ((chances["True"] > 0.9) == people["ill"]).all()
    assert not hasattr(TabularSynthesizer("independent", seed=0).fit(people), "predict_proba")
    with pytest.raises(InputError, match="Name the target"):
        TabularSynthesizer(quick, seed=0).fit(people).predict_proba(people)


def test_a_budget_that_is_noise_for_all_but_large_tables_is_warned_of_where_rows_are_not_declared():
    frame = pd.DataFrame({f"c{place}": ["a", "b"] * 100 for place in range(40)})
    columns = tuple(Column(name, "categorical", categories=("a", "b")) for name in frame)
    tiny = TabularSynthesizer("independent", epsilon=0.01, delta=1e-5, schema=Schema(columns))
    with pytest.warns(PrivacyWarning, match=r"epsilon 0.01 over 40 columns: every count will have noise of 1,\d+ rows"):
        tiny.fit(frame)
