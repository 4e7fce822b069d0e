"""Which rows lie in a completed schema's domain: what an encoder would have to round or refuse is told apart first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabsynth.canonical import code_places, to_axis
from tabsynth.encoding.encoder import Encoder
from tabsynth.schema import OTHER, Column


def inside(frame: pd.DataFrame, encoder: Encoder) -> NDArray[np.bool_]:
    """Return whether every modelled value of each canonical row lies in its column's domain, shape (rows,)."""
    masks = [held(frame[column.name], column) for column in encoder.schema.modelled]
    masks += [far.holds(frame[far.low.name], frame[name]) for name, far in encoder.distances.items()]
    return np.asarray(np.all(masks, axis=0))


def held(series: pd.Series, column: Column) -> NDArray[np.bool_]:
    """Return whether each canonical value is one of the column's domain, or missing where that is allowed."""
    missing = series.isna().to_numpy(dtype=bool)
    if column.numeric:
        low, high = column.bounds or (-np.inf, np.inf)
        axis = to_axis(series, column)
        slack = column.step / 2 if column.kind == "float" else 0.0  # a declared precision forgives rounding to it
        known = ((axis >= low - slack) & (axis <= high + slack)) | (code_places(series, column) >= 0)
    elif column.free_text or OTHER in (levels := column.levels or ()):
        known = ~missing
    else:
        known = series.astype(object).astype(str).isin(list(levels)).to_numpy(dtype=bool)
    return np.asarray(np.where(missing, bool(column.nullable), known))
