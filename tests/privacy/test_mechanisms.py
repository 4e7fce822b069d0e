"""Measurements: charged first, the right law and no narrower one, and what one unit can show."""

import math
from dataclasses import dataclass, field
from itertools import chain, combinations, permutations, product

import numpy as np
import pytest
from dp_accounting import LaplaceDpEvent, NonPrivateDpEvent
from scipy.stats import binom, chisquare, norm

from tabsynth.errors import BudgetExceeded, InputError, LedgerError
from tabsynth.privacy import mechanisms
from tabsynth.privacy.accounting import DiscreteGaussianDpEvent
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import (
    category_threshold,
    noisy_categories,
    noisy_count,
    noisy_histogram,
    noisy_histogram_laplace,
    noisy_histograms_for_the_rest,
    select,
)
from tabsynth.privacy.noise import Secret

ALARM = 1e-7  # OpenDP cannot be seeded: a right answer fails a check once in ten million runs
DRAWS = 20_000


@dataclass
class Paid:
    """A ledger for which everything is already paid: composition is tested elsewhere and takes time."""

    charges: list = field(default_factory=list)
    marks: list = field(default_factory=list)

    def charge(self, event, *, why, delta=0.0):
        self.charges.append((event, why, delta))

    def mark_not_private(self, why):
        self.marks.append(why)


def never():
    raise AssertionError("the rows were read")


def discrete_gaussian(scale, reach=12):
    """Return the support and the probabilities of the discrete Gaussian, from its definition."""
    support = np.arange(-math.ceil(reach * scale) - 5, math.ceil(reach * scale) + 6)
    weights = np.exp(-(support**2) / (2 * scale**2))
    return support, weights / weights.sum()


def fit_of(draws, support, probabilities):
    """Return the p-value of a chi-square test, rare outcomes pooled at either end."""
    order = np.argsort(support)
    edges = np.searchsorted(np.cumsum(probabilities[order]), np.linspace(0, 1, 26)[1:-1])
    cells = np.searchsorted(np.unique(edges), np.arange(len(support)))
    expected = np.bincount(cells, probabilities[order])
    place = np.clip(np.searchsorted(support[order], draws), 0, len(support) - 1)
    observed = np.bincount(cells[place], minlength=len(expected))
    return chisquare(observed[expected > 0], expected[expected > 0] * len(draws)).pvalue


# ------------------------------------------------------------------------------------------------------ charge first


def test_the_charge_is_on_the_ledger_before_a_row_is_read():
    ledger = Ledger(Budget(1.0, 1e-6))

    def count():
        assert [charge.why for charge in ledger.charges] == ["ages"]
        return np.zeros(3, dtype=np.int64)

    noisy_histogram(count, sigma=20.0, sensitivity=2, ledger=ledger, secret=Secret(), why="ages")
    assert ledger.charges[0].event == DiscreteGaussianDpEvent(40.0, 2)
    assert ledger.private


@pytest.mark.parametrize(
    "measure",
    [
        lambda given: noisy_histogram(never, sigma=0.2, **given),
        lambda given: noisy_histogram(never, sigma=0.0, **given),
        lambda given: noisy_histogram_laplace(never, epsilon=1.5, **given),
        lambda given: noisy_histogram_laplace(never, epsilon=math.inf, **given),
        lambda given: noisy_count(never, sigma=0.2, **given),
        lambda given: noisy_categories(never, sigma=0.2, delta=1e-7, **given),
        lambda given: noisy_categories(never, sigma=50.0, delta=1e-5, **given),
        lambda given: select(never, epsilon=2.0, **given),
        lambda given: select(never, epsilon=math.inf, **given),
    ],
)
def test_what_is_beyond_the_budget_reads_no_row(measure):
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(BudgetExceeded):
        measure({"ledger": ledger, "secret": Secret(), "why": "too much"})
    assert ledger.charges == ()
    ledger.close()
    with pytest.raises(LedgerError):
        noisy_count(never, sigma=100.0, ledger=ledger, secret=Secret(), why="too late")


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda given: noisy_histogram(never, sigma=-1.0, **given), "sigma"),
        (lambda given: noisy_histogram(never, sigma=math.nan, **given), "sigma"),
        (lambda given: noisy_histogram(never, sigma=1.0, sensitivity=0, **given), "sensitivity"),
        (lambda given: noisy_categories(never, sigma=1.0, delta=0.0, **given), "delta"),
        (lambda given: noisy_categories(never, sigma=math.nan, delta=1e-6, **given), "sigma"),
        (lambda given: noisy_categories(never, sigma=1.0, delta=1e-6, rows_per_unit=0, **given), "rows_per_unit"),
        (lambda given: select(never, epsilon=0.0, **given), "epsilon"),
        (lambda given: select(never, epsilon=math.nan, **given), "epsilon"),
        (lambda given: select(never, epsilon=1.0, sensitivity=0.0, **given), "sensitivity"),
    ],
)
def test_a_wrong_argument_costs_nothing(measure, message):
    ledger = Paid()
    with pytest.raises(InputError, match=message):
        measure({"ledger": ledger, "secret": Secret(), "why": "wrong"})
    assert ledger.charges == []


def test_counts_that_are_not_whole_are_refused():
    with pytest.raises(InputError, match="whole numbers; got an array of float64"):
        noisy_histogram(lambda: np.array([0.5]), sigma=1.0, ledger=Paid(), secret=Secret(), why="halves")


# ------------------------------------------------------------------------------------------------- without a budget


def test_without_a_budget_answers_are_exact_and_the_charge_says_so():
    ledger, secret = Ledger(), Secret()
    given = {"ledger": ledger, "secret": secret, "why": "all"}
    counts = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(noisy_histogram(lambda: counts, sigma=ledger.sigma(0.5), **given), counts)
    assert noisy_count(lambda: 7, sigma=0.0, **given) == 7.0
    rare = np.array(["b", "a"], dtype=object), np.array([1, 2])
    assert list(noisy_categories(lambda: rare, sigma=0.0, delta=1e-6, **given).items()) == [("a", 2.0), ("b", 1.0)]
    assert select(lambda: np.array([1.0, 3.0, 2.0]), epsilon=math.inf, **given) == 1
    assert [charge.event for charge in ledger.charges] == [NonPrivateDpEvent()] * 4
    assert [charge.delta for charge in ledger.charges] == [0.0] * 4
    assert not ledger.private


# ---------------------------------------------------------------------------------------------------- a fixed secret


def test_a_fixed_secret_repeats_its_noise_and_marks_the_ledger():
    def measure():
        ledger = Ledger(Budget(1.0, 1e-6))
        given = {"ledger": ledger, "secret": Secret.fixed(3), "why": "seeded"}
        answers = [
            *noisy_histogram(lambda: np.full(5, 100), sigma=20.0, **given),
            select(lambda: np.arange(20.0), epsilon=0.1, **given),
        ]
        assert not ledger.private
        return answers

    assert measure() == measure()
    assert measure()[:5] != [100.0] * 5


def test_seeded_noise_has_the_scale_of_the_real_one():
    def draw():
        return np.zeros(DRAWS, dtype=np.int64)

    draws = noisy_histogram(draw, sigma=4.0, sensitivity=2, ledger=Paid(), secret=Secret.fixed(1), why="x")
    support, _ = discrete_gaussian(8.0)
    rounded = {scale: np.diff(norm.cdf(np.r_[support - 0.5, support[-1] + 0.5], scale=scale)) for scale in (8, 16 / 3)}
    assert fit_of(draws, support, rounded[8]) > 1e-3
    assert fit_of(draws, support, rounded[16 / 3]) < ALARM


# ------------------------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize(("sigma", "sensitivity"), [(0.7, 1), (5.0, 1), (2.0, 3)])
def test_histograms_carry_discrete_gaussian_noise_and_no_narrower_one(sigma, sensitivity):
    counts = np.arange(DRAWS).reshape(4, -1)
    noisy = noisy_histogram(
        lambda: counts, sigma=sigma, sensitivity=sensitivity, ledger=Paid(), secret=Secret(), why="x"
    )
    assert noisy.shape == counts.shape
    assert noisy.dtype == np.float64
    draws = (noisy - counts).ravel()
    scale = sigma * sensitivity
    assert fit_of(draws, *discrete_gaussian(scale)) > ALARM
    assert fit_of(draws, *discrete_gaussian(scale * 2 / 3)) < ALARM
    assert fit_of(draws, *discrete_gaussian(scale * 3 / 2)) < ALARM


@pytest.mark.parametrize("scale", [0.7, 1.5, 4.0])
@pytest.mark.parametrize("rows", [2, 3])
def test_a_unit_spread_over_cells_loses_no_more_than_one_cell_of_all_its_rows(scale, rows):
    support, chances = discrete_gaussian(scale, reach=8)

    def losses(own):
        """The joint privacy loss of cells moved by `own`, with its probabilities."""
        loss, weight = np.zeros(1), np.ones(1)
        for moved in own:
            one = (np.square(support) - np.square(support - moved)) / (2 * scale**2)
            loss, weight = np.add.outer(loss, -one).ravel(), np.outer(weight, chances).ravel()
        return loss, weight

    def delta(own, epsilon):
        loss, weight = losses(own)
        return (weight * np.maximum(1 - np.exp(epsilon - loss), 0)).sum()

    for used in range(1, rows + 1):
        for own in compositions(used):
            for epsilon in (0.0, 0.5, 1.0, 3.0):
                assert delta(own, epsilon) <= delta((rows,), epsilon) * (1 + 1e-9)


def test_an_empty_histogram_stays_empty():
    def none():
        return np.zeros((0, 3), dtype=np.int64)

    assert noisy_histogram(none, sigma=1.0, ledger=Paid(), secret=Secret(), why="x").shape == (0, 3)


def test_counts_carry_the_noise_of_a_histogram():
    draws = [noisy_count(lambda: 10**9, sigma=3.0, ledger=Paid(), secret=Secret(), why="x") for _ in range(2000)]
    assert fit_of(np.array(draws) - 10**9, *discrete_gaussian(3.0)) > ALARM
    assert fit_of(np.array(draws) - 10**9, *discrete_gaussian(2.0)) < ALARM


# ------------------------------------------------------------------------------------------------------- categories


def compositions(total):
    """Every way in which a unit with `total` rows spreads them over values of its own."""
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        yield from ((first, *rest) for rest in compositions(total - first))


def chance_to_show(own_counts, scale, threshold):
    """Return the exact probability that any of a unit's own values passes."""
    support, probabilities = discrete_gaussian(scale, reach=40)
    hidden = [probabilities[support + count <= threshold].sum() for count in own_counts]
    return 1 - math.prod(hidden)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("delta", [0.2, 1e-3, 1e-6])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_no_unit_shows_its_own_values_more_often_than_delta(sigma, delta, rows):
    threshold = category_threshold(sigma, delta, rows)
    worst = max(
        chance_to_show(own, sigma * rows, threshold) for used in range(1, rows + 1) for own in compositions(used)
    )
    assert worst <= delta
    lower = threshold - max(3, math.ceil(sigma * rows))  # one standard deviation less, and the bound is broken
    assert max(chance_to_show(own, sigma * rows, lower) for own in compositions(rows)) > delta


def test_categories_show_at_the_rate_the_threshold_promises():
    threshold = category_threshold(sigma=2.0, delta=0.05)
    values = np.arange(DRAWS).astype(object)

    def shown(count):
        counts = np.full(DRAWS, count)
        return len(
            noisy_categories(lambda: (values, counts), sigma=2.0, delta=0.05, ledger=Paid(), secret=Secret(), why="x")
        )

    support, probabilities = discrete_gaussian(2.0)
    for count in (1, threshold):
        exact = probabilities[support + count > threshold].sum()
        assert ALARM < binom.cdf(shown(count), DRAWS, exact) < 1 - ALARM
    assert binom.cdf(shown(1), DRAWS, 0.05) < 1 - ALARM
    assert binom.sf(shown(1) - 1, DRAWS, probabilities[support + 1 > threshold + 2].sum()) < ALARM


def test_categories_come_sorted_by_value_and_charge_their_delta():
    ledger = Paid()
    values = np.array(["z", "ä", "rare", "b", "", 7], dtype=object)
    counts = np.array([900, 5000, 1, 1000, 3000, 4000])
    kept = noisy_categories(
        lambda: (values, counts), sigma=10.0, delta=1e-6, rows_per_unit=3, ledger=ledger, secret=Secret(), why="town"
    )
    assert list(kept) == [7, "", "b", "z", "ä"]
    assert abs(kept["b"] - 1000) < 30 * 8
    assert ledger.charges == [(DiscreteGaussianDpEvent(30.0, 3), "town", 1e-6)]


# -------------------------------------------------------------------------------------------------------- selection


def permute_and_flip(scores, scale):
    """Return its exact probabilities: walk a random order, accept each with exp((score - best) / scale)."""
    accept = np.exp((np.asarray(scores) - max(scores)) / scale)
    chances = np.zeros(len(scores))
    for order in permutations(range(len(scores))):
        refused = 1.0
        for index in order:
            chances[index] += refused * accept[index]
            refused *= 1 - accept[index]
    return chances / math.factorial(len(scores))


@pytest.mark.parametrize(("monotonic", "scale"), [(False, 4.0), (True, 2.0)])
def test_selection_is_permute_and_flip_at_its_scale(monkeypatch, monotonic, scale):
    scores = np.array([10.0, 8.0, 5.0, 9.5])
    built = []
    real = mechanisms._noisy_max
    monkeypatch.setattr(mechanisms, "_noisy_max", lambda *given: built.append(real(*given)) or built[0])
    ledger = Paid()
    given = {"epsilon": 0.5, "monotonic": monotonic, "ledger": ledger, "secret": Secret(), "why": "pair"}
    first = select(lambda: scores, **given)
    assert ledger.charges == [(LaplaceDpEvent(2.0), "pair", 0.0)]
    draws = [first, *(built[0](scores.tolist()) for _ in range(DRAWS))]
    observed = np.bincount(draws, minlength=4)
    assert chisquare(observed, permute_and_flip(scores, scale) * len(draws)).pvalue > ALARM
    assert chisquare(observed, permute_and_flip(scores, scale * 2 / 3) * len(draws)).pvalue < ALARM


def test_seeded_selection_has_the_same_law():
    scores, secret = np.array([10.0, 8.0, 5.0, 9.5]), Secret.fixed(2)
    draws = [select(lambda: scores, epsilon=0.5, ledger=Paid(), secret=secret, why="x") for _ in range(DRAWS)]
    observed = np.bincount(draws, minlength=4)
    assert chisquare(observed, permute_and_flip(scores, 4.0) * DRAWS).pvalue > 1e-3
    assert chisquare(observed, permute_and_flip(scores, 8 / 3) * DRAWS).pvalue < ALARM


def hockey_stick(p, q, epsilon):
    return np.maximum(p - math.exp(epsilon) * q, 0).sum()


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("candidates", [2, 3, 4])
def test_selection_loses_no_more_than_the_laplace_mechanism_it_is_charged_as(epsilon, candidates):
    worst = 0.0
    for gaps, moves in product(product([0.0, 0.5, 1.0, 2.0], repeat=candidates - 1), range(2**candidates)):
        scores = np.array([0.0, *gaps])
        moved = scores + [1.0 if moves >> i & 1 else -1.0 for i in range(candidates)]
        p, q = (permute_and_flip(each, 2 / epsilon) for each in (scores, moved))
        for level in (0.0, 0.3 * epsilon, 0.9 * epsilon):
            allowed = 1 - math.exp((level - epsilon) / 2)
            worst = max(worst, hockey_stick(p, q, level) / allowed, hockey_stick(q, p, level) / allowed)
    assert 0.5 < worst <= 1 + 1e-9


def test_half_the_noise_would_lose_more_than_was_charged():
    p, q = permute_and_flip([0.0, 1.0], 1.0), permute_and_flip([1.0, 0.0], 1.0)  # scale 1 / epsilon, not 2 / epsilon
    assert hockey_stick(p, q, 0.0) > 1 - math.exp(-0.5)


@pytest.mark.parametrize("epsilon", list(chain((1 / 3, 0.1, 0.7), (a / b for a, b in combinations((3, 7, 11, 13), 2)))))
def test_opendp_agrees_that_the_scale_keeps_epsilon(epsilon):
    for sensitivity in (1.0, 0.3, 7.0):
        for monotonic in (False, True):
            scale = (1 if monotonic else 2) * sensitivity / epsilon
            assert mechanisms._noisy_max(scale, epsilon, sensitivity, monotonic).map(sensitivity) <= epsilon


@pytest.mark.parametrize("scores", [[1.0, math.nan], [math.inf, 0.0], [], [[1.0], [2.0]]])
@pytest.mark.parametrize("epsilon", [1.0, math.inf])
def test_selection_refuses_what_is_not_a_score(scores, epsilon):
    with pytest.raises(InputError, match="one finite number per candidate"):
        select(lambda: np.array(scores), epsilon=epsilon, ledger=Paid(), secret=Secret(), why="x")


# ------------------------------------------------------------------------------------------- all that a ledger has left


def test_the_rest_is_one_charge_made_before_a_row_is_read():
    ledger = Ledger(Budget(1.0, 1e-5))
    noisy_histogram(lambda: np.zeros(3, np.int64), sigma=20.0, ledger=ledger, secret=Secret(), why="first")
    seen = []

    def count():
        seen.append((ledger.closed, len(ledger.charges)))
        return np.zeros(4, np.int64)

    given = {"sensitivity": 2, "ledger": ledger, "secret": Secret(), "why": "the rest"}
    answers = noisy_histograms_for_the_rest([count, count], weights=[1.0, 4.0], **given)
    assert seen == [(True, 2), (True, 2)]
    assert 0.99 <= ledger.spent.epsilon <= 1.0
    scales = [scale for _, scale in answers]
    assert scales[0] == pytest.approx(2 * scales[1])
    events = ledger.charges[1].event.events
    assert [event.sigma for event in events] == pytest.approx(scales)
    assert {event.sensitivity for event in events} == {2}
    with pytest.raises(LedgerError, match="closed"):
        noisy_histograms_for_the_rest([never], weights=[1.0], **given)


def test_the_rest_has_the_noise_it_was_charged_for():
    ledger, zeros = Ledger(Budget(1.0, 1e-5)), np.zeros(DRAWS, np.int64)
    given = {"ledger": ledger, "secret": Secret(), "why": "the rest"}
    (answer, scale), _ = noisy_histograms_for_the_rest([lambda: zeros, lambda: zeros], weights=[1.0, 2.0], **given)
    assert fit_of(answer, *discrete_gaussian(scale)) > ALARM
    assert fit_of(answer, *discrete_gaussian(scale * 2 / 3)) < ALARM


def test_the_rest_without_a_budget_is_exact_and_by_a_fixed_seed_not_private():
    free = Ledger()
    ((answer, scale),) = noisy_histograms_for_the_rest(
        [lambda: np.arange(3)], weights=[1.0], ledger=free, secret=Secret(), why="all"
    )
    assert (answer.tolist(), scale) == ([0, 1, 2], 0.0)
    assert free.charges[0].event == NonPrivateDpEvent()
    marked = Ledger(Budget(1.0, 1e-5))
    noisy_histograms_for_the_rest(
        [lambda: np.arange(3)], weights=[1.0], ledger=marked, secret=Secret.fixed(1), why="all"
    )
    assert not marked.private


# ----------------------------------------------------------------------------------------------- a budget without delta


@pytest.mark.parametrize("secret", [Secret(), Secret.fixed(5)], ids=["OpenDP's", "replayed"])
@pytest.mark.parametrize("sensitivity", [1, 3])
def test_laplace_noise_follows_its_law_and_no_other(secret, sensitivity):
    epsilon = 0.5
    paid = Paid()
    draws = noisy_histogram_laplace(
        lambda: np.zeros(DRAWS, np.int64), epsilon=epsilon, sensitivity=sensitivity, ledger=paid, secret=secret, why="x"
    )
    ((event, _, delta),) = paid.charges
    assert (event.noise_parameter, event.sensitivity, delta) == (epsilon / sensitivity, sensitivity, 0.0)
    assert bool(paid.marks) == secret.fixed_seed
    support = np.arange(-60 * sensitivity, 60 * sensitivity + 1)

    def law(rate):
        weights = np.exp(-rate * np.abs(support))
        return weights / weights.sum()

    assert fit_of(draws, support, law(epsilon / sensitivity)) > ALARM
    assert fit_of(draws, support, law(1.2 * epsilon / sensitivity)) < ALARM


def test_pure_budgets_are_spent_by_laplace_noise():
    ledger = Ledger(Budget(1.0, 0.0))
    for name in ("first", "second"):
        noisy_histogram_laplace(
            lambda: np.array([[5, 6], [7, 8]]), epsilon=0.49, sensitivity=2, ledger=ledger, secret=Secret(), why=name
        )
    assert 0.98 <= ledger.spent.epsilon <= 1.0
    with pytest.raises(BudgetExceeded):
        noisy_histogram_laplace(never, epsilon=0.1, ledger=ledger, secret=Secret(), why="third")
