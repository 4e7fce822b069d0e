"""Mistakes in DP-SGD and in the training around it."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from saboteurs import caught_by, swapped

from tabsynth.privacy import clipping, dpsgd
from tabsynth.privacy.dpsgd import DPSGD
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers import critic, ctgan
from tabsynth.synthesizers.ctgan import _Training


def norm(tensors):
    """Return the length of all tensors together."""
    return math.sqrt(sum(float(each.double().square().sum()) for each in tensors))


@caught_by("run time")
def noise_left_out():
    """The noise of DP-SGD is left out: an optimizer that was wrapped and then replaced."""
    with swapped(dpsgd, "_with_noise", lambda total, std, secret: total.clone()):
        yield


@caught_by("run time")
def noise_at_half_scale():
    """DP-SGD adds noise at half the scale that is charged: a changed clipping bound, forgotten in one of two places."""
    with_noise = dpsgd._with_noise
    with swapped(dpsgd, "_with_noise", lambda total, std, secret: with_noise(total, std / 2, secret)):
        yield


@caught_by("run time")
def noise_drawn_once():
    """The noise of the first step is added in every step: a generator that is put back to its seed before each draw."""
    with_noise = dpsgd._with_noise
    drawn: dict[tuple[int, int], np.ndarray] = {}

    class Rewound:
        def __init__(self, secret):
            self.secret = secret

        def normal(self, shape):
            return drawn.setdefault((id(self.secret), math.prod(shape)), self.secret.normal(shape)).reshape(shape)

    with swapped(dpsgd, "_with_noise", lambda total, std, secret: with_noise(total, std, Rewound(secret))):
        yield


@caught_by("run time")
def clipping_off():
    """No gradient is clipped: per-sample hooks that a new kind of layer does not have."""

    def ones(squared_norms, max_grad_norm, owner=None):
        return torch.ones_like(squared_norms)

    with swapped(clipping, "clip_factors", ones), swapped(critic, "clip_factors", ones):
        yield


@caught_by("run time")
def mean_of_the_batch_clipped():
    """The batch's mean gradient is clipped, where each row's must be: `clip_grad_norm_` before the noise."""
    total_of = ctgan.clipped_real_sum

    def clipped_mean(critic, real, mixed, *, penalty, max_grad_norm, owner):
        total = total_of(critic, real, mixed, penalty=penalty, max_grad_norm=math.inf, owner=owner)
        mean = norm(total) / max(len(real), 1)
        return [part * min(1.0, max_grad_norm / max(mean, 1e-12)) for part in total]

    with swapped(ctgan, "clipped_real_sum", clipped_mean):
        yield


@caught_by("run time")
def rows_scaled_by_the_longest():
    """All gradients of a batch are scaled by its longest one: each is short enough, and each depends on another row."""

    def by_the_longest(squared_norms, max_grad_norm, owner=None):
        longest = squared_norms.max().sqrt() if len(squared_norms) else 1.0
        return torch.ones_like(squared_norms) * 0.999 * max_grad_norm / longest

    with swapped(critic, "clip_factors", by_the_longest):
        yield


def chunks_of_shuffles(size_of):
    """Return a sampler that walks through one shuffle of all units after the other."""
    left: list[int] = []

    def next_chunk(secret, n, q):
        size = size_of(secret, n, q)
        while len(left) < size:
            left.extend(np.argsort(secret.uniform(n)).tolist())
        chunk, left[:] = left[:size], left[size:]
        return np.unique(np.asarray(chunk, np.int64))

    return next_chunk


@caught_by("run time")
def shuffled_batches_accounted_as_Poisson():
    """Batches are chunks of a shuffle, accounted as Poisson samples: the usual data loader (2403.17673)."""
    with swapped(Secret, "poisson_sample", chunks_of_shuffles(lambda secret, n, q: round(n * q))):
        yield


@caught_by("run time")
def shuffled_batches_of_random_sizes():
    """Chunks of a shuffle whose sizes look like those of Poisson samples: each row comes once an epoch, for certain."""
    sizes = lambda secret, n, q: int((secret.uniform(n) < q).sum())  # noqa: E731
    with swapped(Secret, "poisson_sample", chunks_of_shuffles(sizes)):
        yield


@caught_by("run time")
def small_shuffled_batches():
    """Chunks of a shuffle again, so small that the spread of their sizes is below the reach of chi-square."""
    poisson_sample, shuffled = Secret.poisson_sample, chunks_of_shuffles(lambda secret, n, q: round(n * q))

    def only_small(secret, n, q):
        return shuffled(secret, n, q) if n * q < 10 else poisson_sample(secret, n, q)

    with swapped(Secret, "poisson_sample", only_small):
        yield


@caught_by("run time")
def sample_rate_misreported():
    """The accountant is told half of the sample rate: the row count of before the split."""

    def event(self, noise_multiplier):
        step = PoissonSampledDpEvent(self.sample_rate / 2, GaussianDpEvent(noise_multiplier))
        return SelfComposedDpEvent(step, self.settings.steps)

    with swapped(DPSGD, "_event", event):
        yield


@caught_by("run time")
def steps_beyond_the_charge():
    """Half of the steps are charged: epochs counted where steps are taken."""

    def event(self, noise_multiplier):
        step = PoissonSampledDpEvent(self.sample_rate, GaussianDpEvent(noise_multiplier))
        return SelfComposedDpEvent(step, self.settings.steps // 2)

    with swapped(DPSGD, "_event", event):
        yield


@caught_by("run time")
def second_pass_of_the_critic_not_charged():
    """The critic passes over a batch twice and pays once: real loss and gradient penalty in two backward passes."""
    critic_step = _Training.critic_step

    def twice(self, dpsgd, batch, private):
        critic_step(self, dpsgd, batch, private)
        critic_step(self, dpsgd, batch, private)

    with swapped(_Training, "critic_step", twice):
        yield


def gradient_on_real_rows(training, batch, private):
    """Return the gradient of the critic's mean score of a batch's real rows, unclipped."""
    fakes = torch.zeros(1, training.layout.width + len(training.layout.placed))
    real, _, _ = training.real_inputs(batch, private, fakes)
    return torch.autograd.grad(training.critic(real).sum() / max(len(real), 1), list(training.critic.parameters()))


@caught_by("run time")
def step_past_the_noise():
    """A plain optimizer moves the critic between noisy steps: two optimizers, only one of them wrapped."""
    critic_step = _Training.critic_step

    def and_a_step_aside(self, dpsgd, batch, private):
        critic_step(self, dpsgd, batch, private)
        with torch.no_grad():
            for p, gradient in zip(self.critic.parameters(), aside(self, batch, private), strict=True):
                p.add_(gradient, alpha=1e-3)

    aside = torch.enable_grad()(gradient_on_real_rows)
    with swapped(_Training, "critic_step", and_a_step_aside):
        yield


@caught_by("replay, CTGAN")
def real_loss_unclipped_beside_the_noise():
    """Real rows take part in the half of the loss that is added after the noise: hooks that watch one loss of two."""
    step, critic_step = DPSGD.step, _Training.critic_step

    def mixing(self, dpsgd, batch, private):
        def stepping(dpsgd, batch, clipped_sum, public_gradient, **named):
            mixed = zip(public_gradient, gradient_on_real_rows(self, batch, private), strict=True)
            step(dpsgd, batch, clipped_sum, [a + b for a, b in mixed], **named)

        with swapped(DPSGD, "step", stepping):
            critic_step(self, dpsgd, batch, private)

    with swapped(_Training, "critic_step", mixing):
        yield


@caught_by("run time")
def batches_normalised_by_their_own_size():
    """The noisy sum is divided by the size of the batch that was drawn."""
    step = DPSGD.step

    def dividing(self, batch, *arguments, **named):
        self._optimizer.expected_batch_size = max(len(batch.units), 1)
        step(self, batch, *arguments, **named)

    with swapped(DPSGD, "step", dividing):
        yield


@caught_by("replay, CTGAN")
def batches_normalised_by_the_private_row_count():
    """The noisy sum is divided by int(true row count x sample rate): Opacus 1.0 to 1.6 (issues 571 and 819)."""
    start = DPSGD.__init__

    def starting(self, *arguments, private_rows, **named):
        start(self, *arguments, private_rows=private_rows, **named)
        self._optimizer.expected_batch_size = int(private_rows * self.sample_rate)

    with swapped(DPSGD, "__init__", starting):
        yield


@caught_by("run time")
def empty_batches_skipped():
    """A step whose batch is empty is not taken: the loop says `continue`, and no noise is added."""
    critic_step = _Training.critic_step

    def unless_empty(self, dpsgd, batch, private):
        if len(batch.units):
            critic_step(self, dpsgd, batch, private)

    with swapped(_Training, "critic_step", unless_empty):
        yield


@caught_by("replay, CTGAN")
def best_checkpoint_picked_on_private_loss():
    """The generator that comes closest to the training rows, by the critic, is kept: early stopping as ever."""
    critic_step, run = _Training.critic_step, _Training.run

    @torch.no_grad()
    def watching(self, dpsgd, batch, private):
        critic_step(self, dpsgd, batch, private)
        condition, _ = self.conditions(64)
        fakes = self.draw(*self.generator(self.noise(64), condition))
        everybody = dpsgd._units.batch(np.arange(dpsgd._units.count))
        real, _, _ = self.real_inputs(everybody, private, fakes)
        loss = float((self.critic(real).mean() - self.critic(self.packed(fakes, condition)).mean()).abs())
        if loss < getattr(self, "best", math.inf):
            self.best, self.kept = loss, copy.deepcopy(self.generator)

    def keeping(self, dpsgd, private, progress, epsilon):
        run(self, dpsgd, private, progress, epsilon)
        self.averaged = self.kept

    with swapped(_Training, "critic_step", watching), swapped(_Training, "run", keeping):
        yield


@caught_by("replay, CTGAN")
def loss_on_private_rows_reported():
    """The progress bar shows the critic's loss on real rows, step by step, beside a released model."""
    run = _Training.run

    def reporting(self, dpsgd, private, progress, epsilon):
        run(self, dpsgd, private, progress, epsilon)
        fakes = torch.zeros(1, self.layout.width + len(self.layout.placed))
        everybody = dpsgd._units.batch(np.arange(dpsgd._units.count))
        real, _, _ = self.real_inputs(everybody, private, fakes)
        progress(1, 1, {"critic": float(self.critic(real).detach().mean())})

    with swapped(_Training, "run", reporting):
        yield


@caught_by("suite")
def noise_from_a_seeded_generator():
    """Every stream of noise starts from one seed: torch.manual_seed before the fit, or a fork that copies its state."""
    with swapped(Secret, "_take_key", lambda self, key, take=Secret._take_key: take(self, bytes(32))):
        yield
