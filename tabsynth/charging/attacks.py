"""Matches and membership from noisy histograms of training and holdout rows.

Each row falls in one cell: by whether a synthetic row equals it, or by how near the nearest synthetic row is. What the
cells are follows from the synthetic rows alone, which are public, so a privacy unit moves the counts by its rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.charging.form import Coin, Take
from tabsynth.metrics.coding import Floats, fingerprints
from tabsynth.metrics.estimate import Estimate, NotMeasured, clopper_pearson, difference, quantile
from tabsynth.metrics.evidence import Evidence
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.metrics.privacy import ExactMatch, MembershipAUC, MembershipTPR
from tabsynth.metrics.sides import FEWEST
from tabsynth.privacy.reserve import Part
from tabsynth.schema import Schema

SHARES = np.array([0.0, 0.5, 1, 2, 3.5, 5, 7.5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100]) / 100
OWN = 2000  # synthetic rows whose distances to one another draw the cells


@dataclass(frozen=True)
class Matches:
    """`exact_match` from four counts: training and holdout rows that stand in the synthetic table, and the others."""

    metric: ExactMatch

    def parts(self, schema: Schema) -> tuple[Part, ...]:
        """Return one histogram."""
        return (Part(self._why),)

    def measure(self, evidence: Evidence, take: Take, coin: Coin, rng: np.random.Generator) -> Estimate:
        """Measure; the interval is Newcombe's, widened by the noise."""
        noisy, scale = take(self._why, lambda: self._counts(evidence))
        trials = _sizes(np.array([noisy[:2].sum(), noisy[2:].sum()]))
        hits = [int(np.clip(round(noisy[2 * part]), 0, size)) for part, size in enumerate(trials)]
        found = difference((hits[0], hits[1]), (trials[0], trials[1]), self.metric.level)
        noise = quantile(self.metric.level) * scale * float(np.hypot(1 / trials[0], 1 / trials[1]))
        below, above = (float(np.hypot(gap, noise)) for gap in (found.value - found.low, found.high - found.value))
        return Estimate(found.value, found.value - below, found.value + above, "from noisy counts")

    def ceiling(self, evidence: Evidence, rng: np.random.Generator) -> Estimate | None:
        """Return nothing: a difference of shares is counted from zero."""
        return None

    @property
    def _why(self) -> str:
        return f"gate: matches of {self.metric.name!r}"

    def _counts(self, evidence: Evidence) -> NDArray[np.int64]:
        rows = fingerprints(evidence.rows, evidence.columns)
        found = [np.isin(fingerprints(e, evidence.columns), rows) for e in (evidence.train, evidence.unseen())]
        return np.concatenate([np.bincount(~hit, minlength=2) for hit in found]).astype(np.int64)


@dataclass(frozen=True)
class Attack:
    """`membership_auc` or `membership_tpr` of the distance to the nearest synthetic row.

    Ranks, cells and everything else of the attack come from the synthetic rows, so it is weaker than the uncharged
    ones, which calibrate themselves with real rows.
    """

    metric: MembershipAUC | MembershipTPR

    def parts(self, schema: Schema) -> tuple[Part, ...]:
        """Return two histograms: how many rows there are, and how near they lie."""
        return Part(self._why("rows"), 1, 0.1), Part(self._why("distances"), 1, 0.9)

    def measure(self, evidence: Evidence, take: Take, coin: Coin, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured where too few rows of either kind are left, as counted with noise."""
        frames = evidence.train, evidence.unseen()
        sizes = _sizes(take(self._why("rows"), lambda: np.array([len(frame) for frame in frames]))[0])
        rates = [min(1.0, self.metric.queries / size) for size in sizes]
        points = place(evidence.rows, evidence.rows, evidence.columns)
        own = points[rng.choice(len(points), min(OWN, len(points)), replace=False)]
        edges = np.unique(np.quantile(nearest(own, points, k=2)[:, 1], SHARES))

        def counted(frame: pd.DataFrame, rate: float) -> NDArray[np.int64]:
            kept = place(frame.iloc[coin(len(frame), rate)], evidence.rows, evidence.columns)
            return np.bincount(
                np.searchsorted(edges, nearest(kept, points, k=1)[:, 0], "right"), minlength=len(edges) + 1
            )

        noisy, scale = take(
            self._why("distances"), lambda: np.stack([counted(*each) for each in zip(frames, rates, strict=True)])
        )
        _sizes(noisy.sum(axis=1))
        if isinstance(self.metric, MembershipAUC):
            return area(noisy[0], noisy[1], scale, self.metric.level)
        return found_at(self.metric.fpr, noisy[0], noisy[1], scale, self.metric.level)

    def ceiling(self, evidence: Evidence, rng: np.random.Generator) -> Estimate | None:
        """Return nothing: attacks are counted from zero."""
        return None

    def _why(self, what: str) -> str:
        return f"gate: {what} of {self.metric.name!r}"


def area(members: Floats, others: Floats, scale: float, level: float) -> Estimate:
    """Return the area under the ROC curve of noisy histograms, nearest cell first, ties in a cell counting half.

    The interval is the delta method's: DeLong's placements for the sampling, the same slopes for the noise.

    >>> area(np.array([0.0, 50.0]), np.array([50.0, 0.0]), 0.0, 0.95).value
    0.0
    """
    total = members.sum(), others.sum()
    beaten = (others[::-1].cumsum()[::-1] - others / 2) / total[1]  # by a member of this cell: others further away
    beating = (members.cumsum() - members / 2) / total[0]
    value = float((members * beaten).sum() / total[0])
    variance = 0.0
    for counts, slope, size in ((members, beaten - value, total[0]), (others, beating - value, total[1])):
        variance += float(((np.maximum(counts, 0) + scale**2) * slope**2).sum()) / size**2
    value, half = min(1.0, max(0.0, value)), quantile(level) * float(np.sqrt(variance))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), "distance, from noisy counts")


def found_at(fpr: float, members: Floats, others: Floats, scale: float, level: float) -> Estimate:
    """Return the true positive rate at a false positive rate from noisy histograms, nearest cell first.

    Within a cell ties fall at random, so the ROC curve is straight between the cells' ends. The interval is where a
    curve through the ends may run: false positive rates as low and true positive rates as high as their intervals
    allow, or the reverse, each taking half of the error and widened by the noise of the counts up to its cell.

    >>> found_at(0.1, np.array([50.0, 50.0]), np.array([10.0, 90.0]), 0.0, 0.95).value
    0.5
    """
    half = 1 - (1 - level) / 2
    alarms = [_share(count, others.sum(), scale, cells + 1, half) for cells, count in enumerate(others.cumsum())]
    catches = [_share(count, members.sum(), scale, cells + 1, half) for cells, count in enumerate(members.cumsum())]

    def at(alarm: str, caught: str) -> float:
        across = np.maximum.accumulate([0.0, *(getattr(share, alarm) for share in alarms)])
        upwards = np.maximum.accumulate([0.0, *(getattr(share, caught) for share in catches)])
        return float(np.interp(fpr, across, upwards))

    value = at("value", "value")
    low, high = min(at("high", "low"), value), max(at("low", "high"), value)
    return Estimate(value, low, high, "distance, from noisy counts")


def _share(count: float, size: float, scale: float, cells: int, level: float) -> Estimate:
    """Return a share of `size` rows from the noisy count of several cells: Clopper-Pearson's interval and the noise."""
    trials = max(round(size), 1)
    hits = int(np.clip(round(count), 0, trials))
    low, high = clopper_pearson(hits, trials, level)
    value, noise = hits / trials, quantile(level) * scale * float(np.sqrt(cells)) / trials
    below, above = (float(np.hypot(gap, noise)) for gap in (value - low, high - value))
    return Estimate(value, max(0.0, value - below), min(1.0, value + above))


def _sizes(noisy: Floats) -> list[int]:
    """Return noisy numbers of rows as whole numbers; NotMeasured when one is too small."""
    sizes = [round(float(size)) for size in noisy]
    if min(sizes) < FEWEST:
        raise NotMeasured(f"It needs at least {FEWEST} training and holdout rows, as counted with noise.")
    return sizes
