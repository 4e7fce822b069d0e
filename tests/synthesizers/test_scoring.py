"""The likelihood of rows as users hold them: their dtypes, their index, values that no model knows."""

import numpy as np
import pandas as pd
import pytest

from tabsynth import TabularSynthesizer
from tabsynth.errors import InputError, TabsynthError
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.synthesizers.rows import Rows

QUICK = {
    "marginals": Marginals(pairs=2, rounds=1, steps=20, iterations=100),
    "rows": Rows(epochs=2.0, width=16, depth=1, free_bins=8),
}
PEOPLE = pd.DataFrame(
    {
        "who": [f"person {place}" for place in range(400)],
        "age": np.arange(400) % 4 + 30,
        "city": np.where(np.arange(400) % 2, "Ulm", "Bonn"),
        "ill": np.arange(400) % 8 == 0,
    }
)
SCHEMA = {
    "columns": [
        {"name": "who", "kind": "categorical", "role": "identifier"},
        {"name": "age", "kind": "integer", "bounds": [30, 33]},
        {"name": "city", "kind": "categorical", "categories": ["Bonn", "Ulm"]},
        {"name": "ill", "kind": "boolean"},
    ]
}


@pytest.mark.parametrize("family", QUICK)
def test_the_likelihoods_of_every_row_there_can_be_sum_to_one(family: str) -> None:
    fitted = TabularSynthesizer(QUICK[family], schema=SCHEMA, seed=0).fit(PEOPLE)
    every = pd.MultiIndex.from_product([range(30, 34), ["Bonn", "Ulm"], [False, True]], names=["age", "city", "ill"])
    frame = every.to_frame(index=False).set_index(pd.Index(range(7, 23)))
    found = fitted.log_likelihood(frame)
    assert found.index.equals(frame.index)
    assert np.exp(found).sum() == pytest.approx(1, rel=1e-4)
    assert not np.allclose(np.exp(found), 1 / 16)
    shuffled = frame.sample(frac=1, random_state=0)[["ill", "age", "city"]]
    pd.testing.assert_series_equal(fitted.log_likelihood(shuffled)[found.index], found, rtol=1e-4)


@pytest.mark.parametrize("family", QUICK)
def test_a_value_that_the_model_does_not_know_cannot_be_drawn(family: str) -> None:
    model = TabularSynthesizer(QUICK[family], schema=SCHEMA, seed=0).fit(PEOPLE).model_
    odd = PEOPLE.head(4).astype(object)
    odd.loc[0, "age"], odd.loc[1, "city"], odd.loc[2, "age"] = 99, "Rome", None
    found = model.log_likelihood(odd)
    assert np.isneginf(found[:3]).all()
    assert np.isfinite(found[3])


def test_what_cannot_be_scored_is_said() -> None:
    fitted = TabularSynthesizer(QUICK["marginals"], schema=SCHEMA, seed=0).fit(PEOPLE)
    with pytest.raises(InputError, match="Column 'city' is needed"):
        fitted.log_likelihood(PEOPLE.drop(columns="city"))
    with pytest.raises(InputError, match="at least one row"):
        fitted.log_likelihood(PEOPLE.head(0))
    with pytest.raises(TabsynthError) as told:
        fitted.log_likelihood(PEOPLE.assign(age="secret words"))
    assert "secret words" not in str(told.value)
    independent = TabularSynthesizer("independent", schema=SCHEMA, seed=0).fit(PEOPLE)
    assert not hasattr(independent, "log_likelihood")
    with pytest.raises(InputError, match="'independent' cannot tell how likely a row is"):
        independent.model_.log_likelihood(PEOPLE)
