"""The gate's last step: a release folder in one move, or a refusal that leaves the inside report only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tabsynth.atomic import PRIVATE_MODE, flush, whole_folder
from tabsynth.errors import InputError, Refused
from tabsynth.policy import Check, Verdict
from tabsynth.privacy.ledger import Ledger
from tabsynth.release.card import card
from tabsynth.release.data import to_arrow, write_parquet
from tabsynth.release.folder import UNWRITTEN, check_folder, inside_folder
from tabsynth.release.provenance import provenance
from tabsynth.release.read import CARD, DATA, PROVENANCE, Release, sha256
from tabsynth.release.refusing import Mode, refusals
from tabsynth.schema import Schema

WARNING_FILE = "DO-NOT-SHARE.txt"
WARNING = """\
INSIDE: do not share this folder.

The numbers in these files were computed from private rows. They are not covered by the privacy budget, and published
beside the release they would help to rebuild rows of the private table. Keep this folder where the private table is
kept, and delete it with the table.
"""
INSIDE_FILES = frozenset({"report.html", "report.json", "report.md", "junit.xml", WARNING_FILE})


class InsideReport(Protocol):
    """What the inside folder holds: `tabsynth.report.Report` is one."""

    def files(self) -> Mapping[str, str]:
        """Return file names and their text."""
        ...


def check_release_folder(folder: Path | str) -> Path:
    """Return the path, or raise InputError saying why neither a release nor its inside report can be written there.

    To be called before any training and any charge. `folder` must be new; an older inside report beside it may be
    replaced, anything else of that name may not.
    """
    path = check_folder(folder)
    _check_inside(inside_folder(path))
    return path


def release(  # noqa: PLR0917 -- the walk's six things, in the order in which it makes them
    rows: pd.DataFrame,
    schema: Schema,
    synthesizer: Any,
    ledger: Ledger,
    verdicts: Sequence[Verdict],
    folder: Path | str,
    *,
    inside: InsideReport,
    title: str | None = None,
    policy: Sequence[Check] | None = None,
    seeds: Mapping[str, int] | None = None,
    attempts: int | None = None,
    mode: Mode = "inside",
) -> Release:
    """Write a release folder in one atomic step and return it, or raise Refused.

    `rows` are synthetic, `schema` is complete and public, `synthesizer` the frozen dataclass of settings that was
    fitted, `ledger` what it charged. The folder gets data.parquet, provenance.json and README.md; the inside report
    goes to the folder of the same name with `.inside` appended, whether the release passed or not. `policy` enters as
    a fingerprint; `seeds` are those that may be published (never the noise's); `title` is the folder's name unless
    given. `mode` says whether the verdicts came of private numbers that stay inside or of noisy ones that the ledger
    was charged for. A ledger with a file counts the attempts and gets a line on each; otherwise `attempts` may give the
    tries until this one, itself included, and None says that they were not counted.

    Raises Refused when there is a reason in `refusals`, and InputError when the rows do not fit the schema or the
    folder cannot be written; then nothing of the release is left behind.

    *Formal guarantee*: the folder is a function of the other arguments, of the names and tiers of the checks, and of
    one bit, that there was no reason to refuse. No number of a verdict enters it, nor does anything of `inside`. In the
    mode `charged` the status of each check enters too, and that, as the bit, is post-processing of what the ledger was
    charged for.
    """
    path = check_release_folder(folder)
    home = inside_folder(path)
    counted = ledger.attempt()
    reasons = refusals(verdicts, ledger, mode=mode, synthesizer=synthesizer)
    ledger.decided("refused" if reasons else "released")
    if reasons:
        _write_inside(home, inside, replace=True)
        raise Refused(f"Refused: {'; '.join(reasons)}. Nothing was released. The inside report is in {home}.")
    account = provenance(
        schema,
        synthesizer,
        ledger,
        verdicts,
        rows=len(rows),
        columns=[str(name) for name in rows.columns],
        title=title or path.name,
        policy=policy,
        seeds=seeds,
        attempts=attempts if counted is None else counted,
        mode=mode,
    )
    with whole_folder(path, says=UNWRITTEN) as outside:
        _write_outside(outside, rows, schema, account)
        flush(outside)  # whatever can fail has done so before an older inside report makes room
        _write_inside(home, inside, replace=True)
    return Release(path, account)


def write_inside(folder: Path | str, inside: InsideReport) -> Path:
    """Write an inside report, with its warning, to a new folder in one atomic step and return its path.

    Raises InputError when the folder exists or cannot be written.
    """
    path = check_folder(folder)
    _write_inside(path, inside)
    return path


def _write_outside(folder: Path, rows: pd.DataFrame, schema: Schema, account: dict[str, Any]) -> None:
    """Write data, card and provenance; the hashes of the first two complete the third."""
    stamp = {
        "release_id": account["release"]["id"],
        "generator": account["generator"]["name"],
        "generator_version": account["generator"]["version"],
        "synthetic": "true",
    }
    table = to_arrow(rows, schema, stamp)
    with (folder / DATA).open("xb") as file:
        write_parquet(file, table)
    _write_texts(folder, {CARD: card(account)})
    for name in (DATA, CARD):
        account["files"][name] = {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
    text = json.dumps(account, indent=2, ensure_ascii=False, allow_nan=False)
    _write_texts(folder, {PROVENANCE: text + "\n"})


def _write_inside(home: Path, inside: InsideReport, *, replace: bool = False) -> None:
    with whole_folder(home, mode=PRIVATE_MODE, replace=replace, says=UNWRITTEN) as within:
        _write_texts(within, {WARNING_FILE: WARNING, **inside.files()})


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())


def _check_inside(home: Path) -> None:
    """Raise unless the inside folder is absent or holds nothing but an older inside report."""
    if not os.path.lexists(home):
        return
    if home.is_symlink() or not home.is_dir() or {entry.name for entry in home.iterdir()} - INSIDE_FILES:
        raise InputError(f"{home}: is in the way of the inside report and is not one; move it or name another folder.")
