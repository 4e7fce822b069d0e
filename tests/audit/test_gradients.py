"""DP-SGD under audit: the right one is left alone, and each of four wrong ones is exposed."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from tabsynth.audit.gradients import GradientCanaries, audit_dpsgd, planted
from tabsynth.errors import InputError
from tabsynth.privacy import dpsgd as module
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.dpsgd import DPSGD, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret

CLAIM = Budget(4.0, 1e-5)
FAST = {"settings": DPSGDSettings(steps=100, expected_batch_size=100, max_grad_norm=0.5), "rows": 250, "canaries": 500}


class Scaled(Secret):
    """Noise of the wrong size."""

    scale = 1.0

    def normal(self, shape=()):
        return self.scale * super().normal(shape)


def scaled(scale):
    secret = Scaled()
    secret.scale = scale
    return secret


def method(result, name):
    found = next(bound for bound in result.bounds if bound.method.startswith(name))
    return found


def test_the_right_mechanism_is_left_alone_and_nearly_used_up():
    result = audit_dpsgd(CLAIM, secret=Secret.fixed(1), **FAST)
    assert result.verdict == "consistent"
    assert result.claim.epsilon == pytest.approx(4.0, rel=0.01)
    shift = method(result, "mean shift")
    assert 0.5 * 4 < shift.epsilon < 4.2
    assert "normal" in shift.assumes


def test_noise_at_half_scale_is_exposed():
    assert audit_dpsgd(CLAIM, secret=scaled(0.5), **FAST).verdict == "exceeds the claim"


def test_noise_left_out_is_exposed():
    assert audit_dpsgd(CLAIM, secret=scaled(1e-9), **FAST).verdict == "exceeds the claim"


def test_clipping_left_out_is_exposed(monkeypatch):
    monkeypatch.setattr(DPSGD, "_require_bounded", lambda *a: None)  # conformance would be first

    def unclipped(model, bound):
        def total(inputs, labels):
            errors = torch.clamp(model(inputs)[:, 0] - labels, -5, 5).detach()
            return [(errors @ inputs)[None]]

        return total

    assert audit_dpsgd(CLAIM, clipping=unclipped, **FAST).verdict == "exceeds the claim"


def test_batches_that_are_not_sampled_at_the_rate_are_exposed(monkeypatch):
    """Every canary in four times as many batches as the accountant believes."""
    fair = Secret.poisson_sample
    monkeypatch.setattr(Secret, "poisson_sample", lambda self, n, q: fair(self, n, min(1.0, 4 * q)))
    assert audit_dpsgd(CLAIM, **FAST).verdict == "exceeds the claim"


def fit_something(secret=None, steps=200):
    """A fit of somebody else's: two layers, gradients of no row at all."""
    model = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 1))
    ledger = Ledger(CLAIM)
    dpsgd = DPSGD(
        DPSGDSettings(steps, 100, 1.0),
        torch.optim.SGD(model.parameters(), lr=0.1),
        private_rows=1000,
        public_units=1000,
        ledger=ledger,
        secret=secret or Secret(),
    )
    for batch in dpsgd.batches():
        dpsgd.step(batch, [torch.zeros_like(p) for p in model.parameters()])
    dpsgd.finish()
    return dpsgd


def test_canaries_are_slipped_into_any_fit():
    canaries = GradientCanaries(400, Secret(), np.random.default_rng(0))
    with planted(canaries):
        dpsgd = fit_something()
    assert canaries.steps == 200
    noise = dpsgd.noise_multiplier * np.sqrt(200) / 100
    inside, outside = canaries.scores[canaries.coin], canaries.scores[~canaries.coin]
    assert outside.std() == pytest.approx(noise, rel=0.2)
    assert outside.mean() == pytest.approx(0.0, abs=5 * noise / np.sqrt(len(outside)))
    assert inside.mean() == pytest.approx(200 * 0.1 / 100, abs=5 * noise / np.sqrt(len(inside)))


def test_planting_leaves_no_trace():
    before = (DPSGD.step, DPSGD._require_bounded, module.answered)
    with pytest.raises(RuntimeError, match="killed"), planted(GradientCanaries(5, Secret(), np.random.default_rng(0))):
        raise RuntimeError("killed")
    with planted(GradientCanaries(0, Secret(), np.random.default_rng(0))):
        assert DPSGD.step is before[0]
    assert before == (DPSGD.step, DPSGD._require_bounded, module.answered)


def test_more_canaries_than_parameters_are_refused():
    with (
        planted(GradientCanaries(5000, Secret(), np.random.default_rng(0))),
        pytest.raises(InputError, match="as many parameters"),
    ):
        fit_something()


@pytest.mark.parametrize("wrong", [{"canaries": 1}, {"rows": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        audit_dpsgd(CLAIM, **wrong)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_over_a_hundred_trainings_the_claim_is_exceeded_no_more_often_than_it_may(epsilon):
    results = [audit_dpsgd(Budget(epsilon, 1e-5), **FAST) for _ in range(100)]
    allowed = int(binom.isf(0.01, 100, 0.05))
    for method_number in range(3):
        assert sum(result.bounds[method_number].epsilon > epsilon for result in results) <= allowed
    assert sum(result.verdict != "consistent" for result in results) <= allowed


@pytest.mark.slow
def test_how_tight_it_is_at_epsilon_4():
    results = [audit_dpsgd(CLAIM, canaries=1000) for _ in range(10)]
    assert np.mean([method(result, "one run").epsilon for result in results if result]) >= 0.3 * 4
    assert np.mean([method(result, "mean shift").epsilon for result in results]) >= 0.7 * 4
