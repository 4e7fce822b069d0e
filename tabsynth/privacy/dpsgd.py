"""DP-SGD (Abadi et al. 2016): the only module that takes noisy gradient steps, over Opacus.

A fit draws Poisson batches of privacy units from the secret stream, sums one clipped gradient per unit (`clipping`),
and hands the sum to `DPSGD.step`, which adds Gaussian noise once and divides by the public expected batch. All of it
is charged at construction: an interrupted fit has paid for everything it could have run. At the end `finish` compares
what ran with what was charged.

What Opacus does: the optimizer around the optimizer, and ghost clipping for who asks for it. What it does not do here:
its noise (torch's CPU generator keeps 32 bits of a seed), its normaliser (it divides by a number computed from the
private row count) and its accountant.

What remains open about floating point. The clipped sum is added up in float32, so taking one unit away changes it by
that unit's clipped gradient and a rounding error of about 1e-7 of the sum, a part of `max_grad_norm` that the noise
hides but the proof leaves out. The noise is added in float64, and the noisy sum is rounded to a public grid of 2**-24
of the noise's scale before anything reads it: at least 2**15 float64 sums share each point, so the low bits that
Mironov's attack (2012) reads are gone. That is a defence, not a proof; `noise` says what the normals themselves leave
open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizerFastGradientClipping
from torch import Tensor

from tabsynth._check import at_least, positive
from tabsynth.errors import ConformanceError, InputError
from tabsynth.privacy.checkpoint import Stateful, keep, taken_up
from tabsynth.privacy.conformance import NoiseSeen, SumOf, require_bounded, require_poisson, require_sum_of_units
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.replay import answered

GRID = 24  # bits of the noise's scale that survive


@dataclass(frozen=True, slots=True)
class DPSGDSettings:
    """How many steps, how many units a batch holds on average, and the clipping bound (infinite: no clipping)."""

    steps: int
    expected_batch_size: float
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        positive("expected_batch_size", self.expected_batch_size)
        if not self.max_grad_norm > 0:
            raise InputError(f"max_grad_norm must be above 0; got {self.max_grad_norm!r}.")


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """One Poisson batch: its units, all rows of these units (each unit's together), and each row's place in `units`.

    `step` is its number, from 1.
    """

    units: NDArray[np.int64]
    rows: NDArray[np.int64]
    owner: NDArray[np.int64]
    step: int = 0

    def owners(self, places: NDArray[np.int64]) -> Tensor | None:
        """Return the unit of each row at these places; None where every row is a unit of its own."""
        return None if len(self.units) == len(self.rows) else torch.from_numpy(self.owner[places])


class DPSGD:
    """The private part of a training loop.

    ::

        dpsgd = DPSGD(settings, optimizer, private_rows=n, public_units=count, ledger=ledger, secret=secret)
        for batch in dpsgd.batches():
            dpsgd.step(batch, sum_of(all_places), sum_of=sum_of)
        dpsgd.finish()

    Without a budget the same code runs with noise 0, and `max_grad_norm` may be infinite.

    Formal guarantee: the parameters after all steps are the answer of `steps` Poisson-subsampled Gaussian mechanisms
    with noise multiplier `noise_multiplier` and sample rate `sample_rate`, provided that every clipped sum is a sum
    over the batch's units of vectors of norm at most `max_grad_norm`, each a function of its own unit and of the
    parameters alone. `step` checks what follows from this cheaply, and by `sum_of` the condition itself on a few units
    of a few batches; `clipping.check_clipped_sum` checks all of it.
    """

    def __init__(
        self,
        settings: DPSGDSettings,
        optimizer: torch.optim.Optimizer,
        *,
        private_rows: int,
        unit_of_row: NDArray[np.int64] | None = None,
        public_units: float,
        ledger: Ledger,
        secret: Secret,
        why: str = "DP-SGD",
    ) -> None:
        """Charge what is left of the budget for `settings.steps` steps; close the ledger.

        `private_rows` is the true number of rows and stays inside; `unit_of_row` numbers each row's unit from 0 (None:
        a row is a unit); `public_units` is the number of units as declared or measured with noise, from which the
        sample rate follows. The trained parameters are those of `optimizer` that require a gradient.

        Raises BudgetExceeded or LedgerError, and InputError when there is a budget but no clipping bound.
        """
        positive("public_units", public_units)
        if math.isinf(settings.max_grad_norm) and ledger.bounded:
            raise InputError("max_grad_norm must be finite under a budget: without clipping no noise is enough.")
        self.settings = settings
        self._why = why
        self.sample_rate = min(1.0, settings.expected_batch_size / public_units)
        self.expected_batch_size = self.sample_rate * public_units  # public: what noisy sums are divided by
        self.noise_multiplier = ledger.spend_rest(self._event, why=why)
        if secret.fixed_seed:
            ledger.mark_not_private(f"The batches and the noise of {why!r} come from a fixed seed.")
        self._charged = ledger.charges[-1].event
        self._secret = secret
        self._units = _Units(private_rows, unit_of_row)
        self._optimizer = _NoisyOptimizer(
            optimizer,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=settings.max_grad_norm,
            expected_batch_size=self.expected_batch_size,
            secret=secret,
            why=why,
        )
        self._parameters: list[torch.nn.Parameter] = self._optimizer.params
        self._versions: list[int] = []
        self._batch: Batch | None = None
        self._sizes: list[int] = []
        self._drawn = np.zeros(self._units.count, np.int64)  # how often, per unit
        self._steps = 0

    def batches(self, **kept: Stateful) -> Iterator[Batch]:
        """Yield the Poisson batches, one for each step that was paid for; each must be used in one `step`.

        `kept` names everything that the loop carries from step to step besides the optimizer's state: models, averages,
        public randomness. Where the fit has a checkpoint these are kept from time to time, and a fit that was killed
        goes on with the step after the last one kept.
        """
        own: dict[str, Stateful] = {"optimizer": self._optimizer.original_optimizer, "secret": self._secret}
        parts = {**kept, **own, "dpsgd": self}
        taken_up(self._why, parts)
        while len(self._sizes) < self.settings.steps:
            self._require_settled()
            keep(self._why, self._steps, parts)
            if not self._versions:
                self._versions = [p._version for p in self._parameters]
            chosen = self._secret.poisson_sample(self._units.count, self.sample_rate)
            self._batch = self._units.batch(chosen, len(self._sizes) + 1)
            self._sizes.append(len(chosen))
            self._drawn[chosen] += 1
            yield self._batch
        keep(self._why, self._steps, parts, last=True)

    def step(
        self,
        batch: Batch,
        clipped_sum: Sequence[Tensor],
        public_gradient: Sequence[Tensor] | None = None,
        *,
        sum_of: SumOf | None = None,
    ) -> None:
        """Add noise to the clipped sum over `batch`, divide by the expected batch, and take one optimizer step.

        `clipped_sum` has one tensor per trained parameter, in the optimizer's order, summed over however many chunks
        the batch was processed in; for an empty batch, zeros. `public_gradient`, already averaged, is added after the
        noise, unclipped: it must come from no private row.

        `sum_of(places)` returns the clipped sum of the rows at these places of `batch.rows` alone, with the same
        parameters and whatever was drawn for each of them: in steps 1, 2, 4, 8, ... it is held against `clipped_sum`
        (see `conformance.require_sum_of_units`). Under a budget no step is taken without it.

        Raises ConformanceError when it is missing, when the batch is not the one that was drawn last or was used
        before, when the sum is longer than its units can make it or not a sum over units, or when somebody else has
        changed the parameters since the last step.
        """
        self._require_own(batch)
        self._require_bounded(batch, clipped_sum, sum_of)
        for p, total in zip(self._parameters, clipped_sum, strict=True):
            p.grad = total.detach()
        self._batch = None
        self._steps += 1
        self._optimizer.pre_step()
        if self.noise_multiplier > 0:
            self._require_divided()
        if public_gradient is not None:
            for p, gradient in zip(self._parameters, public_gradient, strict=True):
                assert p.grad is not None
                p.grad = p.grad + gradient.detach()
        self._optimizer.original_optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._versions = [p._version for p in self._parameters]

    def finish(self) -> None:
        """Raise ConformanceError unless what ran is what was charged; call it before a model is returned.

        Compared: the steps, the sample rate, the noise multiplier and the clipping bound with the charge; the number of
        steps taken with the batches drawn; the sizes of the batches, and how often each unit was drawn, with Poisson
        sampling at that rate; the size of the noise that was added with the noise multiplier, and each draw of it with
        the one before. These last are tests with a false alarm of `conformance.FALSE_ALARM`.
        """
        self._require_settled()
        if not self._steps == len(self._sizes) == self.settings.steps:
            raise ConformanceError(f"{self.settings.steps} steps were charged, {self._steps} were taken.")
        charged, one_step = self._charged, self._charged.event
        if charged.count != self._steps:
            raise ConformanceError(f"{charged.count} steps were charged, {self._steps} were taken.")
        ran = (self.sample_rate, self._optimizer.noise_multiplier, self._optimizer.max_grad_norm)
        if ran != (one_step.sampling_probability, one_step.event.noise_multiplier, self.settings.max_grad_norm):
            raise ConformanceError("The sample rate, the noise or the clipping bound is not the one that was charged.")
        require_poisson(self._sizes, self._drawn, one_step.sampling_probability)
        if self.noise_multiplier > 0:
            self._optimizer.noise.require_standard_normal()

    def state_dict(self) -> dict[str, Any]:
        """Return what `finish` looks at, for a checkpoint."""
        return {"steps": self._steps, "sizes": np.asarray(self._sizes, np.int64), "drawn": self._drawn} | {
            "noise": self._optimizer.noise.state_dict()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Go on after the steps of a checkpoint."""
        self._steps, self._sizes = int(state_dict["steps"]), state_dict["sizes"].tolist()
        self._drawn = state_dict["drawn"]
        self._optimizer.noise.load_state_dict(state_dict["noise"])

    def _event(self, noise_multiplier: float) -> DpEvent:
        """Return what `steps` steps at this noise multiplier cost."""
        one_step = PoissonSampledDpEvent(self.sample_rate, GaussianDpEvent(noise_multiplier))
        return SelfComposedDpEvent(one_step, self.settings.steps)

    def _require_settled(self) -> None:
        """Raise when the batch drawn last was not used, or the parameters changed outside a step."""
        if self._batch is not None:
            raise ConformanceError("A batch was drawn and not used in a step of its own.")
        self._require_unmoved()

    def _require_own(self, batch: Batch) -> None:
        """Raise unless this is the batch drawn last, unused, and nothing else moved the parameters."""
        if self._batch is None or batch is not self._batch:
            raise ConformanceError("A step must use the batch that was drawn last, and use it once.")
        self._require_unmoved()

    def _require_unmoved(self) -> None:
        """Raise when the parameters changed since the last step, or since the first batch was drawn."""
        if self._versions and self._versions != [p._version for p in self._parameters]:
            raise ConformanceError("The parameters were changed outside a step: nothing was charged for that.")

    def _require_bounded(self, batch: Batch, clipped_sum: Sequence[Tensor], sum_of: SumOf | None) -> None:
        """Raise unless the sum is finite, no longer than the batch's units can make it, and a sum over units."""
        if [total.shape for total in clipped_sum] != [p.shape for p in self._parameters]:
            raise ConformanceError("A clipped sum needs one tensor per trained parameter, of its shape, in its order.")
        require_bounded(clipped_sum, len(batch.units), self._optimizer.max_grad_norm)
        if sum_of is None and self.noise_multiplier > 0:
            raise ConformanceError(
                "Under a budget a step needs `sum_of`, to see that what is clipped are single units."
            )
        if sum_of is not None and self._steps & (self._steps + 1) == 0 and math.isfinite(self.settings.max_grad_norm):
            turn = self._steps.bit_length()
            require_sum_of_units(clipped_sum, sum_of, batch.owner, self.settings.max_grad_norm, turn)

    def _require_divided(self) -> None:
        """Raise unless the step is the noisy sum over the public expected batch, whoever set the optimizer up."""
        divided = torch.cat([p.grad.flatten() for p in self._parameters if p.grad is not None])
        noisy = torch.cat([each.flatten() for each in self._optimizer.noisy])
        expected = self.expected_batch_size
        lost = expected * torch.finfo(noisy.dtype).tiny  # below it a quotient has few digits, or none
        if divided.shape != noisy.shape or not torch.allclose(divided * expected, noisy, rtol=1e-5, atol=lost):
            raise ConformanceError("The noisy sum was not divided by the public expected batch.")


class _NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus's optimizer with noise from the secret stream, and a public number to divide by."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        secret: Secret,
        why: str,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            loss_reduction="sum",
        )
        self._secret, self._why = secret, why
        self.noisy: list[Tensor] = []
        self.noise = NoiseSeen()

    def accumulate(self) -> None:
        """Take the one clipped sum of the step as it is: Opacus would copy it deeply, and nothing writes into it."""
        for p in self.params:
            p.summed_grad = p.grad

    def add_noise(self) -> None:
        """Put the summed gradient, with noise, in `p.grad`: the mechanism's answer, before anything else is done."""
        std = self.noise_multiplier * self.max_grad_norm if self.noise_multiplier else 0.0
        self.noisy = []
        for p in self.params:
            noisy = _with_noise(p.summed_grad, std, self._secret)
            if std:
                self.noise.see(len(self.noisy), (noisy.cpu().double() - p.summed_grad.cpu().double()) / std)
            p.grad = answered(noisy, why=self._why, kept=False)
            self.noisy.append(p.grad)

    def scale_grad(self) -> None:
        """Divide by the public expected batch, never by the batch that was drawn."""
        for p in self.params:
            p.grad = p.grad / self.expected_batch_size


class _Units:
    """Which rows belong to which unit."""

    def __init__(self, rows: int, unit_of_row: NDArray[np.int64] | None) -> None:
        self._grouped = unit_of_row is not None
        owners = np.arange(rows) if unit_of_row is None else np.asarray(unit_of_row)
        if owners.shape != (rows,):
            raise InputError("unit_of_row must number the unit of every row.")
        self.count = int(owners.max(initial=-1)) + 1
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], np.arange(self.count + 1))

    def batch(self, units: NDArray[np.int64], step: int = 0) -> Batch:
        """Return all rows of these units; the arrays are read-only."""
        if self._grouped:
            lengths = self._starts[units + 1] - self._starts[units]
            owner = np.repeat(np.arange(len(units)), lengths)
            within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            rows = self._order[self._starts[units][owner] + within]
        else:
            rows, owner = units, np.arange(len(units))
        for array in (units, rows, owner):
            array.flags.writeable = False
        return Batch(units, rows, owner, step)


def _with_noise(total: Tensor, std: float, secret: Secret) -> Tensor:
    """Return `total` plus normals of scale `std`, added in float64 and rounded to a grid of 2**-24 of that scale."""
    if std == 0:
        return total.clone()
    noisy = total.detach().cpu().double().numpy() + std * secret.normal(tuple(total.shape))
    grid = 2.0 ** (math.floor(math.log2(std)) - GRID)
    return torch.from_numpy(np.rint(noisy / grid) * grid).to(dtype=total.dtype, device=total.device)
