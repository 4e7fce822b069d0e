"""How likely rows are under a model that knows it: the likelihood of whatever table a user holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.conversion import convert
from tabsynth.encoding.domain import inside
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.files import read_raw
from tabsynth.schema import Schema


@runtime_checkable
class HasLikelihood(Protocol):
    """A sampler that knows the density it draws from."""

    def log_likelihood(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log-likelihood of each canonical row, shape (n,); minus infinity where it cannot be drawn."""
        ...


def scored(sampler: HasLikelihood, frame: pd.DataFrame, schema: Schema) -> pd.Series:
    """Return the log-likelihood of each row in nats, with the frame's index; see `Model.log_likelihood`."""
    if absent := [column.name for column in schema.modelled if column.name not in frame.columns]:
        raise InputError(f"Column {absent[0]!r} is needed for the likelihood of a row.")
    if not len(frame):
        raise InputError("The likelihood of rows needs at least one row.")
    raw = read_raw(frame.reset_index(drop=True))
    cells = pd.DataFrame(
        {
            column.name: convert(raw, replace(column, nullable=True), schema.missing, check_domain=False)
            for column in schema.modelled
        }
    )
    known = inside(cells, Encoder(schema))
    found = np.full(len(cells), -np.inf)
    if known.any():
        found[known] = sampler.log_likelihood(cells[known].reset_index(drop=True))
    return pd.Series(found, index=frame.index, name="log_likelihood")
