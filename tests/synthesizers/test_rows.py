"""The row transformer: its closed-form gradients, its orders, its likelihood, and what it learns."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.func import functional_call, grad

from tabsynth.errors import ConformanceError, InputError, ModelError, SchemaError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import check_clipped_sum
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import bookkeeping, prefixes, transformer
from tabsynth.synthesizers import rows as rows_module
from tabsynth.synthesizers.row_gradients import learn_from_neighbours
from tabsynth.synthesizers.rows import Rows, RowsSampler
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum
from tabsynth.table import read

SIZES = (3, 2, 4, 1, 2)


@pytest.fixture
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def transformer_of(sizes=SIZES, **kwargs):
    """Return a transformer whose outputs depend on their inputs as a trained one's do."""
    torch.manual_seed(0)
    model = RowTransformer(sizes, **{"width": 8, "depth": 2, "heads": 2} | kwargs)
    with torch.no_grad():
        for output in model.outputs:
            output.weight.mul_(20)
    return model


def test_near_bins_start_alike_and_categories_do_not():
    sizes, count = (101, 3, 40, 4), 100
    model = Rows(width=256, heads=2).untrained(sizes, (count, 0, 0, 3))
    plain = Rows(width=256, heads=2).untrained(sizes).cells.weight.detach()
    cells = model.cells.weight.detach()
    near = torch.cosine_similarity(cells[: count - 1], cells[1:count])
    far = torch.cosine_similarity(cells[: count // 2], cells[count // 2 : count])
    assert float(near.mean()) == pytest.approx(0.8, abs=0.05)
    assert abs(float(far.mean())) < 0.2
    assert abs(float(torch.cosine_similarity(plain[: count - 1], plain[1:count]).mean())) < 0.05
    assert float(cells[:count].var()) == pytest.approx(1.0, abs=0.15)
    assert torch.equal(cells[count:], plain[count:])  # the missing, all categories, and bins too few to speak of


def test_a_small_table_is_read_more_often():
    steps = [Rows()._steps(None, units) for units in (50.0, 1_000.0, 9_864.0, 26_048.0)]
    assert [each.steps for each in steps] == [500, 500, 1_079, 1_424]
    assert Rows(epochs=14)._steps(None, 1_000.0).steps == 109  # as asked


def test_a_bin_learns_from_those_around_it_and_a_category_does_not():
    count, sizes = 64, (65, 40)
    model = RowTransformer(sizes, width=4, depth=1, heads=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    learn_from_neighbours(model, optimizer, (count, 0))
    before = [model.cells.weight.detach().clone(), *[output.weight.detach().clone() for output in model.outputs]]
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p)))
    gradients = [model.cells.weight.grad.clone(), *[output.weight.grad.clone() for output in model.outputs]]
    optimizer.step()
    places = torch.arange(count)
    felt = torch.exp(-0.5 * ((places[:, None] - places) / 2) ** 2) + torch.eye(count)  # 64 bins: a deviation of two
    after = [model.cells.weight.detach(), *[output.weight.detach() for output in model.outputs]]
    for was, now, gradient in zip(before[:2], after[:2], gradients[:2], strict=True):
        np.testing.assert_allclose((was - now)[:count], felt @ gradient[:count], atol=0.05)  # of tails beyond three
        torch.testing.assert_close((was - now)[count:], gradient[count:])
    torch.testing.assert_close(before[2] - after[2], gradients[2])


def test_bins_that_learn_from_those_around_them_know_unseen_rows_better(monkeypatch):
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, 6000)
    frame = pd.DataFrame({"a": first, "b": first + rng.normal(0, 0.2, 6000), "c": np.where(first > 0, "x", "y")})
    schema = Schema(
        (
            Column("a", "float", bounds=(-5, 5)),
            Column("b", "float", bounds=(-6, 6)),
            Column("c", "categorical", categories=("x", "y")),
        )
    )

    def unseen():
        table = read(frame.iloc[:3000], schema)
        return float(Rows(epochs=6).fit(table, Ledger(), Secret()).log_likelihood(frame.iloc[3000:]).mean())

    found = unseen()
    monkeypatch.setattr(rows_module, "learn_from_neighbours", lambda *_: None)
    assert found > unseen() + 0.2


def some_rows(sizes=SIZES, rows=30):
    """Return tokens and, for each row, an order of its own."""
    rng = torch.Generator().manual_seed(1)
    tokens = torch.stack([torch.randint(size, (rows,), generator=rng) for size in sizes], 1)
    return tokens, torch.rand(rows, len(sizes), generator=rng).argsort(1)


class _LossOf(torch.nn.Module):
    """A transformer's loss of one row as a forward pass, which is what `functional_call` can call."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, own, order):
        return self.model.losses(own[None], order[None])[0]


def per_row_gradients(model, tokens, orders):
    """Every row's whole gradient, the slow way."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, own, order):
        return functional_call(_LossOf(model), {f"model.{name}": p for name, p in weights.items()}, (own, order))

    found = [grad(loss)(weights, own, order) for own, order in zip(tokens, orders, strict=True)]
    return [tuple(each.values()) for each in found]


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("sizes", [SIZES, (4,), (2, 3), tuple([2] * 9)])
@pytest.mark.parametrize("bound", [0.3, 4.0, 1e9])
def test_the_clipped_sum_is_that_of_per_row_gradients(sizes, bound):
    model = transformer_of(sizes)
    tokens, orders = some_rows(sizes)
    slow = per_row_gradients(model, tokens, orders)
    found = clipped_sum(model, tokens, orders, bound, chunk=7)
    check_clipped_sum(slow, found, bound, tolerance=1e-9)


@pytest.mark.usefixtures("_float64")
def test_a_bookkeeping_that_forgets_a_layer_is_noticed(monkeypatch):
    model = transformer_of()
    tokens, orders = some_rows()
    slow = per_row_gradients(model, tokens, orders)
    squares = bookkeeping._squares
    forgets = {torch.nn.Embedding: 0.0, torch.nn.Linear: 1.0}
    monkeypatch.setattr(bookkeeping, "_squares", lambda layer, *rest: squares(layer, *rest) * forgets[type(layer)])
    with pytest.raises(ConformanceError, match="clipped one unit at a time"):
        check_clipped_sum(slow, clipped_sum(model, tokens, orders, 0.3), 0.3)


@pytest.mark.usefixtures("_float64")
def test_without_a_bound_the_sum_is_the_plain_gradient():
    model = transformer_of()
    tokens, orders = some_rows()
    plain = torch.autograd.grad(model.losses(tokens, orders).sum(), list(model.parameters()))
    for found, expected in zip(clipped_sum(model, tokens, orders, math.inf, chunk=11), plain, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("_float64")
def test_a_unit_of_several_rows_is_clipped_whole_however_it_is_chunked():
    model = transformer_of()
    tokens, orders = some_rows()
    owner = torch.arange(30) // 4
    whole = clipped_sum(model, tokens, orders, 0.3, owner=owner)
    for found, expected in zip(clipped_sum(model, tokens, orders, 0.3, owner=owner, chunk=3), whole, strict=True):
        torch.testing.assert_close(found, expected)
    one = clipped_sum(model, tokens[:4], orders[:4], 0.3, owner=owner[:4])
    apart = clipped_sum(model, tokens[:4], orders[:4], 0.3)
    assert math.sqrt(sum(float(p.square().sum()) for p in one)) <= 0.3
    assert math.sqrt(sum(float(p.square().sum()) for p in apart)) > 0.3


def test_a_row_without_a_finite_gradient_adds_nothing():
    model = transformer_of()
    tokens, orders = some_rows()
    others = clipped_sum(model, tokens[tokens[:, 0] != 2], orders[tokens[:, 0] != 2], 0.3)
    with torch.no_grad():
        model.cells.weight[2] = math.inf
    last = orders.argsort(1)[:, 0] == len(SIZES) - 1  # there the cell is nobody's condition
    keep = (tokens[:, 0] != 2) | ~last
    assert keep.sum() < len(keep)
    found = clipped_sum(model, tokens[keep], orders[keep], 0.3)
    assert all(bool(torch.isfinite(p).all()) for p in found)
    for a, b in zip(found, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_no_row_yields_zeros():
    model = transformer_of()
    tokens, orders = some_rows()
    assert not any(bool(p.any()) for p in clipped_sum(model, tokens[:0], orders[:0], 0.3))


@pytest.mark.parametrize("order", [range(5), [3, 1, 4, 0, 2]])
def test_the_probabilities_of_all_rows_sum_to_one_in_any_order(order):
    model = transformer_of()
    rows = torch.tensor(list(itertools.product(*map(range, SIZES))))
    total = (-model.losses(rows, torch.tensor([list(order)] * len(rows)))).exp().sum()
    assert float(total.detach()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("order", [list(range(5)), [3, 1, 4, 0, 2]])
def test_drawn_rows_have_the_models_likelihood(order):
    """Chi-squared over all 48 possible rows; a model of another order is rejected."""
    model = transformer_of()
    rows = torch.tensor(list(itertools.product(*map(range, SIZES))))
    count = 40_000
    drawn = model.draw(torch.rand(count, 5, generator=torch.Generator().manual_seed(3)), order)
    found = (drawn[:, None] == rows).all(2).sum(0)
    assert int(found.sum()) == count

    def statistic(order):
        expected = count * (-model.losses(rows, torch.tensor([order] * len(rows)))).exp()
        return float(((found - expected) ** 2 / expected).sum().detach())

    assert 20 < statistic(order) < 90  # 47 degrees of freedom: 0.1% to 99.9%
    assert statistic(order[::-1]) > 200


def test_rows_that_begin_alike_are_drawn_as_if_computed_one_by_one(monkeypatch):
    model = transformer_of()
    uniform = torch.rand(300, 5, generator=torch.Generator().manual_seed(4))
    shared = model.draw(uniform, range(5))
    monkeypatch.setattr(prefixes, "WORTH", 0.0)
    assert torch.equal(model.draw(uniform, range(5)), shared)
    monkeypatch.setattr(prefixes, "WORTH", 1.0)
    monkeypatch.setattr(transformer, "PART", 7)
    assert torch.equal(model.draw(uniform, range(5)), shared)


def test_attention_by_places_is_softmax_attention():
    rng = torch.Generator().manual_seed(6)
    query, pool = torch.randn(9, 8, generator=rng), torch.randn(20, 16, generator=rng)
    places = torch.randint(20, (9, 5), generator=rng)
    keys, values = (pool[places][:, :, part].unflatten(2, (2, 4)) for part in (slice(8), slice(8, None)))
    weight = (torch.einsum("rhk,rshk->rsh", query.unflatten(1, (2, 4)), keys) / 2).softmax(1)
    expected = torch.einsum("rsh,rshk->rhk", weight, values).flatten(1)
    torch.testing.assert_close(prefixes.attend(query, pool, places, 2), expected)
    assert not torch.allclose(prefixes.attend(query, pool, places, 1), expected)


def test_a_token_is_picked_where_the_cumulative_distribution_passes_the_uniform():
    logits = torch.tensor([[0.25, 0.0, 0.5, 0.25], [0.0, 1.0, 0.0, 0.0]]).log()
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.74, 0.76, 0.9999, 0.0, 0.9999])
    prefix = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    assert prefixes.pick(logits, prefix, uniform).tolist() == [0, 0, 2, 2, 3, 3, 1, 1]


def test_prefixes_are_the_distinct_beginnings_of_the_rows():
    rng = torch.Generator().manual_seed(7)
    rows = torch.randint(3, (500, 6), generator=rng)
    grown, begun = prefixes.Prefixes(500), torch.zeros(1, 0, dtype=torch.int64)
    for column in range(6):
        grown.grow(rows[:, column], 3)
        begun = torch.cat([begun[grown.parent], grown.before[:, None]], 1)
        assert torch.equal(begun[grown.of_row], rows[:, : column + 1])
        distinct = len(torch.unique(rows[:, : column + 1], dim=0))
        assert len(grown) == (distinct if distinct <= 450 else 500)


def test_given_columns_condition_the_others():
    model = transformer_of((2, 2))
    given = {1: torch.ones(20_000, dtype=torch.int64)}
    uniform = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(5))
    drawn = model.draw(uniform, [1, 0], given)
    assert bool((drawn[:, 1] == 1).all())
    joint = (-model.losses(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[1, 0]] * 2))).exp()
    expected = float((joint[1] / joint.sum()).detach())
    assert drawn[:, 0].float().mean() == pytest.approx(expected, abs=4.5 * math.sqrt(0.25 / 20_000))


# --- the family ---------------------------------------------------------------------------------------------------

COLUMNS = (
    Column("a", "categorical", categories=tuple("pqrs")),
    Column("b", "categorical", categories=tuple("pqrs")),
    Column("x", "float", bounds=(0.0, 4.0), bins=(0, 1, 2, 3, 4)),
    Column("c", "boolean", roles=("target",)),
)
QUICK = {
    "width": 16,
    "depth": 1,
    "epochs": 12.0,
    "free_batch": 128,
    "free_rate": 1e-2,
    "free_average": 0.98,
    "batch": 1024,
    "steps": 40,
}


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
    return Rows(**QUICK).fit(dependent(), Ledger(), Secret.fixed(0))


def test_a_batch_larger_than_the_table_is_refused_before_a_charge():
    ledger = Ledger(Budget(1.0, 1e-5))
    with pytest.raises(InputError, match="batch must be at most the table's 4000 rows; got 5000"):
        Rows(**QUICK | {"batch": 5000}).fit(dependent(), ledger, Secret())
    assert not ledger.charges


def test_the_target_can_come_last_and_count_more():
    schema = Schema((*COLUMNS[:3], replace(COLUMNS[3], roles=("target",)), Column("d", "boolean")), rows=4000)
    table = dependent()
    table = read(table.private.assign(d=table.private["c"]), schema)
    sampler = Rows(**QUICK | {"epochs": 0.1, "order": "target"}).fit(table, Ledger(), Secret.fixed(0))
    assert sampler.reads == ("d", "a", "b", "x", "c")
    assert RowsSampler.from_state(sampler.schema, *sampler.state()).reads == sampler.reads

    model, (tokens, orders) = transformer_of(), some_rows()
    weights = [1.0, 1.0, 3.0, 1.0, 1.0]
    one, three, weighted = (
        torch.autograd.grad(model.losses(tokens, orders, weights=each).sum(), model.outputs[2].weight)[0]
        for each in (None, [3.0] * 5, weights)
    )
    assert torch.allclose(weighted, 3 * one, atol=1e-5)
    assert torch.allclose(three, 3 * one, atol=1e-5)
    others = torch.autograd.grad(model.losses(tokens, orders, weights=weights).sum(), model.outputs[0].weight)[0]
    plain = torch.autograd.grad(model.losses(tokens, orders).sum(), model.outputs[0].weight)[0]
    assert torch.allclose(others, plain, atol=1e-5)
    clipped = clipped_sum(model, tokens, orders, math.inf, weights=weights)
    whole = torch.autograd.grad(model.losses(tokens, orders, weights=weights).sum(), list(model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(clipped, whole, strict=True))


def agreement(rows):
    return float((rows["a"].astype(str) == rows["b"].astype(str)).mean())


def test_dependence_is_learned_without_a_budget(fitted):
    rows = fitted.sample(8000, np.random.default_rng(0))
    assert agreement(rows) == pytest.approx(0.7, abs=0.04)
    assert (rows["x"] // 1 == rows["a"].cat.codes).mean() == pytest.approx(0.925, abs=0.03)
    agree = rows["a"].astype(str) == rows["b"].astype(str)
    assert rows["c"][agree].mean() == pytest.approx(0.9, abs=0.05)
    assert rows["c"][~agree].mean() == pytest.approx(0.1, abs=0.1)


def test_dependence_is_learned_under_a_budget():
    ledger = Ledger(Budget(8.0, 1e-5))
    rows = Rows(**QUICK).fit(dependent(8000), ledger, Secret()).sample(8000, np.random.default_rng(0))
    assert ledger.spent.epsilon <= 8.0
    assert 0.5 < agreement(rows) < 0.9  # 0.25 when independent


def test_held_out_likelihood_lies_between_independence_and_the_truth(fitted):
    held = dependent(seed=1).private
    independent = math.log(4) * 3 + math.log(2)
    b_given_a = -(0.7 * math.log(0.7) + 0.3 * math.log(0.1))
    x_given_a = -(0.925 * math.log(0.925) + 0.075 * math.log(0.025))
    truth = math.log(4) + b_given_a + x_given_a - (0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    found = -float(fitted.log_likelihood(held).mean())
    assert truth - 0.05 < found < truth + 0.1 < independent


def test_the_likelihood_refuses_what_cannot_be(fitted):
    frame = dependent().private.head(2).copy()
    frame["a"] = pd.Categorical(["p", None], categories=list("pqrs"))
    with pytest.raises(SchemaError, match="'a'"):
        fitted.log_likelihood(frame)
    assert fitted.log_likelihood(frame.iloc[:0]).shape == (0,)


def test_an_order_that_was_trained_on_samples_the_same_distribution():
    sampler = Rows(**QUICK | {"shuffled": 1.0}).fit(dependent(), Ledger(), Secret.fixed(0))
    rows = sampler.draw_in_order(8000, np.random.default_rng(0), ["c", "x", "b", "a"])
    assert agreement(rows) == pytest.approx(0.7, abs=0.06)
    with pytest.raises(InputError, match="every modelled column once: a, b, x, c"):
        sampler.draw_in_order(8, np.random.default_rng(0), ["a", "b", "c"])


def test_another_reading_order_is_kept_by_the_saved_sampler():
    sampler = Rows(**QUICK | {"order": "schema", "epochs": 3.0}).fit(dependent(), Ledger(), Secret.fixed(0))
    rows = sampler.sample(500, np.random.default_rng(0))
    pd.testing.assert_frame_equal(rows, sampler.draw_in_order(500, np.random.default_rng(0), ["a", "b", "x", "c"]))
    loaded = RowsSampler.from_state(sampler.schema, *sampler.state())
    np.testing.assert_array_equal(loaded.log_likelihood(rows), sampler.log_likelihood(rows))
    assert loaded.reads == ("a", "b", "x", "c")


def test_a_smaller_sample_is_the_beginning_of_a_larger_one(fitted):
    large = fitted.sample(17_000, np.random.default_rng(7))
    for rows in (1, 900, 4097, 8193):
        pd.testing.assert_frame_equal(fitted.sample(rows, np.random.default_rng(7)), large.head(rows))


def test_a_fit_without_a_budget_repeats_with_its_secret():
    short = Rows(**QUICK | {"epochs": 0.5})
    first, again = (short.fit(dependent(), Ledger(), Secret.fixed(0)).state()[1] for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_training_starts_at_the_one_way_marginals():
    frame = dependent().private.assign(a="p").assign(a=lambda f: pd.Categorical(f["a"], categories=list("pqrs")))
    table = read(frame, Schema(COLUMNS, rows=len(frame)))
    rows = Rows(**QUICK | {"epochs": 0.01, "free_rate": 1e-9}).fit(table, Ledger(), Secret.fixed(0))
    assert (rows.sample(2000, np.random.default_rng(0))["a"] == "p").mean() > 0.98


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 10, "heads": 3}, "width must be a multiple of heads"),
        ({"shuffled": 1.5}, "shuffled must lie between 0 and 1"),
        ({"order": "sideways"}, "order must be one of fewest, schema"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"rate": math.nan}, "rate must be a finite number above 0"),
        ({"discovery": 0.6, "one_way": 0.4}, "must sum to less than 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Rows(**settings)


def test_a_sampler_of_another_shape_is_not_loaded(fitted):
    values, arrays = fitted.state()
    with pytest.raises(RuntimeError, match="size mismatch"):
        RowsSampler.from_state(fitted.schema, values | {"shape": values["shape"] | {"width": 32}}, arrays)
    with pytest.raises(ModelError, match="other columns"):
        RowsSampler.from_state(fitted.schema, values | {"order": [0, 0, 1, 2]}, arrays)


def test_without_a_budget_tokens_that_hardly_any_row_holds_do_not_put_a_column_last():
    rng = np.random.default_rng(0)
    gains = np.where(rng.random(4000) < 0.98, 0, 100 * rng.integers(1, 60, 4000))
    frame = pd.DataFrame({"gain": gains, "day": rng.integers(0, 7, 4000)})
    schema = Schema((Column("gain", "integer", bounds=(0, 6000)), Column("day", "integer", bounds=(0, 6))), rows=4000)
    sampler = Rows(**QUICK | {"epochs": 0.1}).fit(read(frame, schema), Ledger(), Secret.fixed(0))
    assert len(sampler.schema["gain"].bins or ()) > 8
    assert sampler.reads == ("gain", "day")


def test_a_budget_that_noise_would_drown_is_refused_before_a_charge():
    ledger = Ledger(Budget(1e-4, 1e-5))
    with pytest.raises(ModelError, match="too small for 4000 rows and 4 columns"):
        Rows(**QUICK).fit(dependent(), ledger, Secret())
    assert not ledger.charges
