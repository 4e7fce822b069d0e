from dataclasses import replace

import numpy as np
import pytest

from tabsynth import selftest
from tabsynth.errors import InputError
from tabsynth.metrics import NotApplicable, NotMeasured
from tabsynth.metrics.shadows import ShadowAdvantage, ShadowAUC, ShadowTPR, compared, shadow_panel
from tabsynth.policy import evaluate
from tabsynth.policy.shadows import retrainer, shadow_checks
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.synthesizers.bootstrap import Bootstrap
from tabsynth.synthesizers.independent import Independent
from tabsynth.table import Table

METRICS = (ShadowAUC(4, 500), ShadowTPR(4, 500), ShadowAdvantage(4, 500))


def trained(synthesizer, seed=0, budget=None):
    """The rows of a synthesizer that was fitted to the training rows, with the synthesizer itself."""
    evidence = selftest.fresh(seed, (1600, 600, 2))
    sampler = synthesizer.fit(Table(evidence.schema, evidence.train), Ledger(budget), Secret.fixed(seed))
    rows = sampler.sample(1600, np.random.default_rng(seed))
    return replace(evidence, rows=rows, retrain=retrainer(synthesizer, evidence.schema, budget, 1600))


@pytest.fixture(scope="module")
def memorizer():
    return trained(Bootstrap())


def test_a_memorizer_is_caught(memorizer):
    area, tpr, gap = (metric(memorizer, np.random.default_rng(0)) for metric in METRICS)
    assert area.low > 0.7
    assert tpr.value > 0.3  # where its threshold lies is hardly known from 500 others
    assert gap.low > 0.4


def test_the_independent_model_is_not_accused():
    values = []
    for seed in range(4):
        evidence = trained(Independent(), seed)
        area, tpr, gap = (metric(evidence, np.random.default_rng(seed)) for metric in METRICS)
        assert area.low <= 0.5
        assert tpr.low <= 0.01
        assert gap.low == 0
        values.append(area.value)
    assert max(values) < 0.58  # the largest of four attacks


def test_shadows_are_fitted_once_for_all_who_ask(memorizer):
    calls = []

    def counted(frame, seed):
        calls.append(seed)
        return memorizer.retrain(frame, seed)

    evidence = replace(memorizer, retrain=counted)
    found = evaluate(evidence, shadow_checks(4), np.random.default_rng(0))
    assert calls == [0, 1, 2, 3]
    assert [verdict.status for verdict in found] == ["failed"] * 3
    assert all("an inside figure, never to be released" in verdict.reason for verdict in found)
    assert [(verdict.ceiling, verdict.baseline) for verdict in found] == [(None, None)] * 3  # nothing was trained there


def test_every_row_is_in_half_of_the_shadows_members_and_others_alike(memorizer):
    seen = []
    evidence = replace(memorizer, retrain=lambda frame, seed: seen.append(frame) or memorizer.retrain(frame, seed))
    ShadowAUC(6, 500)(evidence, np.random.default_rng(0))
    assert abs(np.mean([len(frame) for frame in seen]) - 500) < 1  # half of 500 members and 500 others
    assert len({len(frame) for frame in seen}) > 1  # by coins, not by blocks


def test_a_rate_of_one_in_a_thousand_is_not_measurable_with_few_rows(memorizer):
    with pytest.raises(NotMeasured, match="not measurable: it needs 20,000 holdout rows"):
        ShadowTPR(4, fpr=0.001)(memorizer, np.random.default_rng(0))
    found = shadow_panel(memorizer, np.random.default_rng(0), shadows=4, queries=500)
    assert [attack.tpr[0.001] for attack in found] == [None] * 4
    assert all(attack.tpr[0.01] is not None for attack in found)


def test_without_a_synthesizer_the_question_does_not_arise(memorizer):
    with pytest.raises(NotApplicable, match="No synthesizer came"):
        ShadowAUC()(replace(memorizer, retrain=None), np.random.default_rng(0))


def test_a_shadow_has_the_budget_of_the_fit_and_each_row_for_a_unit():
    seen = []

    class Told(Independent):
        def fit(self, table, ledger, secret, progress=None):
            seen.append((ledger.budget, table.schema.unit.column, secret.fixed_seed))
            return super().fit(table, ledger, secret)

    evidence = selftest.fresh(0, (400, 200, 2))
    budget = Budget(1.0, 1e-6)
    rows = retrainer(Told(), replace(evidence.schema, rows=400), budget, 50)(evidence.train, 0)
    assert len(rows) == 50
    assert seen == [(budget, None, False)]


@pytest.mark.parametrize("shadows", [0, 2, 5])
def test_shadows_are_an_even_number_of_at_least_four(shadows):
    with pytest.raises(InputError, match="shadows must be"):
        shadow_checks(shadows)


def test_scores_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    inside = rng.random((4, 5)).argsort(axis=0) < 2
    target, fits = rng.normal(size=(5, 2)), rng.normal(size=(4, 5, 2))
    found = compared(target, fits, inside)
    for at, name in enumerate(("nearest", "density")):
        for row in range(5):
            out = np.mean([fits[k, row, at] for k in range(4) if not inside[k, row]])
            assert found[f"offline, {name}"][row] == pytest.approx(target[row, at] - out)
        spread = []
        for side in (inside, ~inside):
            apart = [np.var([fits[k, row, at] for k in range(4) if side[k, row]], ddof=1) for row in range(5)]
            spread.append(np.sqrt(np.mean(apart)))
        means = [[np.mean(fits[side[:, r], r, at]) for r in range(5)] for side in (inside, ~inside)]
        slow = [
            -np.log(spread[0] / spread[1])
            - ((target[r, at] - means[0][r]) / spread[0]) ** 2 / 2
            + ((target[r, at] - means[1][r]) / spread[1]) ** 2 / 2
            for r in range(5)
        ]
        assert found[f"LiRA, {name}"] == pytest.approx(slow)
