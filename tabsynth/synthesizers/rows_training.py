"""The training of the row transformer: DP-SGD under a budget, the same steps without noise where there is none."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.base import Progress
from tabsynth.synthesizers.device import pick
from tabsynth.synthesizers.rows_recipe import Recipe
from tabsynth.synthesizers.steps import average, charge_steps, passes, require_finite, warm_up_cosine
from tabsynth.synthesizers.transformer import RowTransformer, clipped_sum
from tabsynth.table import Table

if TYPE_CHECKING:
    from tabsynth.synthesizers.rows import Rows

MANY = 16_000  # units from which on there are steps enough without a budget in batches of 256


class Training:
    """The moving parts of one fit."""

    def __init__(
        self,
        settings: Rows,
        model: RowTransformer,
        order: Sequence[int],
        target: int | None,
        recipe: Recipe | None,
    ) -> None:
        self.device = pick(settings.device)
        self.settings, self.model, self.recipe = settings, model.to(self.device), recipe
        self.averaged = copy.deepcopy(model)
        self.order = torch.tensor(order)
        self.weights = [settings.target_weight if place == target else 1.0 for place in range(len(model.sizes))]
        if recipe:
            self.rate, self.average = recipe.rate, settings.average
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.99))
        else:
            self.rate, self.average = settings.free_rate, settings.free_average
            self.optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)

    def charge(self, table: Table, units: float, ledger: Ledger, secret: Secret) -> DPSGD:
        """Charge all steps: what is left of the budget."""
        own = self.settings
        if self.recipe:
            settings = DPSGDSettings(self.recipe.steps, self.recipe.batch, own.max_grad_norm)
        else:
            batch = own.free_batch or (256 if units >= MANY else 128)
            settings = passes(own.epochs, batch, units)
        return charge_steps(settings, self.optimizer, table, units, ledger=ledger, secret=secret, why="row transformer")

    def run(self, dpsgd: DPSGD, private: NDArray[np.int32], secret: Secret, progress: Progress, epsilon: float) -> None:
        """Take every step that was charged; `epsilon` was spent before the first and is shown as it is."""
        steps = dpsgd.settings.steps
        for batch in dpsgd.batches(model=self.model, averaged=self.averaged):
            self.step(dpsgd, batch, private, secret, self.rate * warm_up_cosine(batch.step / steps))
            if self.recipe or batch.step % 20 == 0 or batch.step == steps:
                progress(batch.step, steps, {"epsilon": epsilon})
        require_finite(self.averaged.parameters(), "rate or free_rate")

    def step(self, dpsgd: DPSGD, batch: Batch, private: NDArray[np.int32], secret: Secret, rate: float) -> None:
        """Take one step on the clipped sum of a batch, and average the weights."""
        tokens = torch.from_numpy(private[batch.rows]).long().to(self.device)
        orders = self.orders(len(tokens), secret).to(self.device)
        owner = torch.from_numpy(batch.owner.copy()) if len(batch.units) < len(batch.rows) else None

        def sum_of(places: NDArray[np.int64]) -> list[Tensor]:
            whose = None if owner is None else owner[places]
            at = torch.from_numpy(places).to(self.device)
            bound = dpsgd.settings.max_grad_norm
            return clipped_sum(self.model, tokens[at], orders[at], bound, weights=self.weights, owner=whose)

        self.optimizer.param_groups[0]["lr"] = rate
        dpsgd.step(batch, sum_of(np.arange(len(tokens))), sum_of=sum_of)
        average(self.averaged.parameters(), self.model.parameters(), self.average)

    def orders(self, rows: int, secret: Secret) -> Tensor:
        """Return the order that each row is read in: its own, drawn from the secret stream, or everybody's."""
        shuffled = torch.from_numpy(secret.uniform((rows, len(self.order)))).argsort(1)
        own = torch.from_numpy(secret.uniform((rows, 1))) < self.settings.shuffled
        return torch.where(own, shuffled, self.order)
