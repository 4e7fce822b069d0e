"""Bridges: synthesizers of the packages `sdv` and `ctgan`, called by names such as `sdv:ctgan` or `ctgan:tvae`.

Nothing of theirs is here: their classes are imported when a bridge is asked for, and called as their users call them.
None is private in any way, so every budget is refused. Their own saved files are pickles that hold more than a model
(with a GAN, which rows hold which category), so a bridged model is sampled where it was fitted and never saved.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import pandas as pd
import torch

from tabsynth.conversion import from_axis, to_axis
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import BudgetExceeded, InputError, ModelError, SchemaError
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.exact import exact
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.units import bound_contributions
from tabsynth.schema import Schema
from tabsynth.synthesizers.base import Arrays, Progress, Sampler, silent
from tabsynth.table import Table

SDV = {
    "gaussian_copula": "GaussianCopulaSynthesizer",
    "ctgan": "CTGANSynthesizer",
    "tvae": "TVAESynthesizer",
    "copula_gan": "CopulaGANSynthesizer",
}
CTGAN = {"ctgan": "CTGAN", "tvae": "TVAE"}
SPARE = 2  # times as many rows as asked for come from `sdv`, of which some are picked: see `_OfSDV.draw`
UNSAVED = (
    "A model of another package is not saved: its own file is a pickle, which runs code when it is read and may hold "
    "training rows. Release in one go (`tabsynth release`), or sample where it was fitted (`TabularSynthesizer`)."
)


def sdv(model: str) -> type[Bridged]:
    """Return the settings of SDV's synthesizer `model`, as a class; raise InputError naming what there is."""
    return _bridged("sdv", "sdv.single_table", model)


def ctgan(model: str) -> type[Bridged]:
    """Return the settings of the `ctgan` package's synthesizer `model`; raise InputError naming what there is."""
    return _bridged("ctgan", "ctgan", model)


class BridgedSampler(Sampler):
    """A fitted synthesizer of another package, and the domains that its rows are held to."""

    unsaved: ClassVar[str | None] = UNSAVED

    def __init__(self, schema: Schema, foreign: _Foreign):
        self.schema = schema
        self._foreign = foreign

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows of the foreign model; a number outside its bounds becomes the nearest one inside."""
        with _alone(int(rng.integers(2**31))):
            drawn = self._foreign.draw(rows, rng)
        return _canonical(drawn, Encoder(self.schema), rng)

    def state(self) -> NoReturn:
        """Raise ModelError: see the module's first lines."""
        raise ModelError(UNSAVED)

    @classmethod
    def from_state(cls, schema: Schema, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Raise ModelError: no such model was ever saved."""
        raise ModelError(UNSAVED)


@dataclass(frozen=True)
class Bridged:
    """Settings of a foreign synthesizer: its own, by its own names, and the seed of its fit.

    A subclass is made for each of them, with the arguments that its class says it takes.
    """

    name: ClassVar[str]
    sampler: ClassVar[type[Sampler]] = BridgedSampler
    never_private: ClassVar[bool] = True
    foreign: ClassVar[type[_Foreign]]
    kind: ClassVar[type]  # their class

    seed: int = 0

    def fit(self, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Sampler:
        """Fit the foreign synthesizer; see `Synthesizer.fit`. Raises BudgetExceeded under any budget, untouched."""
        if ledger.bounded:
            raise BudgetExceeded(f"{self.name} is not private: no budget covers it. Nothing was run or charged.")
        if coded := [column.name for column in table.schema.modelled if column.codes is not None]:
            raise SchemaError(f"Column {coded[0]!r}: {self.name} cannot handle codes among numbers. Nothing was run.")
        kept = exact(
            lambda: bound_contributions(table, secret), ledger=ledger, why=f"every training row, to {self.name}"
        )
        known = discover(kept, ledger, secret)
        ledger.close()
        with _alone(self.seed), _their_errors(self.name):
            foreign = self.foreign(self.kind, self._changed(), _foreign_frame(kept.private, Encoder(known.schema)))
        progress(1, 1, {})
        return BridgedSampler(known.schema, foreign)

    def _changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults: what was not asked for is left to their code."""
        own = [each for each in fields(self) if each.name != "seed"]
        return {each.name: value for each in own if (value := getattr(self, each.name)) != each.default}


class _Foreign:
    """A foreign model that was fitted to a frame of text and numbers, and draws such frames."""

    def __init__(self, kind: type, settings: Mapping[str, Any], frame: pd.DataFrame):
        raise NotImplementedError

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows; text and numbers as they were fitted."""
        raise NotImplementedError


class _OfSDV(_Foreign):
    """A single-table synthesizer of SDV."""

    def __init__(self, kind: type, settings: Mapping[str, Any], frame: pd.DataFrame):
        sdtypes = {name: "numerical" if values.dtype == float else "categorical" for name, values in frame.items()}
        columns = {name: {"sdtype": sdtype} for name, sdtype in sdtypes.items()}
        described = {"METADATA_SPEC_VERSION": "V1", "tables": {"table": {"columns": columns}}, "relationships": []}
        self._model = kind(_imported("sdv.metadata").Metadata.load_from_dict(described), **settings)
        by_table = int(_version("sdv").split(".")[0]) >= 2
        self._model.fit({"table": frame} if by_table else frame)

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows picked from the beginning of the model's stream.

        That stream can be reset, but not seeded, from outside. So that another seed still gives other rows, some are
        picked of `SPARE` times as many.
        """
        self._model.reset_sampling()
        drawn = self._model.sample(SPARE * rows)
        frame: pd.DataFrame = drawn["table"] if isinstance(drawn, Mapping) else drawn
        return frame.iloc[rng.permutation(len(frame))[:rows]].reset_index(drop=True)


class _OfCTGAN(_Foreign):
    """A synthesizer of the `ctgan` package, which takes no missing number: whether one is missing is a column more."""

    def __init__(self, kind: type, settings: Mapping[str, Any], frame: pd.DataFrame):
        names = [str(name) for name in frame]
        self._flags = {name: _new_name(frame, f"{name} is missing") for name in names if frame[name].isna().any()}
        frame = frame.copy()
        for name, flag in self._flags.items():
            missing = frame[name].isna()
            frame[flag] = np.where(missing, "1", "0")
            frame[name] = frame[name].fillna(0.0 if missing.all() else frame[name].mean())
        self._model = kind(**settings)
        self._model.fit(frame, [name for name in frame if frame[name].dtype != float])

    def draw(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Return rows, numbers missing where their flag says so."""
        self._model.set_random_state(int(rng.integers(2**31)))
        drawn: pd.DataFrame = self._model.sample(rows).copy()
        for name, flag in self._flags.items():
            drawn[name] = drawn[name].where(drawn[flag] == "0")
        return drawn.drop(columns=list(self._flags.values()))


@cache
def _bridged(package: str, home: str, model: str) -> type[Bridged]:
    """Return the settings class of one foreign synthesizer, its fields the arguments of their class."""
    known = {"sdv": SDV, "ctgan": CTGAN}[package]
    if model not in known:
        named = ", ".join(f"{package}:{name}" for name in known)
        raise InputError(f"No synthesizer {package + ':' + model!r}. There are: {named}.")
    kind = getattr(_imported(home), known[model])
    made = make_dataclass(
        known[model],
        [(each.name, Any, field(default=_plain(each.default))) for each in _arguments(kind)],
        bases=(Bridged,),
        namespace={"name": f"{package}:{model}", "kind": kind, "foreign": _OfSDV if package == "sdv" else _OfCTGAN},
        frozen=True,
    )
    made.__module__ = package  # a release's provenance names the package that the model came in, and its version
    made.__doc__ = f"Settings of {home}.{kind.__name__}, by its own names."
    return made


def _arguments(kind: type) -> list[inspect.Parameter]:
    """Return the arguments of their class that have a default; metadata is made here."""
    arguments = inspect.signature(kind).parameters.values()
    return [each for each in arguments if each.default is not each.empty and each.name != "seed"]


def _imported(home: str) -> Any:
    """Import a module of another package; raise InputError saying how to install it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(home)
    except ImportError as error:
        package = home.partition(".")[0]
        raise InputError(f'{package} is not installed ({error}). Try: pip install "tabsynth[sdv]"') from None


def _version(package: str) -> str:
    """Return a package's version, as it tells it itself."""
    return str(import_module(package).__version__)


def _plain(value: Any) -> Any:
    """Return a default as a value that cannot be changed."""
    return tuple(value) if isinstance(value, list) else value


def _foreign_frame(private: pd.DataFrame, encoder: Encoder) -> pd.DataFrame:
    """Return rows as any package reads them: tokens of categories as text, numbers and moments as floats."""
    encoded, private = encoder.encode(private), encoder.reduced(private)
    series: dict[str, Any] = {}
    for place, codec in enumerate(encoder.codecs):
        column = codec.column
        series[column.name] = (
            to_axis(private[column.name], column)
            if column.numeric
            else encoded.tokens[:, place].astype(str).astype(object)
        )
    return pd.DataFrame(series)


def _canonical(drawn: pd.DataFrame, encoder: Encoder, rng: np.random.Generator) -> pd.DataFrame:
    """Return foreign rows in canonical form, every value in its column's domain."""
    tokens = np.empty((len(drawn), len(encoder.codecs)), np.int32)
    offsets = np.full(tokens.shape, 0.5, np.float32)
    for place, codec in enumerate(encoder.codecs):
        column = codec.column
        if not column.numeric:
            tokens[:, place] = drawn[column.name].astype(int)
            continue
        low, high = column.bounds or (-np.inf, np.inf)
        axis = np.clip(drawn[column.name].to_numpy(np.float64, na_value=np.nan), low, high)
        series = from_axis(np.rint(axis) if column.kind == "integer" else axis, column)
        tokens[:, place] = codec.tokens(series)
        offsets[:, place] = codec.offsets(series, tokens[:, place])
    return encoder.decode(tokens, rng, offsets)


def _new_name(frame: pd.DataFrame, name: str) -> str:
    """Return a column name that the frame does not have yet."""
    while name in frame:
        name += "_"
    return name


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Run foreign code with global random state of its own, and without its warnings to its own users."""
    numbers, torches = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(torches)


@contextmanager
def _their_errors(name: str) -> Iterator[None]:
    """Turn what foreign code raises into ModelError; its own text may quote a value, so it is only chained."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{name} could not be fitted to this table with these settings ({type(error).__name__})."
        ) from error
