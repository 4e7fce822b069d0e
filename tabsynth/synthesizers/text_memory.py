"""The keys and values of a Hugging Face model, written in place into room that is there from the start.

Its own memory is joined anew with every id, which was a quarter of the time that sampling took. Models with plain
attention in all layers get this one, under `transformers` from 4.54 on, which keeps its memory by layers.
"""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor


class Room:
    """Where a layer keeps `rows` of `longest` ids from now on; its `keys` and `values` show the part that is in use.

    These are (rows, heads, ids, width).
    """

    def __init__(self, layer: Any, rows: int, longest: int) -> None:
        self._layer: Any = weakref.proxy(layer)  # which holds this: a ring of two would wait long to be freed
        self._whole = [
            states.new_empty(rows, *states.shape[1:-2], longest, states.shape[-1])
            for states in (layer.keys, layer.values)
        ]
        self._write(layer.keys, layer.values, 0)
        layer.update = self._update

    def take(self, rows: Tensor) -> None:
        """Go on with these rows."""
        self._write(self._layer.keys[rows], self._layer.values[rows], 0)

    def _update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the keys and values of the next ids; return those of all."""
        return self._write(key_states, value_states, self._layer.keys.shape[-2])

    def _write(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        rows, end = len(keys), start + keys.shape[-2]
        for whole, states in zip(self._whole, (keys, values), strict=True):
            whole[:rows, ..., start:end, :] = states
        found = self._layer.keys, self._layer.values = [whole[:rows, ..., :end, :] for whole in self._whole]
        return found[0], found[1]


def with_room(cache: Any, rows: int, longest: int) -> list[Room]:
    """Give all layers of a memory room for so many rows and ids; return them, none where one is of another kind."""
    from transformers import cache_utils

    plain: Any = getattr(cache_utils, "DynamicLayer", None)
    layers = getattr(cache, "layers", [])
    if type(cache) is not cache_utils.DynamicCache or not layers:
        return []
    if any(type(layer) is not plain or layer.keys is None for layer in layers):
        return []
    return [Room(layer, rows, longest) for layer in layers]
