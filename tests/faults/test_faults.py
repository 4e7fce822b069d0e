"""Every planted fault is caught by the tool it names, and nobody else is accused."""

import re
from pathlib import Path

import in_measuring
import in_releasing
import in_training
import pytest
from examiners import EXAMINERS
from saboteurs import FAULTS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
MODULES = (in_training, in_measuring, in_releasing)
DEMANDED = 20
TRIES = 3  # of a fault that leaves no trace in some runs; nearly all are caught in the first


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_caught(fault):
    with fault.sabotage():
        found = any(EXAMINERS[fault.caught_by](seed) for seed in range(TRIES))
    assert found, f"{fault.caught_by} found nothing"


@pytest.mark.parametrize("name", EXAMINERS)
def test_a_clean_run_is_not_accused(name):
    assert not EXAMINERS[name](1)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_saboteur_cleans_up_and_says_what_it_does(fault):
    before = [{name: vars(module)[name] for name in vars(module)} for module in MODULES]
    with fault.sabotage():
        pass
    assert before == [{name: vars(module)[name] for name in vars(module)} for module in MODULES]
    assert fault.mistake.endswith((".", ")"))
    assert fault.caught_by in EXAMINERS


def test_there_are_enough_of_them():
    assert len(FAULTS) >= DEMANDED


def test_the_page_lists_them_all_and_what_caught_them():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| (\d+) of 20 \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    listed = {name: (mistake, examiner, int(count)) for name, mistake, examiner, count in rows}
    assert set(listed) == set(FAULTS)
    for name, (mistake, examiner, count) in listed.items():
        assert (mistake, examiner) == (FAULTS[name].mistake, FAULTS[name].caught_by)
        assert count >= 18, f"{name} was caught in {count} of 20"
