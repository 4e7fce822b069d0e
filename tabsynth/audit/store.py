"""Runs of an audit on disk: each one written whole when it is done, so that a killed audit goes on where it was.

The folder is as private as the coins in it: only its owner can read it. It is to be removed when the audit is over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabsynth.atomic import replace_file
from tabsynth.errors import InputError

PLAN = "plan.json"


class Store:
    """The finished runs of one plan, by number; without a folder they are kept in memory."""

    def __init__(self, folder: Path | str | None, plan: Mapping[str, Any]) -> None:
        """Read what is there; raise InputError when it is another plan's, or cannot be read."""
        self.folder = None if folder is None else Path(folder)
        self._plan = json.loads(json.dumps(plan))
        self._kept: dict[int, dict[str, Any]] = {}
        if self.folder is None or not self.folder.exists():
            return
        try:
            self._check(self.folder)
            self._read(self.folder)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.folder}: the runs kept there cannot be read ({type(error).__name__}).") from None

    def missing(self, runs: int) -> list[int]:
        """Return the numbers of the runs that are still to be made."""
        return [number for number in range(runs) if number not in self._kept]

    def keep(self, number: int, run: Mapping[str, Any]) -> None:
        """Keep a finished run, on disk first; raise InputError when it cannot be written."""
        if self.folder is not None:
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                if not (self.folder / PLAN).exists():
                    replace_file(self.folder / PLAN, json.dumps(self._plan).encode())
                replace_file(self.folder / f"run-{number:06d}.json", json.dumps(run).encode())
            except OSError as error:
                raise InputError(f"{self.folder}: a run could not be kept there ({error.strerror}).") from None
        self._kept[number] = dict(run)

    def runs(self) -> list[dict[str, Any]]:
        """Return the finished runs in order."""
        return [self._kept[number] for number in sorted(self._kept)]

    def _check(self, folder: Path) -> None:
        """Compare the plan that is there."""
        if not (folder / PLAN).exists():
            raise InputError(f"{folder}: already exists and holds something else; choose a new folder.")
        if json.loads((folder / PLAN).read_text(encoding="utf-8")) != self._plan:
            raise InputError(f"{folder}: holds the runs of an audit of something else; remove it or name another.")

    def _read(self, folder: Path) -> None:
        """Read the finished runs; one that was being written when the audit was killed has another name."""
        for path in folder.glob("run-*.json"):
            self._kept[int(path.stem.removeprefix("run-"))] = json.loads(path.read_text(encoding="utf-8"))
