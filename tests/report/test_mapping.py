"""The index of guidance: every term is answered by checks that were made, or called not measured."""

from tabsynth import registry
from tabsynth.policy import thorough_policy
from tabsynth.report.mapping import TERMS, mapping

LEDGER = {"private": True, "unit": "one row", "spent": {"epsilon": 3.0, "delta": 1e-6}}


def check(name, tier="privacy", status="passed", measured=True):
    estimate = {"value": 0.5} if measured else None
    return {"name": name, "tier": tier, "status": status, "left_out": False, "estimate": estimate}


def lines(*checks, ledger=None):
    found = mapping({"checks": checks, "ledger": ledger})
    return {(line["guidance"].split()[0].strip(","), line["term"]): line for line in found}


def test_every_check_that_is_named_exists():
    installed = set(registry.names(registry.METRICS))
    assert {name for term in TERMS for name in term.checks} <= installed


def test_a_term_without_a_check_is_not_measured():
    found = lines()
    for key in (("WP29", "Singling out"), ("Consensus", "Attribute disclosure"), ("NIST", "Utility")):
        assert (found[key]["checks"], found[key]["says"]) == ([], ["not measured"])
    assert found["ICO", "Motivated intruder test"]["says"][0] == "not measured"


def test_a_check_stands_beside_each_of_its_terms():
    found = lines(check("singling_out"), check("membership_auc", status="failed"), check("tstr", "utility"))
    assert found["WP29", "Singling out"]["checks"] == [{"name": "singling_out", "status": "passed"}]
    assert found["ICO", "Singling out"]["says"] == []
    assert found["Consensus", "Membership disclosure"]["checks"] == [{"name": "membership_auc", "status": "failed"}]
    assert len(found["ICO", "Motivated intruder test"]["checks"]) == 2
    assert found["NIST", "Utility"]["checks"] == [{"name": "tstr", "status": "passed"}]


def test_a_check_with_settings_in_its_name_is_still_of_its_metric():
    found = lines(check("membership_advantage_all_exposed"), check("dcr"))
    assert found["Consensus", "Membership disclosure"]["checks"][0]["name"] == "membership_advantage_all_exposed"
    assert len(found["ICO", "Motivated intruder test"]["checks"]) == 1


def test_every_check_of_the_thorough_policy_speaks_to_a_term():
    privacy = [each.metric.name for each in thorough_policy() if each.metric.tier == "privacy"]
    made = [check(name) for name in privacy]
    named = {c["name"] for line in lines(*made).values() if "intruder" not in line["term"] for c in line["checks"]}
    assert named == set(privacy)


def test_a_check_without_a_number_was_not_measured():
    found = lines(check("linkability", status="failed", measured=False))
    assert found["WP29", "Linkability"]["checks"] == [{"name": "linkability", "status": "not measured"}]


def test_the_ledger_answers_for_the_budget():
    assert "no ledger" in lines()["NIST", "Epsilon"]["says"][0]
    found = lines(ledger=LEDGER)
    assert found["NIST", "Epsilon"]["says"] == ["3 at delta 1e-06"]
    assert found["NIST", "Unit of privacy"]["says"] == ["one row"]
    assert lines(ledger=LEDGER | {"private": False})["NIST", "Epsilon"]["says"] == ["none: not private"]
