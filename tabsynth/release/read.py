"""A release as it lies on the disk: read, verified, and asked where a row comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tabsynth.errors import InputError
from tabsynth.release.data import read_stamp
from tabsynth.schema import Schema

DATA, CARD, PROVENANCE = "data.parquet", "README.md", "provenance.json"


@dataclass(frozen=True, slots=True)
class Release:
    """A release folder whose files have the hashes that its provenance names."""

    folder: Path
    provenance: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The id that every row carries."""
        return str(self.provenance["release"]["id"])

    @property
    def schema(self) -> Schema:
        """The public schema of the rows."""
        return Schema.from_dict(self.provenance["schema"])

    def rows(self) -> pd.DataFrame:
        """Read the synthetic rows."""
        return pd.read_parquet(self.folder / DATA)


@dataclass(frozen=True, slots=True)
class RowProvenance:
    """Where one row comes from."""

    release_id: str
    row: int
    generator: str
    generator_version: str


def read_release(folder: Path | str) -> Release:
    """Return the release in a folder; raise InputError when a file is missing, unreadable or altered.

    The hashes find accidents and edits to the data or the card. They are no signature: whoever rewrites the
    provenance as well is not found out.
    """
    folder = Path(folder)
    provenance = _read_provenance(folder / PROVENANCE)
    for name, facts in provenance["files"].items():
        if sha256(folder / name) != facts["sha256"]:
            raise InputError(f"{folder / name}: was altered after the release; its SHA-256 is not the one recorded.")
    stamp, _ = read_stamp(folder / DATA)
    if stamp["release_id"] != provenance["release"]["id"]:
        raise InputError(f"{folder}: the data carry the id of another release than {PROVENANCE} does.")
    return Release(folder, provenance)


def row_provenance(folder: Path | str, row: int) -> RowProvenance:
    """Return where row number `row` (from 0) comes from, as stamped in the data; raise InputError if there is none."""
    stamp, rows = read_stamp(read_release(folder).folder / DATA)
    if not 0 <= row < rows:
        raise InputError(f"{folder}: there is no row {row}; rows are numbered 0 to {rows - 1}.")
    return RowProvenance(stamp["release_id"], row, stamp["generator"], stamp["generator_version"])


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal; raise InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        provenance = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); is this a release folder?") from error
    except ValueError:
        raise InputError(f"{path}: not JSON.") from None
    if not isinstance(provenance, dict) or provenance.get("format") != "tabsynth release":
        raise InputError(f"{path}: not the provenance of a release.")
    files = provenance.get("files")
    if not isinstance(files, dict) or set(files) != {DATA, CARD}:
        raise InputError(f"{path}: must name the hashes of {DATA} and {CARD}, and of nothing else.")
    return provenance
