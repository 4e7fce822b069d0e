"""Lower bounds on epsilon from what an attack got right, each with its confidence: pure functions of counts and scores.

A bound at confidence c is a random number that passes the true epsilon with probability at most 1 - c. Two kinds:

- free of assumptions: `one_run_epsilon` and `counted_epsilon` hold for every (epsilon, delta)-private mechanism;
- of Gaussian shape: `one_run_mu`, `counted_mu` and `mean_shift_mu` bound mu of Gaussian differential privacy (Dong,
  Roth, Su 2022). They are tighter and say something about mechanisms whose trade-off curve is at most a Gaussian's,
  which Gaussian noise and its compositions are; a pure epsilon mechanism is not. `epsilon_of_mu` converts.

How many guesses are made, or which threshold is used, must be fixed before the scores are seen. Where several are
tried, divide the allowed error (1 - confidence) by their number, as `one_run.score_bounds` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from scipy.stats import beta, binom, nct

from tabsynth._check import within
from tabsynth.errors import InputError
from tabsynth.privacy.accounting import gaussian_delta

LARGEST = 100.0  # an epsilon or mu beyond which nothing is looked for
PRECISION = 1e-4


def one_run_epsilon(correct: int, guesses: int, canaries: int, *, delta: float, confidence: float = 0.95) -> float:
    """Return a lower bound on epsilon from one training with many canaries, each in with a fair coin of its own.

    Of `canaries`, the attack guessed the coins of `guesses` (in or out, as it likes) and got `correct` right. Under
    (epsilon, delta) privacy the number right is at most Binomial(guesses, e^epsilon / (1 + e^epsilon)), up to a term in
    delta (Steinke, Nasr, Jagielski 2023, theorem 5.2 and its algorithm for the term); the bound inverts that test.

    Raises InputError when the counts do not fit one another.

    >>> round(one_run_epsilon(correct=90, guesses=100, canaries=1000, delta=1e-5), 2)
    1.63
    """
    _check_counts(correct, guesses, canaries, confidence)
    within("delta", delta, 0, 1)
    allowed = 1 - confidence
    return _largest_rejected(lambda e: one_run_p_value(e, correct, guesses, canaries, delta) < allowed)


def one_run_p_value(epsilon: float, correct: int, guesses: int, canaries: int, delta: float) -> float:
    """Return the largest probability of at least `correct` right guesses under (epsilon, delta) privacy; see above."""
    right = expit(epsilon)
    tail = float(binom.sf(correct - 1, guesses, right))
    if delta == 0 or correct == 0:
        return tail
    nearly = np.cumsum(binom.pmf(correct - np.arange(1, correct + 1), guesses, right))
    term = float(np.max(nearly / np.arange(1, correct + 1)))
    return min(1.0, tail + 2 * canaries * delta * term)


def one_run_mu(correct: int, guesses: int, canaries: int, *, confidence: float = 0.95) -> float:
    """Return a lower bound on mu of Gaussian privacy from one training with many canaries.

    The counts are those of `one_run_epsilon`. Mahloujifar, Melis, Chaudhuri 2024 (Auditing f-Differential Privacy in
    One Run), the recursion with abstention: it follows how fast the tail of the number right may fall under f-DP, here
    with f the trade-off curve of two unit normals mu apart.

    >>> mu = one_run_mu(correct=90, guesses=100, canaries=1000)
    >>> round(epsilon_of_mu(mu, 1e-5), 2)
    2.46
    """
    _check_counts(correct, guesses, canaries, confidence)
    if guesses == 0:
        return 0.0
    return _largest_rejected(lambda mu: not _possible(mu, correct, guesses, canaries, 1 - confidence))


def counted_epsilon(
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    *,
    delta: float,
    confidence: float = 0.95,
) -> float:
    """Return a lower bound on epsilon from many runs with one canary and a threshold fixed before them.

    Of `negatives` runs without the canary the attack called `false_positives` "with", of `positives` runs with it
    `false_negatives` "without". Privacy demands FNR >= 1 - delta - e^epsilon FPR, the same with the two rates changed
    round, and both again for the attack that calls the other way (Kairouz, Oh, Viswanath 2015). The rates are taken at
    the unlucky ends of Clopper-Pearson intervals, each end wrong with a quarter of the allowed error.

    >>> round(counted_epsilon(10, 1000, 500, 1000, delta=1e-5), 2)
    3.16
    """
    within("delta", delta, 0, 1)
    half = (1 - confidence) / 2
    bounds = []
    for a, n, b, m in (
        (false_positives, negatives, false_negatives, positives),  # calling high scores "with"
        (negatives - false_positives, negatives, positives - false_negatives, positives),  # calling them "without"
    ):
        # half of the error for each way of calling; within a way both ends hold together
        first, second = _upper(a, n, half / 2), _upper(b, m, half / 2)
        bounds += [_log_ratio(1 - delta - first, second), _log_ratio(1 - delta - second, first)]
    return max(0.0, *bounds)


def counted_mu(
    false_positives: int,
    negatives: int,
    false_negatives: int,
    positives: int,
    *,
    failure: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Return a lower bound on mu of Gaussian privacy from the counts of `counted_epsilon`.

    mu >= z(1 - FPR) - z(FNR) (Dong, Roth, Su 2022; Nasr et al. 2023), both rates at the upper ends of Clopper-Pearson
    intervals of half the allowed error each. Scores are high where the canary is in. `failure` is the probability with
    which a run need not be Gaussian private at all; it is added to both rates.

    >>> round(counted_mu(10, 1000, 500, 1000), 2)
    2.01
    """
    half = (1 - confidence) / 2
    fpr, fnr = _upper(false_positives, negatives, half), _upper(false_negatives, positives, half)
    return max(0.0, float(-ndtri(min(fpr + failure, 1.0)) - ndtri(min(fnr + failure, 1.0))))


def mean_shift_mu(inside: NDArray[np.float64], outside: NDArray[np.float64], *, confidence: float = 0.95) -> float:
    """Return a lower bound on mu from scores that are normal by construction, of one variance, independent.

    `inside` are scores of canaries that were in, `outside` of those that were not. Their difference of means over the
    pooled standard deviation is a two-sample t statistic, noncentral with mu / sqrt(1/n + 1/m); the bound inverts its
    distribution. Parametric: it assumes the noise's shape, so it proves nothing about a mechanism that only might be
    Gaussian. The scale of the noise is estimated, not believed, so noise that is too small is found.

    >>> rng = np.random.default_rng(0)
    >>> round(mean_shift_mu(rng.normal(1.0, 1.0, 500), rng.normal(0.0, 1.0, 500)), 1)
    1.0
    """
    check_confidence(confidence)
    n, m = len(inside), len(outside)
    if min(n, m) < 2:
        return 0.0
    freedom = n + m - 2
    pooled = ((n - 1) * np.var(inside, ddof=1) + (m - 1) * np.var(outside, ddof=1)) / freedom
    if pooled == 0:
        return LARGEST if inside.mean() > outside.mean() else 0.0
    per_mu = 1 / math.sqrt(1 / n + 1 / m)
    statistic = float((inside.mean() - outside.mean()) / math.sqrt(pooled) * per_mu)
    if statistic > 37 * math.sqrt(n + m):  # beyond what the noncentral t can be computed for
        return min(LARGEST, 30.0)
    return _largest_rejected(lambda mu: float(nct.sf(statistic, freedom, mu * per_mu)) < 1 - confidence)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return epsilon at `delta` of Gaussian privacy with this mu (Balle and Wang 2018); infinite at delta 0.

    >>> round(epsilon_of_mu(1.0, 1e-5), 2)
    4.38
    """
    if mu <= 0 or gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    if delta <= 0:
        return math.inf
    return _largest_rejected(lambda epsilon: gaussian_delta(mu, epsilon) > delta, limit=1e4)


def _possible(mu: float, correct: int, guesses: int, canaries: int, allowed: float) -> bool:
    """Whether at least `correct` right of `guesses` can have probability `allowed` under Gaussian privacy with mu."""
    right = allowed * correct / canaries
    wrong = allowed * (guesses - correct) / canaries
    for i in range(correct - 1, -1, -1):
        needed = max(wrong, float(ndtr(ndtri(right) - mu)))
        if needed == wrong and wrong > 0:
            break  # neither will move again
        right = min(1.0, right + i / (guesses - i) * (needed - wrong))
        wrong = needed
    return right + wrong <= guesses / canaries


def _upper(events: int, trials: int, allowed: float) -> float:
    """Return the Clopper-Pearson upper bound of a rate, wrong with probability at most `allowed`."""
    if not 0 <= events <= trials:
        raise InputError(f"{events} events cannot have happened in {trials} runs.")
    return 1.0 if events == trials else float(beta.ppf(1 - allowed, events + 1, trials - events))


def _log_ratio(above: float, below: float) -> float:
    """Return log(above / below), 0 where there is nothing above."""
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def _largest_rejected(rejected: Callable[[float], bool], limit: float = LARGEST) -> float:
    """Return the largest number that is rejected, by doubling and halving; 0 when none is. `rejected` only falls."""
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, 2 * high
        if low >= limit:
            return limit
    while high - low > PRECISION * max(1.0, low):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def _check_counts(correct: int, guesses: int, canaries: int, confidence: float) -> None:
    """Raise unless the counts can belong to one attack."""
    if not 0 <= correct <= guesses <= canaries:
        raise InputError(f"{correct} of {guesses} guesses about {canaries} canaries is no possible outcome.")
    check_confidence(confidence)


def check_confidence(confidence: float) -> None:
    """Raise InputError unless `confidence` is a probability short of certainty."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1; got {confidence!r}.")
