"""A look at values for personal data that is paid for: how many texts of a column have which form, with noise."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tabsynth.pii import FORMS, Finding, form_of
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.mechanisms import noisy_histogram
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import assert_bounded
from tabsynth.schema import Schema
from tabsynth.table import Table

SHARE = 0.01  # of the budget, for all columns together
SURE = 4.0  # times the scale of the noise: what a form has to stand out by


def looked_at(schema: Schema) -> tuple[str, ...]:
    """Name the columns that a look is for: texts whose values nobody declared, and that are not meant to be personal.

    Declared categories are public, and looked at for nothing.
    """
    texts = (c for c in schema.modelled if c.kind in ("categorical", "text") and c.categories is None)
    return tuple(column.name for column in texts if "sensitive" not in column.roles)


def look(table: Table, ledger: Ledger, secret: Secret) -> tuple[Finding, ...]:
    """Return the columns whose values look personal by their form, for SHARE of the ledger's budget.

    Each unit has at most `rows_per_unit` rows. A column whose counts are lost in the noise is not named.

    Formal guarantee: for each column of `looked_at` one `noisy_histogram`, charged before it runs, over cells that are
    public (`pii.FORMS`, any other text); a row falls in one cell. The rest is post-processing.

    Raises BudgetExceeded before a mechanism runs that does not fit.
    """
    assert_bounded(table)
    names, k = looked_at(table.schema), table.schema.unit.rows
    sigma = ledger.sigma(SHARE / max(len(names), 1))
    found = []
    for name in names:
        why = f"personal values of {name!r}"
        count = partial(_count, table, name)
        counts = noisy_histogram(count, sigma=sigma, sensitivity=k, ledger=ledger, secret=secret, why=why)
        found.append(_finding(name, counts, sigma * k))
    return tuple(finding for finding in found if finding is not None)


def _count(table: Table, name: str) -> NDArray[np.int64]:
    """Count the texts of a private column by their form, all others last; missing values are none."""
    counts = np.zeros(len(FORMS) + 1, np.int64)
    for block in table.blocks(name):
        texts = block.astype("category")
        forms = np.array([form_of(str(text)) for text in texts.cat.categories], np.int64)
        often = np.bincount(texts.cat.codes[texts.notna()], minlength=len(forms))
        np.add.at(counts, forms, often)
    return counts


def _finding(name: str, counts: NDArray[np.float64], scale: float) -> Finding | None:
    """Return the form that enough texts have, as far as noisy counts can tell."""
    total = counts.sum()
    for form, often in zip(FORMS, counts, strict=False):
        if often > SURE * scale and often > form.share * total:
            return Finding(name, form.what, form.provider)
    return None
