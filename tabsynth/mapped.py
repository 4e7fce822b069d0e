"""Arrays and frames larger than memory: mapped from temporary files that have no name.

Beyond `IN_MEMORY` bytes, room is taken from an unnamed file in the folder for temporary files (`TMPDIR`), which nobody
else can open (mode 0600) and which the system takes back when the process ends, however it ends. What is written there
is as private as the table. The whole room is reserved at once, so that a full disk is an error and not a crash later.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from numpy.typing import NDArray

from tabsynth.errors import InputError

IN_MEMORY = 2**27  # bytes; what is larger is mapped
ALIGNED = 64  # bytes, at whose multiples arrays begin
Parts = list[NDArray[Any]]


def room(shape: tuple[int, ...], dtype: type | np.dtype[Any], order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """Return an array to write into, its content arbitrary: in memory, or mapped from a file when it is large.

    Raises InputError when the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype, order)
    with _telling_of_the_disk(), tempfile.TemporaryFile(prefix="tabsynth-") as file:
        _reserve(file, size)
        return np.ndarray(shape, dtype, mmap.mmap(file.fileno(), size), order=order)


def concatenated(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return canonical frames of the same columns as one, taking them one at a time.

    One frame alone comes back as it is. Several are written to a file as they come, and from there into the columns of
    the result, each one array. Categories are those that all frames begin with, then all others, sorted.

    Raises InputError when the disk is full, and whatever taking a frame raises.

    >>> concatenated(pd.DataFrame({"a": pd.Categorical([text])}) for text in ("y", "x"))["a"].cat.categories.tolist()
    ['x', 'y']
    """
    taken = iter(frames)
    first = next(taken)
    second = next(taken, None)
    if second is None:
        return first
    with _log() as log:
        columns = {str(name): _Column(str(name)) for name in first.columns}
        lengths = [_write(frame, columns, log) for frame in chain((first, second), taken)]
        log.seek(0)
        return _gathered(columns, lengths, log)


class _Column:
    """A column on its way into the log, as plain arrays, and back; one that has no such form stays in memory."""

    def __init__(self, name: str):
        self.name = name
        self.found: list[Any] = []  # the type in every frame; they differ in their categories at most
        self.kept: list[pd.Series] = []

    def write(self, series: pd.Series, log: IO[bytes]) -> None:
        """Take the next frame's values."""
        self.found.append(series.dtype)
        parts = _parts(series)
        if not parts:
            self.kept.append(series)
        for part in parts:
            with _telling_of_the_disk():
                npy.write_array(log, part, allow_pickle=False)

    def unite(self) -> list[np.dtype[Any]]:
        """Settle the type of the whole column and return that of its parts."""
        self.dtype = self.found[0]
        self.maps: Iterator[NDArray[np.int64] | None] = iter(())
        if isinstance(self.dtype, pd.CategoricalDtype):
            self.dtype, maps = _united(self.found)
            self.maps = iter(maps)
        return [part.dtype for part in _parts(pd.Series([], dtype=self.dtype))]

    def read(self, log: IO[bytes], parts: Parts, rows: slice) -> None:
        """Read the next frame's values into their place."""
        renumbered = next(self.maps, None)
        for part in parts:
            values = npy.read_array(log)
            part[rows] = values if renumbered is None else renumbered[values]

    def series(self, parts: Parts) -> pd.Series:
        """Return the column over these parts, without a copy but for moments in a time zone."""
        if self.kept:
            return pd.concat(self.kept, ignore_index=True)
        values: Any = parts[0]
        if isinstance(self.dtype, pd.CategoricalDtype):
            values = pd.Categorical.from_codes(parts[0], dtype=self.dtype, validate=False)
        elif len(parts) == 2:
            values = self.dtype.construct_array_type()(*parts)
        elif isinstance(self.dtype, pd.DatetimeTZDtype):
            values = pd.DatetimeIndex(parts[0]).tz_localize("UTC").tz_convert(self.dtype.tz)
        return pd.Series(values, name=self.name, copy=False)


def _parts(series: pd.Series) -> Parts:
    """Return a column as plain arrays: codes, or values and a mask of what is missing, or values; none for objects."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        return [np.asarray(series.array.codes)]
    if isinstance(series.dtype, np.dtype) and series.dtype.kind != "O":
        return [series.to_numpy()]
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return [series.to_numpy(f"datetime64[{series.dtype.unit}]")]
    plain = getattr(series.dtype, "numpy_dtype", None)
    if plain is None:
        return []
    return [series.to_numpy(plain, na_value=plain.type()), series.isna().to_numpy(bool)]


def _write(frame: pd.DataFrame, columns: dict[str, _Column], log: IO[bytes]) -> int:
    """Write a frame into the log, column by column, and return its length."""
    for name, column in columns.items():
        column.write(frame[name], log)
    return len(frame)


def _gathered(columns: dict[str, _Column], lengths: list[int], log: IO[bytes]) -> pd.DataFrame:
    """Return the frame whose values are in the log, every part of a column one array in a common room."""
    rows = sum(lengths)
    types = {name: column.unite() for name, column in columns.items()}
    sizes = [-(-rows * plain.itemsize // ALIGNED) * ALIGNED for plain in chain(*types.values())]
    common = room((sum(sizes),), np.uint8)
    starts = iter(np.cumsum([0, *sizes]).tolist())
    parts = {
        name: [_view(common, start, plain, rows) for plain, start in zip(plains, starts, strict=False)]
        for name, plains in types.items()
    }
    done = 0
    for length in lengths:
        for name, column in columns.items():
            column.read(log, parts[name], slice(done, done + length))
        done += length
    return pd.DataFrame({name: column.series(parts[name]) for name, column in columns.items()}, copy=False)


def _view(common: NDArray[np.uint8], start: int, plain: np.dtype[Any], rows: int) -> NDArray[Any]:
    """Return one array of a common room."""
    return common[start : start + rows * plain.itemsize].view(plain)


def _united(found: list[pd.CategoricalDtype]) -> tuple[pd.CategoricalDtype, list[NDArray[np.int64] | None]]:
    """Return the type with the categories of all, and for each what its codes become; None where they stay."""
    lists = [one.categories for one in found]
    alike = lists[0][: min(_alike(lists[0], other) for other in lists)]
    rest = [tail for one in lists if len(tail := one[len(alike) :])]
    union = alike.append(rest[0].append(rest[1:]).unique().sort_values()) if rest else alike
    # the last entry is what the code of a missing value, -1, becomes
    maps = [None if one.equals(union) else np.append(union.get_indexer(one), -1) for one in lists]
    return pd.CategoricalDtype(union, found[0].ordered), maps


def _alike(one: pd.Index, other: pd.Index) -> int:
    """Return with how many equal values two lists begin."""
    both = min(len(one), len(other))
    differ = np.flatnonzero(np.asarray(one[:both] != other[:both], bool))
    return int(differ[0]) if len(differ) else both


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a file its size and all of its blocks: writing to a mapped file on a full disk would kill the process."""
    reserve: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        reserve(file.fileno(), 0, size)
        return
    for start in range(0, size, 2**24):
        file.write(bytes(min(2**24, size - start)))
    file.flush()


@contextmanager
def _log() -> Iterator[IO[bytes]]:
    """Open a file to write and read back once, in memory as long as it is small."""
    log = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, prefix="tabsynth-")  # noqa: SIM115
    try:
        yield log
    finally:
        with suppress(OSError):  # on a full disk what was refused once is refused again
            log.close()


@contextmanager
def _telling_of_the_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: no room for a table larger than memory ({error.strerror}); "
            "name a folder on a larger disk in TMPDIR."
        ) from None
