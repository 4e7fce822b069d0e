"""A headless Chromium, driven over a pipe by its DevTools protocol: no driver and no library is needed for that."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 600.0  # seconds that an answer may take: a busy machine is slow, only a browser that hangs says nothing


class Chromium:
    """One tab of a browser without a head; a context manager, so that the process ends with the test."""

    def __init__(self, profile: Path) -> None:
        """Start the browser with a profile of its own."""
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        # the protocol reads descriptor 3 and writes descriptor 4
        start = f'exec "$@" 3<&{theirs} 4>&{answers}'
        command = ["bash", "-c", start, "bash", str(PROGRAM), *flags, f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(theirs, answers), **quiet)
        os.close(theirs)
        os.close(answers)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.events: list[dict[str, Any]] = []
        tab = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._to)
        os.close(self._from)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come before it are kept."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        data = json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            found = self._message()
            if found.get("id") == number:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self.events.append(found)

    def open(self, html: str, path: Path, width: int = 1100, scheme: str = "light", media: str = "") -> list[str]:
        """Open a page from a file and return what it complained of in the console."""
        path.write_text(html, encoding="utf-8")
        self.look(width, scheme, media)
        self.events.clear()
        self("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())
        self.run("1")  # whatever was said until now has come
        return [said for event in self.events if (said := _complaint(event))]

    def look(self, width: int, scheme: str = "light", media: str = "") -> None:
        """Look at the page that is open in another way: on another screen, in other colours, on paper."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self("Emulation.setDeviceMetricsOverride", **size)
        self("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def run(self, script: str) -> Any:
        """Return the value of a script, awaited."""
        found = self("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        size = self("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        return base64.b64decode(self("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])

    def print(self) -> bytes:
        """Return the page as it is printed, as PDF."""
        return base64.b64decode(self("Page.printToPDF", printBackground=True)["data"])

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            read = os.read(self._from, 1 << 20) if ready else b""
            assert read, "The browser has gone." if ready else f"The browser said nothing for {PATIENCE:.0f} s."
            self._rest += read
        found, self._rest = self._rest.split(b"\0", 1)
        return json.loads(found)


def _complaint(event: dict[str, Any]) -> str | None:
    """Return what an event complains of, if it does."""
    what = event.get("params", {})
    if event.get("method") == "Log.entryAdded":
        return str(what["entry"]["text"])
    if event.get("method") == "Runtime.exceptionThrown":
        return str(what["exceptionDetails"]["text"])
    if event.get("method") == "Runtime.consoleAPICalled":
        return " ".join(str(each.get("value")) for each in what["args"])
    return None
