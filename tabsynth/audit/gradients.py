"""Gradient canaries: the audit of DP-SGD itself, from its noisy updates.

`audit_dpsgd` trains a small model whose canaries are rows with a huge gradient along a coordinate that nobody else
uses. They go the whole way: the Poisson sampler, the clipping, the noise. `planted` slips canaries into the DP-SGD of
any synthesizer's fit, behind the clipping: one coordinate each, of the length that clipping allows.

In both, a canary's score is the sum of every noisy update along its own direction. The attacker may know what all
other rows added: privacy of one unit holds whatever is known of the others, their coins included. What is left is a sum
of Gaussian noise, and, if the canary was in, of the clipping bound in every batch that its coin drew it into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tabsynth import _check
from tabsynth.audit.canaries import toss
from tabsynth.audit.claim import Claim
from tabsynth.audit.result import AuditResult, judge_one_run
from tabsynth.errors import InputError
from tabsynth.privacy import dpsgd as module
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.clipping import GhostClipping
from tabsynth.privacy.dpsgd import DPSGD, Batch, DPSGDSettings
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret

SUBJECT = "DP-SGD"
GRADIENTS = "gradients (white box)"
FEATURES = 20  # of the small model's ordinary rows
HUGE = 1e4  # of a canary's label: its gradient is far longer than any clipping bound

ClippedSum = Callable[[nn.Module, float], Callable[[Tensor, Tensor], Sequence[Tensor]]]


def audit_dpsgd(
    budget: Budget,
    *,
    canaries: int = 1000,
    rows: int = 1000,
    settings: DPSGDSettings | None = None,
    confidence: float = 0.95,
    secret: Secret | None = None,
    clipping: ClippedSum | None = None,
) -> AuditResult:
    """Audit DP-SGD in one training of a linear model on simulated rows, with `canaries` rows each in by a coin.

    The non-parametric bounds hold whatever the mechanism; the mean shift assumes that the noise is normal, as it is
    by construction. `clipping` replaces the clipped sum under audit, for a look at one's own. A `secret` with a fixed
    seed makes a repeatable training, of which the claim is the one that the same charges make with real noise.

    Raises InputError when a number is out of range.
    """
    _check.at_least("canaries", canaries, 2)
    _check.at_least("rows", rows, 1)
    settings = settings or DPSGDSettings(steps=1000, expected_batch_size=0.1 * (rows + canaries / 2))
    secret, ledger = secret or Secret(), Ledger(budget)
    scores, coin = dpsgd_scores(ledger, secret, settings, canaries, rows, clipping=clipping or _ghost)
    claim = Claim.of_events([charge.event for charge in ledger.charges], budget.delta)
    return judge_one_run(SUBJECT, claim, {GRADIENTS: (scores, coin)}, normal=[GRADIENTS], confidence=confidence)


def dpsgd_scores(
    ledger: Ledger, secret: Secret, settings: DPSGDSettings, canaries: int, rows: int, *, clipping: ClippedSum
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Train the small model once and return the canaries' scores and coins."""
    coin = toss(canaries, secret)
    inputs, labels = _simulated(rows, np.flatnonzero(coin), canaries)
    model = nn.Linear(FEATURES + canaries, 1, bias=False)
    nn.init.zeros_(model.weight)
    rate = 1e-3
    dpsgd = DPSGD(
        settings,
        torch.optim.SGD(model.parameters(), lr=rate),
        private_rows=len(inputs),
        public_units=rows + canaries / 2,
        ledger=ledger,
        secret=secret,
    )
    clipped_sum = clipping(model, settings.max_grad_norm)
    scores = np.zeros(canaries)
    for batch in dpsgd.batches():
        before = model.weight.detach().clone()
        mine = torch.from_numpy(batch.rows.copy())

        def sum_of(places: NDArray[np.int64], rows: Tensor = mine) -> Sequence[Tensor]:
            chosen = rows[torch.from_numpy(places)]
            return clipped_sum(inputs[chosen], labels[chosen])

        dpsgd.step(batch, sum_of(np.arange(len(mine))), sum_of=sum_of)
        update = (model.weight.detach() - before)[0, FEATURES:].double() * (dpsgd.expected_batch_size / rate)
        scores += update.numpy()
    return scores, coin


def _simulated(rows: int, planted: NDArray[np.int64], canaries: int) -> tuple[Tensor, Tensor]:
    """Return ordinary rows and labels, then one row for each canary that is in: its own coordinate and a huge label."""
    rng = np.random.default_rng(0)
    inputs = torch.zeros(rows + len(planted), FEATURES + canaries)
    inputs[:rows, :FEATURES] = torch.from_numpy(rng.normal(size=(rows, FEATURES))).float()
    labels = torch.from_numpy(rng.normal(size=len(inputs))).float()
    inputs[torch.arange(rows, len(inputs)), torch.from_numpy(FEATURES + planted)] = 1.0
    labels[rows:] = HUGE
    return inputs, labels


def _ghost(model: nn.Module, max_grad_norm: float) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
    """Return the clipped sum of squared errors by Opacus, which shares no line with the families' own."""
    ghost = GhostClipping(model, max_grad_norm)

    def clipped_sum(inputs: Tensor, labels: Tensor) -> Sequence[Tensor]:
        if not len(inputs):
            return [torch.zeros_like(p) for p in model.parameters()]
        return ghost.clipped_sum(lambda x, y: (model(x)[:, 0] - y).square() / 2, [inputs, labels])

    return clipped_sum


class GradientCanaries:
    """Canaries for the DP-SGD of somebody else's fit: their coins, their coordinates, and the scores so far.

    `steps` is the number of noisy steps that were seen; without any the scores say nothing.
    """

    def __init__(self, count: int, secret: Secret, rng: np.random.Generator) -> None:
        self.coin = toss(count, secret)
        self.scores = np.zeros(count)
        self.steps = 0
        self._secret, self._rng = secret, rng
        self._places: list[tuple[NDArray[np.int64], Tensor]] | None = None
        self._others: list[NDArray[np.float64]] = []
        self._expected = 1.0

    def join(self, dpsgd: DPSGD, clipped_sum: Sequence[Tensor]) -> list[Tensor]:
        """Return the clipped sum with the canaries that this step's coins draw, each of the longest length allowed."""
        places = self._places_in(clipped_sum)
        drawn = self.coin & (self._secret.uniform(len(self.coin)) < dpsgd.sample_rate)
        joined, self._others = [], []
        for (whose, where), total in zip(places, clipped_sum, strict=True):
            sum_with = total.detach().clone()
            flat = sum_with.view(-1)
            self._others.append(flat[where].double().numpy())
            self._expected = dpsgd.expected_batch_size
            flat[where] += torch.from_numpy(drawn[whose]).to(flat.dtype) * dpsgd.settings.max_grad_norm
            joined.append(sum_with)
        self.steps += 1
        return joined

    def see(self, noisy: Tensor) -> None:
        """Take in one noisy sum, in the order of the parameters, less what the other rows added."""
        number = len(self._places or ()) - len(self._others)
        whose, where = (self._places or [])[number]
        found = noisy.detach().reshape(-1)[where].double().numpy() - self._others.pop(0)
        self.scores[whose] += found / self._expected

    def _places_in(self, clipped_sum: Sequence[Tensor]) -> list[tuple[NDArray[np.int64], Tensor]]:
        """Return, per tensor, the canaries whose coordinate lies in it and where; drawn at the first step."""
        if self._places is None:
            ends = np.cumsum([total.numel() for total in clipped_sum])
            if ends[-1] < len(self.coin):
                raise InputError(f"{len(self.coin)} gradient canaries need as many parameters; ask for fewer.")
            chosen = self._rng.choice(ends[-1], len(self.coin), replace=False)
            home = np.searchsorted(ends, chosen, side="right")
            starts = np.r_[0, ends[:-1]]
            self._places = [
                (np.flatnonzero(home == i), torch.from_numpy(chosen[home == i] - starts[i])) for i in range(len(ends))
            ]
        return self._places


@contextmanager
def planted(canaries: GradientCanaries) -> Iterator[None]:
    """Slip the canaries into every DP-SGD step taken inside, and let them see what comes out of the noise.

    For audits: it takes the place of `DPSGD.step` and looks on where answers leave the mechanism. The checks
    of a sum's length and of clipped gradients do not know of the canaries and are off meanwhile; all others stay.
    """
    if not len(canaries.coin):
        yield
        return
    step, bounded = DPSGD.step, DPSGD._require_bounded
    answered = module.answered  # type: ignore[attr-defined]

    def stepping(
        dpsgd: DPSGD,
        batch: Batch,
        clipped_sum: Sequence[Tensor],
        public_gradient: Sequence[Tensor] | None = None,
        **_checks: Any,
    ) -> None:
        step(dpsgd, batch, canaries.join(dpsgd, clipped_sum), public_gradient)

    def watching(answer: Any, **named: Any) -> Any:
        canaries.see(answer)
        return answered(answer, **named)

    taken: Any = {"step": stepping, "_require_bounded": lambda *_: None}
    try:
        for name, method in taken.items():
            setattr(DPSGD, name, method)
        module.answered = watching  # type: ignore[attr-defined]
        yield
    finally:
        DPSGD.step, DPSGD._require_bounded = step, bounded  # type: ignore[method-assign]
        module.answered = answered  # type: ignore[attr-defined]
