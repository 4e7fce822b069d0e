"""Files and folders that appear whole or not at all.

What is written has a hidden name beside the final one, on the same filesystem, and is flushed to the disk; only then is
it renamed into place. A full disk, an error or Ctrl-C leaves nothing behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from tabsynth.errors import InputError

UNWRITTEN = "could not be written ({reason})."
PUBLIC_MODE = 0o777  # of a folder, less the user's umask
PRIVATE_MODE = 0o700  # nobody but the owner may even list what is in it


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a name of the same ending that becomes `path` when the block ends well and vanishes otherwise.

    Every OSError inside becomes an InputError that names `path` and the reason.
    """
    part = _beside(path)
    with refusing(path), _renamed(part, path):
        yield part
        _flush_file(part)


@contextmanager
def whole_folder(
    folder: Path, *, mode: int = PUBLIC_MODE, replace: bool = False, says: str = UNWRITTEN
) -> Iterator[Path]:
    """Yield a folder that becomes `folder` when the block ends well and vanishes otherwise.

    With `replace`, an older folder of that name makes room; if that fails, it is back. Raises InputError when something
    is there that may not be replaced; every OSError inside becomes one, as `refusing` says it.
    """
    part = _beside(folder)
    try:
        with refusing(folder, says):
            part.mkdir(mode=mode)
            yield part
            flush(part)
            _put_in_place(part, folder, replace=replace)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a small file over an older one in one step; it is on disk when this returns. Raises OSError.

    For what one process at a time writes again and again: the name aside is always the same, so that the next time
    writes over what a kill left there. `mode` holds whatever the user's umask is.
    """
    aside = path.with_name(f".{path.name}.new")
    with _renamed(aside, path), open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        aside.chmod(mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush(folder: Path) -> None:
    """Flush a folder and the files in it to the disk."""
    for path in folder.iterdir():
        _flush_file(path)
    _flush_names(folder)


def require_new(path: Path, kind: Literal["folder", "name"]) -> None:
    """Raise InputError unless `path` is new and can be made: called before any work and any charge."""
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; choose a new {kind}.")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder to write into.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: cannot be written (permission denied).")


@contextmanager
def refusing(path: Path, says: str = UNWRITTEN) -> Iterator[None]:
    """Turn an OSError into an InputError that names `path` and says why it could not be written."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise InputError(f"{path}: {says.format(reason=reason)}") from None


def _beside(path: Path) -> Path:
    """Return a hidden name that nothing has; it keeps the ending, and is short enough for any filesystem."""
    return path.with_name(f".partial-{secrets.token_hex(6)}-{path.name[-40:]}")


@contextmanager
def _renamed(part: Path, path: Path) -> Iterator[None]:
    """Give a file its final name when the block ends well; else remove it."""
    try:
        yield
        os.replace(part, path)
        _flush_names(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _put_in_place(part: Path, folder: Path, *, replace: bool) -> None:
    if not os.path.lexists(folder):
        os.rename(part, folder)
    elif not replace or not folder.is_dir() or folder.is_symlink():
        raise InputError(f"{folder}: already exists and is not replaced.")
    else:
        _swap(part, folder)
    _flush_names(folder.parent)


def _swap(part: Path, folder: Path) -> None:
    """Put `part` where `folder` is; a reader finds the old one, for a moment none, or the new one, no mixture."""
    old = _beside(folder)
    os.rename(folder, old)
    try:
        os.rename(part, folder)
    except BaseException:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_names(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
