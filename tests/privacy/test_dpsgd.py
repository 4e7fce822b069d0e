"""DP-SGD: charged first, the right noise and no narrower one, and every mismatch stops the model."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, LaplaceDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from scipy.stats import binom, chi2, kstest
from torch import nn

from tabsynth.errors import BudgetExceeded, ConformanceError, InputError, LedgerError
from tabsynth.privacy import dpsgd as module
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import GhostClipping
from tabsynth.privacy.dpsgd import DPSGD, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret

ROWS = 1000


@dataclass
class Calibrated:
    """A ledger that hands out a given noise multiplier: calibration is tested elsewhere and takes seconds."""

    noise_multiplier: float
    charges: tuple = ()
    marks: list = field(default_factory=list)

    @property
    def bounded(self):
        return self.noise_multiplier > 0

    def sigma(self, share):
        return self.noise_multiplier

    def spend_rest(self, event_of, *, why):
        self.charges = (*self.charges, SimpleNamespace(event=event_of(self.noise_multiplier), why=why))
        return self.noise_multiplier

    def mark_not_private(self, why):
        self.marks.append(why)


def parameters(size=2000):
    return [nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(3, 5))]


def build(noise=1.0, steps=5, batch=100, bound=1.0, *, own=None, rows=ROWS, public=None, owners=None, secret=None):
    """Return a DPSGD over fresh parameters (or `own`), with plain SGD of rate 1."""
    return DPSGD(
        DPSGDSettings(steps, batch, bound),
        torch.optim.SGD(parameters() if own is None else own, lr=1.0),
        private_rows=rows,
        unit_of_row=owners,
        public_units=rows if public is None else public,
        ledger=Calibrated(noise),
        secret=secret or Secret.fixed(0),
    )


def zeros(dpsgd):
    return [torch.zeros_like(p) for p in dpsgd._parameters]


def nothing(dpsgd, batch):
    """Take one step of the sum of nothing."""
    dpsgd.step(batch, zeros(dpsgd), sum_of=lambda places: zeros(dpsgd))


def run(dpsgd, steps=None):
    """Take steps with nothing but noise."""
    for taken, batch in enumerate(dpsgd.batches(), start=1):
        nothing(dpsgd, batch)
        if taken == steps:
            break


# ------------------------------------------------------------------------------------------------------ charge first


def test_the_whole_fit_is_charged_before_a_batch_is_drawn():
    ledger, secret = Ledger(Budget(3.0, 1e-5)), Secret()
    secret._words = lambda count: pytest.fail("a batch was drawn")
    settings = DPSGDSettings(steps=3, expected_batch_size=50, max_grad_norm=0.5)
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    dpsgd = DPSGD(settings, optimizer, private_rows=999, public_units=1000, ledger=ledger, secret=secret)
    one_step = PoissonSampledDpEvent(0.05, GaussianDpEvent(dpsgd.noise_multiplier))
    assert [charge.event for charge in ledger.charges] == [SelfComposedDpEvent(one_step, 3)]
    assert ledger.closed
    assert ledger.private
    assert 0.99 * 3 <= ledger.spent.epsilon <= 3
    with pytest.raises(LedgerError, match="closed"):
        DPSGD(settings, optimizer, private_rows=999, public_units=1000, ledger=ledger, secret=secret)


def test_a_budget_that_is_spent_lets_nothing_run():
    ledger = Ledger(Budget(1.0, 1e-6))
    ledger.charge(LaplaceDpEvent(1.0), why="everything", delta=1e-6)
    with pytest.raises(BudgetExceeded):
        DPSGD(
            DPSGDSettings(10, 10),
            torch.optim.SGD(parameters(), lr=1.0),
            private_rows=ROWS,
            public_units=ROWS,
            ledger=ledger,
            secret=Secret(),
        )


@pytest.mark.parametrize(
    ("build_it", "message"),
    [
        (lambda: build(bound=math.inf), "max_grad_norm must be finite under a budget"),
        (lambda: build(bound=0.0), "max_grad_norm"),
        (lambda: build(steps=0), "steps"),
        (lambda: build(batch=0), "expected_batch_size"),
        (lambda: build(public=-3.0), "public_units"),
        (lambda: build(owners=np.zeros(3, dtype=np.int64)), "unit_of_row"),
    ],
)
def test_what_is_wrong_is_named(build_it, message):
    with pytest.raises(InputError, match=message):
        build_it()


def test_an_interrupted_fit_has_charged_what_it_could_have_run():
    dpsgd = build(steps=10)
    run(dpsgd, steps=2)
    assert dpsgd._charged.count == 10


# ---------------------------------------------------------------------------------------------------- without noise


def test_without_noise_and_clipping_it_is_plain_sgd():
    torch.manual_seed(1)
    x, y = torch.randn(300, 4), torch.randn(300)
    ours, plain = nn.Linear(4, 1), nn.Linear(4, 1)
    plain.load_state_dict(ours.state_dict())
    ghost = GhostClipping(ours, math.inf)
    optimizer = torch.optim.Adam(ours.parameters(), lr=0.05)
    ledger = Ledger()
    dpsgd = DPSGD(
        DPSGDSettings(20, 30, math.inf), optimizer, private_rows=300, public_units=300, ledger=ledger, secret=Secret()
    )
    other = torch.optim.Adam(plain.parameters(), lr=0.05)
    for batch in dpsgd.batches():
        rows = torch.from_numpy(batch.rows.copy())
        dpsgd.step(batch, ghost.clipped_sum(lambda a, b: (ours(a)[:, 0] - b).square(), [x[rows], y[rows]]))
        other.zero_grad()
        ((plain(x[rows])[:, 0] - y[rows]).square().sum() / 30).backward()
        other.step()
    dpsgd.finish()
    assert dpsgd.noise_multiplier == 0
    assert not ledger.private
    assert len(ledger.charges) == 1
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_public_gradient_is_added_whole_and_after_the_division():
    dpsgd = build(noise=0.0, steps=1, batch=50)
    for batch in dpsgd.batches():
        dpsgd.step(batch, [p + 0.01 for p in zeros(dpsgd)], [torch.full_like(p, 100.0) for p in zeros(dpsgd)])
    torch.testing.assert_close(dpsgd._parameters[0].detach(), torch.full((2000,), -(100 + 0.01 / 50)))


# ------------------------------------------------------------------------------------------------------------ noise


def gradients_of(dpsgd):
    """The noisy gradients that plain SGD of rate 1 made of nothing, over all steps."""
    steps, before = [], [p.detach().clone() for p in dpsgd._parameters]
    for batch in dpsgd.batches():
        nothing(dpsgd, batch)
        steps += [(b - p.detach()).reshape(-1) for b, p in zip(before, dpsgd._parameters, strict=True)]
        before = [p.detach().clone() for p in dpsgd._parameters]
    return torch.cat(steps).double().numpy()


@pytest.mark.parametrize(("noise", "bound", "batch"), [(1.3, 0.5, 100), (4.0, 2.0, 37.5)])
def test_noise_has_the_scale_sigma_times_bound_over_the_expected_batch(noise, bound, batch):
    draws = gradients_of(build(noise, steps=20, bound=bound, batch=batch))
    scale = noise * bound / batch
    assert kstest(draws / scale, "norm").pvalue > 1e-6
    assert kstest(draws / (scale * 2 / 3), "norm").pvalue < 1e-6
    assert 1e-6 < chi2.cdf(np.square(draws / scale).sum(), len(draws)) < 1 - 1e-6


def test_noise_is_divided_by_public_numbers_only():
    few, many = build(rows=10, public=1000), build(rows=100_000, public=1000)
    assert few.expected_batch_size == many.expected_batch_size == 100
    assert np.std(gradients_of(few)) == pytest.approx(np.std(gradients_of(many)), rel=0.1)


def test_an_empty_batch_is_a_noisy_step_that_counts():
    dpsgd = build(rows=2, public=1e9, batch=1, steps=3)
    assert dpsgd.sample_rate == 1e-9
    draws = gradients_of(dpsgd)
    assert dpsgd._sizes == [0, 0, 0]
    assert np.std(draws) == pytest.approx(1.0, rel=0.1)
    dpsgd.finish()


def test_noise_is_drawn_anew_for_every_step_and_parameter():
    draws = gradients_of(build(steps=6))
    assert len(np.unique(draws)) > 0.99 * len(draws)


def test_released_gradients_lie_on_a_public_grid():
    total = torch.rand(5000, dtype=torch.float64) * 1000
    noisy = module._with_noise(total, 0.3, Secret.fixed(0)).numpy()
    grid = 2.0 ** (-2 - module.GRID)
    np.testing.assert_array_equal(noisy, np.rint(noisy / grid) * grid)
    moved = module._with_noise(total, 0.3, Secret.fixed(0)).numpy() - total.numpy() - 0.3 * Secret.fixed(0).normal(5000)
    assert np.abs(moved).max() <= grid / 2 * (1 + 1e-3)


def test_an_operating_system_secret_keeps_the_ledger_private_and_a_fixed_one_does_not():
    assert build(secret=Secret())._charged == build()._charged
    for secret, marks in ((Secret(), 0), (Secret.fixed(1), 1)):
        ledger = Calibrated(1.0)
        optimizer = torch.optim.SGD(parameters(), lr=1.0)
        DPSGD(DPSGDSettings(1, 1), optimizer, private_rows=9, public_units=9, ledger=ledger, secret=secret)
        assert len(ledger.marks) == marks


def test_seeded_runs_repeat_and_others_do_not():
    assert (gradients_of(build()) == gradients_of(build())).all()
    assert not (gradients_of(build(secret=Secret())) == gradients_of(build(secret=Secret()))).any()


# ---------------------------------------------------------------------------------------------------- batches, units


def test_batches_are_poisson_samples_of_units_with_all_their_rows():
    owners = np.random.default_rng(0).permutation(np.repeat(np.arange(400), [1, 2, 3, 4] * 100))
    dpsgd = build(rows=1000, owners=owners, public=400, batch=40, steps=50)
    seen = np.zeros(400)
    for batch in dpsgd.batches():
        assert sorted(batch.rows) == sorted(np.flatnonzero(np.isin(owners, batch.units)))
        np.testing.assert_array_equal(batch.units[batch.owner], owners[batch.rows])
        assert (np.diff(batch.owner) >= 0).all()
        seen[batch.units] += 1
        nothing(dpsgd, batch)
    dpsgd.finish()
    assert 1e-6 < binom.cdf(seen.sum(), 400 * 50, 0.1) < 1 - 1e-6


def test_rows_are_units_when_there_is_no_group():
    dpsgd = build(steps=1)
    batch = next(iter(dpsgd.batches()))
    np.testing.assert_array_equal(batch.rows, batch.units)
    np.testing.assert_array_equal(batch.owner, np.arange(len(batch.rows)))
    with pytest.raises(ValueError, match="read-only"):
        batch.rows[:] = 0


def test_more_expected_than_there_are_takes_everyone():
    dpsgd = build(batch=5000, steps=2)
    assert dpsgd.sample_rate == 1
    assert dpsgd.expected_batch_size == ROWS
    assert [len(batch.rows) for batch in dpsgd.batches() if nothing(dpsgd, batch) is None] == [ROWS, ROWS]
    dpsgd.finish()


# ------------------------------------------------------------------------------------------------------ conformance


def test_clean_runs_are_never_accused():
    for seed in range(40):
        dpsgd = build(secret=Secret.fixed(seed), steps=3 + seed % 7, rows=50 + 100 * seed, batch=20)
        run(dpsgd)
        dpsgd.finish()


def test_fewer_steps_than_charged():
    dpsgd = build(steps=5)
    run(dpsgd, steps=4)
    with pytest.raises(ConformanceError, match="5 steps were charged, 4 were taken"):
        dpsgd.finish()


def test_no_step_beyond_the_charge():
    dpsgd = build(steps=2)
    run(dpsgd)
    assert list(dpsgd.batches()) == []
    with pytest.raises(ConformanceError, match="drawn last"):
        dpsgd.step(dpsgd._units.batch(np.arange(3)), zeros(dpsgd))


def test_a_batch_is_used_once():
    dpsgd = build()
    batch = next(iter(dpsgd.batches()))
    nothing(dpsgd, batch)
    with pytest.raises(ConformanceError, match="use it once"):
        nothing(dpsgd, batch)


def test_a_batch_that_the_sampler_did_not_draw():
    dpsgd = build()
    own = next(iter(dpsgd.batches()))
    with pytest.raises(ConformanceError, match="drawn last"):
        dpsgd.step(module.Batch(own.units, own.rows, own.owner), zeros(dpsgd))


def test_a_batch_that_was_skipped():
    dpsgd = build()
    batches = dpsgd.batches()
    next(batches)
    with pytest.raises(ConformanceError, match="not used"):
        next(batches)
    with pytest.raises(ConformanceError, match="not used"):
        dpsgd.finish()


@pytest.mark.parametrize("change", ["sum too long", "not finite", "infinite", "wrong shape", "missing"])
def test_a_sum_that_clipping_cannot_have_made(change):
    dpsgd = build(bound=0.5)
    batch = next(iter(dpsgd.batches()))
    total = zeros(dpsgd)
    total[0][0] = 0.5 * len(batch.units)
    wrong = {
        "sum too long": [total[0] * 1.001, total[1]],
        "not finite": [total[0] * math.nan, total[1]],
        "infinite": [total[0], total[1] + math.inf],
        "wrong shape": [total[0][:1], total[1]],
        "missing": [total[0]],
    }[change]

    def sum_of(places):
        part = zeros(dpsgd)
        part[0][0] = 0.5 * len(places)
        return part

    with pytest.raises(ConformanceError, match="clipped sum"):
        dpsgd.step(batch, wrong, sum_of=sum_of)
    dpsgd.step(batch, total, sum_of=sum_of)


def test_under_a_budget_a_step_shows_what_it_sums():
    dpsgd = build()
    batch = next(iter(dpsgd.batches()))
    with pytest.raises(ConformanceError, match="needs `sum_of`"):
        dpsgd.step(batch, zeros(dpsgd))
    wrong = [p + 1e-3 for p in zeros(dpsgd)]  # short enough, and not the sum of its units
    with pytest.raises(ConformanceError, match="for each unit"):
        dpsgd.step(batch, wrong, sum_of=lambda places: zeros(dpsgd))
    nothing(dpsgd, batch)
    free = build(noise=0.0)
    free.step(next(iter(free.batches())), zeros(free))


def test_an_empty_batch_has_an_empty_sum():
    dpsgd = build(rows=1, public=1e9)
    batch = next(iter(dpsgd.batches()))
    with pytest.raises(ConformanceError, match="longer"):
        dpsgd.step(batch, [p + 1e-6 for p in zeros(dpsgd)])


@pytest.mark.parametrize("when", ["between", "after the draw"])
def test_parameters_that_somebody_else_changed(when):
    dpsgd = build()
    batches = dpsgd.batches()
    batch = next(batches)
    if when == "between":
        nothing(dpsgd, batch)
    optimizer = torch.optim.Adam(dpsgd._parameters, lr=0.1)  # a second private pass that nothing was charged for
    for p in dpsgd._parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    with pytest.raises(ConformanceError, match="outside a step"):
        next(batches) if when == "between" else nothing(dpsgd, batch)


def test_a_sample_rate_that_is_not_the_one_charged():
    dpsgd = build()
    dpsgd.sample_rate *= 1.1
    run(dpsgd)
    with pytest.raises(ConformanceError, match="not the one that was charged"):
        dpsgd.finish()


@pytest.mark.parametrize(("name", "value"), [("noise_multiplier", 0.5), ("max_grad_norm", 2.0)])
def test_an_optimizer_that_is_not_the_one_charged(name, value):
    dpsgd = build()
    setattr(dpsgd._optimizer, name, value)
    run(dpsgd)
    with pytest.raises(ConformanceError, match="not the one that was charged"):
        dpsgd.finish()


@pytest.mark.parametrize("factor", [0.0, 0.5, 2 / 3, 1.5])
def test_noise_that_is_not_added_as_charged(monkeypatch, factor):
    real = module._with_noise
    monkeypatch.setattr(module, "_with_noise", lambda total, std, secret: real(total, std * factor, secret))
    dpsgd = build()
    run(dpsgd)
    with pytest.raises(ConformanceError, match="scale that was charged"):
        dpsgd.finish()


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_sampler_of_another_rate(rate):
    secret = Secret.fixed(0)
    real = secret.poisson_sample
    secret.poisson_sample = lambda n, q: real(n, rate)
    dpsgd = build(secret=secret, steps=10)
    run(dpsgd)
    with pytest.raises(ConformanceError, match="not Poisson samples"):
        dpsgd.finish()


def test_shuffled_batches_are_not_poisson_samples():
    secret, rng = Secret.fixed(0), np.random.default_rng(0)
    secret.poisson_sample = lambda n, q: np.sort(rng.permutation(n)[: round(n * q)])
    dpsgd = build(secret=secret, steps=50)
    run(dpsgd)
    with pytest.raises(ConformanceError, match="not Poisson samples"):
        dpsgd.finish()


# ----------------------------------------------------------------------------------------------------- group privacy


def test_one_unit_moves_a_noiseless_step_by_at_most_the_bound():
    torch.manual_seed(0)
    x, owners = torch.randn(60, 4) * 5, np.repeat(np.arange(12), 5)
    model = nn.Linear(4, 2)
    ghost = GhostClipping(model, 0.3)
    dpsgd = build(0.0, steps=1, bound=0.3, own=list(model.parameters()), rows=60, owners=owners, public=12, batch=12)
    batch = next(iter(dpsgd.batches()))

    def sum_of(rows, owner):
        losses = lambda part: model(part).square().sum(1)  # noqa: E731
        return ghost.clipped_sum(losses, [x[torch.from_numpy(rows)]], owner=torch.from_numpy(owner))

    whole = sum_of(batch.rows.copy(), batch.owner.copy())
    for unit in range(12):
        others = batch.owner != unit
        left = sum_of(batch.rows[others], batch.owner[others])
        move = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(whole, left, strict=True)))
        assert 0.1 < move <= 0.3 * (1 + 1e-6)
    dpsgd.step(batch, whole)
    dpsgd.finish()


def test_a_gradient_too_small_to_be_divided_stops_no_fit_without_noise():
    dpsgd = build(noise=0.0, steps=1, bound=math.inf, own=[nn.Parameter(torch.zeros(3))])
    for batch in dpsgd.batches():
        dpsgd.step(batch, [torch.tensor([1.0, 1e-43, 0.0])])
    dpsgd.finish()
