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
        """Raise ModelError when what the fit took, and `more` seconds, are over the limit."""
        needed = time.monotonic() - self._start + more
        if needed > self._limit:
            raise ModelError(
                f"The fit takes {'about ' if more else ''}{needed:.0f} seconds or more, and seconds is "
                f"{self._limit:g}. Allow more, or take fewer steps or epochs, smaller batches or a smaller model."
            )

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self._limit)
