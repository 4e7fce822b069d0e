"""What the neural families do alike: steps and their charge, batch, rate, averaged weights, the check of divergence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.errors import InputError, ModelError
from tabsynth.privacy.dpsgd import DPSGD, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.table import Table

RATES = "rate or free_rate"
IMPOSSIBLE = 40.0  # nats a cell
LEAST_STEPS = 500  # without a budget: a few thousand rows are not learned in the passes that many more need
PUBLIC = 64  # rows that a trained model is tried on
TRIED = 1024  # rows whose mean probabilities are held against measured shares
FEW = 64  # values of a column that so many rows can tell of
STRAYED = 0.25  # mean total variation distance: 0.1 where the rate is a few times too high, 0.3 to 0.7 beyond


def charge_steps(
    settings: DPSGDSettings,
    optimizer: torch.optim.Optimizer,
    table: Table,
    units: float,
    *,
    ledger: Ledger,
    secret: Secret,
    why: str,
) -> DPSGD:
    """Charge all steps, what is left of the budget, and return what takes them; `units` is a public number of units."""
    return DPSGD(
        settings,
        optimizer,
        private_rows=len(table.private),
        unit_of_row=table.units(),
        public_units=units,
        ledger=ledger,
        secret=secret,
        why=why,
    )


def passes(epochs: float, batch: int, units: float) -> DPSGDSettings:
    """Return the steps, without clipping, that read each unit `epochs` times on average: for fits without a budget.

    >>> passes(10, 100, units=1000.0).steps, passes(10, 100, units=50.0).steps
    (100, 10)
    """
    return DPSGDSettings(max(1, round(epochs / min(1.0, batch / units))), batch, math.inf)


def enough(epochs: float, batch: int, units: float) -> float:
    """Return the passes to make where none were asked for: `epochs`, or over few units what LEAST_STEPS steps make.

    >>> enough(10, 100, units=1e6), enough(10, 100, units=1000.0), enough(10, 100, units=50.0)
    (10, 50.0, 500.0)
    """
    return max(epochs, LEAST_STEPS * min(1.0, batch / units))


def warm_up_cosine(progress: float, warm_up: float = 0.05, start: float = 0.0) -> float:
    """Return the learning rate's factor when `progress` of the training, in [0, 1], is done: fixed in advance.

    From `start` it rises over the share `warm_up`, then falls along a cosine to 2%.

    >>> [round(warm_up_cosine(progress), 3) for progress in (0.0, 0.05, 0.5, 1.0)]
    [0.0, 0.994, 0.51, 0.02]
    """
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return min(1.0, progress / warm_up + start) * (0.02 + 0.98 * cosine)


def require_room(schema: Schema, **batches: int | None) -> None:
    """Refuse a batch that was asked for, by its setting's name, and is larger than the table: as far as that is public.

    >>> from tabsynth.schema import Column
    >>> require_room(Schema((Column("age", "integer"),), rows=50), batch=None, free_batch=64)
    Traceback (most recent call last):
    tabsynth.errors.InputError: free_batch must be at most the table's 50 rows; got 64.
    """
    for name, batch in batches.items():
        if batch is not None and schema.rows is not None and batch > schema.rows:
            raise InputError(f"{name} must be at most the table's {schema.rows} rows; got {batch}.")


@torch.no_grad()
def average(means: Iterable[Tensor], weights: Iterable[Tensor], memory: float) -> None:
    """Move running means towards the weights, keeping the share `memory` of what they were."""
    for mean, now in zip(means, weights, strict=True):
        mean.lerp_(now, 1 - memory)


def independent_rows(shares: Sequence[NDArray[np.floating[Any]]], seed: int) -> NDArray[np.int64]:
    """Return PUBLIC rows of tokens (rows, columns) whose columns follow measured `shares` and no row of the table."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.choice(len(each), PUBLIC, p=np.float64(each) / np.float64(each).sum()) for each in shares], 1)


def require_likely(losses: Tensor, columns: int) -> None:
    """Raise ModelError when public rows, such as `independent_rows`, are all but impossible under a trained model.

    `losses` (rows,) are their negative log-likelihoods in nats. Under a budget this is how divergence shows: a gradient
    that is not finite counts as none, so weights stay numbers while the model comes to draw one row again and again.

    >>> require_likely(torch.tensor([9.0, torch.inf]), columns=3)
    Traceback (most recent call last):
    tabsynth.errors.ModelError: The training diverged: the model rules out most values. Lower rate or free_rate.
    """
    if not float(losses.double().mean()) <= IMPOSSIBLE * columns:
        raise ModelError(f"The training diverged: the model rules out most values. Lower {RATES}.")


def require_near(drawn: Tensor, measured: Tensor, noise: Tensor, sizes: Sequence[int], remedy: str) -> None:
    """Raise ModelError when a trained model's columns are far from what was measured of them: it has collapsed.

    Both are shares of all tokens (tokens,), those of each column side by side, `drawn` the mean probabilities of TRIED
    rows of the model; `noise` is the standard deviation of a measured share, and as far apart as it takes them on
    average they may be. A generator whose rate is far too high comes to draw a few rows again and again, and its
    weights stay numbers. Columns of more than FEW values are left out.

    >>> drawn, measured = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    >>> require_near(drawn, measured, torch.tensor(0.5), [2], "rate")  # which says nothing
    >>> require_near(drawn, measured, torch.tensor(0.0), [2], "rate")
    Traceback (most recent call last):
    tabsynth.errors.ModelError: The training diverged: columns are far from their measured marginals. Lower rate.
    """
    pairs = zip(torch.split(drawn, list(sizes)), torch.split(measured, list(sizes)), strict=True)
    by_chance = float(noise) * math.sqrt(2 / math.pi)  # the mean absolute value of a normal number
    distances = [
        float((ours - theirs).abs().sum()) / 2 - by_chance * len(ours) / 2 for ours, theirs in pairs if len(ours) <= FEW
    ]
    if distances and not sum(distances) / len(distances) <= STRAYED:
        raise ModelError(f"The training diverged: columns are far from their measured marginals. Lower {remedy}.")


def require_finite(tensors: Iterable[Tensor], remedy: str) -> None:
    """Raise ModelError unless these numbers are finite; under a budget they are public, or clipped and so finite."""
    if not all(bool(torch.isfinite(each).all()) for each in tensors):
        raise ModelError(f"The training diverged: weights are not finite. Lower {remedy}.")
