"""Columns of many categories: embedded, computed in parts that say what the whole says, and never held whole."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_autoencoder import autoencoder, per_row_gradients, some_rows, summed
from test_ctgan import QUICK, Steps, batch_of, training
from test_matching import FLOOR, measured, tokens_of
from torch.utils._python_dispatch import TorchDispatchMode

from tabsynth.encoding.encoder import Encoder
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import embedded, model
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.embedded import EMBEDDED, PART, WIDE, in_parts
from tabsynth.synthesizers.matching import assemble, match_loss, match_loss_in_parts
from tabsynth.synthesizers.vae import VAE
from tabsynth.table import read


def towns(categories, rows=600, seed=0):
    """Return a table in which a town of many settles one of three counties, all domains declared."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, categories, rows)
    names = tuple(f"town {each}" for each in range(categories))
    frame = pd.DataFrame(
        {
            "town": np.array(names, object)[place],
            "county": np.array(["a", "b", "c"])[3 * place // categories],
            "age": rng.integers(0, 100, rows),
            "ill": rng.random(rows) < 0.3,
        }
    )
    columns = (
        Column("town", "categorical", categories=names),
        Column("county", "categorical", categories=("a", "b", "c")),
        Column("age", "integer", bounds=(0, 99), bins=(0, 20, 40, 41, 100)),
        Column("ill", "boolean", roles=("target",)),
    )
    return read(frame, Schema(columns, rows=rows))


# --------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("part", [1, 60, 10**6])
def test_parts_say_what_the_whole_says_and_so_do_their_gradients(monkeypatch, part):
    monkeypatch.setattr(embedded, "PART", part)
    sizes = (3, 4, 2, 5)
    queries = [(column,) for column in range(4)] + [(0, 2), (1, 2), (0, 1), (0, 1, 2)]
    targets = assemble(measured(tokens_of(sizes), sizes, queries), sizes, 2, 200.0, FLOOR)
    rng = torch.Generator().manual_seed(0)
    inputs, weight = torch.randn(22, 6, generator=rng), torch.randn(6, 14, generator=rng).requires_grad_()

    def drawn(rows):
        return torch.cat([each.softmax(1) for each in torch.split(rows @ weight, sizes, 1)], 1)

    whole, parts = match_loss(drawn(inputs), targets), match_loss_in_parts(drawn, [inputs], targets)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(each, weight)[0] for each in (parts, whole)))
    assert len(in_parts(lambda rows: (rows,), [inputs], 14)) == {1: 22, 60: 6, 10**6: 1}[part]


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that any operation makes, those of gradients included."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


@pytest.mark.parametrize("family", [CTGAN, VAE])
def test_nothing_is_as_large_as_rows_times_ten_thousand_categories(family):
    settings = {
        CTGAN: {"critic_steps": 2, "warm_steps": 1, "batch": 600, "generator_width": 16, "critic_widths": (8,)},
        VAE: {"steps": 2, "warm_steps": 1, "dream_steps": 1, "width": 16, "latent": 4},
    }[family]
    with Largest() as largest:
        fitted = model.fit(family(**settings), towns(10_000), Ledger(Budget(9.0, 1e-5)), Secret())
    assert 320_000 <= largest.numbers <= 1.1 * PART  # at least the table of embeddings
    assert fitted.sample(30, np.random.default_rng(0))["town"].isin(fitted.schema["town"].categories).all()


def test_the_largest_tensor_is_seen():
    weight = torch.ones(3, requires_grad=True)
    with Largest() as largest:
        ((torch.ones(7, 1) * weight).sum(1) ** 2).sum().backward()
    assert largest.numbers == 21


# --------------------------------------------------------------------------------------------------------------- ctgan


@pytest.fixture(name="table", scope="module")
def _table():
    return towns(WIDE + 4)


def test_a_critic_is_given_embeddings_of_wide_columns_and_learns_none(table):
    found, rows = training(table)
    layout, (unit,) = found.layout, found.tables
    assert layout.wide == [0]
    assert layout.width == EMBEDDED + 3 + 4 + 2
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(WIDE + 4))
    assert max(weight.numel() for weight in found.critic.parameters()) == 8 * (2 * layout.width + len(layout.placed))
    fakes = torch.zeros(4, layout.width + len(layout.placed))
    real, _, _ = found.real_inputs(batch_of(np.arange(300)), rows, fakes)
    torch.testing.assert_close(real[:, :EMBEDDED], unit[rows.tokens[:300, 0]])
    assert torch.equal(real[:, EMBEDDED : EMBEDDED + 3].argmax(1), torch.tensor(rows.tokens[:300, 1]).long())
    given = real[:, fakes.shape[1] :]
    by_town = given[:, :EMBEDDED].any(1)
    torch.testing.assert_close(given[by_town, :EMBEDDED], unit[rows.tokens[:300, 0][by_town.numpy()]])
    assert not given[by_town, EMBEDDED:].any()
    assert given[~by_town].sum(1).tolist() == [1.0] * int((~by_town).sum())
    assert 30 < int(by_town.sum()) < 130  # a quarter


def test_soft_rows_that_are_sure_are_hard_rows(table):
    found, rows = training(table)
    index = torch.tensor(rows.tokens[:50]).long() + found.layout.starts
    sure = torch.full((50, found.layout.tokens), -1e4).scatter_(1, index, 1e4)
    soft = found.draw(sure, torch.zeros(50, found.layout.width))[:, : found.layout.width]
    hard = found.layout.encode(index, torch.zeros(50, 4), found.tables)[:, : found.layout.width]
    torch.testing.assert_close(soft, hard)


def test_a_generators_step_in_parts_is_the_step_of_the_whole(table, monkeypatch):
    after, steps = {}, Steps(1.0)
    for part in (10**7, 40 * (WIDE + 13)):
        monkeypatch.setattr(embedded, "PART", part)
        found, rows = training(table)
        loss = found.generator_step(1.0, critic_weight=0.0)
        after[part] = torch.cat([p.detach().flatten() for p in found.generator.parameters()])
        found.critic_step(steps, batch_of(np.arange(9)), rows)
        assert np.isfinite(found.generator_step(1.0, critic_weight=1.0))
    whole, parts = after.values()
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=2e-4)
    assert loss > 0
    assert all(bool(gradient.any()) for gradient in steps.handed[0][1][::2])


@pytest.mark.parametrize("same", [True, False])
def test_what_is_computed_twice_draws_the_same_noise_twice(table, monkeypatch, same):
    """The gradient of the critic's opinion against a difference; with other noise the second time it is another one."""
    monkeypatch.setattr(embedded, "PART", 20 * (WIDE + 13))
    found, _ = training(table)
    condition, columns = found.conditions(64)
    noise, state, draw = found.noise(64), found.rng.get_state(), found.draw
    if not same:
        found.draw = lambda logits, shifts, rng: draw(logits, shifts)
    bias = found.generator.to_logits.bias
    direction = torch.randn(len(bias), generator=torch.Generator().manual_seed(1))

    def opinion():
        found.rng.set_state(state)
        hidden = found.generator.hidden(noise, condition)
        return found.matched_in_parts(hidden, condition, columns, judged=True)[1].square().sum()

    slope = float(torch.autograd.grad(opinion(), bias)[0] @ direction)
    ends = []
    for step in (0.01, -0.02):
        with torch.no_grad():
            bias += step * direction
            ends.append(float(opinion()))
    assert (abs(slope / ((ends[0] - ends[1]) / 0.02) - 1) < 0.02) == same


@pytest.mark.parametrize("budget", [None, Budget(5.0, 1e-5)])
@pytest.mark.parametrize(
    "settings", [QUICK, VAE(steps=4, epochs=1, warm_steps=4, dream_steps=2, width=16, latent=4, match_rows=64)]
)
def test_a_model_of_a_wide_column_is_saved_and_conditioned(table, settings, budget, tmp_path):
    fitted = model.fit(settings, table, Ledger(budget), Secret())
    drawn = fitted.sample(100, np.random.default_rng(0))
    fitted.save(tmp_path / "model")
    pd.testing.assert_frame_equal(model.load(tmp_path / "model").sample(100, np.random.default_rng(0)), drawn)
    if settings is QUICK:
        asked = fitted.sample(5, np.random.default_rng(0), {"town": "town 7"})
        assert (asked["town"] == "town 7").all()


@pytest.mark.parametrize(
    "settings",
    [
        CTGAN(
            epochs=0.1, warm_steps=150, generator_width=64, generator_depth=1, generator_batch=512, critic_weight=0.0
        ),
        VAE(epochs=0.1, warm_steps=150, dream_steps=1, width=64, depth=1, match_rows=512, latent=16),
    ],
)
def test_what_a_category_among_many_settles_is_learned(settings):
    table = towns(300, rows=6000)
    drawn = model.fit(settings, table, Ledger(), Secret()).sample(4000, np.random.default_rng(0))
    place = drawn["town"].str.removeprefix("town ").astype(int)
    agree = (np.array(["a", "b", "c"])[3 * place // 300] == drawn["county"]).mean()
    assert agree > 0.75  # a third by chance


# ----------------------------------------------------------------------------------------------------------------- vae


@pytest.mark.parametrize("bound", [0.3, 1e9])
def test_the_clipped_sum_of_embedded_outputs_is_that_of_per_row_gradients(monkeypatch, bound):
    monkeypatch.setattr(embedded, "WIDE", 3)
    torch.set_default_dtype(torch.float64)
    try:
        sizes = (5, 2, 4, 3)
        found, rows = autoencoder(sizes), some_rows(sizes)
        assert found.wide == [0, 2]
        slow = per_row_gradients(found, *rows)
        check_clipped_sum(slow, summed(found, rows, bound, chunk=7), bound, tolerance=1e-9)
    finally:
        torch.set_default_dtype(torch.float32)


def test_training_of_wide_columns_starts_at_the_one_way_marginals(table):
    encoder = Encoder(table.schema)
    one_way = torch.cat([torch.arange(1.0, size + 1) / sum(range(1, size + 1)) for size in encoder.sizes])
    start = VAE().untrained(encoder.sizes, one_way)
    with torch.no_grad():
        start.to_logits.weight.zero_()
    torch.testing.assert_close(start.softmax(start.logits(torch.randn(1, 32)))[0], one_way)
