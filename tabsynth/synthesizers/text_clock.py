"""The time that a fit may take."""

from __future__ import annotations

import math
import time

from tabsynth.errors import ModelError


class Clock:
    """The time that a fit has taken, and may take."""

    def __init__(self, seconds: float | None) -> None:
        self._limit, self._start = seconds or math.inf, time.monotonic()

    def require(self, more: float = 0.0) -> None:
        """Raise ModelError when what the fit took, and `more` seconds, are over the limit; how far is not told.

        How long private batches take follows from their rows.
        """
        if time.monotonic() - self._start + more > self._limit:
            raise ModelError(
                f"The fit {'would take' if more else 'takes'} more than {self._limit:g} seconds, its limit. "
                "Allow more, or take fewer steps or epochs, smaller batches or a smaller model."
            )

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self._limit)
