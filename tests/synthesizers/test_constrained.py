"""The automaton: what it lets through, the likelihoods it makes, and what is drawn by it."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from tabsynth.encoding.codec import Codec
from tabsynth.schema import Column
from tabsynth.synthesizers.constrained import NONE, Automaton, Written
from tabsynth.synthesizers.text_vocabulary import PublicSpeller, kept_only, spell

COLUMNS = (
    Column("city", "categorical", categories=("Ulm", "Ulm on Danube", "Bonn", "Ul"), nullable=True),
    Column("n", "integer", bounds=(0, 120), bins=(0, 1, 10, 11, 121)),
    Column("one", "categorical", categories=("only",)),
    Column("ill", "boolean"),
)
SIZES = (5, 4, 1, 2)


def automaton_of(columns=COLUMNS, units="characters"):
    speller = PublicSpeller(units)
    spelling = spell(speller, [Codec(column) for column in columns], 200)
    return Automaton(kept_only(spelling, speller.pieces))


def every_row(sizes=SIZES):
    return np.array(list(itertools.product(*map(range, sizes))))


class Remembering:
    """A causal "model": its logits depend on all ids before, and on their order."""

    def __init__(self, width, seed=0):
        rng = torch.Generator().manual_seed(seed)
        self.table = torch.randn(width, width, generator=rng, dtype=torch.float64)
        self.past = None

    def all(self, ids):
        states, state = [], torch.zeros(len(ids), self.table.shape[1], dtype=torch.float64)
        for place in range(ids.shape[1]):
            state = 0.7 * state.roll(1, 1) + self.table[ids[:, place]]
            states.append(state)
        return torch.stack(states, 1)

    def __call__(self, ids):
        for place in range(ids.shape[1]):
            last = torch.zeros(len(ids), self.table.shape[1], dtype=torch.float64) if self.past is None else self.past
            self.past = 0.7 * last.roll(1, 1) + self.table[ids[:, place]]
        return self.past


@pytest.mark.parametrize("units", ["words", "characters"])
def test_rows_are_written_as_their_parts_one_after_another(units):
    automaton = automaton_of(units=units)
    spelling, rows = automaton.spelling, every_row()
    written = automaton.write(rows)
    for row, ids in zip(rows, written.ids.tolist(), strict=True):
        slow = list(spelling.phrases[0])
        for column, token in enumerate(row):
            slow += [*spelling.values[column][token], *spelling.phrases[column + 1]]
        assert ids == slow + [0] * (len(ids) - len(slow))
    assert len({tuple(ids) for ids in written.ids.tolist()}) == len(rows)
    assert written.ids.shape[1] <= spelling.longest


def test_probabilities_of_all_rows_sum_to_one():
    automaton = automaton_of()
    written = automaton.write(every_row())
    losses = automaton.losses(written, Remembering(automaton.width).all(written.ids))
    assert float((-losses).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_what_is_forced_counts_nothing():
    automaton = automaton_of(COLUMNS[2:3])
    written = automaton.write(np.zeros((3, 1), np.int64))
    assert (written.branches == NONE).all()
    assert automaton.losses(written, torch.randn(*written.ids.shape, automaton.width)).tolist() == [0.0, 0.0, 0.0]


def test_a_row_keeps_its_likelihood_among_longer_rows():
    automaton, model = automaton_of(), Remembering(automaton_of().width)
    together, alone = automaton.write(every_row()), automaton.write(every_row()[:1])
    losses = [automaton.losses(written, model.all(written.ids))[0] for written in (together, alone)]
    assert losses[0] == losses[1]


def drawn_frequencies(rows=20_000):
    """Return how often each row was drawn, how often it should have been, and how often by another model."""
    automaton, every = automaton_of(), every_row()
    uniform = torch.rand(rows, automaton.spelling.longest, generator=torch.Generator().manual_seed(5))
    tokens, _ = automaton.draw(Remembering(automaton.width), uniform)
    numbers = np.ravel_multi_index(tuple(tokens.T), SIZES)
    written = automaton.write(every)
    expected = [
        (-automaton.losses(written, Remembering(automaton.width, seed).all(written.ids))).exp().numpy() * rows
        for seed in (0, 1)
    ]
    return np.bincount(numbers, minlength=len(every)), *expected


def test_rows_are_drawn_as_likely_as_they_are():
    found, right, wrong = drawn_frequencies()
    for expected, fits in ((right, True), (wrong, False)):
        kept = expected > 5
        statistic = float((((found - expected) ** 2 / expected)[kept]).sum())
        inside = chi2.ppf(1e-4, kept.sum() - 1) < statistic < chi2.isf(1e-4, kept.sum())
        assert inside == fits


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_nothing_invalid_is_drawn_however_much_the_model_wants_it(uniform):
    automaton = automaton_of()
    wish = torch.full((3, automaton.width), -1e4)
    wish[:, automaton.spelling.phrases[0][0]] = 1e4  # an id that may never follow

    tokens, _ = automaton.draw(lambda ids: wish, torch.full((3, automaton.spelling.longest), uniform))
    assert ((tokens >= 0) & (tokens < np.array(SIZES))).all()


def test_the_model_is_asked_no_more_often_than_the_longest_row_has_ids():
    automaton, asked = automaton_of(), []

    def model(ids):
        asked.append(ids.shape[1])
        return torch.zeros(len(ids), automaton.width)

    automaton.draw(model, torch.rand(50, automaton.spelling.longest, generator=torch.Generator().manual_seed(0)))
    assert sum(asked) <= automaton.spelling.longest


def test_a_gradient_reaches_only_what_may_follow():
    automaton = automaton_of()
    written = automaton.write(every_row()[:4])
    logits = torch.randn(*written.ids.shape, automaton.width, requires_grad=True)
    automaton.losses(Written(written.ids, written.branches), logits).sum().backward()
    rows, places = torch.nonzero(written.branches >= 0, as_tuple=True)
    reached = logits.grad[rows, places - 1] != 0
    assert bool((reached == automaton.allowed[written.branches[rows, places]]).all())
    logits.grad[rows, places - 1] = 0
    assert not logits.grad.any()
