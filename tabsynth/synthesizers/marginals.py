"""`marginals`: select, measure, estimate, sample. Noisy low-order marginals and the graphical model that fits them.

After MST and AIM (McKenna, Miklau and Sheldon, arXiv 2108.04978 and 2201.12677), with three changes: the declared
target takes part in what is measured, since its name is public; columns are measured together at the coarseness that
pays for its noise; and several marginals are chosen between two estimates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tabsynth import _check
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.graphical.coarsening import codes_of
from tabsynth.graphical.descent import Estimate
from tabsynth.graphical.elimination import conditionals
from tabsynth.graphical.zeros import structure_of
from tabsynth.privacy.discovery import Discovery, discover
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.marginals import Marginal, measure, one_way
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Progress, Sampler, silent
from tabsynth.synthesizers.marginals_limits import refuse_oversized
from tabsynth.synthesizers.marginals_sampler import Graphical, MarginalsSampler
from tabsynth.synthesizers.marginals_study import Query, Study, Taste, with_target
from tabsynth.synthesizers.marginals_wide import PART, alike, wide_columns
from tabsynth.table import Table

BIN_CLEAR = 6.0  # rows of an even bin, in standard deviations of the noise of a one-way count
CODE_CLEAR = 20.0  # rows of an even code, in those of a count beside the target
LEAST_BINS, LEAST_CODES = 32, 3


@dataclass(frozen=True, slots=True)
class Marginals:
    """Settings of the graphical model.

    Numbers are cut into about `bins` bins at most; columns are modelled in about `codes[0]` codes at most and measured
    together at any of the `codes`, fewer where noise is large for the number of rows. The budget goes to `discovery`,
    to `one_way` counts, to every column beside the `target`, to `selection`, to a `forest` of pairs, and the rest to
    `pairs` further pairs in `rounds` rounds, the model estimated anew before each. An estimate takes `steps` of descent
    between rounds and `iterations` at the end. `cells` bounds every table of the model, and so its memory.

    Raises InputError naming the setting that is out of range.
    """

    bins: int = 256
    codes: tuple[int, ...] = (24, 10, 5)
    discovery: float = 0.1
    one_way: float = 0.08
    target: float = 0.25
    selection: float = 0.06
    forest: float = 0.22
    pairs: int = 15
    rounds: int = 3
    target_bonus: float = 1.5
    steps: int = 200
    iterations: int = 1000
    cells: int = 20_000

    name: ClassVar[str] = "marginals"
    sampler: ClassVar[type[Sampler]] = MarginalsSampler

    def __post_init__(self) -> None:
        """Check every setting before a row is read."""
        shares = ("discovery", "one_way", "target", "selection", "forest")
        _check.settings(self, _check.positive, *shares, "target_bonus")
        _check.settings(self, _check.at_least, "bins", "rounds", "steps", "iterations", "cells", low=1)
        _check.at_least("pairs", self.pairs, 0)
        for codes in self.codes:
            _check.at_least("codes", codes, 1)
        if not self.codes or list(self.codes) != sorted(set(self.codes), reverse=True):
            raise InputError(f"codes must be numbers in falling order; got {self.codes!r}.")
        if sum(getattr(self, name) for name in shares) >= 1:
            raise InputError(f"{', '.join(shares)} must sum to less than 1, for the pairs take the rest.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Measure and estimate; see `Synthesizer.fit`.

        Raises ModelError, before anything is charged, when noise would drown the declared number of rows, a table of
        the model would pass its cap, or the columns are more than memory holds.
        """
        refuse_hopeless(table.schema, ledger, self.one_way, self.discovery)
        self.require_room(table.schema, ledger)
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins_of(table.schema, ledger))
        tokens = Encoder(known.schema).tokens(table.private)
        model = self.learn(known, tokens, ledger, secret, progress)
        return MarginalsSampler(known.schema, model.chain, model.within, model.keeps)

    def require_room(self, schema: Schema, ledger: Ledger, share: float | None = None) -> None:
        """Raise ModelError when a table of the model would pass its cap, or the columns are more than memory holds.

        `share` of the budget as in `learn`: with less of it there are fewer codes.
        """
        own = self if share is None else self._scaled(share)
        refuse_oversized(schema.modelled, schema.target, own._codes(schema, ledger)[0], self.cells)

    def learn(
        self,
        known: Discovery,
        private: NDArray[np.integer[Any]],
        ledger: Ledger,
        secret: Secret,
        progress: Progress = silent,
        *,
        share: float | None = None,
    ) -> Graphical:
        """Return the model of private tokens (n, columns), as a completed schema's encoder has them.

        `share` of the budget pays for it, split as the settings say; None: all that is left, and the ledger is closed.
        """
        own = self if share is None else self._scaled(share)
        encoder, unit = Encoder(known.schema), known.schema.unit.rows
        measured = partial(one_way, share=own.one_way, rows_per_unit=unit, ledger=ledger, secret=secret)
        ones = measured(private, encoder.sizes, encoder.names)
        place = encoder.target
        most = own._codes(known.schema, ledger)
        told = own._told(known, private, ones, place, most[0], ledger=ledger, secret=secret)
        settled = {pair.attributes[0]: alike(ones[pair.attributes[0]], pair, most[0]) for pair in told}
        codes = codes_of(known.schema.modelled, ones, most, settled)
        beside = [query.columns for query in with_target(len(ones), place)]
        alone = {encoder.pair(name): far.alone for name, far in encoder.distances.items()}
        held = structure_of(known.schema.constraints, encoder.codecs, codes, beside, self.cells, alone=alone)
        codes = held.codes
        study = Study(
            codes.apply(private), codes, encoder.names, known.rows, unit, ledger, secret, held.zeros, held.links
        )
        whole = 1 - self.discovery if share is None else share
        study.add_one_way(ones)
        for pair in told:
            study.add_beside(pair)
        model = own._learn(study, ones, place, progress, whole, closes=share is None)
        progress(self.rounds + 2, self.rounds + 2, {})
        within = tuple(codes.within(column, one.probabilities()) for column, one in enumerate(ones))
        return Graphical(tuple(conditionals(model.factors, codes.sizes)), codes, within, held.keeps)

    def _scaled(self, share: float) -> Self:
        """Return the settings whose shares after `discovery` sum to `share` in the same proportions."""
        part = share / (1 - self.discovery)
        return replace(
            self,
            one_way=self.one_way * part,
            target=self.target * part,
            selection=self.selection * part,
            forest=self.forest * part,
        )

    def _told(
        self,
        known: Discovery,
        private: NDArray[np.integer[Any]],
        ones: Sequence[Marginal],
        target: int | None,
        most: int,
        *,
        ledger: Ledger,
        secret: Secret,
    ) -> list[Marginal]:
        """Measure the tokens of every wide column beside the target's, for a part of what pays for all columns'."""
        if target is None:
            return []
        unit = known.schema.unit.rows

        def sigma(count: int) -> float:
            return ledger.sigma(self.target * PART / count)

        wide = wide_columns(known.schema, ones, target, most, lambda count: sigma(count) * unit)
        names, sizes = [column.name for column in known.schema.modelled], [len(one.counts) for one in ones]
        return [
            measure(
                private,
                sizes,
                (place, target),
                sigma=sigma(len(wide)),
                rows_per_unit=unit,
                names=(names[place], names[target]),
                ledger=ledger,
                secret=secret,
            )
            for place in wide
        ]

    def bins_of(self, schema: Schema, ledger: Ledger) -> int:
        """Return into how many bins to cut a number, so that most of them stand out of their noise."""
        return int(min(max(_clear_cells(schema, ledger, self.one_way, BIN_CLEAR), LEAST_BINS), self.bins))

    def _codes(self, schema: Schema, ledger: Ledger) -> tuple[int, ...]:
        """Return the codes at every level, fewer where counts beside the target would be lost in their noise."""
        ratio = min(1.0, _clear_cells(schema, ledger, self.target, CODE_CLEAR) / max(self.codes))
        return tuple(max(LEAST_CODES, round(codes * ratio)) for codes in self.codes)

    def _learn(
        self,
        study: Study,
        ones: Sequence[Marginal],
        target: int | None,
        progress: Progress,
        whole: float,
        *,
        closes: bool,
    ) -> Estimate:
        """Measure, round by round, what the model misses most, and return the model of it all.

        `whole` is the share of the budget for it; with `closes` the last round takes what is left, to the last bit.
        """
        columns = len(ones)
        links = columns - 1 - (target is not None)  # of a tree over all columns but the target
        told, beside = list(study.taken), study.beside(target)
        study.measure(beside, self.target * (1 - PART) if told else self.target)
        taste = Taste(target, self.target_bonus, self.cells)
        choose = partial(study.choose, epsilon=self._epsilon(study, links), taste=taste)
        rest = whole - self.one_way - self.target - self.selection - self.forest
        plan = [(links, self.forest), *[(self.pairs // self.rounds, rest / self.rounds)] * self.rounds]
        chosen: list[Query] = []
        model = None
        for step, (picks, share) in enumerate(plan if links > 0 else []):
            progress(step, len(plan) + 1, {"epsilon": study.ledger.spent.epsilon})
            study.measure(chosen, plan[step - 1][1])
            model = study.estimate(self.steps, model)
            chosen = choose(model.factors, picks, share=share, forest=step == 0)
        last = chosen or beside or told or [Query((column,)) for column in range(columns)]
        if closes:
            study.measure_for_the_rest(last)
        else:
            study.measure(last, plan[-1][1])
        return study.estimate(self.iterations, model)

    def _epsilon(self, study: Study, links: int) -> float:
        """Return what one choice may cost: together they are worth `selection` of the budget."""
        sigma = study.ledger.sigma(self.selection / (links + self.pairs))
        return 1 / sigma if sigma else math.inf


def _clear_cells(schema: Schema, ledger: Ledger, share: float, clear: float) -> float:
    """Return into how many even cells a column can be cut before they hold fewer than `clear` deviations of noise.

    The noise is that of counts of every column for `share` of the budget; infinite where there is none, or the number
    of rows is not declared.
    """
    noise = ledger.sigma(share / len(schema.modelled)) * schema.unit.rows
    return math.inf if schema.rows is None or noise == 0 else schema.rows / (clear * noise)
