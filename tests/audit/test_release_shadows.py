"""Shadow models in a release: what they add to the gate, what they cost the ledger, and where they are refused."""

import contextlib
import json

import pytest

from tabsynth import selftest
from tabsynth.errors import InputError, Refused
from tabsynth.gate import GateSettings
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.synthesizers.bootstrap import Bootstrap
from tabsynth.synthesizers.independent import Independent
from tabsynth.walk import release_table

ADDED = ["shadow_auc", "shadow_tpr", "shadow_advantage"]


@pytest.fixture(scope="module")
def people():
    return selftest.fresh(0, (1200, 2, 2))


@pytest.fixture
def released(people, tmp_path):
    """Release into a folder of the test and return the checks of the inside report."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("checks: [{metric: tvd1, at_most: 1}]", encoding="utf-8")

    def release(synthesizer, ledger, **settings):
        asked = GateSettings(**{"policy": policy, "holdout": 0.4, "shadows": 4} | settings)
        options = {"budgeted": ledger.private, "schema": people.schema, "seed": 0, "asked": asked}
        release_table(people.train, synthesizer, lambda: ledger, tmp_path / "out", **options)
        return json.loads((tmp_path / "out.inside" / "report.json").read_text(encoding="utf-8"))["checks"]

    return release


def test_a_memorizer_is_refused_by_what_its_shadows_tell(released, tmp_path):
    assert [check["name"] for check in released(Bootstrap(), Ledger(None), shadows=0)] == ["tvd1"]
    (tmp_path / "out").rename(tmp_path / "let through")
    (tmp_path / "out.inside").rename(tmp_path / "let through.inside")
    with pytest.raises(Refused, match="shadow_auc"):
        released(Bootstrap(), Ledger(None))
    assert not (tmp_path / "out").exists()
    report = json.loads((tmp_path / "out.inside" / "report.json").read_text(encoding="utf-8"))
    assert {c["name"]: c["status"] for c in report["checks"]} == {"tvd1": "passed"} | dict.fromkeys(ADDED, "failed")


def test_shadows_have_the_budget_of_the_fit_and_charge_nothing(released, tmp_path):
    ledger = Ledger(Budget(1.0, 1e-6))
    with contextlib.suppress(Refused):  # of so few rows an interval may reach over its limit
        released(Independent(), ledger)
    checks = json.loads((tmp_path / "out.inside" / "report.json").read_text(encoding="utf-8"))["checks"]
    assert [check["name"] for check in checks[1:]] == ADDED
    assert all(check["estimate"] and check["allowed"] is not None for check in checks[1:])
    paid = [charge.why for charge in ledger.charges]
    assert len(paid) == len(set(paid)) > 1  # of one fit: a second would pay for the same again
    assert ledger.spent.epsilon <= 1


@pytest.mark.parametrize(
    ("settings", "rule"), [({"shadows": 5}, "even"), ({"share": 0.1, "policy": "charged"}, "charged gate")]
)
def test_what_cannot_be_is_refused_before_a_charge(released, tmp_path, settings, rule):
    ledger = Ledger(Budget(1.0, 1e-6))
    with pytest.raises(InputError, match=rule):
        released(Independent(), ledger, **settings)
    assert ledger.charges == ()
    assert not (tmp_path / "out.inside").exists()
