"""An append-only chain of JSON lines on disk: locked, synced, keyed, and mended after a crash.

Three files: `NAME` holds the lines, `NAME.key` a random key (mode 0600), `NAME.head` how many lines there are and the
code of the last, under a seal. Each line carries `previous`, the code of the line before, and `code`, an HMAC-SHA256
of everything else in it under the key: who edits, removes or reorders lines without the key is found out, and the line
is named.

**Order of writing**, under an exclusive lock on `NAME` that is held from reading to the end: (1) the line, synced to
disk; (2) the head, written aside, synced and renamed. Only then does `append` return. So a crash leaves one of these
states, and the next look mends it:

- head and lines agree: nothing was under way;
- beyond the lines of the head stand torn bytes: a line that no `append` returned for; they are cut off;
- beyond the lines of the head stands one whole line: nobody was told of it, but it is kept.

Creation goes the same way from zero lines, the key first. Every other state is an altered chain: fewer lines than the
head says, two or more beyond it, a code or seal that does not fit, a missing head or key. A write that fails (a full
disk) is taken back.

What files cannot tell: who may write here can put older copies of all the files back, or delete them (the head and all
lines but the first are enough: what is left looks like an interrupted creation). The lock is advisory and needs a file
system with a working `flock`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tabsynth.atomic import replace_file
from tabsynth.errors import LedgerError

VERSION = 1
WAIT = 30.0  # seconds, for another process to let go of the lock
MAGIC = b'{"kind":"header",'  # how every chain starts; nothing that starts otherwise is ever written to


class Chain:
    """One chain; `lines` are those verified so far. Read and append inside `with chain.hold():`."""

    def __init__(self, path: Path | str, wait: float = WAIT) -> None:
        self.path = Path(path)
        self.lines: list[dict[str, Any]] = []
        self._wait = wait
        self._key = b""
        self._size = 0
        self._handle = -1

    @property
    def code(self) -> str:
        """The code of the last line: it commits to the whole chain so far."""
        return str(self.lines[-1]["code"]) if self.lines else ""

    def mac(self, purpose: str, message: bytes) -> str:
        """Return the keyed code of a message; codes of different purposes never coincide."""
        return hmac.new(self._key, purpose.encode() + b"\0" + message, hashlib.sha256).hexdigest()

    @contextmanager
    def hold(self, *, create: bool = False) -> Iterator[None]:
        """Hold the exclusive lock, with every line that any process wrote read and verified.

        Raises LedgerError when there is no chain (unless `create`), when it is locked for too long, of another
        version, or altered.
        """
        self._handle = self._lock(create)
        try:
            self._refresh()
            yield
        finally:
            self._unlock()

    def append(self, kind: str, **content: Any) -> dict[str, Any]:
        """Write one line; it is on disk when this returns. LedgerError when it cannot be, and then it is not there."""
        line: dict[str, Any] = {"kind": kind, **content}
        if not self.lines:
            line |= {"version": VERSION, "key": self._name_of_key()}
        line["previous"] = self.code
        line["code"] = self._code_of(line)
        text = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            _write(self._handle, text)
            self._write_head(len(self.lines) + 1, line["code"])
        except OSError as error:
            with suppress(OSError):
                self._cut()
            raise LedgerError(f"{self.path}: cannot be written ({error.strerror}). Nothing was spent.") from error
        self.lines.append(line)
        self._size += len(text)
        return line

    def _lock(self, create: bool) -> int:
        """Return a locked handle; LedgerError when there is no file, or another process keeps it too long."""
        try:
            import fcntl
        except ImportError:
            raise LedgerError(f"{self.path}: ledger files need POSIX locks, which this system has not.") from None
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            handle = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise LedgerError(f"{self.path}: the ledger cannot be opened ({error.strerror}).") from error
        deadline = time.monotonic() + self._wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except OSError as error:
                if time.monotonic() >= deadline:
                    os.close(handle)
                    raise LedgerError(
                        f"{self.path} is locked by another process; waited {self._wait:g} s. Nothing was spent."
                    ) from error
                time.sleep(0.001)

    def _unlock(self) -> None:
        import fcntl

        fcntl.flock(self._handle, fcntl.LOCK_UN)  # closing is not enough where a forked child shares the handle
        os.close(self._handle)
        self._handle = -1

    def _refresh(self) -> None:
        """Read and verify what was written since the last look, and mend what a crash left."""
        if os.fstat(self._handle).st_size < self._size:
            raise self._altered(None, "lines are missing at its end")
        content = _read(self._handle, self._size)
        if not self.lines and content[: len(MAGIC)] != MAGIC[: len(content)]:
            raise LedgerError(f"{self.path} is not a ledger.")
        has_head = self._beside(".head").exists()
        self._key = self._key or self._read_key(create=not content and not has_head)
        whole = content.split(b"\n")
        torn = whole.pop()
        sealed, code = self._read_head() if has_head else (len(self.lines), self.code)
        vouched = sealed - len(self.lines)
        for text in whole[: max(vouched, 0)]:
            self._accept(text)
        if len(self.lines) < sealed:
            raise self._altered(len(self.lines) + 1, f"it is missing, of {sealed} lines that its head knows")
        if vouched < 0 or self.code != code:
            raise self._altered(sealed, "it is not the line that its head knows")
        if bool(torn) + len(whole) - vouched > 1:
            raise self._altered(sealed + 1, f"its head knows {sealed} lines" if has_head else "its head is missing")
        self._mend(whole[vouched:], torn)

    def _mend(self, beyond: Sequence[bytes], torn: bytes) -> None:
        """Keep one whole line that was not yet vouched for; cut off what is torn."""
        for text in beyond:
            try:
                self._accept(text)
            except LedgerError:
                if not self.lines:
                    raise  # a whole first line that is wrong: another version, another key
                torn = text
        try:
            if torn:
                self._cut()
            if beyond and not torn:
                self._write_head(len(self.lines), self.code)
        except OSError as error:
            raise LedgerError(f"{self.path}: cannot be written ({error.strerror}). Nothing was spent.") from error

    def _accept(self, text: bytes) -> None:
        """Verify the next line and keep it."""
        number = len(self.lines) + 1
        try:
            line = json.loads(text)
            code, previous = str(line["code"]), line["previous"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._altered(number, "it is not a line of a ledger") from error
        if number == 1 and line.get("version") != VERSION:
            raise LedgerError(f"{self.path}: format version {line.get('version')!r}; this program reads {VERSION}.")
        if number == 1 and line.get("key") != self._name_of_key():
            raise LedgerError(f"{self.path}: the key beside it ({self._beside('.key').name}) is another ledger's.")
        if previous != self.code:
            raise self._altered(number, "it does not follow the line before")
        if not hmac.compare_digest(code, self._code_of(line)):
            raise self._altered(number, "its code does not fit its content")
        self.lines.append(line)
        self._size += len(text) + 1

    def _read_head(self) -> tuple[int, str]:
        """Return how many lines there are and the code of the last; LedgerError when the seal does not fit."""
        try:
            head = json.loads(self._beside(".head").read_bytes())
            lines, code, seal = int(head["lines"]), str(head["code"]), str(head["seal"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._altered(None, "its head cannot be read") from error
        if not hmac.compare_digest(seal, self._seal(lines, code)):
            raise self._altered(None, "the seal of its head does not fit this key")
        return lines, code

    def _write_head(self, lines: int, code: str) -> None:
        """Replace the head in one step."""
        head = {"lines": lines, "code": code, "seal": self._seal(lines, code)}
        replace_file(self._beside(".head"), json.dumps(head).encode() + b"\n", mode=0o644)

    def _read_key(self, create: bool) -> bytes:
        """Return the key, made now when the chain is new."""
        place = self._beside(".key")
        try:
            if create and not place.exists():
                replace_file(place, secrets.token_hex(32).encode() + b"\n")
            key = bytes.fromhex(place.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise LedgerError(f"{self.path}: its key {place.name} is missing or cannot be read or written.") from error
        if len(key) != 32:
            raise LedgerError(f"{self.path}: its key {place.name} is not 32 bytes long.")
        return key

    def _seal(self, lines: int, code: str) -> str:
        return self.mac("head", f"{lines} {code}".encode())

    def _name_of_key(self) -> str:
        return self.mac("key", b"")[:16]

    def _code_of(self, line: Mapping[str, Any]) -> str:
        content = {name: value for name, value in line.items() if name != "code"}
        return self.mac("line", json.dumps(content, sort_keys=True).encode())

    def _cut(self) -> None:
        os.ftruncate(self._handle, self._size)
        os.fsync(self._handle)

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def _altered(self, line: int | None, rule: str) -> LedgerError:
        place = f"{self.path}, line {line}" if line else f"{self.path}"
        return LedgerError(f"{place}: the ledger was altered or is damaged: {rule}. Nothing was spent.")


def _read(handle: int, start: int) -> bytes:
    """Return everything from `start` to the end."""
    parts = []
    while part := os.pread(handle, 1 << 20, start):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _write(handle: int, text: bytes) -> None:
    """Write all of `text` and sync it to disk."""
    while text:
        text = text[os.write(handle, text) :]
    os.fsync(handle)
