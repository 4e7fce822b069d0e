"""The variational autoencoder: what it learns, its likelihood, the collapse that it is held back from, bad input."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from tabsynth.audit.attacks import likelihoods
from tabsynth.errors import InputError, ModelError, SchemaError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import vae
from tabsynth.synthesizers.vae import VAE, VAESampler
from tabsynth.table import read

COLUMNS = (
    Column("a", "categorical", categories=tuple("pqrs")),
    Column("b", "categorical", categories=tuple("pqrs")),
    Column("x", "float", bounds=(0.0, 4.0), bins=(0, 1, 2, 3, 4)),
    Column("c", "boolean", roles=("target",)),
)
QUICK = {
    "width": 64,
    "depth": 1,
    "latent": 8,
    "epochs": 6.0,
    "free_batch": 128,
    "batch": 1024,
    "steps": 40,
    "warm_steps": 600,
    "dream_steps": 100,
    "match_rows": 256,
}
ALONE = QUICK | {
    "width": 32,
    "latent": 4,
    "warm_steps": 0,
    "dream_steps": 0,
    "match_weight": 0.0,
}  # the evidence lower bound and nothing else
SHORT = {"epochs": 0.5, "warm_steps": 5, "dream_steps": 5}


def dependent(rows=4000, seed=0):
    """Return rows in which b copies a six times in ten, x lies in a's bin, and c mostly says whether a and b agree."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, rows)
    b = np.where(rng.random(rows) < 0.6, a, rng.integers(0, 4, rows))
    x = np.where(rng.random(rows) < 0.9, a, rng.integers(0, 4, rows)) + rng.random(rows)
    c = rng.random(rows) < np.where(a == b, 0.9, 0.1)
    frame = pd.DataFrame({"a": np.array(list("pqrs"))[a], "b": np.array(list("pqrs"))[b], "x": x, "c": c})
    return read(frame, Schema(COLUMNS, rows=rows))


@pytest.fixture(scope="module")
def fitted():
    return VAE(**QUICK).fit(dependent(), Ledger(), Secret.fixed(0))


def agreement(rows):
    return float((rows["a"].astype(str) == rows["b"].astype(str)).mean())


def test_dependence_is_learned_without_a_budget(fitted):
    rows = fitted.sample(8000, np.random.default_rng(0))
    assert agreement(rows) == pytest.approx(0.7, abs=0.05)
    assert 0.85 < (rows["x"] // 1 == rows["a"].cat.codes).mean() < 0.97  # 0.925 in the table, 0.25 when independent
    agree = rows["a"].astype(str) == rows["b"].astype(str)
    assert 0.8 < rows["c"][agree].mean() < 0.95  # 0.9 in the table; 0.66 when independent
    assert 0.0 < rows["c"][~agree].mean() < 0.45  # 0.1 in the table


def test_dependence_is_learned_under_a_budget():
    ledger = Ledger(Budget(8.0, 1e-5))
    rows = VAE(**QUICK).fit(dependent(8000), ledger, Secret()).sample(8000, np.random.default_rng(0))
    assert ledger.spent.epsilon <= 8.0
    assert 0.55 < agreement(rows) < 0.85  # 0.25 when independent


def test_rows_teach_what_marginals_do_not():
    """Without marginals and dreams, the evidence lower bound alone finds the dependence, at least half of it."""
    rows = VAE(**ALONE | {"epochs": 12.0}).fit(dependent(), Ledger(), Secret.fixed(0))
    assert 0.47 < agreement(rows.sample(8000, np.random.default_rng(0))) < 0.75


def test_free_bits_hold_the_posterior_back_from_collapse():
    """A divergence that weighs three times what it should drives every unit into the prior, unless some is free."""
    table = dependent(2000)
    collapsed, held = (
        VAE(**ALONE | {"beta": 3.0, "epochs": 15.0, "free_bits": free}).fit(table, Ledger(), Secret.fixed(0))
        for free in (0.0, 0.3)
    )
    assert collapsed.active_units(table.private) == 0
    assert agreement(collapsed.sample(4000, np.random.default_rng(0))) == pytest.approx(0.25, abs=0.04)
    assert held.active_units(table.private) == 4
    assert agreement(held.sample(4000, np.random.default_rng(0))) > 0.35
    assert held.active_units(table.private.iloc[:0]) == 0


# --- the likelihood -----------------------------------------------------------------------------------------------


def test_the_likelihood_is_a_bound_that_more_draws_bring_closer(fitted, monkeypatch):
    """Held against the prior's mean of the decoder's probability, over so many latent vectors that it is exact."""
    held = dependent(40, seed=1).private
    tokens = torch.from_numpy(fitted._encoder.encode(held).tokens).long()
    model = fitted._model
    with torch.no_grad():
        logits = model.logits(torch.randn(100_000, model.latent, generator=torch.Generator().manual_seed(2)))
        exact = [
            float(model.log_likelihood(logits, row.expand(len(logits), -1)).double().logsumexp(0)) - math.log(100_000)
            for row in tokens
        ]
    bound = fitted.log_likelihood(held)
    assert bound.shape == (40,)
    assert np.mean(exact) - 0.3 < bound.mean() < np.mean(exact)
    monkeypatch.setattr(vae, "DRAWS", 4096)
    assert fitted.log_likelihood(held) == pytest.approx(np.array(exact), abs=0.3)
    assert fitted.log_likelihood(held).mean() == pytest.approx(np.mean(exact), abs=0.05)
    monkeypatch.setattr(vae, "DRAWS", 1)
    assert fitted.log_likelihood(held).mean() < bound.mean() - 0.1


def test_held_out_likelihood_lies_between_independence_and_the_truth(fitted):
    held = dependent(seed=1).private
    independent = math.log(4) * 3 + math.log(2)
    b_given_a = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    x_given_a = -(0.925 * math.log(0.925) + 0.075 * math.log(0.025))
    truth = math.log(4) + b_given_a + x_given_a - (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    found = -float(fitted.log_likelihood(held).mean())
    assert truth - 0.05 < found < truth + 0.5 < independent


def test_a_rows_likelihood_is_its_own(fitted):
    """It changes neither from call to call nor with the rows beside it, which an attack relies on."""
    frame = dependent(300, seed=2).private
    whole = fitted.log_likelihood(frame)
    np.testing.assert_array_equal(fitted.log_likelihood(frame), whole)
    np.testing.assert_allclose(fitted.log_likelihood(frame.iloc[100:107].reset_index(drop=True)), whole[100:107], 1e-5)
    np.testing.assert_array_equal(likelihoods(fitted, frame), whole)


def test_the_likelihood_refuses_what_cannot_be(fitted):
    frame = dependent().private.head(2).copy()
    frame["a"] = pd.Categorical(["p", None], categories=list("pqrs"))
    with pytest.raises(SchemaError, match="'a'"):
        fitted.log_likelihood(frame)
    assert fitted.log_likelihood(frame.iloc[:0]).shape == (0,)


# --- the family ---------------------------------------------------------------------------------------------------


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(fitted):
    large = fitted.sample(9000, np.random.default_rng(7))
    for rows in (1, 900, 2049):
        pd.testing.assert_frame_equal(fitted.sample(rows, np.random.default_rng(7)), large.head(rows))


def test_a_fit_without_a_budget_repeats_with_its_secret():
    short = VAE(**QUICK | SHORT)
    first, again = (short.fit(dependent(), Ledger(), Secret.fixed(0)).state()[1] for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_what_is_public_does_not_depend_on_the_size_of_batches():
    """The public stream is in the same state after batches of any size: dreams and prior rows tell nothing of it."""
    states = []
    for seed in (0, 1):
        sizes: list[int] = []
        training = _training_that_tells(sizes)
        VAE(**QUICK | SHORT).fit(dependent(), Ledger(), Secret.fixed(seed))
        states.append((training[0].rng.get_state(), tuple(sizes)))
    assert states[0][1] != states[1][1]
    assert torch.equal(states[0][0], states[1][0])


@pytest.fixture(autouse=True)
def _keep_training(monkeypatch):
    monkeypatch.setattr(vae, "_Training", vae._Training)


def _training_that_tells(sizes):
    """Put a training in place that notes its batches; return where it puts itself."""
    made = []

    class Telling(vae._Training):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

        def sums_of(self, private, max_grad_norm, batch):
            sizes.append(len(batch.rows))
            return super().sums_of(private, max_grad_norm, batch)

    vae._Training = Telling
    return made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"match_rows": 1}, "match_rows must be a whole number of at least 2"),
        ({"rate": math.nan}, "rate must be a finite number above 0"),
        ({"free_bits": -1.0}, "free_bits must lie between 0 and"),
        ({"average": 1.5}, "average must lie between 0 and 1"),
        ({"discovery": 0.3}, "must sum to less than 1"),
        ({"device": "abacus"}, "device must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        VAE(**settings)


def test_a_batch_larger_than_the_table_is_refused_before_a_charge():
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match="batch must be at most the table's 4000 rows; got 5000"):
        VAE(**QUICK | {"batch": 5000}).fit(dependent(), ledger, Secret())
    assert not ledger.charges


def test_a_budget_that_noise_would_drown_is_refused_before_a_charge():
    ledger = Ledger(Budget(1e-4, 1e-5))
    with pytest.raises(ModelError, match="too small for 4000 rows and 4 columns"):
        VAE(**QUICK).fit(dependent(), ledger, Secret())
    assert not ledger.charges


@pytest.mark.parametrize("which", ["free_rate", "warm_rate"])
def test_a_training_that_diverges_says_so(which):
    with pytest.raises(ModelError, match=f"diverged.*{which}"):
        VAE(**QUICK | SHORT | {which: 1e20}).fit(dependent(), Ledger(), Secret.fixed(0))


def test_a_sampler_of_another_shape_is_not_loaded(fitted):
    values, arrays = fitted.state()
    with pytest.raises(RuntimeError, match="size mismatch"):
        VAESampler.from_state(fitted.schema, values | {"width": 16}, arrays)
