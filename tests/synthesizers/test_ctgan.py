"""The conditional GAN: what it reads, what it charges, and every awkward table; the conformance suite adds more."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from dp_accounting import PoissonSampledDpEvent, SelfComposedDpEvent
from scipy.stats import chisquare

from tabsynth.encoding.conditions import Allowed
from tabsynth.encoding.encoder import Encoded, Encoder
from tabsynth.errors import BudgetExceeded, InputError, ModelError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.dpsgd import Batch
from tabsynth.privacy.events import DiscreteGaussianDpEvent
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers import ctgan as module
from tabsynth.synthesizers import ctgan_sampler, model
from tabsynth.synthesizers.base import Sampler
from tabsynth.synthesizers.critic import clipped_real_sum
from tabsynth.synthesizers.ctgan import CTGAN, Layout
from tabsynth.synthesizers.generator import draw_conditions, rarest
from tabsynth.synthesizers.matching import measure_targets
from tabsynth.synthesizers.measuring import Shares
from tabsynth.table import read

QUICK = CTGAN(
    epochs=1,
    critic_steps=6,
    warm_steps=10,
    batch=64,
    generator_width=16,
    generator_depth=1,
    noise_width=8,
    generator_batch=64,
    critic_widths=(8,),
    bins=8,
)
BUDGET = Budget(3.0, 1e-5)
PEOPLE = Schema(
    (
        Column("city", "categorical", categories=("Ulm", "Bonn", "Trier"), nullable=True),
        Column("age", "integer", bounds=(0, 99), bins=(0, 20, 40, 41, 100)),
        Column("cost", "float", bounds=(0.0, 10.0), bins=(0.0, 1.0, 5.0, 10.0), nullable=True),
        Column("ill", "boolean", roles=("target",)),
    ),
    rows=400,
)


def people(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    ages = rng.integers(0, 100, rows)
    city = np.where(rng.random(rows) < 0.1, None, rng.choice(["Ulm", "Bonn", "Trier"], rows))
    cost = np.where(rng.random(rows) < 0.2, np.nan, 10 * rng.random(rows) ** 2)
    return pd.DataFrame({"city": city, "age": ages, "cost": cost, "ill": rng.random(rows) < ages / 100})


def fit(table, settings=QUICK, *, budget=BUDGET, secret=None, progress=None):
    ledger = Ledger(budget)
    found = model.fit(settings, table, ledger, secret or Secret(), *([progress] if progress else []))
    return found, ledger


@pytest.fixture(scope="module", name="table")
def _table():
    return read(people(), PEOPLE)


@pytest.fixture(name="parts")
def _parts(table):
    """The moving parts of a fit, before its first step."""
    return training(table)


def training(table, settings=QUICK, seed=0, rows_per_unit=1.0):
    encoder = Encoder(table.schema)
    rows = encoder.encode(table.private)
    known = SimpleNamespace(schema=table.schema, rows=float(len(table.private)))
    shares, floor = settings.shares, settings.weight_floor
    targets = measure_targets(rows.tokens, encoder, known, shares=shares, floor=floor, ledger=Ledger(), secret=Secret())
    found = module._Training(settings, Layout(encoder), targets, Secret.fixed(seed), rows_per_unit=rows_per_unit)
    return found, rows


def batch_of(rows, owner=None):
    rows = np.asarray(rows, dtype=np.int64)
    owner = np.arange(len(rows)) if owner is None else np.asarray(owner)
    return Batch(np.unique(owner), rows, owner)


class Steps:
    """Stands in for DPSGD: keeps what it is handed."""

    def __init__(self, max_grad_norm=1.0):
        self.settings = SimpleNamespace(max_grad_norm=max_grad_norm)
        self.handed = []

    def step(self, batch, clipped_sum, public_gradient, *, sum_of):
        self.handed.append((clipped_sum, public_gradient))


# ------------------------------------------------------------------------------------------------------ what is read


def test_a_rows_inputs_are_its_own_values_and_places(parts):
    found, rows = parts
    layout = found.layout
    fakes = found.draw(*found.generator(found.noise(16), found.conditions(16)[0])).detach()
    chosen = np.array([3, 7, 7, 20])
    real, mixed, owner = found.real_inputs(batch_of(chosen), rows, fakes)
    assert owner is None
    width = layout.width + len(layout.placed)
    hot, given = real[:, : layout.width], real[:, width:]
    for place, row in enumerate(chosen):
        tokens = torch.tensor(rows.tokens[row]) + layout.starts
        assert hot[place].nonzero()[:, 0].tolist() == tokens.tolist()
        assert given[place].nonzero()[:, 0].tolist() in [[int(token)] for token in tokens]
        for at, column in enumerate(layout.placed):
            spread = layout.spread[tokens[column]]
            centred = (2 * rows.offsets[row, column] - 1) * spread
            assert real[place, layout.width + at] == pytest.approx(float(centred))
    assert torch.equal(mixed[:, width:], given)  # an interpolate keeps its row's condition
    for place in range(len(chosen)):  # and lies between the row and one generated row
        toward = mixed[place, :width] - real[place, :width]
        whole = fakes - real[place, :width]
        along = (whole @ toward) / (whole * whole).sum(1)
        assert float((along[:, None] * whole - toward).norm(dim=1).min()) < 1e-4


def test_the_condition_of_a_row_is_drawn_evenly_from_its_values(parts):
    found, rows = parts
    fakes = torch.zeros(4, found.layout.width + len(found.layout.placed))
    real, _, _ = found.real_inputs(batch_of(np.zeros(4000)), rows, fakes)
    shares = real[:, fakes.shape[1] :].sum(0)
    own = torch.tensor(rows.tokens[0]) + found.layout.starts
    assert float(shares.sum()) == 4000
    assert chisquare(shares[own].numpy()).pvalue > 1e-4


@pytest.mark.parametrize("count", [0, 1, 50])
def test_public_randomness_does_not_depend_on_the_batch(table, count):
    states = []
    for size in (count, 7):
        found, rows = training(table)
        found.critic_step(Steps(), batch_of(np.arange(size)), rows)
        states.append(found.rng.get_state())
    assert torch.equal(*states)


def test_an_empty_batch_adds_nothing_to_the_noise(parts):
    found, rows = parts
    steps = Steps()
    found.critic_step(steps, batch_of([]), rows)
    (total, public) = steps.handed[0]
    assert [part.shape for part in total] == [p.shape for p in found.critic.parameters()]
    assert all(not part.any() for part in total)
    assert any(part.any() for part in public)


def test_a_units_rows_are_clipped_together(table):
    chosen, owner = [0, 1, 2, 3, 4], [0, 0, 0, 1, 1]
    totals = {}
    for whose in (None, owner):
        found, rows = training(table, rows_per_unit=2.5)
        steps = Steps(max_grad_norm=1e-3)
        found.critic_step(steps, batch_of(chosen, whose), rows)
        total, public = steps.handed[0]
        totals[whose is None] = math.sqrt(sum(float(part.square().sum()) for part in total))
    assert totals[False] <= 2e-3
    assert totals[True] > 2e-3  # by rows, five of them may reach 5e-3
    once, _ = training(table)
    steps = Steps()
    once.critic_step(steps, batch_of([]), rows)
    for scaled, plain in zip(public, steps.handed[0][1], strict=True):  # both halves count per unit
        assert torch.allclose(scaled, 2.5 * plain)


def test_the_step_of_the_critic_reads_real_rows_through_the_clipped_sum_only(table):
    handed = []
    for rows_seed in (0, 1):
        found, rows = training(table)
        other = Encoded(rows.tokens[::-1].copy(), rows.offsets[::-1].copy()) if rows_seed else rows
        steps = Steps()
        found.critic_step(steps, batch_of(np.arange(30)), other)
        handed.append(steps.handed[0])
    assert not torch.equal(handed[0][0][0], handed[1][0][0])
    assert all(map(torch.equal, handed[0][1], handed[1][1]))


def test_packs_count_as_many_rows_and_hold_strangers(table):
    settings = replace(QUICK, pac=4)
    found, rows = training(table, settings)
    steps = Steps(math.inf)
    found.critic_step(steps, batch_of(np.arange(43)), rows)
    fakes = torch.zeros(8, found.layout.width + len(found.layout.placed))
    real, mixed, owner = found.real_inputs(batch_of(np.arange(43)), rows, fakes)
    assert (len(real), len(mixed), owner) == (10, 10, None)  # the rest of the last pack is left out
    width = fakes.shape[1]
    first = torch.cat([real[0, at * width : at * width + found.layout.width][None] for at in range(4)])
    in_order = found.layout.given(torch.tensor(rows.tokens[:4, 0]).long())
    assert not torch.equal(first[:, : found.layout.sizes[0]], in_order[:, : found.layout.sizes[0]])
    ratio = mixed[0].reshape(-1)[: 4 * width] / real[0].reshape(-1)[: 4 * width]
    weights = ratio[torch.isfinite(ratio)]
    assert float(weights.max() - weights.min()) < 1e-5  # one pack, one mixing weight (the partners are zeros)
    plain = clipped_real_sum(found.critic, real, mixed, penalty=10.0, max_grad_norm=math.inf, owner=None)
    assert [part.shape for part in plain] == [part.shape for part in steps.handed[0][0]]


# ------------------------------------------------------------------------------------------------------- the generator


def test_conditions_follow_the_measured_marginals(parts):
    found, _ = parts
    drawn, columns = found.conditions(40_000)
    counts = torch.bincount(drawn, minlength=found.layout.width).double()
    expected = found.targets.one_way.double() / len(found.layout.sizes)
    kept = expected > 0
    assert float(counts[~kept].sum()) == 0
    scale = counts.sum() / expected.sum()
    assert chisquare(counts[kept].numpy(), (expected * scale)[kept].numpy()).pvalue > 1e-4
    wrong = torch.full_like(expected, 1.0)[kept]
    assert chisquare(counts[kept].numpy(), (wrong / wrong.sum() * counts.sum()).numpy()).pvalue < 1e-9
    starts = found.layout.starts[columns]
    sizes = torch.tensor(found.layout.sizes)[columns]
    assert bool(((drawn >= starts) & (drawn < starts + sizes)).all())


def test_it_starts_as_independent_columns(parts):
    found, _ = parts
    logits, shifts = found.generator(torch.zeros(1, QUICK.noise_width), torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        found.generator.to_logits.weight.zero_()
        found.generator.obedience.zero_()
        flat, _ = found.generator(torch.zeros(1, QUICK.noise_width), torch.zeros(1, dtype=torch.int64))
    assert torch.allclose(found.layout.softmax(flat)[0], found.targets.one_way, atol=1e-4)
    assert not shifts.any()
    assert logits.shape == shifts.shape == (1, found.layout.width)


def test_soft_rows_look_like_hard_ones(parts):
    found, _ = parts
    layout = found.layout
    rows = found.draw(*found.generator(found.noise(32), found.conditions(32)[0])).detach()
    for column in range(len(layout.sizes)):
        assert torch.allclose(rows[:, layout.block(column)].sum(1), torch.ones(32), atol=1e-5)
    assert rows.shape[1] == layout.width + len(layout.placed)
    assert float(rows[:, layout.width :].abs().max()) <= 1.0


def test_warm_steps_bring_the_marginals_nearer(parts):
    found, _ = parts
    losses = [found.generator_step(1.0, critic_weight=0.0) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_the_critics_weight_counts_and_zero_turns_it_off(table):
    after = {}
    for weight in (0.0, 5.0):
        found, _ = training(table)
        found.generator_step(1.0, critic_weight=weight)
        after[weight] = torch.cat([p.detach().flatten() for p in found.generator.parameters()])
    assert not torch.equal(after[0.0], after[5.0])
    fits = [fit(table, replace(QUICK, critic_weight=w), budget=None, secret=Secret.fixed(0))[0] for w in (0.0, None)]
    assert not fits[0].sample(20, np.random.default_rng(0)).equals(fits[1].sample(20, np.random.default_rng(0)))


# ------------------------------------------------------------------------------------------------------------ charges


def test_the_charges_are_the_measurements_and_the_critics_steps(table):
    ledger, seen = Ledger(BUDGET), []

    def progress(done, total, figures):
        seen.append((done, total, dict(figures)))

    model.fit(replace(QUICK, discovery=0.1), table, ledger, Secret(), progress)
    whys = [charge.why for charge in ledger.charges]
    names = ["city", "age", "cost", "ill"]
    assert whys[:7] == [f"marginal of {n!r}" for n in names] + [f"marginal of {n!r}, 'ill'" for n in names[:3]]
    assert whys[7:9] == ["edge 1 of the tree", "edge 2 of the tree"]
    assert all(why.startswith("marginal of") and why.endswith("'ill'") for why in whys[9:11])
    assert whys[-1] == "critic"
    assert len(whys) in (12, 13)  # the one pair outside the tree may not be worth its noise
    event = ledger.charges[-1].event
    assert isinstance(event, SelfComposedDpEvent)
    assert isinstance(event.event, PoissonSampledDpEvent)
    assert (event.count, event.event.sampling_probability) == (6, 64 / 400)
    assert event.event.event.noise_multiplier > 0
    assert 0.99 * 3 <= ledger.spent.epsilon <= 3
    assert ledger.private
    assert {figure["epsilon"] for _, _, figure in seen} == {ledger.spent.epsilon}
    assert {total for _, total, _ in seen} == {16}
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert all(set(figures) == {"loss", "epsilon"} and math.isfinite(figures["loss"]) for _, _, figures in seen)


def test_without_a_budget_epsilon_is_infinite_and_epochs_count(table):
    found, ledger = fit(table, replace(QUICK, epochs=3, batch=100), budget=None)
    assert ledger.spent.epsilon == math.inf
    assert ledger.charges[-1].event.count == 12  # 3 passes of 4 batches
    assert found.sample(5, np.random.default_rng(0)).shape == (5, 4)
    _, small = fit(table, replace(QUICK, epochs=3, batch=None), budget=None)
    assert small.charges[-1].event.count == 3  # a batch holds at most the table


def test_a_batch_larger_than_the_table_is_refused_before_a_charge(table):
    ledger = Ledger(BUDGET)
    with pytest.raises(InputError, match="batch must be at most the table's 400 rows; got 401"):
        replace(QUICK, batch=401).fit(table, ledger, Secret())
    assert not ledger.charges


def test_the_clipping_bound_is_the_length_of_a_row_unless_given(table, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "charge_steps", lambda settings, *_, **__: seen.append(settings))
    for bound, budget in [(None, BUDGET), (0.5, BUDGET), (0.5, None)]:
        with pytest.raises(AttributeError):  # nothing trains without it
            fit(table, replace(QUICK, max_grad_norm=bound), budget=budget)
    assert [settings.max_grad_norm for settings in seen] == [math.sqrt(5), 0.5, math.inf]


def test_packs_are_for_fits_without_a_budget(table):
    settings = replace(QUICK, pac=4)
    ledger = Ledger(BUDGET)
    with pytest.raises(InputError, match="pac must be 1 under a budget"):
        settings.fit(table, ledger, Secret())
    assert not ledger.charges
    assert len(fit(table, settings, budget=None)[0].sample(9, np.random.default_rng(0))) == 9


def test_a_budget_too_small_for_all_is_refused_before_the_critic(table):
    ledger = Ledger(BUDGET)
    ledger.charge(DiscreteGaussianDpEvent(ledger.sigma(0.5)), why="earlier")
    with pytest.raises(BudgetExceeded):
        QUICK.fit(table, ledger, Secret())
    assert "critic" not in [charge.why for charge in ledger.charges]


# ----------------------------------------------------------------------------------------------------- determinism


def test_with_fixed_secrets_a_fit_repeats_bit_by_bit(table):
    fits = [fit(table, secret=Secret.fixed(5))[0].sampler for _ in range(2)]
    states = [sampler.state()[1] for sampler in fits]
    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    other = fit(table, replace(QUICK, seed=1), secret=Secret.fixed(5))[0].sampler.state()[1]
    assert not np.array_equal(states[0]["generator.to_logits.weight"], other["generator.to_logits.weight"])


def test_what_is_saved_are_the_weights_and_shares_and_not_where_columns_lie(table):
    names = fit(table)[0].sampler.state()[1].keys()
    parts = {"from_noise", "from_condition", "blocks", "last", "to_logits", "to_shifts", "obedience"}
    assert {name.split(".")[1] for name in names - {"one_way"}} == parts


def test_fits_under_a_budget_do_not_repeat(table):
    one, other = (fit(table)[0].sampler.state()[1]["one_way"] for _ in range(2))
    assert not np.array_equal(one, other)


def test_samples_repeat_and_begin_alike_whatever_their_length(table, tmp_path, monkeypatch):
    found, _ = fit(table)
    found.save(tmp_path / "model")
    monkeypatch.setattr(ctgan_sampler, "CELLS", 40 * found.sampler._layout.width)
    first, again, loaded = (
        each.sample(101, np.random.default_rng(3)) for each in (found, found, model.load(tmp_path / "model"))
    )
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first, loaded)
    assert len(first) == 101
    pd.testing.assert_frame_equal(found.sample(7, np.random.default_rng(3)), first.head(7))
    assert dict(model.load(tmp_path / "model").settings)["critic_widths"] == [8]
    assert CTGAN(**model.load(tmp_path / "model").settings) == QUICK


# ------------------------------------------------------------------------------------------------- awkward tables


def with_code():
    levels = tuple(f"code {i:05d}" for i in range(10_000))
    drawn = np.random.default_rng(0).choice(levels, 400)
    schema = Schema((Column("code", "categorical", categories=levels), *PEOPLE.columns))
    return read(people().assign(code=drawn), schema)


def in_groups():
    group = Column("who", "categorical", roles=("group",))
    who = [f"person {i // 4}" for i in range(400)]  # 4 rows each, of which 3 are kept
    return read(people().assign(who=who), Schema((group, *PEOPLE.columns), rows_per_unit=3))


def all_missing():
    bare = tuple(replace(column, nullable=True) for column in PEOPLE.columns)
    return read(pd.DataFrame({column.name: [None] * 400 for column in bare}), Schema(bare))


CITY, AGE, COST, ILL = PEOPLE.columns
ONE = Column("one", "integer", bounds=(7, 7))
AWKWARD = {
    "one column": lambda: read(people()[["city"]], Schema((CITY,))),
    "no target": lambda: read(people(), Schema((CITY, AGE, COST, replace(ILL, roles=())))),
    "constant column": lambda: read(people().assign(one=7), Schema((*PEOPLE.columns, ONE))),
    "10,000 categories": with_code,
    "numeric target": lambda: read(
        people(), Schema((CITY, replace(AGE, roles=("target",)), COST, replace(ILL, roles=())))
    ),
    "30 rows": lambda: read(people(30), PEOPLE),
    "all missing": all_missing,
    "groups": in_groups,
}


@pytest.mark.parametrize("epsilon", [0.1, 3.0, None])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_tables(name, epsilon):
    table = AWKWARD[name]()
    settings = replace(QUICK, critic_steps=2, warm_steps=2, epochs=1)
    found, ledger = fit(table, settings, budget=epsilon and Budget(epsilon, 1e-5))
    rows = found.sample(50, np.random.default_rng(0))
    known = rows.drop(columns="who", errors="ignore")
    checked = Schema(tuple(column for column in found.schema if column.name != "who"))
    assert len(read(known, checked).private) == 50
    if epsilon:
        assert 0.99 * epsilon <= ledger.spent.epsilon <= epsilon
        assert ledger.private
    if name == "constant column":
        assert set(rows["one"]) == {7}


# ------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0.0),
        ("epochs", math.inf),
        ("critic_steps", 0),
        ("critic_steps", 2.5),
        ("warm_steps", -1),
        ("batch", 0),
        ("critic_per_generator", 0),
        ("max_grad_norm", 0.0),
        ("max_grad_norm", math.inf),
        ("penalty", -1.0),
        ("critic_weight", -0.1),
        ("critic_weight", math.nan),
        ("match_weight", math.nan),
        ("condition_weight", -1.0),
        ("generator_rate", 0.0),
        ("critic_rate", math.nan),
        ("average", 1.5),
        ("temperature", 0.0),
        ("noise_width", 0),
        ("generator_width", 0),
        ("generator_depth", -1),
        ("critic_widths", (8, 0)),
        ("generator_batch", 1),
        ("pac", 0),
        ("bins", 0),
        ("weight_floor", 0.0),
        ("discovery", 0.0),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_named(setting, value):
    with pytest.raises(InputError, match=setting):
        CTGAN(**{setting: value})


def test_discovery_and_shares_leave_something_for_the_critic():
    with pytest.raises(InputError, match="discovery and shares must sum to less than 1"):
        CTGAN(discovery=0.2, shares=Shares())
    assert CTGAN(shares={"triples": 0.2}).shares == Shares(triples=0.2)


@pytest.mark.parametrize("budget", [None, BUDGET])
@pytest.mark.parametrize("setting", ["generator_rate", "critic_rate"])
def test_a_fit_that_diverges_is_no_model(table, budget, setting):
    ledger = Ledger(budget)
    with pytest.raises(ModelError, match="diverged"):
        replace(QUICK, **{setting: 1e30}).fit(table, ledger, Secret())
    assert ledger.closed  # what could have run was paid for


def test_no_warm_step_and_one_critic_step(table):
    found, _ = fit(table, replace(QUICK, warm_steps=0, critic_steps=1, critic_per_generator=1))
    assert len(found.sample(3, np.random.default_rng(0))) == 3
    found, _ = fit(table, replace(QUICK, warm_steps=0, critic_steps=1, critic_per_generator=2))
    assert len(found.sample(3, np.random.default_rng(0))) == 3


def test_assemble_takes_what_was_measured(table):
    found, rows = training(table)
    exact = np.bincount(rows.tokens[:, 3], minlength=2) / len(rows)
    assert torch.allclose(found.targets.one_way[found.layout.block(3)], torch.tensor(exact).float())


def obedient(table):
    """A sampler of an untrained generator that nearly always does as its condition says."""
    parts, _ = training(table)
    with torch.no_grad():
        parts.averaged.obedience.fill_(12.0)
        parts.averaged.from_condition.weight.mul_(3)
    return module.CTGANSampler(table.schema, parts.averaged, parts.targets.one_way)


def test_a_condition_goes_into_the_conditional_vector(table, monkeypatch):
    sampler = obedient(table)
    rows = sampler.sample(500, np.random.default_rng(0), {"city": "Trier"})
    assert (rows["city"] == "Trier").all()
    assert rows.attrs["acceptance"] > 0.95
    both = sampler.sample(500, np.random.default_rng(0), {"age": 40, "ill": True})
    assert (both["age"] == 40).all()
    assert both["ill"].all()
    monkeypatch.setattr(module.CTGANSampler, "draw_given", Sampler.draw_given)
    plain = sampler.sample(500, np.random.default_rng(0), {"age": 40, "ill": True})
    assert plain.attrs["acceptance"] < both.attrs["acceptance"] / 5


def test_conditions_are_drawn_from_what_is_asked_for_by_their_measured_shares(table):
    sampler = obedient(table)
    part = np.array([1.0, 0.5, 0.0, 0.25])
    allowed = {"age": Allowed(part, np.zeros(4), part), "ill": Allowed(np.ones(2), np.zeros(2), np.ones(2))}
    asked = rarest(sampler._one_way, sampler._layout, sampler._encoder.names, allowed)
    assert asked[0] == sampler._encoder.names.index("age")
    block = sampler._layout.block(asked[0])
    rng = torch.Generator().manual_seed(0)
    drawn, columns = draw_conditions(sampler._one_way, sampler._layout, 40_000, rng, asked=asked)
    assert set(columns.tolist()) == {asked[0]}
    expected = sampler._one_way[block].numpy() * part
    found = np.bincount(drawn.numpy() - block.start, minlength=4) / 40_000
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.012)
    assert np.abs(found - part / part.sum()).max() > 0.03
    never = sampler._one_way.clone()
    never[block] = 0.0  # what was never measured can be asked for all the same
    assert set((draw_conditions(never, sampler._layout, 500, rng, asked=asked)[0] - block.start).tolist()) == {0, 1, 3}
