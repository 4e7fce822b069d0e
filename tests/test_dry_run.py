"""The dry run: a table too small for its policy is refused before it is paid for, and no other is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tabsynth.datasets import clinic_visits
from tabsynth.dry_run import ENOUGH, refuse_too_few, refused
from tabsynth.errors import InputError
from tabsynth.metrics.attribute import AttributeInference
from tabsynth.metrics.membership import MembershipAUC
from tabsynth.metrics.replay import UniqueReplay
from tabsynth.policy import Check, default_policy, read_policy
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.synthesizers.independent import Independent
from tabsynth.walk import release_table


@pytest.mark.parametrize(("policy", "rows"), [("default", 2000), ("default", 5000), ("small", 300)])
def test_tables_that_could_pass_are_let_through(policy: str, rows: int) -> None:
    refuse_too_few(read_policy(policy), rows, 0.2)


def test_too_few_rows_are_refused_with_what_would_do() -> None:
    with pytest.raises(InputError, match=r"1,000 rows.*too few.*unique_replay.*Nothing was charged") as caught:
        refuse_too_few(default_policy(), 1000, 0.2)
    (enough,) = re.findall(r"Some ([\d,]+) rows would do", str(caught.value))
    assert not refused(
        [check for check in default_policy() if check.metric.tier == "privacy"],
        int(enough.replace(",", "")),
        0.2,
        seeds=1,
    )


def test_a_policy_is_advised_only_where_it_would_do() -> None:
    with pytest.raises(InputError, match="such as small"):
        refuse_too_few(default_policy(), 1000, 0.2)
    for policy in ("small", "default"):
        with pytest.raises(InputError, match="too few") as caught:
            refuse_too_few(read_policy(policy), 40, 0.2)
        assert "such as small" not in str(caught.value)


def test_a_holdout_of_nobody_is_too_small() -> None:
    with pytest.raises(InputError, match=r"0\.001 are kept for the holdout.*A larger holdout would do"):
        refuse_too_few((Check(MembershipAUC(), at_most=0.65),), 4000, 0.001)


def test_what_has_nothing_to_do_with_size_is_left_to_the_gate() -> None:
    elsewhere = Check(AttributeInference(columns=("salary",)), at_most=0.3)  # visits have no such column
    never = Check(UniqueReplay(), at_most=-0.5)
    refuse_too_few((elsewhere,), 300, 0.2)
    refuse_too_few((never,), 300, 0.2)
    refuse_too_few((), 300, 0.2)
    refuse_too_few(default_policy(), ENOUGH, 0.2)


def test_a_release_says_so_before_it_charges(tmp_path: Path) -> None:
    visits, opened = clinic_visits(rows=600, seed=0), []

    def ledger() -> Ledger:
        opened.append(Ledger(Budget(3.0, 1e-6)))
        return opened[-1]

    with pytest.raises(InputError, match=r"600 rows.*are too few"):
        release_table(
            pd.DataFrame(visits.frame),
            Independent(),
            ledger,
            tmp_path / "out",
            budgeted=True,
            schema=replace(visits.schema, rows=600),
        )
    assert not opened
    assert not list(tmp_path.iterdir())
