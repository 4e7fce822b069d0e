import math

import numpy as np
import pytest

from tabsynth.errors import InputError
from tabsynth.privacy.budget import Budget, Spent, delta_warning


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, "1", None, True])
def test_an_epsilon_out_of_range_is_named_with_what_came(epsilon):
    with pytest.raises(InputError, match=f"epsilon.*{epsilon!r}" if epsilon else "epsilon"):
        Budget(epsilon, 1e-6)


@pytest.mark.parametrize("delta", [-1e-9, 1, 2.0, math.nan, math.inf, "0", None])
def test_a_delta_out_of_range_is_named_with_what_came(delta):
    with pytest.raises(InputError, match=f"delta.*{delta!r}"):
        Budget(1.0, delta)


def test_numbers_become_plain_floats():
    budget = Budget(np.float32(2), 0)
    assert type(budget.epsilon) is type(budget.delta) is float
    assert budget == Budget(2.0, 0.0)


def test_an_infinite_epsilon_is_allowed_and_not_private():
    assert not Budget(math.inf, 0.0).private
    assert Budget(1e6, 0.0).private


def test_spent_may_be_nothing_but_not_negative():
    assert Spent(0.0, 0.0).epsilon == 0
    with pytest.raises(InputError, match="spent"):
        Spent(-0.1, 0.0)


def test_the_warning_comes_exactly_above_one_over_rows():
    assert delta_warning(Budget(1.0, 1e-3), 1000) is None
    assert "1/rows" in (delta_warning(Budget(1.0, 1.1e-3), 1000) or "")
    assert delta_warning(Budget(1.0, 0.5), None) is None
