"""Synthesizers under audit: clean ones are left alone, saboteurs are exposed; audits can be killed and shared out."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from tabsynth.audit import attacks
from tabsynth.audit import synthesizers as module
from tabsynth.audit.attacks import Sight, score_canaries
from tabsynth.audit.canaries import make_canaries
from tabsynth.audit.gradients import GRADIENTS
from tabsynth.audit.one_run import Plan, pooled
from tabsynth.audit.store import Store
from tabsynth.audit.synthesizers import audit_synthesizer
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import BudgetExceeded, InputError, TableError
from tabsynth.privacy import mechanisms
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.base import silent
from tabsynth.synthesizers.bootstrap import Bootstrap, BootstrapSampler
from tabsynth.synthesizers.independent import Independent, IndependentSampler
from tabsynth.table import read

CLAIM = Budget(1.0, 1e-5)


@dataclass(frozen=True)
class Copies:
    """Charges for marginals, and then hands out the rows themselves."""

    name: ClassVar[str] = "copies"
    sampler: ClassVar[type] = BootstrapSampler

    def fit(self, table, ledger, secret, progress=silent):
        Independent().fit(table, ledger, secret)
        schema = table.schema
        return BootstrapSampler(schema, Encoder(schema).encode(table.private))


@dataclass(frozen=True)
class Noiseless:
    """Charges for noisy marginals and leaves the noise out."""

    name: ClassVar[str] = "noiseless"
    sampler: ClassVar[type] = IndependentSampler

    def fit(self, table, ledger, secret, progress=silent):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mechanisms, "_discrete_gaussian", lambda counts, scale, secret: np.asarray(counts))
            return Independent().fit(table, ledger, secret)


@dataclass(frozen=True)
class FreeCategories:
    """Pays for discovery, and takes the categories from the rows all the same."""

    name: ClassVar[str] = "free categories"
    sampler: ClassVar[type] = IndependentSampler

    def fit(self, table, ledger, secret, progress=silent):
        known = discover(table, ledger, secret, share=0.5)
        ledger.close()
        names = tuple(sorted(table.private["city"].astype(str).unique()))
        schema = Schema((Column("city", "categorical", categories=names),), rows=known.schema.rows)
        return IndependentSampler(schema, [np.full(len(names), 1 / len(names))])


def test_a_clean_fit_is_left_alone(people):
    result = audit_synthesizer(people, Independent(), CLAIM, canaries=100, seed=3)
    assert result.verdict == "consistent"
    assert result.claim.epsilon <= 1.0
    names = {attack.name for attack in result.attacks}
    assert names == {"nearest row (black box)", "shared values (black box)", "marginals (white box)"}
    assert "may be released" in result.notes[0]
    json.dumps(result.to_dict(), allow_nan=False)


def test_copied_rows_are_found_in_the_rows_alone(people):
    result = audit_synthesizer(people, Copies(), Budget(0.5, 1e-5), canaries=200)
    assert result.verdict == "exceeds the claim"
    broken = {bound.attack for bound in result.bounds if bound.exceeds and bound.assumes == "nothing"}
    assert "nearest row (black box)" in broken


def test_noise_left_out_is_found_in_the_model(people):
    result = audit_synthesizer(people, Noiseless(), CLAIM, canaries=30, runs=6, rows=200)
    assert {bound.attack for bound in result.bounds if bound.exceeds} == {"marginals (white box)"}


def test_categories_taken_for_free_are_found():
    schema = Schema((Column("city", "categorical"),), rows=500)
    table = read(pd.DataFrame({"city": [f"c{i % 7}" for i in range(500)]}), schema)
    result = audit_synthesizer(table, FreeCategories(), CLAIM, canaries=150, rows=5000)
    assert "shared values (black box)" in {bound.attack for bound in result.bounds if bound.exceeds}


def test_many_runs_of_one_canary(people):
    """Fits whose noise was left out: the model shows the canary nearly every time."""
    result = audit_synthesizer(people, Noiseless(), CLAIM, canaries=1, runs=80, rows=20)
    assert result.canaries == 1
    assert {bound.method for bound in result.bounds} == {"Clopper-Pearson", "Clopper-Pearson, Gaussian"}
    assert {bound.attack for bound in result.bounds if bound.exceeds} == {"marginals (white box)"}


def test_gradient_canaries_ride_along_in_a_fit_by_dpsgd(people):
    from tabsynth.synthesizers.ctgan import CTGAN

    small = CTGAN(warm_steps=2, critic_steps=8, batch=100, critic_widths=(16,), generator_width=16)
    result = audit_synthesizer(people, small, Budget(8.0, 1e-5), canaries=40, gradients=300, rows=100)
    assert GRADIENTS in {attack.name for attack in result.attacks}
    assert "mean shift, Gaussian noise" in {bound.method for bound in result.bounds}


def test_a_white_box_alone_needs_no_reference(people, monkeypatch):
    monkeypatch.setattr(Plan, "reference", lambda self: pytest.fail("a reference was fitted"))
    result = audit_synthesizer(people, Independent(), CLAIM, canaries=20, rows=0)
    assert [attack.name for attack in result.attacks] == ["marginals (white box)"]


def test_an_audit_without_an_attack_is_refused(people):
    with pytest.raises(InputError, match="no white box"):
        audit_synthesizer(people, Copies(), CLAIM, canaries=20, rows=0)


def test_a_killed_audit_goes_on(people, tmp_path, monkeypatch):
    folder, made = tmp_path / "runs", []
    trial = Plan.trial

    def counted(self, number, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(number)
        return trial(self, number, *rest)

    settings = {"canaries": 20, "runs": 4, "rows": 50, "folder": folder}
    with monkeypatch.context() as patch:
        patch.setattr(Plan, "trial", counted)
        with pytest.raises(KeyboardInterrupt):
            audit_synthesizer(people, Independent(), CLAIM, **settings)
    assert made == [0, 1]
    done = {path.name: path.read_bytes() for path in folder.glob("run-*")}
    (folder / ".run-000002.json.new").write_text('{"scores": {"half')  # it was being written
    result = audit_synthesizer(people, Independent(), CLAIM, **settings)
    assert result.runs == 4
    assert result.canaries == 80
    assert all((folder / name).read_bytes() == text for name, text in done.items())
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "change", [{"canaries": 21}, {"seed": 1}, {"rows": 51}, {"budget": Budget(2.0, 1e-5)}, {"synthesizer": Copies()}]
)
def test_runs_of_another_audit_are_not_taken(people, tmp_path, change):
    given = {"synthesizer": Independent(), "budget": CLAIM, "canaries": 20, "rows": 50, "seed": 0}
    audit_synthesizer(people, **given, folder=tmp_path / "runs")
    with pytest.raises(InputError, match="audit of something else"):
        audit_synthesizer(people, **given | change, folder=tmp_path / "runs")


def test_a_folder_of_something_else_is_refused(people, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        audit_synthesizer(people, Independent(), CLAIM, canaries=20, folder=tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "plan.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Store(tmp_path / "runs", {})


@dataclass(frozen=True)
class Broken(Independent):
    def fit(self, table, ledger, secret, progress=None):
        pytest.fail("something was fitted")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canaries": 601}, "more than the table has rows"),
        ({"canaries": 0}, "canaries"),
        ({"runs": 0}, "runs"),
        ({"canaries": 1, "runs": 5}, "runs"),
        ({"workers": 0}, "workers"),
        ({"rows": -1}, "rows"),
        ({"seed": -1}, "seed"),
        ({"gradients": -1}, "gradients"),
        ({"confidence": 1.0}, "confidence"),
        ({"budget": Budget(np.inf, 1e-5)}, "no claim to audit"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fitted(people, change, message):
    given = {"budget": CLAIM, "canaries": 20}
    with pytest.raises(InputError, match=message):
        audit_synthesizer(people, Broken(), **given | change)


def test_canaries_that_do_not_fit_the_schema_are_refused(people):
    own = make_canaries(people, 5, np.random.default_rng(0)).frame
    with pytest.raises(TableError, match="city"):
        audit_synthesizer(people, Broken(), CLAIM, canaries=own.assign(city="nowhere"))


def test_a_fit_that_its_budget_does_not_allow_is_no_audit(people, tmp_path):
    with pytest.raises(BudgetExceeded):
        audit_synthesizer(people, Bootstrap(), CLAIM, canaries=5, folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_score_sees_no_coin_and_no_score_of_another_run(people):
    """The same rows get the same scores whatever the coins were; pooling orders within runs only."""
    canaries = make_canaries(people, 30, np.random.default_rng(0)).frame
    rows = people.private.sample(200, random_state=1)
    sampler = IndependentSampler(people.schema, [np.full(12, 1 / 12), np.full(3, 1 / 3), *[np.full(20, 0.05)] * 2])
    seen = Sight(sampler, rows)
    scores = score_canaries(canaries, people.private, seen, lambda: seen)
    assert (scores["nearest row (black box)"] == 0).all()
    assert (scores["shared values (black box)"] == 0).all()


def test_a_row_that_was_copied_stands_out(people):
    canaries = make_canaries(people, 30, np.random.default_rng(0)).frame
    base = people.private.sample(200, random_state=1)
    uniform = IndependentSampler(people.schema, [np.full(12, 1 / 12), np.full(3, 1 / 3), *[np.full(20, 0.05)] * 2])
    copied = pd.concat([base, *[canaries.iloc[:10]] * 5], ignore_index=True)
    scores = score_canaries(canaries, people.private, Sight(uniform, copied), lambda: Sight(uniform, base))
    near = scores["nearest row (black box)"]
    assert near[:10].min() > np.median(near[10:])
    assert near[:10].mean() > 2 * near[10:].mean()


class Knows(IndependentSampler):
    """A sampler that offers both white boxes, and cannot be asked about a city it does not know."""

    def log_likelihood(self, frame):
        assert set(frame["city"]) <= set(self.schema["city"].categories)
        return np.where(frame["age"] > 50, -np.inf, -3.0)

    def critic_score(self, frame):
        return frame["age"].to_numpy(float)


def test_white_boxes_are_used_where_they_are_offered_and_not_asked_what_they_cannot_know(people):
    fewer = people.schema.with_columns(replace(people.schema["city"], categories=("c0", "c1")))
    sampler = Knows(fewer, [np.full(2, 0.5), np.full(3, 1 / 3), *[np.full(20, 0.05)] * 2])
    canaries = make_canaries(people, 30, np.random.default_rng(0)).frame
    floor = np.log(attacks.FLOOR) * len(canaries.columns)
    known = canaries["city"].isin(["c0", "c1"]).to_numpy()
    likely = attacks.likelihoods(sampler, canaries)
    assert (likely == np.where(known & (canaries["age"] <= 50).to_numpy(bool), -3.0, floor)).all()
    assert (attacks.critic_scores(sampler, canaries) == np.where(known, canaries["age"].to_numpy(float), 0)).all()
    plainer = IndependentSampler(fewer, [])
    assert attacks.likelihoods(plainer, canaries) is None
    assert attacks.critic_scores(plainer, canaries) is None


def test_trials_are_pooled_on_one_scale(people):
    plan = module._plan(people, Independent(), CLAIM, canaries=20, rows=50, gradients=None, seed=0)
    seen = plan.reference()
    trials = [plan.trial(number, lambda: seen) for number in range(2)]
    for values, coin in pooled(trials).values():
        assert values.shape == coin.shape == (40,)
        assert abs(np.median(values[:20])) < 1e-9


def test_a_process_makes_its_runs_like_this_one(people, monkeypatch):
    monkeypatch.setattr(module, "_worker", None)
    module._start(module._plan(people, Independent(), CLAIM, canaries=20, rows=50, gradients=None, seed=0))
    assert set(module._run(3)["scores"]) == set(module._run(4)["scores"])


@pytest.mark.slow
def test_processes_share_the_runs(people):
    result = audit_synthesizer(people, Independent(), CLAIM, canaries=20, runs=2, rows=50, workers=2)
    assert result.runs == 2
    assert result.canaries == 40
