"""What libraries warn of, held back where a budget is kept: that a number overflows is a fact of the rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def quiet(budgeted: bool) -> Iterator[None]:
    """Hold back every warning that is raised inside where there is a budget.

    NumPy warns where a value overflows, and one row is enough for that: a line on the screen tells that it is there,
    which nobody paid for. Where warnings are errors, the fit would even stop for that row.
    """
    if not budgeted:
        yield
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
