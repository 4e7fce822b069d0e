"""What an audit found: bounds by attack and method, held against the claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

from tabsynth.audit.bounds import (
    counted_epsilon,
    counted_mu,
    epsilon_of_mu,
    mean_shift_mu,
    one_run_epsilon,
    one_run_mu,
)
from tabsynth.audit.claim import Claim

Verdict = Literal["consistent", "exceeds the claim"]
Floats = NDArray[np.float64]
Coins = NDArray[np.bool_]

FREE = "nothing"
SHAPED = "a trade-off curve no better for the attacker than the Gaussian that covers the charges"
NORMAL = "normal scores of one variance, which Gaussian noise of known place makes them"
SHARES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.8)  # of the canaries that may be guessed about
POINTS = 101  # of a ROC curve that is kept
THRESHOLDS = 200  # that are tried on the runs set aside
FEWEST = 20  # canaries below which guessing the extremes is not worth it
RELEASE_WARNING = "Canaries were planted among the private rows: no model of this audit may be released."


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on epsilon: `epsilon` by itself, `jointly` when all bounds of the audit are to hold together.

    `against` is what the claim allows a bound of this kind to reach; only `jointly` is held against it.
    """

    attack: str
    method: str
    assumes: str
    epsilon: float
    jointly: float
    against: float

    @property
    def exceeds(self) -> bool:
        """Whether the claim is broken by this bound."""
        return self.jointly > self.against


@dataclass(frozen=True, slots=True)
class Attack:
    """How well one score tells planted canaries from the others: AUC, TPR at 1% FPR, and the ROC curve's points."""

    name: str
    auc: float
    tpr_at_1_percent: float
    roc: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Worlds:
    """Scores of runs with and without one canary, and thresholds that other runs fixed, one for each kind of bound."""

    inside: Floats
    outside: Floats
    free_threshold: float
    shaped_threshold: float

    def counts(self, threshold: float) -> tuple[int, int, int, int]:
        """Return false positives, runs without, false negatives, runs with."""
        wrong = int((self.outside > threshold).sum()), int((self.inside <= threshold).sum())
        return wrong[0], len(self.outside), wrong[1], len(self.inside)

    @classmethod
    def split(cls, inside: Floats, outside: Floats, delta: float, share: float = 0.2) -> Worlds:
        """Fix the thresholds on the first `share` of the runs and keep the others for the bounds."""
        heads = [each[: max(1, round(share * len(each)))] for each in (inside, outside)]
        cuts = np.unique(np.quantile(np.concatenate(heads), np.linspace(0, 1, THRESHOLDS)))

        def best(bound: Callable[..., float]) -> float:
            found = [bound(*cls(heads[0], heads[1], cut, cut).counts(cut)) for cut in cuts]
            top = np.flatnonzero(np.isclose(found, max(found)))
            return float(cuts[top[len(top) // 2]])  # of equals the middle one

        free, shaped = best(partial(counted_epsilon, delta=delta)), best(counted_mu)
        return cls(inside[len(heads[0]) :], outside[len(heads[1]) :], free, shaped)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The claim, every bound, and the verdict, which is wrong about a true claim at most 1 - confidence of the time."""

    subject: str
    claim: Claim
    bounds: tuple[Bound, ...]
    attacks: tuple[Attack, ...]
    canaries: int
    runs: int
    confidence: float
    notes: tuple[str, ...] = (RELEASE_WARNING,)

    @property
    def verdict(self) -> Verdict:
        """Whether any bound breaks the claim."""
        return "exceeds the claim" if any(bound.exceeds for bound in self.bounds) else "consistent"

    @property
    def best(self) -> Bound | None:
        """The largest bound by itself."""
        return max(self.bounds, key=lambda bound: bound.epsilon, default=None)

    @property
    def epsilon(self) -> float:
        """The largest lower bound that holds together with all others."""
        return max((bound.jointly for bound in self.bounds), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        plain = asdict(self)
        for bound, shown in zip(self.bounds, plain["bounds"], strict=True):
            shown["exceeds"] = bound.exceeds
        plain["claim"]["gaussian_epsilon"] = self.claim.gaussian_epsilon
        found: dict[str, Any] = _finite(plain | {"verdict": self.verdict, "epsilon": self.epsilon})
        return found


def judge_one_run(
    subject: str,
    claim: Claim,
    scores: Mapping[str, tuple[Floats, Coins]],
    *,
    runs: int = 1,
    normal: Sequence[str] = (),
    confidence: float = 0.95,
) -> AuditResult:
    """Hold the scores of canaries, each in by a coin of its own, against the claim.

    `scores` by attack: a number and a coin for each canary, both of shape (canaries,), over all runs together, because
    runs on tables of their own are one mechanism in which each coin moves one row. The attacks in `normal` have normal
    scores by construction.
    """
    methods = sum(2 + (name in normal) for name in scores)
    bounds: list[Bound] = []
    for name, (values, coin) in scores.items():
        levels = (confidence, 1 - (1 - confidence) / methods)
        both = [_bounds(values, coin, claim, normal=name in normal, confidence=level) for level in levels]
        for (method, assumes, alone), (_, _, jointly) in zip(*both, strict=True):
            against = claim.epsilon if assumes == FREE else claim.gaussian_epsilon
            bounds.append(Bound(name, method, assumes, alone, jointly, against))
    attacks = tuple(attack_of(name, *scored) for name, scored in scores.items())
    canaries = max((len(coin) for _, coin in scores.values()), default=0)
    return AuditResult(subject, claim, tuple(bounds), attacks, canaries, runs, confidence, (RELEASE_WARNING,))


def judge_many_runs(
    subject: str,
    claim: Claim,
    scores: Mapping[str, Worlds],
    *,
    normal: Sequence[str] = (),
    confidence: float = 0.95,
    notes: tuple[str, ...] = (),
) -> AuditResult:
    """Hold runs with and without one canary against the claim; a score above a threshold says "with"."""
    methods = sum(2 + (name in normal) for name in scores)
    bounds, attacks = [], []
    for name, worlds in scores.items():
        inside, outside = worlds.inside, worlds.outside
        levels = (confidence, 1 - (1 - confidence) / methods)
        counts = worlds.counts(worlds.free_threshold)
        free = [counted_epsilon(*counts, delta=claim.delta, confidence=level) for level in levels]
        counts = worlds.counts(worlds.shaped_threshold)
        found = (counted_mu(*counts, failure=claim.failure, confidence=level) for level in levels)
        shaped = [epsilon_of_mu(mu, claim.delta) for mu in found]
        bounds.append(Bound(name, "Clopper-Pearson", FREE, free[0], free[1], claim.epsilon))
        bounds.append(Bound(name, "Clopper-Pearson, Gaussian", SHAPED, shaped[0], shaped[1], claim.gaussian_epsilon))
        if name in normal:
            found = (mean_shift_mu(inside, outside, confidence=level) for level in levels)
            shift = [epsilon_of_mu(mu, claim.delta) for mu in found]
            bounds.append(Bound(name, "mean shift, Gaussian noise", NORMAL, shift[0], shift[1], claim.gaussian_epsilon))
        coin = np.repeat([True, False], [len(inside), len(outside)])
        attacks.append(attack_of(name, np.concatenate([inside, outside]), coin))
    runs = max((len(worlds.inside) + len(worlds.outside) for worlds in scores.values()), default=0)
    return AuditResult(subject, claim, tuple(bounds), tuple(attacks), 1, runs, confidence, (RELEASE_WARNING, *notes))


def _bounds(
    values: Floats, coin: Coins, claim: Claim, *, normal: bool, confidence: float
) -> list[tuple[str, str, float]]:
    """Return (method, what it assumes, epsilon) for one attack; all tries are paid for."""
    total = len(coin)
    tries = _tries(total, claim.mu)
    each = 1 - (1 - confidence) / len(tries)
    sure = min(each + claim.failure * total, 1 - 1e-12)
    free, shaped = 0.0, 0.0
    for high, low in tries:
        right = guessed_right(values, coin, high, low)
        free = max(free, one_run_epsilon(right, high + low, total, delta=claim.delta, confidence=each))
        shaped = max(shaped, one_run_mu(right, high + low, total, confidence=sure))
    found = [("one run", FREE, free), ("one run, Gaussian curve", SHAPED, epsilon_of_mu(shaped, claim.delta))]
    if normal:
        shift = mean_shift_mu(
            values[coin], values[~coin], confidence=min(confidence + claim.failure * total, 1 - 1e-12)
        )
        found.append(("mean shift, Gaussian noise", NORMAL, epsilon_of_mu(shift, claim.delta)))
    return found


def _tries(canaries: int, mu: float) -> list[tuple[int, int]]:
    """Return how many canaries are called "in" and "out" in each try: public numbers, fixed before any score.

    Both ends, as many as an ideal attack on the claim would guess; as many called "in" alone, for a leak that shows
    some rows for sure and says nothing of the others; everything, for one that shows all.
    """
    if canaries < FEWEST:
        return [(canaries - canaries // 2, canaries // 2)]
    planned = planned_guesses(canaries, round(mu, 3))
    sides = [(guesses - guesses // 2, guesses // 2) for guesses in (planned, canaries)]
    return [*sides, (min(planned, canaries // 3), 0)]


def guessed_right(values: Floats, coin: Coins, high: int, low: int) -> int:
    """Guess "in" for the `high` highest scores and "out" for the `low` lowest; return how many are right."""
    order = np.argsort(-values, kind="stable")
    return int(coin[order[:high]].sum() + (~coin[order[len(order) - low :]]).sum())


@lru_cache(maxsize=256)
def planned_guesses(canaries: int, mu: float) -> int:
    """Return how many guesses an ideal attack on a Gaussian claim makes best: a public number, fixed before any score.

    >>> planned_guesses(1000, 1.0) < planned_guesses(1000, 3.0)
    True
    """

    def expected(share: float) -> float:
        guesses = max(2, round(share * canaries))
        cut = _tail_cut(mu, guesses / (2 * canaries))
        right = int(guesses * ndtr(mu - cut) / (ndtr(mu - cut) + ndtr(-cut)))
        return one_run_mu(right, guesses, canaries)

    return max(2, round(max(SHARES, key=expected) * canaries))


def attack_of(name: str, values: Floats, coin: Coins) -> Attack:
    """Return the ROC curve of a score, thinned to POINTS false positive rates, ties counted as halves in the AUC."""
    inside, outside = np.sort(values[coin]), np.sort(values[~coin])
    if not len(inside) or not len(outside):
        return Attack(name, 0.5, 0.0, ((0.0, 0.0), (1.0, 1.0)))
    ranks = rankdata(values)[coin]
    auc = (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside))
    rates = np.unique([0.0, 0.01, *np.geomspace(1 / len(outside), 1, POINTS - 2)])  # as its picture: to a logarithm
    allowed = np.floor(rates * len(outside) + 1e-9).astype(int)
    cuts = np.append(outside[::-1], -np.inf)[allowed]  # `allowed` non-members lie above the cut, or fewer by ties
    found = 1 - np.searchsorted(inside, cuts, side="right") / len(inside)
    at_1_percent = float(found[rates == 0.01][0])
    return Attack(name, float(auc), at_1_percent, tuple(zip(rates.tolist(), found.tolist(), strict=True)))


def _tail_cut(mu: float, share: float) -> float:
    """Return the score above which a `share` of all canaries lies, half of them shifted by mu."""
    low, high = -10.0, mu + 10.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        above = (ndtr(-middle) + ndtr(mu - middle)) / 2
        low, high = (middle, high) if above > share else (low, middle)
    return low


def _finite(value: Any) -> Any:
    """Return plain values with None for what JSON cannot write."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
