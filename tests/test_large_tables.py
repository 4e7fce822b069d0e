"""Tables read in parts: the same as in one, every rule checked before anything is charged, no half-read table."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from tabsynth import files, mapped
from tabsynth.cli import run
from tabsynth.constraints import Constraint
from tabsynth.constraints.categories import Dependency
from tabsynth.constraints.numbers import Inequality
from tabsynth.constraints.unique import Unique
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import TableError
from tabsynth.privacy.budget import Budget
from tabsynth.privacy.discovery import discover
from tabsynth.privacy.ledger import Ledger
from tabsynth.privacy.noise import Secret
from tabsynth.privacy.table_ledger import beside
from tabsynth.schema import Column, Schema
from tabsynth.schema_file import write_schema
from tabsynth.synthesizers.base import Arrays, Synthesizer
from tabsynth.synthesizers.ctgan import CTGAN
from tabsynth.synthesizers.independent import Independent
from tabsynth.synthesizers.marginals import Marginals
from tabsynth.table import Table, digest, read, split

ROWS = 1000
SCHEMA = Schema(
    (
        Column("id", "categorical", roles=("identifier",)),
        Column("who", "categorical", roles=("group",)),
        Column("city", "categorical", nullable=True),
        Column("plan", "categorical", categories=("z", "a"), nullable=True),
        Column("ill", "boolean", nullable=True, roles=("target",)),
        Column("low", "integer", nullable=True),
        Column("high", "float", nullable=True),
        Column("day", "datetime", nullable=True, format="%Y-%m-%d %H:%M:%S"),
    ),
    rows_per_unit=3,
)


def _frame(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    low = rng.integers(-50, 50, rows)
    frame = pd.DataFrame(
        {
            "id": [f"p{n}" for n in range(rows)],
            "who": [f"u{n}" for n in np.sort(rng.integers(0, rows // 2, rows))],
            "city": rng.choice(["Łódź", "Köln", "北京", "a, b"], rows, p=[0.7, 0.2, 0.098, 0.002]),
            "plan": rng.choice(["a", "z"], rows),
            "ill": rng.choice(["True", "False"], rows),
            "low": pd.array(low, "Int64"),
            "high": low + np.round(rng.pareto(1.5, rows), 2),
            "day": pd.Timestamp("2001-02-03") + pd.to_timedelta(rng.integers(0, 10**8, rows), unit="s"),
        }
    )
    for name in ("city", "plan", "ill", "low", "high", "day"):
        frame[name] = frame[name].mask(rng.random(rows) < 0.1)
    return frame


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 1024)
    monkeypatch.setattr(files, "BLOCK", 2048)


def _written(frame: pd.DataFrame, path: Path) -> Path:
    if files.is_parquet(path):
        pa_parquet.write_table(pa.Table.from_pandas(frame), path, row_group_size=130)
    else:
        frame.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S")
    return path


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", "frame"])
@pytest.mark.parametrize("chunk", [61, 999])
def test_parts_make_the_table_that_was_written(tmp_path: Path, ending: str, chunk: int) -> None:
    source = _frame() if ending == "frame" else _written(_frame(), tmp_path / f"t{ending}")
    if ending == "frame":
        source["low"] = source["low"].astype(object)  # a frame of mixed types is text
    table = read(source, SCHEMA, chunk=chunk)
    pd.testing.assert_frame_equal(table.private, read(_frame(), SCHEMA, chunk=10 * ROWS).private)
    assert "id" not in table.private


@pytest.mark.parametrize("names", [["a,b"], ["b", "a"], ["x", None, "y"]])
def test_dictionaries_that_differ_from_part_to_part(tmp_path: Path, names: list[str | None]) -> None:
    values = pa.array(np.random.default_rng(0).choice(np.array(names, object), 50)).dictionary_encode()
    pa_parquet.write_table(pa.table({"c": values}), tmp_path / "t.parquet", row_group_size=9)
    schema = Schema((Column("c", "categorical", nullable=True),))
    found = read(tmp_path / "t.parquet", schema, chunk=11).private
    pd.testing.assert_frame_equal(found, read(tmp_path / "t.parquet", schema).private)
    assert found["c"].astype(object).where(found["c"].notna(), None).tolist() == values.to_pylist()


def test_taking_and_splitting_do_not_depend_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(_frame(), SCHEMA, chunk=10 * ROWS)
    rows = np.random.default_rng(0).integers(0, ROWS, 700)
    expected = whole.take(rows), *split(whole, 0.3, np.random.default_rng(5))
    known = digest(whole.private)
    monkeypatch.setattr("tabsynth.table.CHUNK", 37)
    table = read(_frame(), SCHEMA, chunk=64)
    found = table.take(rows), *split(table, 0.3, np.random.default_rng(5))
    for one, other in zip(found, expected, strict=True):
        pd.testing.assert_frame_equal(one.private, other.private)
        assert one.schema == other.schema
    assert digest(table.private) == known
    assert len(table.take(np.array([], np.int64)).private) == 0


# --- what is refused ----------------------------------------------------------------------------------------------


def _broken_late(column: str, value: object) -> pd.DataFrame:
    frame = _frame()
    frame = frame.astype(str).where(frame.notna(), None).astype(object)
    frame.loc[ROWS - 3, column] = value
    return frame


@pytest.mark.parametrize("chunk", [50, 10 * ROWS])
@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("plan", "Zebedee", "column 'plan': a value is not among the declared categories"),
        ("low", "4.5", "column 'low': a value is not a whole number"),
        ("high", "Zebedee", "column 'high': a value is not a number"),
        ("day", "Zebedee", "column 'day': a value does not follow the format"),
        ("who", None, "column 'who': a value is missing, and every row needs its privacy unit"),
    ],
)
def test_a_rule_broken_in_the_last_part(tmp_path: Path, chunk: int, column: str, value: object, rule: str) -> None:
    path = _written(_broken_late(column, value), tmp_path / "t.csv")
    with pytest.raises(TableError) as caught:
        read(path, SCHEMA, chunk=chunk)
    assert str(caught.value).startswith(f"{path}: {rule}")
    assert "Zebedee" not in str(caught.value)


AB = (Column("a", "categorical"), Column("b", "categorical"), Column("n", "integer"), Column("m", "integer"))


@pytest.mark.parametrize("chunk", [2, 3, 100])
@pytest.mark.parametrize(
    ("rule", "last", "fine"),
    [
        (Dependency("a", "b"), "x", False),  # the first part says that x goes with 1
        (Dependency("a", "b"), "w", True),
        (Inequality("n", "m"), "x", False),
        (Unique(("n", "m")), "x", True),
        (Unique(("a",)), "w", False),
    ],
)
def test_constraints_hold_across_parts(rule: Constraint, last: str, fine: bool, chunk: int) -> None:
    frame = pd.DataFrame({"a": [*"xyxyxy", last], "b": [*"121212", "2"], "n": range(7), "m": [9] * 6 + [9 * fine]})
    schema = Schema(AB, constraints=(rule,))
    if fine:
        assert len(read(frame, schema, chunk=chunk).private) == 7
    else:
        with pytest.raises(TableError, match="a row breaks the constraint"):
            read(frame, schema, chunk=chunk)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_parquet_file_cut_off_or_damaged_half_way(tmp_path: Path, share: float) -> None:
    path = _written(_frame(), tmp_path / "t.parquet")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TableError, match="not a readable Parquet file"):
        read(path, SCHEMA, chunk=50)
    half = len(content) // 2
    path.write_bytes(content[:4] + bytes(half) + content[4 + half :])
    with pytest.raises(TableError, match=r"t\.parquet: "):
        read(path, SCHEMA, chunk=50)


def test_lines_that_change_their_fields_late(tmp_path: Path) -> None:
    path = _written(_frame(), tmp_path / "t.csv")
    with path.open("a", encoding="utf-8") as file:
        file.write("Zebedee,1,2\n")
    with pytest.raises(TableError, match="a line has more or fewer fields than the header"):
        read(path, SCHEMA, chunk=50)


@dataclass
class _Batches:
    """A source that hands out these batches."""

    held: list[pa.RecordBatch]
    label: str = "stream"
    names: tuple[str, ...] = ("a",)

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self.held


def test_a_column_that_changes_its_type_on_the_way() -> None:
    parts = [pa.record_batch({"a": [1, 2, 3]}), pa.record_batch({"a": ["Zebedee", "4", "5"]})]
    with pytest.raises(TableError) as caught:
        read(_Batches(parts), Schema((Column("a", "integer"),)))
    assert str(caught.value) == "stream: column 'a' changes its type from int64 to string on the way."


@pytest.mark.parametrize(("sizes", "rule"), [([], "no rows"), ([0, 0], "no rows"), ([0, 1, 0], "one row")])
def test_batches_of_too_few_rows(sizes: list[int], rule: str) -> None:
    source = _Batches([pa.record_batch({"a": pa.array([1] * size, pa.int64())}) for size in sizes])
    with pytest.raises(TableError, match=f"stream: {rule}; at least two are needed"):
        read(source, Schema((Column("a", "integer"),)))


def test_small_batches_are_read_together() -> None:
    parts = [pa.record_batch({"a": [n]}) for n in range(10)]
    table: Table = read(_Batches(parts), Schema((Column("a", "integer"),)), chunk=4)
    assert table.private["a"].tolist() == list(range(10))
    assert [part.columns.num_rows for part in files.chunks(_Batches(parts), 4)] == [4, 4, 2]


@pytest.mark.parametrize(("sizes", "cut"), [([10], [4, 4, 2]), ([3, 9], [7, 4, 1]), ([0, 8], [4, 4]), ([], [0])])
def test_large_batches_are_cut(sizes: list[int], cut: list[int]) -> None:
    parts = [pa.record_batch({"a": pa.array(range(size), pa.int64())}) for size in sizes]
    found = [part.columns for part in files.chunks(_Batches(parts), 4)]
    assert [part.num_rows for part in found] == cut
    assert [value for part in found for value in part["a"].to_pylist()] == [n for size in sizes for n in range(size)]


# --- what is fitted -----------------------------------------------------------------------------------------------

FITTED = Schema(
    (
        Column("city", "categorical", nullable=True),
        Column("plan", "categorical", categories=("z", "a"), nullable=True),
        Column("ill", "boolean", nullable=True, roles=("target",)),
        Column("low", "integer", nullable=True),
        Column("high", "float", nullable=True),
        Column("day", "datetime", nullable=True, format="%Y-%m-%d %H:%M:%S"),
    )
)
FITS: dict[str, tuple[Synthesizer, float | None]] = {
    "marginals": (Marginals(bins=8, steps=5, iterations=10, pairs=3), 60.0),
    "independent": (Independent(bins=8), 60.0),
    "ctgan": (CTGAN(epochs=1, warm_steps=1, generator_width=8, generator_batch=16, critic_widths=(8,)), None),
}


@pytest.mark.parametrize(("name", "grouped"), [*((name, False) for name in FITS), ("marginals", True), ("ctgan", True)])
def test_a_fit_to_parts_is_the_fit_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, grouped: bool
) -> None:
    schema = SCHEMA if grouped else FITTED
    frame = _frame().drop(columns=[] if grouped else ["id", "who"])
    path = _written(frame, tmp_path / "t.parquet")
    synthesizer, epsilon = FITS[name]

    def fitted(chunk: int) -> tuple[Schema, dict[str, Any], Arrays]:
        for module in ("table", "encoding.encoder", "graphical.coarsening"):
            monkeypatch.setattr(f"tabsynth.{module}.CHUNK", chunk)
        monkeypatch.setattr("tabsynth.privacy.marginals.BLOCK", chunk)
        monkeypatch.setattr(mapped, "IN_MEMORY", 10**9 if chunk > ROWS else 64)
        ledger = Ledger(None if epsilon is None else Budget(epsilon, 1e-5))
        sampler = synthesizer.fit(read(path, schema, chunk=chunk), ledger, Secret.fixed(4))
        return (sampler.schema, *sampler.state())

    whole, parts = fitted(10**6), fitted(101)
    assert parts[:2] == whole[:2]
    assert parts[2].keys() == whole[2].keys()
    for key, array in whole[2].items():
        np.testing.assert_array_equal(parts[2][key], array, err_msg=key)


def test_encoding_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    table = read(_frame().drop(columns=["id", "who"]), FITTED, chunk=300)
    private = table.private
    encoder = Encoder(discover(table, Ledger(), Secret.fixed(0), bins=8).schema)
    whole = encoder.encode(private)
    monkeypatch.setattr("tabsynth.encoding.encoder.CHUNK", 77)
    parts, alone = encoder.encode(private), encoder.tokens(private)
    np.testing.assert_array_equal(parts.tokens, whole.tokens)
    np.testing.assert_array_equal(parts.offsets, whole.offsets)
    np.testing.assert_array_equal(alone, whole.tokens)
    assert (parts.tokens.dtype, alone.dtype) == (np.int32, np.uint8)
    assert alone.flags.f_contiguous


@pytest.mark.parametrize("full_at", [1, 2])
def test_a_disk_that_fills_ends_a_fit_without_a_model_and_without_a_further_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full_at: int
) -> None:
    calls = 0

    def fills(file: int, start: int, size: int) -> None:
        nonlocal calls
        calls += 1
        if calls == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.ftruncate(file, size)

    monkeypatch.setitem(read.__kwdefaults__, "chunk", 200)
    monkeypatch.setattr(os, "posix_fallocate", fills)
    path = _written(_frame().drop(columns=["id", "who"]), tmp_path / "t.parquet")
    write_schema(FITTED, tmp_path / "t.yaml")
    command = ["fit", path, "--schema", tmp_path / "t.yaml", "--epsilon", "60", "--discover", "-o", tmp_path / "model"]
    assert run(list(map(str, command))) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no room for a table larger than memory (No space left on device)" in said
    assert not (tmp_path / "model").exists()
    charged = beside(path).read_text("utf-8") if beside(path).exists() else ""
    assert ("grid of" in charged) == (full_at == 2), "discovery is charged, if the table could be read"
    assert "marginal" not in charged
