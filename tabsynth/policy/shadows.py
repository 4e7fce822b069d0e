"""Shadow models: a synthesizer fitted anew to other rows, for attacks that need to know what one row does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tabsynth.metrics.evidence import Retrain
from tabsynth.metrics.shadows import ShadowAdvantage, ShadowAUC, ShadowTPR, check_shadows
from tabsynth.policy.check import Check
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Synthesizer
from tabsynth.table import Table


@dataclass(frozen=True, slots=True)
class Shadows:
    """How many shadow models to fit, of which synthesizer, and under which budget."""

    synthesizer: Synthesizer
    count: int = 8
    budget: Budget | None = None

    def __post_init__(self) -> None:
        """Raise InputError unless every row can be in half of them."""
        check_shadows(self.count)

    def retrainer(self, schema: Schema, rows: int) -> Retrain:
        """Return what fits a shadow to rows of this schema and returns `rows` synthetic ones."""
        return retrainer(self.synthesizer, schema, self.budget, rows)

    def checks(self) -> tuple[Check, ...]:
        """Return the checks that shadow models add to a policy."""
        return shadow_checks(self.count)


def retrainer(synthesizer: Synthesizer, schema: Schema, budget: Budget | None, rows: int) -> Retrain:
    """Return what fits a synthesizer, with these settings and the whole `budget`, to real rows that it is given.

    It returns `rows` synthetic ones. Each row is a privacy unit of its own, as attacked rows are. Ledgers live in
    memory and are charged for themselves alone: a shadow spends nothing of the data's budget, and for that reason
    neither its rows nor any number made of them may be released.
    """
    own = replace(schema, columns=schema.modelled, rows=None, rows_per_unit=1)

    def retrain(private: pd.DataFrame, seed: int) -> pd.DataFrame:
        secret = Secret.fixed(seed) if budget is None else Secret()
        sampler = synthesizer.fit(Table(own, private.reset_index(drop=True)), Ledger(budget), secret)
        return sampler.sample(rows, np.random.default_rng(seed))

    return retrain


def shadow_checks(shadows: int) -> tuple[Check, ...]:
    """Return the checks that shadow models add to a policy; raise InputError unless every row can be in half of them.

    Limits are those of the other attacks on membership in the policy `thorough`. Fits may take any time.
    """
    check_shadows(shadows)
    unlimited = float("inf")
    return (
        Check(ShadowAUC(shadows), at_most=0.60, time_limit=unlimited),
        Check(ShadowTPR(shadows), at_most=0.05, time_limit=unlimited),
        Check(ShadowAdvantage(shadows), at_most=0.40, time_limit=unlimited),
    )
