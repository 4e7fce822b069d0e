"""Rows by the million as a folder of Parquet files: drawn block by block, so that memory stays flat.

Every block has randomness of its own, a child of the caller's, and a fixed number of rows. So the rows do not depend on
how many of them a file holds. While one block is drawn, the one before it is written by another thread. The folder
appears under its name when everything is written, and not at all otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import Queue

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from tabsynth import _check
from tabsynth.atomic import require_new, whole_folder
from tabsynth.outputs import arrow_of
from tabsynth.schema import Schema

BLOCK = 100_000  # rows that are drawn at once; another number makes other rows of one seed
SHARD = 1_000_000  # rows of a file, unless asked otherwise
WAITING = 2  # blocks that may be drawn and not yet written

Draw = Callable[[int, np.random.Generator], pd.DataFrame]
Report = Callable[[int, int, Mapping[str, float]], None]


def write_shards(
    draw: Draw,
    rows: int,
    rng: np.random.Generator,
    schema: Schema,
    folder: Path | str,
    *,
    shard: int = SHARD,
    report: Report | None = None,
) -> Path:
    """Draw `rows` canonical rows and write them into a new folder as Parquet files of `shard` rows; return the folder.

    `draw(n, rng)` returns n canonical rows of `schema`. Text columns are written with their dictionary. The same `rng`
    state gives the same rows, whatever `shard` is. `report` is told after each block how many rows are written, and
    as "acceptance", where rows were drawn again, which share of all that were drawn so far was good.

    Raises InputError, before a row is drawn, when the folder exists or cannot be made; later when it cannot be written.
    Whatever ends it early, an interrupt included, leaves nothing behind.
    """
    _check.at_least("rows", rows, 1)
    _check.at_least("shard", shard, 1)
    folder = Path(folder)
    require_new(folder, "folder")
    with whole_folder(folder, says="could not be written ({reason}); nothing was kept.") as part:
        writer = _Writer(part, schema, rows, shard, report)
        with writer:
            for size, child in blocks(rows, rng):
                writer.put(draw(size, child))
    return folder


def blocks(rows: int, rng: np.random.Generator) -> Iterator[tuple[int, np.random.Generator]]:
    """Yield the size of every block of `rows` rows and its randomness.

    >>> [size for size, _ in blocks(250_000, np.random.default_rng(0))]
    [100000, 100000, 50000]
    """
    for start in range(0, rows, BLOCK):
        yield min(BLOCK, rows - start), rng.spawn(1)[0]


class _Writer:
    """The thread that writes blocks into shards; used as a context, it is done when the context ends well."""

    def __init__(self, folder: Path, schema: Schema, rows: int, shard: int, report: Report | None) -> None:
        self._folder, self._schema, self._rows, self._shard, self._report = folder, schema, rows, shard, report
        self._waiting: Queue[pd.DataFrame | None] = Queue(WAITING)
        self._written, self._drawn = 0, 0.0
        self._open: pa_parquet.ParquetWriter | None = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="tabsynth-shards", daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped = kind is not None  # then what waits is not worth writing
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def put(self, frame: pd.DataFrame) -> None:
        """Hand a block over; raise what went wrong with those before."""
        if self._failure is not None:
            raise self._failure
        self._waiting.put(frame)

    def _run(self) -> None:
        """Write what comes until there is no more; after a failure only take it, so that `put` never waits for good."""
        try:
            while (frame := self._waiting.get()) is not None:
                if self._failure is None and not self._stopped:
                    self._attempt(frame)
        finally:
            self._attempt(None)

    def _attempt(self, frame: pd.DataFrame | None) -> None:
        try:
            if frame is None:
                self._close()
            else:
                accepted = frame.attrs.get("acceptance")
                self._drawn += len(frame) / (accepted or 1.0)
                self._write(arrow_of(frame, self._schema, self._written, self._rows), told=accepted is not None)
        except BaseException as error:  # raised again by whoever draws
            self._failure = self._failure or error

    def _write(self, block: pa.Table, *, told: bool) -> None:
        """Write a block, cut where a shard is full; `told`, which share of the drawn rows is good, is passed on."""
        done = 0
        while done < block.num_rows:
            if self._open is None:
                path = self._folder / f"part-{self._written // self._shard:05d}.parquet"
                self._open = pa_parquet.ParquetWriter(path, block.schema)
            size = min(self._shard - self._written % self._shard, block.num_rows - done)
            self._open.write_table(block.slice(done, size), row_group_size=size)
            self._written, done = self._written + size, done + size
            if self._written % self._shard == 0:
                self._close()
        if self._report is not None:
            figures = {"acceptance": self._written / self._drawn} if told else {}
            self._report(self._written, self._rows, figures)

    def _close(self) -> None:
        if self._open is not None:
            closing, self._open = self._open, None
            closing.close()
