"""What a private training must look like: right ones pass, each wrong one is told from them."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from tabsynth.errors import ConformanceError
from tabsynth.privacy.clipping import clip_factors
from tabsynth.privacy.conformance import (
    NoiseSeen,
    _too_even,
    _too_uneven,
    require_fresh,
    require_poisson,
    require_scale,
    require_sum_of_units,
)
from tabsynth.privacy.noise import Secret


def record(sampler, units, rate, steps):
    """Return the sizes of batches, and how often each unit was drawn."""
    batches = [sampler(units, rate) for _ in range(steps)]
    return [len(batch) for batch in batches], np.bincount(np.concatenate(batches), minlength=units)


def shuffler(rng, sizes):
    """Return a sampler of chunks of shuffles, whose sizes are `sizes(units, rate)`."""
    left = []

    def chunk(units, rate):
        size = sizes(units, rate)
        while len(left) < size:
            left.extend(rng.permutation(units))
        taken, left[:] = left[:size], left[size:]
        return np.unique(np.asarray(taken, int))

    return chunk


@pytest.mark.parametrize(("units", "rate", "steps"), [(120, 0.5, 12), (120, 1 / 60, 40), (3, 0.3, 1000), (50, 1.0, 9)])
def test_poisson_samples_are_not_accused(units, rate, steps):
    for seed in range(50):
        require_poisson(*record(Secret.fixed(seed).poisson_sample, units, rate, steps), rate)


@pytest.mark.parametrize(("units", "rate", "steps"), [(120, 0.5, 12), (120, 1 / 60, 90), (2000, 0.01, 150)])
def test_shuffles_are_caught_by_their_sizes_or_by_their_turns(units, rate, steps):
    rng = np.random.default_rng(0)
    fixed = record(shuffler(rng, lambda n, q: round(n * q)), units, rate, steps)
    random = record(shuffler(rng, rng.binomial), units, rate, steps)
    for sizes, drawn in (fixed, random):
        with pytest.raises(ConformanceError, match="not Poisson"):
            require_poisson(sizes, drawn, rate)


def test_a_part_that_is_always_drawn_is_caught():
    with pytest.raises(ConformanceError, match="not Poisson"):
        require_poisson([50] * 10 + [51] * 10, np.repeat([0, 20], [50, 50]) + np.repeat([0, 1], [90, 10]), 0.505)


def test_the_bounds_are_above_what_is_so():
    rng = np.random.default_rng(1)
    drawn = rng.binomial(30, 0.2, size=(4000, 20))
    squares = np.square(drawn - 6).sum(1)
    for row in drawn[:50]:
        assert _too_even(row, 30, 0.2) >= (squares <= np.square(row - 6).sum()).mean() - 0.03
        assert _too_uneven(row, 30, 0.2) >= (squares >= np.square(row - 6).sum()).mean() - 0.03
    assert _too_even([6] * 20, 30, 0.2) == pytest.approx(binom.pmf(6, 30, 0.2) ** 20, rel=1e-6)


def test_the_scale_of_noise_is_tested_to_both_sides():
    squares = float(np.square(Secret.fixed(3).normal(20_000)).sum())
    require_scale(squares, 20_000)
    for factor in (0.85, 1.15):
        with pytest.raises(ConformanceError, match="scale"):
            require_scale(squares * factor, 20_000)


@pytest.mark.parametrize("repeat", ["never", "in every step", "in every tensor", "negated"])
def test_noise_that_repeats_itself_is_caught(repeat):
    shapes = [(30, 4), (30,), (1, 30), (1,)]
    for seed in range(50 if repeat == "never" else 5):
        seen, secret = NoiseSeen(), Secret.fixed(seed)
        once = secret.normal(120)
        for step in range(8):
            if repeat == "in every tensor":
                once = secret.normal(120)
            for place, shape in enumerate(shapes):
                size = int(np.prod(shape))
                fresh = secret.normal(size) if repeat in {"never", "in every step", "negated"} else once[:size]
                if repeat in {"in every step", "negated"}:
                    fresh = (-1 if repeat == "negated" and step % 2 else 1) * Secret.fixed(place).normal(size)
                seen.see(place, torch.from_numpy(fresh).reshape(shape))
        assert seen.count == 8 * 181
        if repeat == "never":
            seen.require_standard_normal()
        else:
            with pytest.raises(ConformanceError, match="anew"):
                require_fresh(seen.products, seen.pairs)


@pytest.mark.parametrize("period", [2, 3, 7])
def test_noise_that_comes_again_later_is_caught(period):
    for seed in range(5):
        seen = NoiseSeen()
        for step in range(42):
            for place in range(3):
                drawn = Secret.fixed(seed * 10_000 + step % period * 100 + place).normal(60)
                seen.see(place, torch.from_numpy(drawn))
        with pytest.raises(ConformanceError, match=r"anew|scale"):
            seen.require_standard_normal()


ROWS = torch.tensor(np.random.default_rng(2).normal(size=(40, 6)) * 3, dtype=torch.float32)
OWNER = np.arange(40) // 2


def total_of(clip):
    """Return (sum over a batch, sums over parts of it) for rows that are their own gradients."""

    def sum_of(places):
        rows, owner = ROWS[places], torch.tensor(OWNER[places])
        return [clip(rows, owner)] if len(rows) else [torch.zeros(6)]

    return sum_of(np.arange(40)), sum_of


def clipped(rows, owner):
    return (clip_factors(rows.square().sum(1), 1.0, owner)[:, None] * rows).sum(0)


WRONG = {
    "not clipped": lambda rows, owner: rows.sum(0) * 0.5,
    "the mean clipped": lambda rows, owner: rows.mean(0) / rows.mean(0).norm().clamp_min(1) * len(owner.unique()),
    "rows clipped, not units": lambda rows, owner: clipped(rows, torch.arange(len(rows))),
    "scaled by the longest": lambda rows, owner: (rows / rows.norm(dim=1).max() / 2).sum(0),
    "centred": lambda rows, owner: clipped(rows - rows.mean(0), owner),
}


def test_a_sum_of_clipped_units_is_one():
    total, sum_of = total_of(clipped)
    require_sum_of_units(total, sum_of, OWNER, 1.0)
    require_sum_of_units([torch.zeros(6)], sum_of, OWNER[:0], 1.0)


@pytest.mark.parametrize("turn", [0, 1, 2])
@pytest.mark.parametrize("clip", WRONG.values(), ids=WRONG)
def test_what_is_no_sum_of_clipped_units_is_caught(clip, turn):
    total, sum_of = total_of(clip)
    with pytest.raises(ConformanceError, match="one clipped gradient for each unit"):
        require_sum_of_units(total, sum_of, OWNER, 1.0, turn)
