"""Folders that appear whole or not at all.

Files are written to a hidden folder beside the final one, on the same filesystem, and flushed to the disk; only then
is the folder renamed into place. A full disk, an error or Ctrl-C leaves nothing behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tabsynth.errors import InputError

INSIDE_SUFFIX = ".inside"
PRIVATE_MODE = 0o700  # nobody but the owner may even list an inside folder
PUBLIC_MODE = 0o777  # less the user's umask

Writer = Callable[[IO[bytes]], None]


def inside_folder(folder: Path | str) -> Path:
    """Return the folder of the inside report that belongs to a release folder.

    >>> str(inside_folder("out/people"))
    'out/people.inside'
    """
    folder = Path(folder)
    return folder.with_name(folder.name + INSIDE_SUFFIX)


def check_folder(folder: Path | str) -> Path:
    """Return the folder's path, or raise InputError saying why a release could not be written there.

    To be called before any training and any charge: the folder must not exist, and its parent must exist, be a folder
    and allow writing.
    """
    path = Path(folder)
    if not path.name or path.name == "..":
        raise InputError(f"{folder}: a folder with a name of its own was expected.")
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; a release is never written over something. Name a new folder.")
    parent = path.parent
    if not parent.exists():
        raise InputError(f"{path}: the folder {parent} does not exist; make it first.")
    if not parent.is_dir():
        raise InputError(f"{path}: {parent} is not a folder.")
    with _named_errors(path):
        # Asking the filesystem for real: permission bits say nothing of read-only mounts, or to the superuser.
        os.rmdir(_make_beside(path, PRIVATE_MODE))
    return path


@contextmanager
def staged(folder: Path, *, mode: int = PUBLIC_MODE) -> Iterator[Path]:
    """Give a hidden folder beside `folder` to write in; it is gone afterwards unless it was moved into place.

    Every OSError inside becomes an InputError that names `folder` and the reason.
    """
    temporary = None
    try:
        with _named_errors(folder):
            temporary = _make_beside(folder, mode)
            yield temporary
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_file(path: Path, write: Writer) -> None:
    """Create a file through `write` and flush it to the disk."""
    with path.open("xb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Create UTF-8 files in a folder and flush them to the disk."""
    for name, text in texts.items():
        write_file(folder / name, lambda file, text=text: _write_all(file, text))  # type: ignore[misc]


def put_in_place(temporary: Path, folder: Path, *, replace: bool = False) -> None:
    """Rename a written folder to its final name; with `replace`, an older one of that name makes room.

    Raises InputError when the folder exists and may not be replaced. If the rename fails, the older folder is back.
    """
    _sync_folder(temporary)
    if not os.path.lexists(folder):
        os.rename(temporary, folder)
    elif not replace or not folder.is_dir() or folder.is_symlink():
        raise InputError(f"{folder}: already exists and is not replaced.")
    else:
        _swap(temporary, folder)
    _sync_folder(folder.parent)


def _swap(temporary: Path, folder: Path) -> None:
    """Put `temporary` where `folder` is; a reader finds the old one, for a moment none, or the new one, no mixture."""
    old = _hidden_beside(folder)
    os.rename(folder, old)
    try:
        os.rename(temporary, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make_beside(folder: Path, mode: int) -> Path:
    """Make an empty hidden folder beside `folder`."""
    hidden = _hidden_beside(folder)
    hidden.mkdir(mode=mode)
    return hidden


def _hidden_beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(6)}.partial")


def _write_all(file: IO[bytes], text: str) -> None:
    file.write(text.encode("utf-8"))


def _sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into an InputError that names the folder and the reason."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{folder}: cannot be written ({reason}); nothing was left behind.") from error
