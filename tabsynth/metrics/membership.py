"""Membership: whether anyone can tell from the synthetic table that a row was trained on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import numpy as np

from tabsynth import _check
from tabsynth.errors import InputError
from tabsynth.metrics.attacks import ATTACKS, DISTANCES, attack, seconds
from tabsynth.metrics.coding import Floats
from tabsynth.metrics.costs import neighbours, passes
from tabsynth.metrics.estimate import Estimate, NotMeasured, auc, check_level, from_influence
from tabsynth.metrics.evidence import Evidence, Tier
from tabsynth.metrics.neighbours import nearest, place
from tabsynth.metrics.roc import Scores, advantage, strongest, tpr_at
from tabsynth.metrics.sides import FEWEST, Sides, sides

EXPOSED = 10  # one row in so many
GRID = tuple(i / 100 for i in range(101))


class Allowance(Protocol):
    """What a privacy budget allows any attack on membership: a `Ledger` knows it."""

    def auc(self) -> float:
        """Return the largest area under the ROC curve."""

    def tpr_at_fpr(self, fpr: float) -> float:
        """Return the largest true positive rate at a false positive rate."""


@dataclass(frozen=True, slots=True)
class MembershipAUC:
    """Area under the ROC curve of the strongest attack that tells training rows from holdout rows; 0.5 is guessing.

    The interval is DeLong's, corrected (Bonferroni) for the number of attacks, so that it holds for the strongest.
    At most `queries` members and `queries` non-members are attacked, by each of `attacks` (of ATTACKS); with `exposed`
    they are the most isolated tenth of the rows.
    """

    queries: int = 5000
    attacks: Sequence[str] = DISTANCES
    exposed: bool = False
    level: float = 0.95
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check_settings(self)

    @property
    def name(self) -> str:
        """Return `membership_auc`, with its attacks where these are not the three of distance."""
        return f"membership_auc{_suffix(self)}"

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.auc()

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that its attacks take, which metrics of the same settings share."""
        return costs(self, evidence)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured without a holdout that is apart from the training rows, or with one of few rows."""
        attacks, note = membership(evidence, self.queries, rng, self.attacks, self.exposed)
        level = 1 - (1 - self.level) / len(attacks)
        return strongest({name: area(*scores, level) for name, scores in attacks.items()}, note)


@dataclass(frozen=True, slots=True)
class MembershipTPR:
    """Share of training rows that the strongest attack finds when it accuses `fpr` of the holdout rows wrongly.

    The number that matters to the most exposed rows: an attack that is sure of a few has an AUC near 0.5. Guessing
    scores `fpr`. The interval spends half its error on where the threshold of that false positive rate lies (order
    statistics of the non-members), half on the share above it (Clopper-Pearson), corrected for the number of attacks.
    Settings as of MembershipAUC.
    """

    fpr: float = 0.01
    queries: int = 5000
    attacks: Sequence[str] = DISTANCES
    exposed: bool = False
    level: float = 0.95
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check.within("fpr", self.fpr, 1e-6, 0.5)
        _check_settings(self)

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return budget.tpr_at_fpr(self.fpr)

    @property
    def name(self) -> str:
        """Return `membership_tpr`, with its false positive rate where that is not 1%, and its attacks as the AUC."""
        return f"membership_tpr{'' if self.fpr == 0.01 else f'_at_{self.fpr:g}'}{_suffix(self)}"

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that its attacks take, which metrics of the same settings share."""
        return costs(self, evidence)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as for the AUC, and below 20 / fpr holdout rows for an fpr under 1%."""
        needed = fewest_at(self.fpr)
        if self.fpr < 0.01 and min(len(evidence.unseen()) // (EXPOSED if self.exposed else 1), self.queries) < needed:
            raise NotMeasured(unmeasurable(self.fpr))
        attacks, note = membership(evidence, self.queries, rng, self.attacks, self.exposed)
        level = 1 - (1 - self.level) / len(attacks)
        return strongest({name: tpr_at(self.fpr, *scores, level, rng) for name, scores in attacks.items()}, note)


@dataclass(frozen=True, slots=True)
class MembershipAdvantage:
    """Largest difference of true and false positive rate that the strongest attack reaches; guessing has none.

    The interval (Dvoretzky-Kiefer-Wolfowitz) holds for every threshold at once, corrected for the number of attacks.
    Settings as of MembershipAUC.
    """

    queries: int = 5000
    attacks: Sequence[str] = DISTANCES
    exposed: bool = False
    level: float = 0.95
    tier: ClassVar[Tier] = "privacy"

    def __post_init__(self) -> None:
        """Check the settings."""
        _check_settings(self)

    @property
    def name(self) -> str:
        """Return `membership_advantage`, with its attacks as the AUC."""
        return f"membership_advantage{_suffix(self)}"

    def allowed(self, budget: Allowance) -> float:
        """Return the most that any attack can score against what a ledger's charges allow."""
        return best_advantage(budget)

    def cost(self, evidence: Evidence) -> dict[Hashable, float]:
        """Return the seconds that its attacks take, which metrics of the same settings share."""
        return costs(self, evidence)

    def __call__(self, evidence: Evidence, rng: np.random.Generator) -> Estimate:
        """Measure; NotMeasured as for the AUC."""
        attacks, note = membership(evidence, self.queries, rng, self.attacks, self.exposed)
        level = 1 - (1 - self.level) / len(attacks)
        return strongest({name: advantage(*scores, level) for name, scores in attacks.items()}, note)


@dataclass(frozen=True, eq=False, slots=True)
class Attacked:
    """One attack in full, for a report: its scores, and what they are worth at a level that it does not share.

    `tpr` holds the true positive rate at 1% and 0.1% false positives, None where too few non-members are left to know.
    """

    name: str
    members: Floats
    others: Floats
    auc: Estimate
    tpr: Mapping[float, Estimate | None]
    advantage: Estimate


def panel(
    evidence: Evidence,
    rng: np.random.Generator,
    *,
    attacks: Sequence[str] = ATTACKS,
    exposed: bool = False,
    queries: int = 20_000,
    level: float = 0.95,
) -> tuple[Attacked, ...]:
    """Return every attack with its AUC, TPR at 1% and 0.1% FPR and advantage; NotMeasured as the metrics."""
    scores, _ = membership(evidence, queries, rng, attacks, exposed)
    return tuple(attacked(name, *sides, level, rng) for name, sides in scores.items())


def attacked(name: str, members: Floats, others: Floats, level: float, rng: np.random.Generator) -> Attacked:
    """Return what the scores of an attack are worth."""
    tpr = {
        fpr: tpr_at(fpr, members, others, level, rng) if len(others) >= fewest_at(fpr) else None
        for fpr in (0.01, 0.001)
    }
    return Attacked(name, members, others, area(members, others, level), tpr, advantage(members, others, level))


def membership(
    evidence: Evidence,
    queries: int,
    rng: np.random.Generator,
    attacks: Sequence[str] = DISTANCES,
    exposed: bool = False,
) -> tuple[dict[str, Scores], str]:
    """Return the scores of every attack for members and non-members, and a note on how many there were.

    Members are at most half of the training rows, non-members the holdout, and the remaining training rows stand for
    what an attacker knows of the population. Were the synthetic rows a draw from the population, members and
    non-members would be exchangeable, whatever the remaining rows are. Every metric that asks the same of the same
    evidence gets the same scores: an attack is made once.
    """
    about = ("membership", queries, exposed)
    drawn = evidence.once(about, lambda: _attacked(evidence, queries, rng, exposed))
    members, others = len(drawn.members), len(drawn.others)
    kind = f", the most exposed one in {EXPOSED}" if exposed else ""
    count = f"strongest of {len(attacks)} attacks" if len(attacks) > 1 else "one attack"
    note = f"{members} training rows against {others} holdout rows{kind}, {count}"
    scores = {
        name: evidence.once((*about, name), partial(_scores, evidence, about, drawn, name, rng)) for name in attacks
    }
    return {name: (score[:members], score[members:]) for name, score in scores.items()}, note


def costs(metric: Any, evidence: Evidence) -> dict[Hashable, float]:
    """Return the seconds that each attack of a metric takes, under the name by which it is shared."""
    if evidence.holdout is None:
        return {}
    about, width = ("membership", metric.queries, metric.exposed), len(evidence.columns)
    sizes = [min(most, metric.queries) for most in (len(evidence.train) // 2, len(evidence.holdout))]
    known = len(evidence.train) - sizes[0]
    found: dict[Hashable, float] = {about: passes(len(evidence.train) + len(evidence.holdout), width)}
    if metric.exposed:
        ten = [min(most, EXPOSED * metric.queries) for most in (len(evidence.train) // 2, len(evidence.holdout))]
        sizes, known = [size // EXPOSED for size in ten], len(evidence.train) - ten[0]
        found[about] += neighbours(sum(ten), known, width)
    taken = seconds(sum(sizes), known, len(evidence.rows), width)
    for name in metric.attacks:  # those of distance come together
        found[(*about, "distances" if name in DISTANCES else name)] = taken[name]
    return found


def _attacked(evidence: Evidence, queries: int, rng: np.random.Generator, exposed: bool) -> Sides:
    """Draw the rows that all attacks of these settings are made on."""
    if not exposed:
        return sides(evidence, queries, rng)
    return most_exposed(sides(evidence, EXPOSED * queries, rng), queries, rng)


def _scores(evidence: Evidence, about: tuple[Any, ...], drawn: Sides, name: str, rng: np.random.Generator) -> Floats:
    """Return the scores of one attack; those of distance come together."""
    if name not in DISTANCES:
        return attack(drawn, (name,), rng)[name]
    return evidence.once((*about, "distances"), lambda: attack(drawn, DISTANCES, rng))[name]


def most_exposed(drawn: Sides, most: int, rng: np.random.Generator) -> Sides:
    """Keep the tenth of all attacked rows whose mean distance to the five nearest known rows is largest.

    Which rows these are follows from the known rows alone, so members and others among them stay exchangeable.
    Raises NotMeasured when few of either are left.
    """
    attacked, known = (place(frame, drawn.known, drawn.columns) for frame in (drawn.attacked, drawn.known))
    apart = nearest(attacked, known, k=5).mean(axis=1)
    order = np.lexsort((rng.random(len(apart)), -apart))[: len(apart) // EXPOSED]
    kept = rng.permutation(order)
    members = kept[kept < len(drawn.members)][:most]
    others = kept[kept >= len(drawn.members)][:most] - len(drawn.members)
    if min(len(members), len(others)) < FEWEST:
        raise NotMeasured(f"The most exposed tenth of the rows holds fewer than {FEWEST} of a side; more are needed.")
    return replace(drawn, members=drawn.members.iloc[members], others=drawn.others.iloc[others])


def best_advantage(budget: Allowance) -> float:
    """Return the largest advantage, from above: rates rise, so each step of a grid bounds itself."""
    return min(1.0, max(budget.tpr_at_fpr(high) - low for low, high in pairwise(GRID)))


def area(members: Floats, others: Floats, level: float) -> Estimate:
    """Return an attack's area under the ROC curve with DeLong's interval."""
    value, in_members, in_others = auc(members, others)
    return from_influence(value, (in_members, in_others), level, (0.0, 1.0))


def fewest_at(fpr: float) -> int:
    """Return how many non-members it takes to know a true positive rate: 20 false alarms' worth below 1%.

    >>> fewest_at(0.01), fewest_at(0.001)
    (30, 20000)
    """
    return FEWEST if fpr >= 0.01 else int(np.ceil(20 / fpr))


def unmeasurable(fpr: float) -> str:
    """Say why the true positive rate at a false positive rate is not known.

    >>> unmeasurable(0.001)
    'The true positive rate at 0.001 is not measurable: it needs 20,000 holdout rows (and queries).'
    """
    return (
        f"The true positive rate at {fpr:g} is not measurable: it needs {fewest_at(fpr):,} holdout rows (and queries)."
    )


def _check_settings(metric: Any) -> None:
    """Check what the metrics share, and keep the attacks as a tuple."""
    _check.at_least("queries", metric.queries, FEWEST)
    check_level(metric.level)
    if not isinstance(metric.exposed, bool):
        raise InputError(f"exposed must be true or false; got {metric.exposed!r}.")
    if isinstance(metric.attacks, str) or not metric.attacks or len(set(metric.attacks)) < len(metric.attacks):
        raise InputError(f"attacks must be a list without repetitions of: {', '.join(ATTACKS)}.")
    for name in metric.attacks:
        _check.one_of("attacks", name, ATTACKS)
    object.__setattr__(metric, "attacks", tuple(metric.attacks))


def _suffix(metric: Any) -> str:
    """Return what of its settings a metric's name says."""
    usual, every = metric.attacks == DISTANCES, set(metric.attacks) == set(ATTACKS)
    told = "" if usual else "_all" if every else "_" + "_".join(name.replace(" ", "_") for name in metric.attacks)
    return told + ("_exposed" if metric.exposed else "")
