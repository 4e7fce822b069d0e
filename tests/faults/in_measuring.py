"""Mistakes in what is learned of the table: counts, domains, selections, charges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from saboteurs import caught_by, swapped

from tabsynth.conversion import to_axis
from tabsynth.privacy import discovery, marginals, mechanisms
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, count_tokens
from tabsynth.privacy.mechanisms import noisy_histogram
from tabsynth.synthesizers import ctgan, independent, measuring
from tabsynth.synthesizers.independent import Independent


def prepared(change):
    """Return a context manager in which `independent` fits `change(table)` in the place of its table."""
    fit = Independent.fit

    def fitting(self, table, *arguments, **named):
        return fit(self, change(table), *arguments, **named)

    return swapped(Independent, "fit", fitting)


def redeclared(table, change):
    """Return the table with every modelled column replaced by `change(column, its values)`."""
    columns = [change(column, table.private[column.name]) for column in table.schema.modelled]
    return replace(table, schema=table.schema.with_columns(*columns))


@caught_by("audit of mechanisms")
def noise_left_out_of_counts():
    """Counts are released as they are: a mechanism behind a flag that a caller forgets."""
    with swapped(mechanisms, "_discrete_gaussian", lambda counts, scale, secret: np.asarray(counts, np.int64)):
        yield


@caught_by("audit of mechanisms")
def counts_with_noise_at_half_scale():
    """Counts get noise for replaced rows charged as for added ones, or a variance in the place of a deviation."""
    noisy = mechanisms._discrete_gaussian
    with swapped(mechanisms, "_discrete_gaussian", lambda counts, scale, secret: noisy(counts, scale / 2, secret)):
        yield


@caught_by("audit of mechanisms")
def selection_without_noise():
    """The best candidate is selected, not a noisy one: an exponential mechanism whose weights underflow."""
    with swapped(mechanisms, "_selected", lambda scores, *others: int(np.argmax(scores))):
        yield


@caught_by("audit of mechanisms")
def rare_categories_kept():
    """Categories of one person are kept, with delta 0: a threshold at zero, or none (5 to 13 of 20 unique values)."""
    with swapped(mechanisms, "category_threshold", lambda *arguments: 0):
        yield


@caught_by("scan")
def rare_categories_in_the_model():
    """The same, looked for in what was saved."""
    with swapped(mechanisms, "category_threshold", lambda *arguments: 0):
        yield


@caught_by("replay, independent")
def categories_learned_for_free():
    """The categories are those that occur: `LabelEncoder().fit(rows)`."""

    def observed(self, column):
        return tuple(sorted(map(str, self.table.private[column.name].dropna().unique())))

    with swapped(discovery._Measure, "_categories", observed):
        yield


@caught_by("replay, independent")
def exact_minimum_and_maximum():
    """Bounds are the smallest and largest value: `MinMaxScaler().fit(rows)`."""

    def extremes(self, column):
        axis = to_axis(self.table.private[column.name], column)
        return float(np.nanmin(axis)), float(np.nanmax(axis))

    with swapped(discovery._Measure, "_bounds", extremes):
        yield


@caught_by("replay, independent")
def scaled_by_minimum_and_maximum():
    """Values are stretched to their declared bounds before they are counted: one row moves every other one."""

    def stretched(table):
        (column,) = [column for column in table.schema.modelled if column.kind == "float"]
        axis, (low, high) = to_axis(table.private[column.name], column), column.bounds
        least, most = np.nanmin(axis), np.nanmax(axis)
        axis = low + (axis - least) / max(most - least, 1e-9) * (high - low)
        return replace(table, private=table.private.assign(**{column.name: axis}))

    with prepared(stretched):
        yield


@caught_by("replay, independent")
def constant_columns_detected_for_free():
    """A column of one value is stored and not measured: the constant detector that runs before any budget."""

    def constants(column, values):
        found = values.dropna().unique()
        if column.kind != "categorical" or len(found) > 1:
            return column
        return replace(column, categories=tuple(map(str, found)), nullable=False)

    with prepared(lambda table: redeclared(table, constants)):
        yield


@caught_by("replay, independent")
def missing_flag_for_free():
    """Missing values are modelled where there are any: `if rows[column].isna().any()`."""
    with prepared(lambda table: redeclared(table, lambda column, x: replace(column, nullable=bool(x.isna().any())))):
        yield


@caught_by("replay, independent")
def row_count_for_free():
    """The true number of rows is taken for a public one."""
    with prepared(lambda table: replace(table, schema=replace(table.schema, rows=len(table.private)))):
        yield


@caught_by("replay, CTGAN")
def exact_conditional_frequencies():
    """Conditions are drawn from the exact frequencies of the table: CTGAN's conditional sampler, kept under DP."""
    measure = measuring.measure

    def exact(private, sizes, attributes, **named):
        noisy = measure(private, sizes, attributes, **named)
        if len(attributes) > 1:
            return noisy
        return Marginal(tuple(attributes), count_tokens(private, attributes, noisy.counts.shape).astype(float), 1e-9)

    with swapped(measuring, "measure", exact):
        yield


@caught_by("replay, independent")
def delta_from_the_private_row_count():
    """Delta is one over the true number of rows: a default of n ** -1.5 in several libraries."""
    fit = Independent.fit

    def fitting(self, table, ledger, *arguments):
        ledger._budget = Budget(ledger.budget.epsilon, 1 / len(table.private) ** 1.5)
        return fit(self, table, ledger, *arguments)

    with swapped(Independent, "fit", fitting):
        yield


@caught_by("replay, CTGAN")
def measurement_not_charged():
    """One kind of measurement is not told to the ledger: a helper added later, outside the accountant's sight."""
    charge = mechanisms._charge

    def forgetful(event, *, why, **named):
        if not why.startswith("marginal"):
            charge(event, why=why, **named)

    with swapped(mechanisms, "_charge", forgetful):
        yield


@caught_by("replay, CTGAN")
def charge_after_the_answer():
    """A mechanism runs and is charged afterwards: a budget that is looked at when the epoch is over."""
    charge = mechanisms._charge

    def late(count, **named):
        owed = []
        with swapped(mechanisms, "_charge", lambda event, **others: owed.append((event, others))):
            answer = noisy_histogram(count, **named)
        for event, others in owed:
            charge(event, **others)
        return answer

    with swapped(marginals, "noisy_histogram", late):
        yield


@caught_by("replay, independent")
def one_charge_for_all_columns():
    """All columns are counted in one histogram charged as one: a row is in each of them, and moves as many cells."""
    for_the_rest = marginals.noisy_histograms_for_the_rest

    def at_once(counts, *, weights, **named):
        exact = [count() for count in counts]
        ((together, scale),) = for_the_rest([lambda: np.concatenate(exact)], weights=[1.0], **named)
        return [(part, scale) for part in np.split(together, np.cumsum([len(each) for each in exact])[:-1])]

    with swapped(marginals, "noisy_histograms_for_the_rest", at_once):
        yield


@caught_by("gate")
def budget_overspent():
    """The budget is reckoned per step and never enforced: a model saved at epsilon 2.35 under a cap of 0.5."""
    sigma = Ledger.sigma
    with (
        swapped(Ledger, "sigma", lambda self, share: sigma(self, share) / 2),
        swapped(Ledger, "_fits", lambda self, charge: True),
    ):
        yield


@caught_by("run time")
def contributions_unbounded():
    """A person's rows are counted as so many people: nothing keeps to `rows_per_unit`."""
    with (
        swapped(independent, "bound_contributions", lambda table, secret: table),
        swapped(ctgan, "bound_contributions", lambda table, secret: table),
    ):
        yield
