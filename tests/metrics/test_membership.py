from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from tabsynth.errors import InputError
from tabsynth.metrics import NotMeasured
from tabsynth.metrics.attacks import ATTACKS, DISTANCES, _count, attack
from tabsynth.metrics.membership import (
    MembershipAdvantage,
    MembershipAUC,
    MembershipTPR,
    area,
    membership,
    most_exposed,
    panel,
)
from tabsynth.metrics.roc import advantage, roc
from tabsynth.metrics.sides import sides


def isolated(evidence, share, rng):
    """The fresh sample with the loneliest training rows in it, as lonely as a share of all is."""
    lonely = evidence.train.sort_values(["copay", "previous_visits"], ascending=False).iloc[
        : int(share * len(evidence.train))
    ]
    return replace(evidence, rows=pd.concat([lonely, evidence.rows.iloc[len(lonely) :]], ignore_index=True))


def test_every_attack_is_at_half_on_fresh_samples_and_its_interval_covers_that(draw):
    values, covered = [], []
    for seed in range(16):
        scores, _ = membership(draw(400, 200, 400, seed), 200, np.random.default_rng(seed), ATTACKS)
        found = [area(*scores[name], 0.95) for name in ATTACKS]
        values.append([each.value for each in found])
        covered.append([each.low <= 0.5 <= each.high for each in found])
    error = np.std(values, axis=0) / np.sqrt(len(values))
    assert np.abs(np.mean(values, axis=0) - 0.5).max() < 3.5 * error.max()
    assert np.mean(covered, axis=0).min() >= 0.8  # 13 of 16; fewer has a chance of one in a hundred


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_finds_a_copy(name, draw):
    for seed in range(3):
        evidence = draw(1600, 800, 1600, seed)
        copy = replace(evidence, rows=evidence.train)
        assert MembershipAUC(attacks=(name,))(copy, np.random.default_rng(seed)).low > 0.54
        assert MembershipAUC(attacks=(name,))(evidence, np.random.default_rng(seed)).low < 0.51


def test_the_queries_count_rows_that_agree(rng):
    asked, among = rng.integers(5, size=40).astype(np.uint64), rng.integers(5, size=70).astype(np.uint64)
    assert _count(asked, among).tolist() == [sum(int(one == other) for other in among) for one in asked]


def test_queries_need_no_distance(draw):
    # one number of every copied row is moved far: the closest row is no longer near, the counts of other columns are
    evidence = draw(1600, 800, 1600)
    moved = replace(evidence, rows=evidence.train.assign(age=100 - evidence.train["age"]))
    by_counts, by_distance = (
        MembershipAUC(attacks=(name,))(moved, np.random.default_rng(0)) for name in ("queries", "calibrated distance")
    )
    assert by_counts.low > max(0.9, by_distance.high)


def test_scores_do_not_depend_on_who_is_a_member(fresh):
    drawn = sides(fresh, 300, np.random.default_rng(0))
    turned = replace(drawn, members=drawn.others, others=drawn.members)
    first, second = (attack(each, ATTACKS, np.random.default_rng(1)) for each in (drawn, turned))
    for name in ATTACKS:
        assert np.roll(first[name], 300) == pytest.approx(second[name])


def test_the_exposed_are_the_loneliest_and_a_copy_of_them_is_found_there(draw):
    evidence = draw(4000, 2000, 4000)
    drawn = sides(evidence, 5000, np.random.default_rng(0))
    few = most_exposed(drawn, 5000, np.random.default_rng(0))
    assert len(few.members) + len(few.others) == 400
    assert min(len(few.members), len(few.others)) > 150  # both sides alike
    assert few.attacked["copay"].mean() > 1.5 * drawn.attacked["copay"].mean()
    loud = isolated(evidence, 0.05, np.random.default_rng(0))
    found = MembershipAUC(exposed=True)(loud, np.random.default_rng(0))
    assert found.low > 0.52
    assert found.value > MembershipAUC()(loud, np.random.default_rng(0)).value + 0.05
    assert MembershipAUC(exposed=True)(evidence, np.random.default_rng(0)).low <= 0.5


def test_the_exposed_of_a_small_table_are_too_few(draw, rng):
    with pytest.raises(NotMeasured, match="most exposed tenth"):
        MembershipAUC(exposed=True)(draw(400, 200, 400), rng)
    with pytest.raises(NotMeasured, match="not measurable: it needs 20,000 holdout rows"):
        MembershipTPR(fpr=0.001, exposed=True)(draw(400, 200, 400), rng)


def test_the_curve_is_that_of_every_threshold(rng):
    members, others = rng.integers(6, size=50) + 1.0, rng.integers(6, size=40) + 0.0
    slow = [((others >= t).mean(), (members >= t).mean()) for t in (np.inf, *range(6, -1, -1))]
    assert np.stack(roc(members, others), axis=1) == pytest.approx(np.array(slow))
    assert advantage(members, others, 0.95).value == pytest.approx(max(tpr - fpr for fpr, tpr in slow))


def test_the_advantage_covers_the_truth_and_misses_a_wrong_one(rng):
    # two normal distributions one apart: 2 Φ(1/2) - 1 = 0.383
    found = [advantage(rng.normal(1, 1, 1000), rng.normal(0, 1, 1000), 0.9) for _ in range(200)]
    assert np.mean([one.low <= 0.383 <= one.high for one in found]) >= 0.9
    assert np.mean([one.low <= 0.55 <= one.high for one in found]) < 0.1


def test_the_advantage_trips_on_a_copy_only(fresh, rng):
    assert MembershipAdvantage()(replace(fresh, rows=fresh.train), rng).low > 0.8
    assert MembershipAdvantage()(fresh, rng).low == 0


@dataclass(frozen=True)
class Randomized:
    """Randomized response of a coin that lies one time in four: TPR is at most 3 FPR, and its mirror image."""

    def auc(self):
        return 0.75

    def tpr_at_fpr(self, fpr):
        return min(3 * fpr, 1 - (1 - fpr) / 3)


def test_what_a_budget_allows_is_the_largest_gap_of_its_curve():
    assert MembershipAdvantage().allowed(Randomized()) == pytest.approx(0.5, abs=0.02)
    assert MembershipAdvantage().allowed(Randomized()) >= 0.5


def test_the_panel_reports_every_attack_and_leaves_out_what_few_rows_cannot_show(fresh, rng):
    found = panel(fresh, rng)
    assert [each.name for each in found] == list(ATTACKS)
    for each in found:
        assert each.auc.low < 0.5 < each.auc.high
        assert each.tpr[0.01] is not None
        assert each.tpr[0.001] is None
        assert len(each.members) == len(each.others) == 1500


def test_the_name_says_which_attacks():
    assert MembershipAUC().name == MembershipAUC(attacks=list(DISTANCES)).name == "membership_auc"
    assert MembershipAUC(attacks=ATTACKS, exposed=True).name == "membership_auc_all_exposed"
    assert MembershipTPR(0.05, attacks=("density ratio",)).name == "membership_tpr_at_0.05_density_ratio"
    assert MembershipAdvantage(attacks=("classifier", "queries")).name == "membership_advantage_classifier_queries"


@pytest.mark.parametrize(
    "settings",
    [{"attacks": ()}, {"attacks": "queries"}, {"attacks": ("lira",)}, {"attacks": ("queries",) * 2}, {"exposed": 1}],
)
def test_settings_are_checked(settings):
    for kind in (MembershipAUC, MembershipTPR, MembershipAdvantage):
        with pytest.raises(InputError):
            kind(**settings)
