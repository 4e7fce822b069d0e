"""`simulator`: a function of yours draws the rows; its parameters are fitted to noisy marginals or declared figures.

Domain randomization for tables. The function is called as `function(parameters, rows, rng)`, with a value for each
declared parameter, and returns a frame with the modelled columns; one that names an argument `schema` is given the
schema too. Parameters are searched for without derivatives, and every sample mixes rows of many parameter sets, all
of which fit as well as can be told.

**Code that runs.** The function is called at `fit` and at every `sample`. It is named by an entry point of the group
`tabsynth.simulators` and by nothing else: whoever installs a package that declares one allows it, as with any plug-in.
A saved model holds that name and numbers, no code and no import path. Loading it imports nothing; sampling from it
imports the function which that name stands for on this machine, or says that there is none.

**What is private.** The function never sees the table: it gets parameters, and those follow from what was charged or
declared. It must not read the table by ways of its own; nobody can check that here, so read what you install.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth import _check, registry
from tabsynth.canonical import from_axis
from tabsynth.columns.times import cycle_cells
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError, TableError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.feasibility import refuse_hopeless
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Column, Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.synthesizers.calibration import Figures, Goal, Noisy, Search, calibrate, measured
from tabsynth.table import Table, read

SIMULATORS = "tabsynth.simulators"
DRY_ROWS, DRY_RUNS = 10, 4
LEAST_ROWS = 2  # that a table is read with

Parameters = tuple[tuple[str, float, float], ...]
Statistics = tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, eq=False, slots=True)
class Simulation:
    """An installed function, held to a schema: `declared` is what its rows are checked against."""

    name: str
    names: tuple[str, ...]
    declared: Schema
    _function: list[Callable[..., Any]] = field(default_factory=list)

    def run(self, values: NDArray[np.float64], rows: int, rng: np.random.Generator, schema: Schema) -> pd.DataFrame:
        """Return `rows` canonical rows of the modelled columns.

        Raises InputError when the function is not installed, raises, or returns anything but such rows.
        """
        parameters = dict(zip(self.names, map(float, values), strict=True))
        function = self._loaded()
        asked = max(rows, LEAST_ROWS)
        given = {"schema": schema} if "schema" in inspect.signature(function).parameters else {}
        try:
            frame = function(parameters, asked, rng, **given)
        except Exception as error:  # whatever a stranger's function raises
            raise InputError(f"The simulator {self.name!r} raised {type(error).__name__}: {error}") from error
        return self._checked(frame, asked).iloc[:rows]

    def _loaded(self) -> Callable[..., Any]:
        """Import the function, once."""
        if not self._function:
            found = registry.load(SIMULATORS, self.name)
            if not callable(found):
                raise InputError(f"The simulator {self.name!r} is a {type(found).__name__}, not a function.")
            self._function.append(found)
        return self._function[0]

    def _checked(self, frame: Any, rows: int) -> pd.DataFrame:
        """Return the function's rows in canonical form, or raise InputError saying what is wrong with them."""
        wanted = tuple(column.name for column in self.declared.modelled)
        if not isinstance(frame, pd.DataFrame):
            raise self._wrong(f"a {type(frame).__name__}, not a pandas DataFrame")
        if len(frame) != rows:
            raise self._wrong(f"{len(frame)} rows where {rows} were asked for")
        if sorted(map(str, frame.columns)) != sorted(wanted):
            raise self._wrong(f"the columns {', '.join(map(str, frame.columns))}; expected {', '.join(wanted)}")
        try:
            return read(frame, _modelled(self.declared)).private[list(wanted)]
        except TableError as error:
            raise self._wrong(f"rows that do not fit the schema: {error}") from None

    def _wrong(self, what: str) -> InputError:
        return InputError(f"The simulator {self.name!r} returned {what}.")


class SimulatorSampler(Sampler):
    """Calls the function with parameter sets that fit, and mixes the rows."""

    def __init__(self, schema: Schema, simulation: Simulation, accepted: NDArray[np.float64]):
        self.schema = schema
        self._encoder = Encoder(schema)
        self._simulation = simulation
        self._accepted = accepted  # (sets, parameters)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the function, each set of parameters with about as many; see `Simulation.run` for errors."""
        parts = rng.multinomial(rows, np.full(len(self._accepted), 1 / len(self._accepted)))
        frames = [
            self._simulation.run(values, int(part), child, self.schema)
            for values, part, child in zip(self._accepted, parts, rng.spawn(len(parts)), strict=True)
            if part
        ]
        encoded = [self._encoder.encode(frame) for frame in frames]
        order = rng.permutation(rows)
        tokens = np.concatenate([part.tokens for part in encoded])[order]
        return self._encoder.decode(tokens, rng, np.concatenate([part.offsets for part in encoded])[order])

    def state(self) -> tuple[dict[str, Any], Arrays]:
        """Return the function's name, what was declared, and the parameter sets."""
        declared = self._simulation.declared.to_dict()
        values = {"simulator": self._simulation.name, "names": list(self._simulation.names), "declared": declared}
        return values, {"accepted": self._accepted}

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Return the sampler with these sets; nothing is imported before it samples."""
        names, accepted = tuple(map(str, values["names"])), arrays["accepted"]
        if accepted.ndim != 2 or not len(accepted) or accepted.shape[1] != len(names):
            raise ValueError("the parameter sets are not those of the names")
        return cls(schema, Simulation(str(values["simulator"]), names, Schema.from_dict(values["declared"])), accepted)


@dataclass(frozen=True, slots=True)
class Simulator:
    """Settings of a calibrated simulator.

    `simulator` is the name of an entry point. `parameters` are its parameters with the ranges that they are looked for
    in: {name: (low, high)}, kept as (name, low, high). `statistics` are figures that are known (public, hence free):
    (statistic, column, value) with the statistics `mean`, `deviation`, `missing` (a share) and `share of LEVEL`. With
    them the table is not looked at, unless the schema leaves a domain open. Without, the budget goes to `discovery`,
    to `one_way` counts, and the rest to the counts of all pairs of columns in `codes` codes.

    `particles` parameter sets are tried in each of `rounds` rounds, on `simulated` rows each; of all that fit as well
    as the best one, up to noise, at most `sets` are kept for sampling. All of it follows from `seed`.
    """

    simulator: str = "flat"
    parameters: Parameters = ()
    statistics: Statistics = ()
    bins: int = 16
    codes: int = 4
    discovery: float = 0.2
    one_way: float = 0.4
    particles: int = 40
    rounds: int = 6
    simulated: int = 2000
    sets: int = 20
    seed: int = 0

    name: ClassVar[str] = "simulator"
    sampler: ClassVar[type[Sampler]] = SimulatorSampler

    def __post_init__(self) -> None:
        """Take parameters as a mapping too; refuse settings that cannot be calibrated with."""
        given = self.parameters
        if isinstance(given, Mapping):
            given = tuple((name, *(_pair(name, ends))) for name, ends in given.items())
        object.__setattr__(self, "parameters", tuple((str(n), float(low), float(high)) for n, low, high in given))
        object.__setattr__(self, "statistics", tuple((str(s), str(c), float(v)) for s, c, v in self.statistics))
        for name, low, high in self.parameters:
            if not (np.isfinite(low) and np.isfinite(high) and low <= high):
                raise InputError(f"The range of parameter {name!r} must be two finite numbers, the smaller one first.")
        if len({name for name, _, _ in self.parameters}) < len(self.parameters):
            raise InputError("A parameter has more than one range.")
        _check.settings(self, _check.at_least, "bins", "rounds", "sets", low=1)
        _check.settings(self, _check.at_least, "codes", "simulated", low=2)
        _check.at_least("particles", self.particles, 4)
        _check.at_least("seed", self.seed, 0)
        _check.settings(self, _check.positive, "discovery", "one_way")
        if self.discovery + self.one_way >= 1:
            raise InputError("discovery and one_way must leave a share of the budget for pairs.")

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Run the function dry, measure, and look for parameters; see `Synthesizer.fit`.

        Raises InputError, before anything is charged or a row is read, when the function is not installed, raises, or
        returns something else than rows of this schema (see `Simulation.run`), or when a statistic is none; ModelError
        when noise would drown the declared number of rows and nothing is declared to go by.
        """
        names = tuple(name for name, _, _ in self.parameters)
        simulation = Simulation(self.simulator, names, replace(table.schema, constraints=()))
        self._dry_run(simulation)
        figures = Figures.of(self.statistics, table.schema)
        if not figures.known:
            refuse_hopeless(table.schema, ledger, self.one_way, self.discovery)
        schema, goal = self._goal(table, ledger, secret, figures)
        encoder = Encoder(schema)

        def distance(values: NDArray[np.float64], rng: np.random.Generator) -> float:
            return goal.distance(encoder.encode(simulation.run(values, self.simulated, rng, schema)), self.simulated)

        ranges = np.array([ends for _, *ends in self.parameters]).reshape(-1, 2)
        search = Search(self.particles, self.rounds, self.sets, goal.slack)
        accepted = calibrate(distance, ranges, search, np.random.default_rng(self.seed), progress)
        return SimulatorSampler(schema, simulation, accepted)

    def _dry_run(self, simulation: Simulation) -> None:
        """Run the function on a few rows at both ends of its ranges and between them, at one place twice."""
        ranges = np.array([ends for _, *ends in self.parameters]).reshape(-1, 2)
        shares = np.random.default_rng(self.seed).random((DRY_RUNS, len(ranges)))
        inside = ranges[:, 0] + shares * (ranges[:, 1] - ranges[:, 0])

        def run(values: NDArray[np.float64]) -> pd.DataFrame:
            return simulation.run(values, DRY_ROWS, np.random.default_rng(self.seed), simulation.declared)

        for values in (ranges[:, 0], ranges[:, 1], *inside):
            rows = run(values)
        if not rows.equals(run(values)):
            raise InputError(
                f"The simulator {self.simulator!r} returned other rows for the same parameters and generator; "
                "draw everything from `rng`."
            )

    def _goal(self, table: Table, ledger: Ledger, secret: Secret, figures: Figures) -> tuple[Schema, Goal]:
        """Return the completed schema and what to be near to, measured unless it is declared; close the ledger."""
        if figures.known and not table.schema.undeclared():
            ledger.close()
            schema = table.schema.with_columns(*(_with_bins(column, self.bins) for column in table.schema.modelled))
            return schema, figures.on(Encoder(schema))
        table = bound_contributions(table, secret)
        known = discover(table, ledger, secret, share=self.discovery, bins=self.bins, apart=False)
        if figures.known:
            ledger.close()
            return known.schema, figures.on(Encoder(known.schema))
        encoder = Encoder(known.schema)
        tokens = encoder.encode(table.private).tokens
        paid = Noisy(known.rows, table.schema.unit.rows, ledger, secret)
        return known.schema, measured(tokens, encoder, self.one_way, self.codes, paid)


def flat(parameters: Mapping[str, float], rows: int, rng: np.random.Generator, schema: Schema) -> pd.DataFrame:
    """Return rows that are uniform over every column's domain: the least that a simulator can know.

    Its parameter `missing` (0 unless given) is the share of missing values where a column may have them.
    """
    missing = parameters.get("missing", 0.0)
    series = {}
    for column in schema.modelled:
        gone = (rng.random(rows) < missing) & bool(column.nullable)
        if column.numeric:
            low, high = column.bounds or (0.0, 1.0)
            steps = (high - low) / column.step if column.step else 0.0
            axis = (
                low + column.step * rng.integers(0, round(steps) + 1, rows) if steps else rng.uniform(low, high, rows)
            )
            axis = np.round(axis, 6 if column.digits is None else column.digits).clip(low, high)
            values = (
                from_axis(np.asarray(axis, np.float64), column)
                if column.kind in ("datetime", "duration")
                else pd.Series(axis)
            )
        else:
            levels = column.levels or ("any",)
            values = pd.Series(np.array(levels, dtype=object)[rng.integers(0, len(levels), rows)])
        series[column.name] = values.where(~gone)
    return pd.DataFrame(series)


def _pair(name: str, ends: Any) -> tuple[float, float]:
    """Return a range's two ends."""
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        raise InputError(f"The range of parameter {name!r} must be two numbers; got {ends!r}.")
    return float(ends[0]), float(ends[1])


def _modelled(schema: Schema) -> Schema:
    """Return the schema of the modelled columns alone: nobody simulates identifiers."""
    return Schema(tuple(schema.modelled), missing=schema.missing)


def _with_bins(column: Column, bins: int) -> Column:
    """Return a column of a declared domain with even bins and an even rhythm, if it has none."""
    if column.cycle is not None and column.rhythm is None:
        column = replace(column, rhythm=(1.0,) * cycle_cells(column.cycle, column.step))
    if not column.numeric or column.bins is not None:
        return column
    low, high = column.bounds or (0.0, 0.0)
    top = high + column.step if column.step or high > low else np.nextafter(high, np.inf)
    edges = np.linspace(low, top, bins + 1)
    if column.step:
        edges = np.unique(low + np.round((edges - low) / column.step) * column.step)
    return replace(column, bins=tuple(float(edge) for edge in np.unique(edges)))
