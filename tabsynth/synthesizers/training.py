"""The training loop that families share: one noisy step a batch, a rate that falls, a running mean of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tabsynth.privacy.checkpoint import Stateful
from tabsynth.privacy.conformance import SumOf
from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.base import Progress
from tabsynth.synthesizers.steps import RATES, average, charge_steps, require_finite, warm_up_cosine
from tabsynth.table import Table

Model = TypeVar("Model", bound=nn.Module)
TOLD = 20  # steps without noise, which are quick, between two signs of progress


class Training(Generic[Model]):
    """A model that takes steps on rows, and the running mean of its weights, which is what a fit returns.

    `rate` is the learning rate at its highest, `memory` what the mean keeps of itself from step to step.
    """

    def __init__(self, model: Model, optimizer: torch.optim.Optimizer, *, rate: float, memory: float) -> None:
        self.model, self.averaged = model, copy.deepcopy(model)
        self.optimizer, self.rate, self.memory = optimizer, rate, memory

    def learn(
        self,
        steps: DPSGDSettings,
        sums_of: Callable[[Batch], SumOf],
        table: Table,
        units: float,
        *,
        ledger: Ledger,
        secret: Secret,
        progress: Progress,
        beside: Callable[[int], Sequence[Tensor]] | None = None,
    ) -> Model:
        """Charge the steps, take them, and return the averaged model on the processor; see `charge_steps` and `run`."""
        why = "row transformer"
        dpsgd = charge_steps(steps, self.optimizer, table, units, ledger=ledger, secret=secret, why=why)
        self.run(dpsgd, sums_of, progress, ledger.spent.epsilon, beside=beside)
        return self.averaged.cpu()

    def run(
        self,
        dpsgd: DPSGD,
        sums_of: Callable[[Batch], SumOf],
        progress: Progress,
        epsilon: float,
        *,
        beside: Callable[[int], Sequence[Tensor]] | None = None,
        before: int = 0,
        **kept: Stateful,
    ) -> None:
        """Take every step that was charged, and see that what ran is what was charged.

        `sums_of` takes a batch and returns what sums up the clipped gradients of its rows, see `DPSGD.step`; `beside`
        takes a step's number and returns a gradient that reads no row. `epsilon` was spent before the first step and is
        shown as it is, `before` counts steps that were taken otherwise, and `kept` is what else a checkpoint holds.

        Raises ConformanceError as `DPSGD.finish` does, and ModelError when the mean is not finite: training diverged.
        """
        steps, means, weights = dpsgd.settings.steps, list(self.averaged.parameters()), list(self.model.parameters())
        for batch in dpsgd.batches(model=self.model, averaged=self.averaged, **kept):
            sum_of = sums_of(batch)
            self.optimizer.param_groups[0]["lr"] = self.rate * warm_up_cosine(batch.step / steps)
            total, public = sum_of(np.arange(len(batch.rows))), None if beside is None else beside(batch.step)
            dpsgd.step(batch, total, public, sum_of=sum_of)
            average(means, weights, self.memory)
            if dpsgd.noise_multiplier > 0 or batch.step % TOLD == 0 or batch.step == steps:
                progress(before + batch.step, before + steps, {"epsilon": epsilon})
        dpsgd.finish()
        require_finite(means, RATES)


def adam(parameters: Iterable[nn.Parameter], *, noisy: bool) -> torch.optim.Optimizer:
    """Return the optimizer of the transformers; weights decay where no noise keeps them from fitting single rows."""
    if noisy:
        return torch.optim.Adam(parameters, betas=(0.9, 0.99))
    return torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
