"""One audited fit: canaries tossed, planted, trained on, scored; the coins join the scores at the very end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabsynth.audit.attacks import Sight, score_canaries
from tabsynth.audit.canaries import Canaries, plant, toss
from tabsynth.audit.claim import Claim
from tabsynth.audit.gradients import GRADIENTS, GradientCanaries, planted
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.base import Progress, Synthesizer, silent
from tabsynth.table import Table

Scored = tuple[NDArray[np.float64], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """What one fit gave away: scores and coins by attack, and the claim that its ledger made."""

    scores: Mapping[str, Scored]
    claim: Claim

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; they are as private as the coins."""
        scores = {name: [values.tolist(), coin.tolist()] for name, (values, coin) in self.scores.items()}
        claim = self.claim
        return {"scores": scores, "claim": [claim.epsilon, claim.delta, claim.mu, claim.failure]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Trial:
        """Read what `to_dict` wrote."""
        scores = {
            name: (np.asarray(values, np.float64), np.asarray(coin, np.bool_))
            for name, (values, coin) in plain["scores"].items()
        }
        return cls(scores, Claim(*plain["claim"]))


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Everything that is fixed before the first coin is tossed."""

    table: Table
    synthesizer: Synthesizer
    budget: Budget
    canaries: Canaries
    rows: int
    gradients: int
    seed: int

    def reference(self) -> Sight:
        """Fit to the table without a canary: what canaries look like when none was planted."""
        return self._sight(self.table, Ledger(self.budget), 2**32)

    def trial(self, number: int, reference: Callable[[], Sight], progress: Progress = silent) -> Trial:
        """Plant, fit and score once, with coins, noise and a ledger of its own."""
        secret, ledger = Secret(), Ledger(self.budget)
        coin = toss(len(self.canaries), secret)
        gradients = GradientCanaries(self.gradients, secret, np.random.default_rng([self.seed, number, 1]))
        with planted(gradients):
            seen = self._sight(plant(self.table, self.canaries, coin), ledger, number, progress)
        found = score_canaries(self.canaries.frame, self.table.private, seen, reference)
        scores = {name: (values, coin) for name, values in found.items()}
        if gradients.steps:
            scores[GRADIENTS] = (gradients.scores, gradients.coin)
        return Trial(scores, Claim.of_ledger(ledger))

    def _sight(self, table: Table, ledger: Ledger, number: int, progress: Progress = silent) -> Sight:
        sampler = self.synthesizer.fit(table, ledger, Secret(), progress)
        if self.rows == 0:
            return Sight(sampler, self.canaries.frame.iloc[:0])
        return Sight(sampler, sampler.sample(self.rows, np.random.default_rng([self.seed, number])))


def pooled(trials: list[Trial]) -> dict[str, Scored]:
    """Return the scores of all trials together, each trial's brought to one scale without a look at its coins."""
    names = [name for name in trials[0].scores if all(name in trial.scores for trial in trials)]
    return {
        name: (
            np.concatenate([_scaled(trial.scores[name][0]) for trial in trials]),
            np.concatenate([trial.scores[name][1] for trial in trials]),
        )
        for name in names
    }


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values less their median, over their spread; a single one stays as it is."""
    if len(values) < 3:
        return values
    spread = float(np.std(values))
    return (values - np.median(values)) / (spread if spread > 0 else 1.0)
