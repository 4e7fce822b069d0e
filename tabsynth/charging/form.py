"""How a metric is measured by counts that one privacy unit moves by a known amount."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tabsynth.errors import InputError
from tabsynth.metrics.estimate import Estimate
from tabsynth.metrics.evidence import Evidence, Metric
from tabsynth.privacy.reserve import Part
from tabsynth.schema import Schema

Take = Callable[[str, Callable[[], NDArray[np.int64]]], tuple[NDArray[np.float64], float]]
Coin = Callable[[int, float], NDArray[np.int64]]  # the rows, of so many, that a secret coin of a probability keeps


class Form(Protocol):
    """A metric's form of bounded sensitivity.

    `parts` plans its measurements from public facts alone. `measure` gets what it needs of the private rows from
    `take`, which adds noise: between two calls nothing else of them may pass, and a row may move each planned number by
    at most 1 (or fall in one cell of a histogram), whatever the other rows are. Synthetic rows are public by then.
    `ceiling` is what two samples of the synthetic rows' own distribution score, None where that means nothing.
    """

    def parts(self, schema: Schema) -> tuple[Part, ...]:
        """Return the plan; empty when the metric does not apply to the schema."""

    def measure(self, evidence: Evidence, take: Take, coin: Coin, rng: np.random.Generator) -> Estimate:
        """Measure; raise NotMeasured or NotApplicable from noisy and public numbers alone."""

    def ceiling(self, evidence: Evidence, rng: np.random.Generator) -> Estimate | None:
        """Return what rows as good as real would score; called after `measure`, with synthetic rows in every role."""


def form_of(metric: Metric) -> Form:
    """Return a metric's form; raise InputError naming a metric that has none.

    A plug-in's metric gives its own with a method `charged_form`.
    """
    from tabsynth.charging.attacks import Attack, Matches
    from tabsynth.charging.distances import Distances
    from tabsynth.metrics.attacks import DISTANCES
    from tabsynth.metrics.fidelity import KS, TVD1, TVD2
    from tabsynth.metrics.privacy import ExactMatch, MembershipAUC, MembershipTPR

    forms: dict[type, Callable[[Any], Form]] = {
        KS: Distances,
        TVD1: Distances,
        TVD2: Distances,
        ExactMatch: Matches,
        MembershipAUC: Attack,
        MembershipTPR: Attack,
    }
    plain = getattr(metric, "attacks", DISTANCES) == DISTANCES and not getattr(metric, "exposed", False)
    if callable(own := getattr(metric, "charged_form", None)):
        form: Form = own()
        return form
    if type(metric) not in forms or not plain:
        known = "exact_match, ks, membership_auc, membership_tpr, tvd1, tvd2"
        raise InputError(
            f"The check {metric.name!r} cannot be charged: no form of it has a bounded sensitivity. A charged gate "
            f"takes {known}; leave the check out, or leave the gate uncharged, with its one bit stated."
        )
    return forms[type(metric)](metric)
