"""The verdict in plain words: the headline, why, and the three questions that people ask."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabsynth.report.glossary import figure, is_of

QUESTIONS = {
    "member": "Can someone tell that I was in it?",
    "secret": "Can they learn my salary, or anything else that I keep to myself?",
    "utility": "Can I use it?",
    "fidelity": "Does it look like the real table?",
}
GOOD = {
    "member": "None of the attacks that were tried told more than is allowed.",
    "secret": "Attacks guessed no more about those in the table than about anyone else, within the limits.",
    "utility": "Yes, within the limits that were set.",
    "fidelity": "Yes, within the limits that were set.",
}
BAD = {
    "member": "Possibly: an attack told more than is allowed, or could not be ruled out.",
    "secret": "Possibly: an attack guessed more than is allowed, or could not be ruled out.",
    "utility": "No, not within the limits that were set.",
    "fidelity": "No, not within the limits that were set.",
}
UNSURE = "Not shown: what was measured lies within the limits, its interval does not. More rows would tell."
UNJUDGED = (
    "Neither utility nor association was judged, since no check of them applied: that columns go together as in the "
    "real table was not shown."
)
SECRETS = ("attribute_inference", "inference")  # checks of what is learnt about a person; the others ask who was in it
DESCRIPTIVE = ("dcr", "nndr")  # distances, which answer neither question
TIERS = ("privacy", "utility", "fidelity")
ABOUT = {
    "privacy": "Attacks on the synthetic rows. The diamond is what publishing the training rows themselves would "
    "score: the worst case. The square is what a table without any link between columns scores.",
    "utility": "How well models and answers made from the synthetic rows serve on real ones. The diamond is what real "
    "rows reach, the square what columns drawn independently reach.",
    "fidelity": "Distances between synthetic and real rows. The diamond is what real rows score against other real "
    "rows, the square what columns drawn independently score.",
}


def headline(report: Mapping[str, Any]) -> str:
    """Return the verdict in one word or two."""
    if report["kind"] == "audit":
        return "Passed" if report["passed"] else "Failed"
    return "Passed the gate" if report["passed"] else "Refused"


def summary(report: Mapping[str, Any]) -> str:
    """Return why, in one or two sentences."""
    statuses = [status(check) for check in report["checks"]]
    passed, failed = statuses.count("passed"), sum(check["status"] == "failed" for check in report["checks"])
    out, skipped = statuses.count("left out"), statuses.count("not applicable")
    rest = f"; {skipped} did not apply to this table" if skipped else ""
    rest += f"; {out} did not fit the time that was given" if out else ""
    if report["passed"]:
        which = "was made" if out else "applies"
        said = (f"Every check that {which} held, {passed} in all{rest}.", unjudged(report["checks"]), _claim(report))
        return " ".join(filter(None, said))
    lost = f", {failed} failed" if failed else ""
    counted = f"{passed} of {len(statuses)} checks held{lost}{rest}." if statuses else "No check was made."
    verdict = "Nothing was released" if report["kind"] == "release" else "The synthetic table should not be shared"
    return f"{counted} {verdict}, because:"


def unjudged(checks: Sequence[Mapping[str, Any]]) -> str:
    """Say that nothing judged what ties columns together; empty where something did.

    Columns drawn one by one hold what the other checks of fidelity ask of single columns, and much of pairs.

    >>> unjudged([{"name": "association_spearman_worst", "tier": "fidelity", "status": "passed"}])
    ''
    """
    about = (check for check in checks if check["tier"] == "utility" or is_of(check["name"], ("association",)))
    return "" if any(check["status"] != "not applicable" for check in about) else UNJUDGED


def reasons(report: Mapping[str, Any]) -> list[str]:
    """Return every reason to refuse as a sentence; that of a failed check with its numbers."""
    failed = [f"{check['name']} failed: {check['reason']}" for check in report["checks"] if check["status"] == "failed"]
    others = [reason for reason in report["reasons"] if not reason.endswith(" failed")]
    return [sentence(reason) for reason in others] + failed


def answers(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what people ask of the table, each with the answer, and how many checks stand behind it.

    A question is answered by what was measured: where nothing was, the answer is that nothing was.
    """
    found = [_answer(key, [c for c in report["checks"] if question(c) == key]) for key in QUESTIONS]
    canary = report["canary"]
    if canary is not None and canary["verdict"] != "consistent":
        words = "Yes: the canary audit found more than the budget allows, which is a fault in the synthesizer."
        found[0] |= {"status": "failed", "words": words, "figure": ""}
    said = {"member": promise(report), "secret": promise(report, of_secrets=True)}
    return [answer | {"promise": said.get(answer["key"], "")} for answer in found]


def question(check: Mapping[str, Any]) -> str:
    """Return the key of the question that a check helps to answer; empty for one that only describes."""
    if is_of(check["name"], DESCRIPTIVE):
        return ""
    if check["tier"] != "privacy":
        return str(check["tier"])
    return "secret" if is_of(check["name"], SECRETS) else "member"


def status(check: Mapping[str, Any]) -> str:
    """Return what became of a check: one that a budget of time left no room for did not apply no more than it held.

    >>> status({"status": "not applicable", "left_out": True}), status({"status": "failed", "left_out": True})
    ('left out', 'left out: failed')
    """
    if not check["left_out"]:
        return str(check["status"])
    return "left out: failed" if check["status"] == "failed" else "left out"


def promise(report: Mapping[str, Any], *, of_secrets: bool = False) -> str:
    """Return what holds beyond the attacks that were tried, on who was in the table or on what else is told of them."""
    ledger, canary = report["ledger"], report["canary"]
    if ledger is None:
        return "What other attacks would find is not bounded by anything known here."
    if not ledger["private"]:
        return "There is no privacy budget: nothing bounds what other attacks would find."
    if canary is not None and canary["verdict"] != "consistent":
        return "The budget that is claimed did not hold in the canary audit: it bounds nothing."
    bounded = f"Whatever else is tried, epsilon {number(ledger['spent']['epsilon'])} bounds"
    if of_secrets:
        return f"{bounded} what more can be learnt of people because they are in the table."
    sure = next((said for said in ledger["meaning"] if said.startswith("An attacker")), "")
    return f"{bounded} it. {sure}".rstrip()


def spoken(check: Mapping[str, Any]) -> str:
    """Return a check's drawing as a sentence, for those who hear the page."""
    parts = [f"{check['name']}: {status(check)}"]
    for key, name in (
        ("estimate", "synthetic rows"),
        ("ceiling", "training rows"),
        ("baseline", "independent columns"),
    ):
        if (found := check[key]) is not None:
            written = measured(found)
            parts.append(f"{name} {written['value']}, {written['low']} to {written['high']}")
    return "; ".join([*parts, thresholds(check)])


def threshold(check: Mapping[str, Any], end: str) -> str:
    """Return one threshold in words, such as `at most ceiling + 0.1`."""
    words, value = end.replace("_", " "), check[end]
    if check["counted_from"] == "zero":
        return f"{words} {number(value)}"
    return f"{words} {check['counted_from']} {'−' if value < 0 else '+'} {number(abs(value))}"


def thresholds(check: Mapping[str, Any]) -> str:
    """Return both thresholds of a check in words."""
    return " and ".join(threshold(check, end) for end in ("at_least", "at_most") if check[end] is not None)


def number(value: float | None) -> str:
    """Return a number with three significant digits; null is infinity, the only number JSON could not hold.

    >>> number(0.12345), number(26048.0), number(None), number(1e-6)
    ('0.123', '26,048', '∞', '1e-06')
    """
    if value is None:
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def measured(estimate: Mapping[str, Any]) -> dict[str, str]:
    """Return value, low and high of an estimate with as many decimals as its interval is worth.

    >>> measured({"value": 0.00123, "low": 0.0000492, "high": 0.00182})
    {'value': '0.0012', 'low': '0.0000', 'high': '0.0018'}
    """
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None or low == high:
        return {end: number(estimate[end]) for end in ("value", "low", "high")}
    decimals = min(6, max(0, 1 - math.floor(math.log10(high - low))))
    return {end: f"{round(estimate[end], decimals) + 0.0:,.{decimals}f}" for end in ("value", "low", "high")}


def percent(share: float) -> str:
    """Return a share as a percentage.

    >>> percent(0.1234), percent(0.00004), percent(0)
    ('12.3%', '<0.1%', '0%')
    """
    if share == 0:
        return "0%"
    return "<0.1%" if share < 0.001 else f"{100 * share:.1f}%"


def capital(text: str) -> str:
    """Return text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Return text as a sentence.

    >>> sentence("5000 rows"), sentence("it is so.")
    ('5000 rows.', 'It is so.')
    """
    return capital(text) if text.endswith((".", "!", "?")) else f"{capital(text)}."


def _answer(key: str, checks: list[Mapping[str, Any]]) -> dict[str, str]:
    statuses = [status(check) for check in checks]
    held, skipped, out = (statuses.count(each) for each in ("passed", "not applicable", "left out"))
    asked = len(statuses) - skipped - out
    failed = [check for check in checks if check["status"] == "failed"]
    measured = [check for check in failed if check["estimate"] is not None]
    if measured:
        became, words = "failed", UNSURE if all(map(_within, measured)) else BAD[key]
    elif failed:
        names = ", ".join(check["name"] for check in failed)
        became, words = "not applicable", f"Not measured: {names} could not be. So nobody knows."
    elif held:
        became, words = "passed", GOOD[key]
    else:
        became, words = "not applicable", f"Not measured: {_why_not(key, skipped, out)}."
    count = f"{held} of {asked} check{'s' * (asked != 1)} held" if asked else "no check was made"
    count += f", {skipped} did not apply" if skipped else ""
    count += f", {out} left out for time" if out else ""
    said = {"key": key, "question": QUESTIONS[key], "status": became, "words": words, "count": count}
    return said | {"figure": figure(key, checks)}


def _why_not(key: str, skipped: int, out: int) -> str:
    """Say why no check answers a question."""
    if out:
        return "the checks that ask did not fit the time that was given"
    if skipped:
        return "the checks that ask do not apply to this table"
    return "no check asked; those of the policy thorough do" if key == "secret" else "no check asked"


def _within(check: Mapping[str, Any]) -> bool:
    """Whether the value itself, whatever its interval, keeps the thresholds and what a budget allows."""
    value, low, limits = check["estimate"]["value"], check["estimate"]["low"], check["limits"]
    if value is None or (check["allowed"] is not None and (low is None or low > check["allowed"])):
        return False
    asked = [end for end in ("at_least", "at_most") if check[end] is not None]
    if any(limits[end] is None for end in asked):  # counted from what could not be measured
        return False
    return all(value >= limits[end] if end == "at_least" else value <= limits[end] for end in asked)


def _claim(report: Mapping[str, Any]) -> str:
    ledger = report["ledger"]
    if ledger is None:
        return "This says nothing about how the rows were made."
    return str(ledger["meaning"][0])
