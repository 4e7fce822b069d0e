"""What checks ask, in words: every built-in metric has them, and the numbers on the first screen are the right ones."""

from importlib.metadata import distribution

import pytest
from verdicts import judged

from tabsynth.report.contents import check_entry
from tabsynth.report.glossary import ASKS, asks, figure


def test_every_metric_has_a_line_of_its_own_and_no_other_has():
    points = distribution("tabsynth").entry_points
    built_in = {point.name for point in points.select(group="tabsynth.metrics")}
    assert set(ASKS) == built_in
    assert len(set(ASKS.values())) == len(ASKS)
    assert all(text.endswith(("?", ".")) for text in ASKS.values())


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("membership_auc_all_exposed", "membership_auc"),
        ("tstr_ratio", "tstr_ratio"),  # not `tstr` with a setting
        ("tstr_f1", "tstr"),
        ("missing_worst", "missing"),
    ],
)
def test_a_check_with_settings_asks_what_its_metric_asks(name, metric):
    assert asks(name) == ASKS[metric]


def entry(name, tier, status, value):
    return check_entry(judged(name, tier, status, value, at_most=1.0))


def test_the_number_that_is_quoted_is_that_of_the_failed_check():
    auc = entry("membership_auc", "privacy", "passed", 0.514)
    assert figure("member", [auc]).startswith("Shown a row that was in it and one that was not")
    assert "51.4% of the time, surely no more than 54.4%" in figure("member", [auc])
    caught = entry("membership_tpr", "privacy", "failed", 0.2)
    assert "finds 20.0% of the training rows, surely no more than 23.0%" in figure("member", [auc, caught])
    assert figure("member", [entry("membership_auc", "privacy", "failed", None)]) == ""


def test_what_real_rows_score_stands_beside_what_synthetic_ones_do():
    far = entry("tvd2", "fidelity", "passed", 0.1)
    assert figure("fidelity", [far]) == (
        "For a pair of columns to look real, 10.0% of the rows would have to change, on average; "
        "of other real rows, 5.0%."
    )
    assert figure("fidelity", [far | {"ceiling": None}]).endswith("on average.")
    ratio = entry("tstr_ratio", "utility", "passed", 0.84)
    assert figure("utility", [ratio]).endswith("keep 84% of the skill that real rows teach, at the least 82%.")
    learnt = entry("attribute_inference", "privacy", "passed", 0.004)
    assert "guessed right +0.4% more often" in figure("secret", [learnt])
