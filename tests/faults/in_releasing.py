"""Mistakes in what is kept, saved, sampled and published."""

from __future__ import annotations

import numpy as np
import pandas as pd
from saboteurs import caught_by, swapped

from tabsynth import fitting
from tabsynth.charging import distances
from tabsynth.encoding.encoder import Encoder
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.reserve import Reserve
from tabsynth.release import write
from tabsynth.synthesizers.independent import Independent, IndependentSampler


class Keeping(IndependentSampler):
    """An independent sampler with something more: values and arrays that it saves, rows that it looks at."""

    values: dict = {}  # noqa: RUF012 -- set on each
    arrays: dict = {}  # noqa: RUF012
    private: pd.DataFrame | None = None

    def state(self):
        """Return the state, and what was kept beside it."""
        values, arrays = super().state()
        return {**values, **self.values}, {**arrays, **self.arrays}


def kept(change, kind=Keeping):
    """Return a context manager in which `independent` returns a `kind` that `change(sampler, table)` has seen."""
    fit = Independent.fit

    def and_keep(self, table, *arguments, **named):
        fitted = fit(self, table, *arguments, **named)
        sampler = kind(fitted.schema, fitted._distributions)
        change(sampler, table)
        return sampler

    return swapped(Independent, "fit", and_keep)


@caught_by("scan")
def training_rows_in_the_saved_model():
    """The model file holds every training row, encoded: a data sampler that is pickled with the generator."""

    def tokens(sampler, table):
        sampler.arrays = {"cache": Encoder(sampler.schema).encode(table.private).tokens}

    with kept(tokens):
        yield


@caught_by("scan")
def shuffled_column_in_the_saved_model():
    """One column's values are saved, in another order: an empirical distribution kept for the inverse transform."""

    def shuffled(sampler, table):
        sampler.arrays = {"quantiles": np.sort(table.private["cost"].dropna().to_numpy()).astype(np.float32)}

    with kept(shuffled):
        yield


@caught_by("replay, independent")
def missing_values_filled_with_a_real_value():
    """Missing numbers are filled with a real row's value, which the model keeps."""

    class Filling(Keeping):
        def draw(self, rows, rng):
            drawn = super().draw(rows, rng)
            return drawn.assign(cost=drawn["cost"].fillna(self.values["fill"]))

    def first(sampler, table):
        sampler.values = {"fill": float(table.private["cost"].dropna().max())}

    with kept(first, Filling):
        yield


@caught_by("suite")
def sampling_touches_the_table_again():
    """Sampling looks at the rows: each synthetic row starts from a training row."""

    class Peeking(Keeping):
        def draw(self, rows, rng):
            drawn = super().draw(rows, rng)
            drawn.iloc[0] = self.private.iloc[0]
            return drawn

    def rows(sampler, table):
        sampler.private = table.private

    with kept(rows, Peeking):
        yield


@caught_by("replay, independent")
def rows_equal_to_training_rows_dropped():
    """Synthetic rows that equal a training row are replaced: a filter for privacy that answers who was in the table."""

    class Filtering(Keeping):
        def draw(self, rows, rng):
            drawn = super().draw(rows, rng)
            real, same = ([(row.city, row.cost // 2) for row in each.itertuples()] for each in (self.private, drawn))
            return drawn.assign(cost=drawn["cost"].mask([row in set(real) for row in same]))

    def rows(sampler, table):
        sampler.private = table.private.copy()

    with kept(rows, Filtering):
        yield


@caught_by("gate")
def noise_from_a_fixed_seed():
    """A seed that was given for repeatable results seeds the noise as well."""
    with swapped(fitting, "make_secret", lambda budget, seed: Secret.fixed(seed or 0)):
        yield


@caught_by("gate")
def gate_number_published_outside():
    """The figures of the gate stand beside the released rows: similarity scores in a card (ReconSyn)."""
    provenance = write.provenance

    def with_figures(schema, synthesizer, ledger, verdicts, **named):
        account = provenance(schema, synthesizer, ledger, verdicts, **named)
        account["gate"]["scores"] = {verdict.name: verdict.estimate.value for verdict in verdicts if verdict.estimate}
        return account

    with swapped(write, "provenance", with_figures):
        yield


@caught_by("gate")
def refusal_that_lets_out():
    """The gate says no and the rows are written all the same: a warning where an error should be."""
    with swapped(write, "refusals", lambda verdicts, ledger, **named: ()):
        yield


@caught_by("count of tries")
def tries_not_counted():
    """Whoever is refused tries again, and each try is the first: seeds drawn until the scores are good."""
    with swapped(Ledger, "attempt", lambda self: 1):
        yield


@caught_by("replay of the gate")
def size_of_the_holdout_for_free():
    """A gate that pays for its distances divides them by the true number of rows."""
    take = Reserve.take

    def taking(self, why, count):
        noisy, scale = take(self, why, count)
        return (count().astype(float) if "rows of" in why else noisy), scale

    with swapped(Reserve, "take", taking):
        yield


@caught_by("replay of the gate")
def targets_that_follow_the_true_count():
    """A distance of shares is charged as one of counts: a row moves the counts and what they are compared with."""
    summed_gap = distances.summed_gap
    with swapped(distances, "summed_gap", lambda rows, real, size: summed_gap(rows, real, len(real))):
        yield
