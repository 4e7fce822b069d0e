"""A fitted model with its papers: what was fitted, with which settings, at what cost; saved as JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tabsynth import registry
from tabsynth.atomic import require_new, whole_folder
from tabsynth.constraints import Seen
from tabsynth.errors import ConformanceError, InputError, ModelError, SchemaError
from tabsynth.frame_kinds import FrameKind, as_given, require_kind
from tabsynth.identifiers import Identifiers, require_providers
from tabsynth.outputs import handed_out
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.quiet import quiet
from tabsynth.privacy.words import claim_in_words
from tabsynth.schema import Schema
from tabsynth.shards import SHARD, write_shards
from tabsynth.synthesizers.base import Progress, Sampler, Synthesizer, silent
from tabsynth.synthesizers.scoring import HasLikelihood, scored
from tabsynth.table import Table

FORMAT = 1
MODEL, WEIGHTS = "model.json", "weights.safetensors"


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """A sampler, the name and settings of the synthesizer that fitted it, what it cost and what that means."""

    sampler: Sampler
    name: str
    settings: Mapping[str, Any]
    privacy: Mapping[str, Any]

    @property
    def schema(self) -> Schema:
        """The completed schema."""
        return self.sampler.schema

    @overload
    def sample(
        self,
        rows: int | None,
        rng: np.random.Generator | None = ...,
        given: Any = ...,
        *,
        as_: Literal["pandas"] = ...,
        **asked: Any,
    ) -> pd.DataFrame: ...
    @overload
    def sample(
        self, rows: int | None, rng: np.random.Generator | None = ..., *, to: Path | str, **asked: Any
    ) -> Path: ...
    @overload
    def sample(
        self, rows: int | None, rng: np.random.Generator | None = ..., *, as_: FrameKind, **asked: Any
    ) -> Any: ...
    def sample(
        self,
        rows: int | None,
        rng: np.random.Generator | None = None,
        given: Any = None,
        *,
        as_: FrameKind = "pandas",
        to: Path | str | None = None,
        shard: int = SHARD,
        progress: Progress | None = None,
        **asked: Any,
    ) -> Any:
        """Return `rows` synthetic rows, as they are asked for: under conditions, in shares; see `Sampler.sample`.

        Partial rows that are `given` are a frame of any of the three libraries. The rows come as a canonical pandas
        frame, or `as_` a polars frame or a pyarrow table. With a folder to write `to` they become Parquet files of
        `shard` rows in it instead, as many as there is room for on the disk, and the folder is returned; `progress` is
        told how far it is. See `shards.write_shards`.

        Raises InputError, before a row is drawn, for what cannot be handed out or written so.
        """
        rng = np.random.default_rng() if rng is None else rng
        given = as_given(given)
        require_kind(as_)
        require_providers(self.schema)
        identifiers = Identifiers(self.schema)
        if to is None:
            drawn = identifiers.filled(self.sampler.sample(rows, rng, given, **asked), rng)
            return handed_out(drawn, self.schema, as_)
        if rows is None or isinstance(given, pd.DataFrame):
            raise InputError("Say how many rows are written to a folder; partial rows can be completed in memory only.")

        self.sampler.require_room(rows, given)
        seen = Seen(self.schema.constraints)  # unique rows are so in all blocks together

        def draw(size: int, source: np.random.Generator) -> pd.DataFrame:
            return identifiers.filled(self.sampler.sample(size, source, given, seen=seen, **asked), source)

        return write_shards(draw, rows, rng, self.schema, to, shard=shard, report=progress)

    def impute(
        self, frame: pd.DataFrame, rng: np.random.Generator, columns: Collection[str] | None = None
    ) -> pd.DataFrame:
        """Return a table with its missing cells, or those of `columns`, drawn given the rest; see `Sampler.impute`."""
        return self.sampler.impute(frame, rng, columns)

    def predict_proba(self, frame: pd.DataFrame, target: str) -> pd.DataFrame:
        """Return the probability of each value of a column given the rest of a row; see `Sampler.predict_proba`."""
        return self.sampler.predict_proba(frame, target)

    def log_likelihood(self, frame: pd.DataFrame) -> pd.Series:
        """Return the log of each row's probability under the model in nats, with the frame's index.

        Exact for `marginals`, `hybrid`, `rows` and `text`; for `vae` a lower bound. A row counts as its cells: a number
        as its bin, wherever it lies within. A row with a value outside the model's domain has minus infinity; columns
        that are not modelled are not looked at, and constraints, which `sample` sees to, neither. It charges nothing,
        learns nothing, and is as private as the rows.

        Raises InputError where the model knows no likelihood, for an empty frame and for a column that is absent;
        TableError for a column of another kind. No message quotes a value.
        """
        if not isinstance(self.sampler, HasLikelihood):
            raise InputError(f"{self.name!r} cannot tell how likely a row is; `marginals` and `rows` can.")
        return scored(self.sampler, frame, self.schema)

    def save(self, folder: Path | str) -> None:
        """Write the model into a new folder, whole or not at all; raise InputError when that cannot be done."""
        folder = Path(folder)
        require_new(folder, "folder")
        values, arrays = self.sampler.state()
        plain = {
            "format": FORMAT,
            "tabsynth": version("tabsynth"),
            "model": self.name,
            "settings": dict(self.settings),
            "privacy": dict(self.privacy),
            "schema": self.schema.to_dict(),
            "state": values,
        }
        with whole_folder(folder, says="the model could not be written ({reason}).") as part:
            (part / MODEL).write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part / WEIGHTS)


def fit(synthesizer: Synthesizer, table: Table, ledger: Ledger, secret: Secret, progress: Progress = silent) -> Model:
    """Fit a synthesizer and return its model; raise ConformanceError when it left its ledger open.

    Under a budget warnings that the synthesizer raises are held back, since they may tell of a row.

    Raises SchemaError, before anything is charged, when the schema has columns of free text and the synthesizer cannot
    hold them, and what the synthesizer raises: BudgetExceeded before anything ran that the budget does not allow.
    """
    require_providers(table.schema)
    require_texts(synthesizer, table.schema)
    with quiet(ledger.bounded):
        sampler = synthesizer.fit(table, ledger, secret, progress)
    if not ledger.closed:
        raise ConformanceError(f"The synthesizer {synthesizer.name!r} did not close its ledger.")
    if sampler.schema.undeclared():
        raise ConformanceError(f"The synthesizer {synthesizer.name!r} returned a sampler with an incomplete schema.")
    privacy = ledger.to_dict() | {"meaning": list(claim_in_words(ledger, table.schema.unit))}
    return Model(sampler, synthesizer.name, settings_of(synthesizer), privacy)


def load(folder: Path | str) -> Model:
    """Read a saved model; raise ModelError naming the file and the rule. Nothing is unpickled."""
    folder = Path(folder)
    try:
        plain = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        arrays = load_file(folder / WEIGHTS)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise ModelError(f"{folder}: not a saved model ({type(error).__name__}).") from None
    if not isinstance(plain, dict):
        raise ModelError(f"{folder}: not a saved model ({MODEL} is no object).")
    if plain.get("format") != FORMAT:
        raise ModelError(f"{folder}: the model has format {plain.get('format')!r}; this version reads {FORMAT}.")
    try:
        family = registry.load(registry.SYNTHESIZERS, str(plain.get("model")))
    except InputError as error:
        raise ModelError(f"{folder}: {error}") from None
    try:
        schema = Schema.from_dict(plain["schema"])
        sampler = family.sampler.from_state(schema, plain["state"], arrays)
        return Model(sampler, plain["model"], plain["settings"], plain["privacy"])
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{folder}: the saved model is damaged or of another version ({type(error).__name__})."
        ) from None


def settings_of(synthesizer: Synthesizer) -> dict[str, Any]:
    """Return a synthesizer's settings, its dataclass fields."""
    if not is_dataclass(synthesizer):
        raise InputError(f"{type(synthesizer).__name__} must be a frozen dataclass of settings.")
    return asdict(synthesizer)


def require_texts(synthesizer: Synthesizer, schema: Schema) -> None:
    """Raise SchemaError when the schema has columns of free text that this synthesizer cannot hold."""
    if schema.texts and not getattr(synthesizer, "models_text", False):
        raise SchemaError(
            f"Column {schema.texts[0].name!r} is free text, which the synthesizer {synthesizer.name!r} cannot hold; "
            "'text' can (pip install 'tabsynth[llm]'). Or leave the column out, or give it the role identifier."
        )


def check_saveable(synthesizer: Synthesizer) -> None:
    """Raise ModelError when models of this synthesizer cannot be saved: called before any work and any charge."""
    if (why := synthesizer.sampler.unsaved) is not None:
        raise ModelError(f"{synthesizer.name}: {why}")
