"""Where a release and its inside report are written, and whether they can be."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp

from tabsynth.atomic import refusing
from tabsynth.errors import InputError

INSIDE_SUFFIX = ".inside"
UNWRITTEN = "cannot be written ({reason}); nothing was left behind."


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
    with refusing(path, UNWRITTEN):
        # Asking the filesystem for real: permission bits say nothing of read-only mounts, or to the superuser.
        os.rmdir(mkdtemp(prefix=".partial-", dir=parent))
    return path
