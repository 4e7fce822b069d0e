"""Frames larger than memory: the same as in memory, zero copies of the map, nothing left behind, full disks told."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabsynth import mapped
from tabsynth.errors import InputError
from tabsynth.mapped import concatenated, room


def _frame(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    gaps = rng.random(rows) < 0.3
    moments = (1e9 * rng.random(rows)).astype("datetime64[s]")
    frame = pd.DataFrame(
        {
            "city": pd.Categorical.from_codes(rng.integers(-1, 3, rows), categories=["Łódź", "Köln", "北京"]),
            "ill": pd.arrays.BooleanArray(rng.random(rows) < 0.5, gaps),
            "n": pd.arrays.IntegerArray(rng.integers(-9, 2**52, rows), gaps),
            "x": np.where(gaps, np.nan, rng.normal(size=rows)),
            "day": np.where(gaps, np.datetime64("NaT"), moments),
            "long": rng.integers(0, 10**9, rows).astype("timedelta64[us]"),
            "text": pd.Series([f"t{n}" for n in range(rows)], dtype="str"),
        }
    )
    frame["zoned"] = frame["day"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    return frame


@pytest.fixture(params=["in memory", "mapped"])
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "mapped":
        monkeypatch.setattr(mapped, "IN_MEMORY", 16)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("part", [1, 7, 50, 99, 100])
def test_parts_make_the_frame_they_were_cut_from(part: int) -> None:
    whole = _frame(100, 0)
    parts = (whole.iloc[start : start + part].reset_index(drop=True) for start in range(0, 100, part))
    pd.testing.assert_frame_equal(concatenated(parts), whole)


def test_one_frame_comes_back_as_it_is() -> None:
    whole = _frame(10, 0)
    assert concatenated(iter([whole])) is whole


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([["b", "a"], ["b", "a"]], ["b", "a"]),  # declared in this order
        ([["b", "a", "x"], ["b", "a", "c", "z"], ["b", "a"]], ["b", "a", "c", "x", "z"]),  # and others found
        ([["x"], ["a"], []], ["a", "x"]),
        ([["a", "b"], ["b", "a"]], ["a", "b"]),  # equal sets are not equal codes
        ([[f"c{n:03}" for n in range(100)], [f"d{n:03}" for n in range(100)]], None),  # more than a byte's codes
    ],
)
def test_categories_are_those_that_all_begin_with_and_then_all_others_sorted(
    lists: list[list[str]], expected: list[str] | None
) -> None:
    parts = [pd.DataFrame({"c": pd.Categorical([*values, None], categories=values)}) for values in lists]
    found = concatenated(iter(parts))["c"]
    assert found.cat.categories.tolist() == (expected or [*lists[0], *lists[1]])
    assert found.astype(object).where(found.notna(), None).tolist() == [v for values in lists for v in [*values, None]]


def test_columns_are_the_map_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 16)
    rooms = []

    def watched(*arguments: Any) -> np.ndarray[Any, Any]:
        rooms.append(room(*arguments))
        return rooms[-1]

    monkeypatch.setattr(mapped, "room", watched)
    whole = _frame(100, 0)
    found = concatenated(whole.iloc[start : start + 50].reset_index(drop=True) for start in (0, 50))
    (common,) = rooms
    held = [
        found["city"].array.codes,
        found["x"].to_numpy(),
        found["day"].to_numpy(),
        found["long"].to_numpy(),
    ]
    held += [found["n"].iloc[10:20].array._data, found["ill"].array._mask]
    assert all(np.shares_memory(common, array) for array in held)


def test_room_is_small_in_memory_and_large_in_a_file_of_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[os.stat_result] = []

    def watched(*arguments: Any, **named: Any) -> Any:
        file = made(*arguments, dir=tmp_path, **named)
        opened.append(os.fstat(file.fileno()))
        return file

    made = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    monkeypatch.setattr(mapped, "IN_MEMORY", 8000)
    assert room((10, 100), np.int64).flags.c_contiguous
    assert opened == []
    large = room((10, 101), np.int64, "F")
    assert large.shape == (10, 101)
    assert large.flags.f_contiguous
    large[:] = np.arange(1010).reshape(10, 101)
    assert large.sum() == 1009 * 505
    (status,) = opened
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [], "the file has no name"


KILLED = """
import os, signal, sys
import numpy as np
from tabsynth import mapped
mapped.IN_MEMORY = 10
held = mapped.room((10**6,), np.uint8)
held[:] = 7
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_stays_of_a_killed_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "IN_MEMORY", 16)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"no room for a table larger than memory \(No space left on device\); name a"):
        room((1000,), np.uint8)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_disk_that_fills_while_parts_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 16)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda *_, **__: open("/dev/full", "w+b"))  # noqa: SIM115
    with pytest.raises(InputError, match="No space left on device"):
        concatenated(_frame(10_000, seed) for seed in range(3))


def test_an_error_of_a_part_is_its_own() -> None:
    def broken() -> Iterator[pd.DataFrame]:
        yield _frame(10, 0)
        yield _frame(10, 1)
        raise OSError(errno.ENOSPC, "of the source")

    with pytest.raises(OSError, match="of the source"):
        concatenated(broken())


def test_without_a_system_call_the_blocks_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", 16)
    monkeypatch.delattr(os, "posix_fallocate")
    held = room((2**20,), np.uint8)
    held[-1] = 3
    assert int(held.sum()) == 3
