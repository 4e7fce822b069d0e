"""The verdict in plain words: each question answered by the checks that ask it, and by nothing else."""

import pytest

from tabsynth.report.words import answers, question, summary, unjudged

ODDS = "An attacker who knows all else is right about it at most 62.7% of the time."
LEDGER = {"private": True, "spent": {"epsilon": 3.0, "delta": 1e-6}, "meaning": ["Private.", ODDS]}


def check(name, tier, status="passed", measured=True, **facts):
    estimate = {"value": 0.5, "low": 0.45, "high": 0.6} if measured else None
    plain = {"at_least": None, "at_most": 0.4, "allowed": None} | facts
    limits = {"at_least": plain["at_least"], "at_most": plain["at_most"]}
    return {
        "name": name,
        "tier": tier,
        "status": status,
        "left_out": False,
        "estimate": estimate,
        "limits": limits,
    } | plain


def asked(*checks, ledger=None, canary=None):
    return {each["key"]: each for each in answers({"checks": checks, "ledger": ledger, "canary": canary})}


@pytest.mark.parametrize(
    ("name", "tier", "key"),
    [
        ("membership_auc", "privacy", "member"),
        ("membership_advantage_all_exposed", "privacy", "member"),
        ("singling_out", "privacy", "member"),
        ("a plug-in", "privacy", "member"),
        ("attribute_inference", "privacy", "secret"),
        ("inference", "privacy", "secret"),
        ("dcr", "privacy", ""),
        ("tstr", "utility", "utility"),
        ("tvd2", "fidelity", "fidelity"),
    ],
)
def test_a_check_answers_one_question(name, tier, key):
    assert question(check(name, tier)) == key


@pytest.mark.parametrize(
    ("name", "tier", "status", "said"),
    [
        ("association_spearman_worst", "fidelity", "passed", False),
        ("tstr_ratio", "utility", "failed", False),
        ("tstr_ratio", "utility", "not applicable", True),
        ("association_cramers_v", "fidelity", "not applicable", True),
        ("tvd2", "fidelity", "passed", True),
    ],
)
def test_a_verdict_says_when_nothing_judged_what_ties_columns_together(name, tier, status, said):
    checks = [check("ks", "fidelity"), check(name, tier, status)]
    assert ("Neither utility nor association was judged" in unjudged(checks)) is said
    told = summary({"kind": "audit", "passed": True, "checks": checks, "ledger": None})
    assert (unjudged(checks) in told) is True
    assert ("Neither utility" in told) is said


def test_a_question_that_no_check_asks_is_not_measured():
    found = asked(check("membership_auc", "privacy"), check("dcr", "privacy"))
    assert (found["member"]["status"], found["member"]["count"]) == ("passed", "1 of 1 check held")
    assert found["secret"]["words"] == "Not measured: no check asked; those of the policy thorough do."
    assert asked(check("dcr", "privacy"))["member"]["status"] == "not applicable"


def test_a_check_without_a_number_is_no_answer():
    missing = check("membership_auc", "privacy", "failed", measured=False)
    found = asked(missing, check("exact_match", "privacy"))
    assert found["member"]["words"] == "Not measured: membership_auc could not be. So nobody knows."
    assert asked(missing, check("exact_match", "privacy", "failed"))["member"]["status"] == "failed"
    skipped = asked(check("tstr", "utility", "not applicable", measured=False))["utility"]
    assert skipped["words"] == "Not measured: the checks that ask do not apply to this table."


def test_one_failure_outweighs_what_held():
    found = asked(check("tstr", "utility"), check("trts", "utility", "failed"))["utility"]
    assert (found["status"], found["words"]) == ("failed", "No, not within the limits that were set.")


def test_an_interval_that_is_too_wide_is_no_finding():
    unsure = check("membership_auc", "privacy", "failed", at_most=0.55)
    assert asked(unsure)["member"]["words"].startswith("Not shown")
    assert asked(unsure)["member"]["status"] == "failed"
    found = check("membership_tpr", "privacy", "failed")
    assert asked(unsure, found)["member"]["words"].startswith("Possibly")
    uncounted = unsure | {"limits": {"at_least": None, "at_most": None}}
    assert asked(uncounted)["member"]["words"].startswith("Possibly")
    fault = check("membership_auc", "privacy", "failed", at_most=0.55, allowed=0.44)
    assert asked(fault)["member"]["words"].startswith("Possibly")


def test_what_holds_beyond_the_attacks_is_said():
    assert "nothing bounds" in asked(ledger=LEDGER | {"private": False})["member"]["promise"]
    assert asked(ledger=LEDGER)["member"]["promise"] == f"Whatever else is tried, epsilon 3 bounds it. {ODDS}"
    assert "epsilon 3 bounds what more can be learnt" in asked(ledger=LEDGER)["secret"]["promise"]
    assert asked(ledger=LEDGER)["utility"]["promise"] == ""
    broken = asked(check("membership_auc", "privacy"), ledger=LEDGER, canary={"verdict": "exceeds the claim"})["member"]
    assert broken["status"] == "failed"
    assert "bounds nothing" in broken["promise"]
