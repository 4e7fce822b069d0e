"""Shards: the rows that blocks give whatever the files hold, all of them or none, and memory that stays flat."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tabsynth import shards
from tabsynth.columns import DAY, Column
from tabsynth.encoding.encoder import Encoder
from tabsynth.errors import InputError
from tabsynth.identifiers import Identifiers
from tabsynth.schema import Schema
from tabsynth.shards import blocks, write_shards
from tabsynth.table import write_rows

SCHEMA = Schema(
    (
        Column("who", "categorical", roles=("identifier",)),
        Column("number", "integer", roles=("identifier",)),
        Column("key", "categorical", roles=("identifier",), provider="uuid", unique=True),
        Column("city", "categorical", categories=("Ulm", "Bonn", "北京"), nullable=True),
        Column("ill", "boolean", nullable=True),
        Column("well", "boolean", nullable=False),
        Column("age", "integer", bounds=(0, 99), bins=(0, 30, 100), nullable=True),
        Column("visits", "integer", bounds=(0, 9), bins=(0, 5, 10), nullable=False),
        Column("weight", "float", bounds=(0, 9), bins=(0, 5, 9), nullable=True),
        Column("born", "datetime", bounds=(7000 * DAY, 18000 * DAY),
               bins=(7000 * DAY, 9000 * DAY, 18001 * DAY), nullable=True),
        Column("seen", "datetime", bounds=(6e8, 1.6e9), bins=(6e8, 1e9, 1.6e9),
               nullable=False, format="%Y-%m-%d %H:%M:%S"),
        Column("stay", "duration", bounds=(0, 9000), bins=(0, 50, 9000), nullable=True),
    )
)  # fmt: skip


def draw(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw canonical rows of every kind."""
    encoder = Encoder(SCHEMA)
    tokens = np.stack([rng.integers(size, size=rows) for size in encoder.sizes], axis=1)
    return encoder.decode(tokens.astype(np.int32), rng)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 100)


def written(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(part) for part in sorted(folder.iterdir())], ignore_index=True)


def test_rows_do_not_depend_on_how_many_a_file_holds(tmp_path: Path) -> None:
    found = {}
    for shard in (1, 7, 100, 250, 1000):
        rows = 12 if shard == 1 else 1003
        folder = write_shards(draw, rows, np.random.default_rng(5), SCHEMA, tmp_path / str(shard), shard=shard)
        parts = sorted(folder.iterdir())
        sizes = [pq.read_metadata(part).num_rows for part in parts]
        assert sizes == [min(shard, rows - start) for start in range(0, rows, shard)]
        assert [part.name for part in parts] == [f"part-{place:05d}.parquet" for place in range(len(parts))]
        found[shard] = written(folder)
    for shard in (100, 250, 1000):
        pd.testing.assert_frame_equal(found[shard], found[7])
    expected = [draw(size, rng) for size, rng in blocks(1003, np.random.default_rng(5))]
    assert found[7]["age"].fillna(-1).tolist() == pd.concat(expected)["age"].fillna(-1).tolist()
    write_shards(draw, 1003, np.random.default_rng(6), SCHEMA, tmp_path / "other")
    assert not written(tmp_path / "other").equals(found[7])


def test_a_shard_holds_what_one_file_of_the_same_rows_does(tmp_path: Path) -> None:
    whole = draw(100, np.random.default_rng(0).spawn(1)[0])
    write_rows(whole, SCHEMA, tmp_path / "whole.parquet")
    folder = write_shards(draw, 100, np.random.default_rng(0), SCHEMA, tmp_path / "folder")
    one, other = pd.read_parquet(tmp_path / "whole.parquet"), written(folder)
    assert other["city"].dtype == "category"  # with its dictionary; all else is the same
    pd.testing.assert_frame_equal(other.astype({"city": "object"}), one.astype({"city": "object"}))
    types = [dict(zip(names.names, names.types, strict=True)) for names in (
        pq.read_schema(tmp_path / "whole.parquet"), pq.read_schema(folder / "part-00000.parquet"))]  # fmt: skip
    texts = {"city", "who", "key"}
    assert {name: kind for name, kind in types[0].items() if name not in texts} == {
        name: kind for name, kind in types[1].items() if name not in texts
    }


def test_identifiers_go_on_from_block_to_block(tmp_path: Path) -> None:
    frame = written(write_shards(draw, 1203, np.random.default_rng(0), SCHEMA, tmp_path / "out", shard=500))
    assert frame["number"].tolist() == list(range(1, 1204))
    assert frame["who"].tolist() == [f"who-{number:04d}" for number in range(1, 1204)]


def test_identifiers_of_a_provider_stay_as_they_were_made(tmp_path: Path) -> None:
    def made(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        return identifiers.filled(draw(rows, rng), rng)

    identifiers = Identifiers(SCHEMA)
    frame = written(write_shards(made, 250, np.random.default_rng(0), SCHEMA, tmp_path / "out", shard=70))
    assert frame["key"].str.len().eq(36).all()
    assert frame["key"].is_unique
    assert frame["number"].tolist() == list(range(1, 251))


def test_progress_is_told_after_each_block(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_shards(
        draw,
        250,
        np.random.default_rng(0),
        SCHEMA,
        tmp_path / "out",
        report=lambda done, rows, _: told.append((done, rows)),
    )
    assert told == [(100, 250), (200, 250), (250, 250)]


def test_the_share_of_rows_that_were_good_is_told(tmp_path: Path) -> None:
    shares = iter([0.5, 0.25, 1.0])  # of blocks of 100, 100 and 50: 650 rows were drawn

    def drawn_again(size: int, rng: np.random.Generator) -> pd.DataFrame:
        frame = draw(size, rng)
        frame.attrs["acceptance"] = next(shares)
        return frame

    told: list[dict[str, float]] = []
    rng = np.random.default_rng(0)
    write_shards(drawn_again, 250, rng, SCHEMA, tmp_path / "out", report=lambda *said: told.append(dict(said[2])))
    assert told == [{"acceptance": 0.5}, {"acceptance": 200 / 600}, {"acceptance": 250 / 650}]


@pytest.mark.parametrize("place", ["a folder", "a file", "a broken link", "nowhere"])
def test_what_is_there_is_never_written_to(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    if place == "a folder":
        folder.mkdir()
    elif place == "a file":
        folder.write_text("mine")
    elif place == "a broken link":
        folder.symlink_to(tmp_path / "gone")
    else:
        folder = tmp_path / "no" / "where"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        InputError, match="already exists; choose a new folder" if place != "nowhere" else "no such folder"
    ):
        write_shards(lambda *_: pytest.fail("nothing is drawn"), 10, np.random.default_rng(0), SCHEMA, folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("rows", "shard"), [(0, 1), (-1, 1), (1.5, 1), (True, 1), (10, 0)])
def test_numbers_that_are_none_are_refused(rows: Any, shard: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a whole number of at least 1"):
        write_shards(draw, rows, np.random.default_rng(0), SCHEMA, tmp_path / "out", shard=shard)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, InputError])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_whatever_ends_it_leaves_nothing(error: type[BaseException], at: int, tmp_path: Path) -> None:
    def failing(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        nonlocal calls
        calls += 1
        if calls > at:
            raise error("stop")
        return draw(rows, rng)

    calls = 0
    with pytest.raises(error, match="stop"):
        write_shards(failing, 1000, np.random.default_rng(0), SCHEMA, tmp_path / "out", shard=150)
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_cannot_be_written_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    def changing(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        nonlocal calls
        calls += 1
        frame = draw(rows, rng)
        return frame.drop(columns="age") if calls == 3 else frame

    calls = 0
    with pytest.raises(ValueError, match="schema"):
        write_shards(changing, 100_000, np.random.default_rng(0), SCHEMA, tmp_path / "out")
    assert calls < 20  # it does not draw to the end for nothing
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond 30 kB, which the system refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_refuses_is_told_and_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out: could not be written \(File too large\); nothing was kept"):
        write_shards(draw, 100_000, np.random.default_rng(0), SCHEMA, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_no_more_blocks_wait_than_memory_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, most = 0, 0

    def counted(rows: int, rng: np.random.Generator) -> pd.DataFrame:
        nonlocal drawn, most
        drawn += 1
        most = max(most, drawn - done[0])
        return draw(rows, rng)

    done = [0]
    write_shards(
        counted, 3000, np.random.default_rng(0), SCHEMA, tmp_path / "out",
        report=lambda *_: done.__setitem__(0, done[0] + 1),
    )  # fmt: skip
    assert (drawn, done[0]) == (30, 30)
    assert most <= shards.WAITING + 3  # one is drawn, one is written, one was just reported
