"""What each metric asks, in words for people who never heard its name, and what its number means where one is quoted.

A plug-in's metric has no line here: its check stands under its name alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

ASKS = {
    "alpha_precision": "Do synthetic rows spread over the regions of real rows, the dense and the thin ones?",
    "association": "Do pairs of columns go together as strongly as in real rows?",
    "attribute_inference": "Can a secret of a person in the table be guessed better than that of anyone else?",
    "beta_recall": "Are the regions of real rows covered, the thin ones too?",
    "broken_constraints": "How many synthetic rows break a rule of the schema?",
    "broken_dependencies": "Where one column settles another, how many synthetic rows break that?",
    "c2st": "How well does a classifier tell synthetic rows from real ones? 0.5 is guessing.",
    "calendar": "Do weekdays, hours and months come as often as in real rows?",
    "coverage": "How much of the real table lies near a synthetic row? Little where kinds of rows were lost.",
    "dcr": "How far is a synthetic row from the closest training row? A description; it proves no privacy.",
    "density": "Do synthetic rows crowd where real rows are dense?",
    "duplicates": "How many more rows repeat than among real rows?",
    "exact_match": "Do training rows stand in the synthetic table more often than rows that it never saw?",
    "importance_agreement": "Do models of synthetic rows rely on the same columns as models of real ones?",
    "inference": "Can a value of a training row be deduced from all others better than that of any other row?",
    "jensen_shannon": "How far apart are single columns?",
    "ks": "How far apart are single columns of numbers and dates?",
    "linkability": "Can two halves of a training row be put together more often than those of any other row?",
    "membership_advantage": "How much better than guessing does an attack tell who was in the training table?",
    "membership_auc": "How well does an attack tell who was in the training table? 0.5 is guessing.",
    "membership_tpr": "How many training rows does an attack find when it accuses hardly anyone wrongly?",
    "missing": "Are as many values missing as in real rows?",
    "nndr": "Is a synthetic row much closer to one training row than to the next? A description; it proves no privacy.",
    "out_of_domain": "How many synthetic rows hold a value that cannot be?",
    "query_error": "How far off are counts that are asked of the synthetic table, as a share of its rows?",
    "rare_categories": "Are rare categories still there, as often as in real rows?",
    "rare_pairs": "Are rare combinations still there, as often as in real rows?",
    "shadow_advantage": "How much better than guessing does an attack tell who was in, that knows the synthesizer?",
    "shadow_auc": "How well does an attack tell who was in, that knows the synthesizer? 0.5 is guessing.",
    "shadow_tpr": "How many training rows does an attack find, that knows the synthesizer and hardly errs?",
    "singling_out": "Can a description be made that fits one training row alone, more often than for other rows?",
    "subgroup_gap": "Do models of synthetic rows treat groups of people as models of real rows do?",
    "text_replay": "Do words that only one training row has stand in the synthetic table?",
    "text_shape": "Do free texts have the length, the letters and the words of real ones?",
    "train_on_both": "What is a model worth that learned from real and synthetic rows together?",
    "trtr": "What is a model worth that learned from real rows?",
    "trts": "Do synthetic rows obey what a model learned from real ones?",
    "tstr": "What is a model worth on real rows that learned from synthetic ones?",
    "tstr_ratio": "How much of the skill that real rows teach a model do synthetic ones teach? 1 is all of it.",
    "tvd1": "How far apart are single columns? The share of rows that would have to change.",
    "tvd2": "How far apart are pairs of columns? The share of rows that would have to change.",
    "tvd3": "How far apart are triples of columns? The share of rows that would have to change.",
    "unique_replay": "Do training rows that describe one person alone stand in the synthetic table?",
    "wasserstein": "How far would numbers and dates have to move, as a share of their range?",
}
GUESSED = (
    "Secrets of people in the table are guessed right {value:+.1%} more often than those of others, surely no more "
    "than {high:+.1%}."
)
TOLD = (
    "Shown a row that was in it and one that was not, the strongest attack picks the right one {value:.1%} of the "
    "time, surely no more than {high:.1%}; guessing is right 50% of the time."
)
FOUND = (
    "Accusing few wrongly, the strongest attack finds {value:.1%} of the training rows, surely no more than {high:.1%}."
)
APART = "For {of} to look real, {{value:.1%}} of the rows would have to change, on average{{beside}}."
FIGURES = {
    "member": {"shadow_auc": TOLD, "membership_auc": TOLD, "shadow_tpr": FOUND, "membership_tpr": FOUND},
    "secret": {"attribute_inference": GUESSED, "inference": GUESSED},
    "utility": {
        "tstr_ratio": "Models that learn from it keep {value:.0%} of the skill that real rows teach, "
        "at the least {low:.0%}.",
        "query_error": "Counts that are asked of it are off by {value:.1%} of the rows on average, "
        "surely no more than {high:.1%}.",
    },
    "fidelity": {
        "tvd2": APART.format(of="a pair of columns"),
        "tvd1": APART.format(of="a column"),
    },
}


def is_of(name: str, metrics: Sequence[str]) -> bool:
    """Whether a check is of one of the metrics: settings that change what is asked stand behind the metric's name.

    >>> is_of("membership_auc_all_exposed", ("membership_auc",)), is_of("inferences", ("inference",))
    (True, False)
    """
    return any(name == metric or name.startswith(f"{metric}_") for metric in metrics)


def asks(name: str) -> str:
    """Return what a check asks, by its name; empty where that is not known.

    >>> asks("missing_worst"), asks("a plug-in")
    ('Are as many values missing as in real rows?', '')
    """
    known = [metric for metric in ASKS if is_of(name, (metric,))]
    return ASKS[max(known, key=len)] if known else ""


def figure(key: str, checks: Sequence[Mapping[str, Any]]) -> str:
    """Return the number that says most about a question, in a sentence; that of a failed check before any other.

    >>> auc = {"name": "membership_auc", "status": "passed", "estimate": {"value": 0.514, "low": 0.49, "high": 0.535}}
    >>> figure("member", [auc])[-80:]
    '51.4% of the time, surely no more than 53.5%; guessing is right 50% of the time.'
    """
    known = [
        (check["status"] != "failed", place, text, check)
        for place, (metric, text) in enumerate(FIGURES[key].items())
        for check in checks
        if is_of(check["name"], (metric,)) and complete(check["estimate"])
    ]
    if not known:
        return ""
    _, _, text, check = min(known, key=lambda each: each[:2])
    ends = {end: check["estimate"][end] for end in ("value", "low", "high")}
    ceiling = check.get("ceiling") or {"value": None}
    beside = "" if ceiling["value"] is None else f"; of other real rows, {ceiling['value']:.1%}"
    return str(text.format(**ends, beside=beside))


def complete(estimate: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether there is an estimate with a value and two finite ends."""
    return estimate is not None and None not in (estimate["value"], estimate["low"], estimate["high"])
