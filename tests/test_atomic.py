"""Files and folders that appear whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabsynth.atomic import PRIVATE_MODE, replace_file, require_new, whole_file, whole_folder
from tabsynth.errors import InputError

ENDS = (OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("stop"))


@pytest.fixture(params=[0o022, 0o077, 0o000], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the mask that a user has chosen for new files."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["rows.csv.gz", "x" * 250 + ".csv", "收" * 80 + ".parquet"], ids=len)
def test_a_file_appears_when_it_is_whole(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as part:
        assert part.name.endswith(name[-8:])  # a writer that goes by the ending writes the same
        part.write_text("new")
        assert not (tmp_path / name).exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_a_file_that_is_not_finished_leaves_the_older_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def half() -> None:
        with whole_file(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(InputError if isinstance(error, OSError) else type(error)):
        half()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("rows.csv", "old")]


def test_an_error_of_the_disk_names_the_file_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "none" / "rows.csv"
    said = rf"^{path}: could not be written \(No such file or directory\)\.$"
    with pytest.raises(InputError, match=said), whole_file(path) as part:
        part.write_text("")


def test_a_place_is_checked_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (tmp_path, tmp_path / "file", tmp_path / "link"):  # a link to nothing as well
        with pytest.raises(InputError, match="already exists; choose a new name"):
            require_new(taken, "name")
    for parent in ("none", "file"):
        with pytest.raises(InputError, match="no such folder to write into"):
            require_new(tmp_path / parent / "new", "folder")
    require_new(tmp_path / "new", "folder")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"cannot be written \(permission denied\)"):
        require_new(tmp_path / "new", "folder")


@pytest.mark.parametrize("error", ENDS, ids=repr)
def test_a_folder_that_is_not_finished_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def half() -> None:
        with whole_folder(tmp_path / "a", says="was lost: {reason}") as part:
            (part / "half").write_text("")
            raise error

    with pytest.raises(InputError if isinstance(error, OSError) else type(error)) as caught:
        half()
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path / 'a'}: was lost: {os.strerror(errno.ENOSPC)}"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_the_permissions_asked_for_less_the_mask(tmp_path: Path, umask: int) -> None:
    with whole_folder(tmp_path / "public"), whole_folder(tmp_path / "private", mode=PRIVATE_MODE) as part:
        assert mode_of(part) == PRIVATE_MODE & ~umask  # from the beginning
    assert mode_of(tmp_path / "public") == 0o777 & ~umask
    assert mode_of(tmp_path / "private") == 0o700


def test_a_folder_takes_the_place_of_an_older_one_only_where_it_may(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("")
    with pytest.raises(InputError, match="already exists and is not replaced"), whole_folder(tmp_path / "a") as part:
        (part / "new").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]
    with whole_folder(tmp_path / "a", replace=True) as part:
        (part / "new").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "new"]


def test_a_file_that_is_replaced_has_its_mode_whatever_the_mask(tmp_path: Path, umask: int) -> None:
    replace_file(tmp_path / "key", b"secret")
    replace_file(tmp_path / "head", b"public", mode=0o644)
    assert {path.name: mode_of(path) for path in tmp_path.iterdir()} == {"key": 0o600, "head": 0o644}


def test_what_a_kill_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".key.new").write_text("torn by a kill")
    replace_file(tmp_path / "key", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("key", b"new")]


def test_a_file_that_cannot_be_replaced_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file(tmp_path / "key", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        replace_file(tmp_path / "key", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("key", b"old")]


def test_a_filesystem_that_cannot_flush_a_folder_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not here")
        real(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    with whole_folder(tmp_path / "a") as part:
        (part / "new").write_text("")
    assert (tmp_path / "a" / "new").exists()


def test_what_appears_is_on_the_disk_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, flushed = os.fsync, set()

    def noting(handle: int) -> None:
        flushed.add((os.fstat(handle).st_ino, (tmp_path / "rows.csv").exists(), (tmp_path / "a").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", noting)
    with whole_file(tmp_path / "rows.csv") as part:
        part.write_text("new")
    with whole_folder(tmp_path / "a") as part:
        (part / "new").write_text("")
    assert ((tmp_path / "rows.csv").stat().st_ino, False, False) in flushed
    assert ((tmp_path / "a" / "new").stat().st_ino, True, False) in flushed
