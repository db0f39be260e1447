"""How long what runs alone on a logical unit may keep others from it."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.1
SAVED_SECONDS = 0.02  # so much at once: what is done now and then does not wait
LONGEST_WAIT_SECONDS = 0.5  # also after a format


class Allowance:
    """A tenth of the time, as no command that runs alone needs more of it, and a flood would.

    What is not used is saved, a little of it; what is used beyond that is waited for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = SAVED_SECONDS
        self._as_of = clock()

    def _update(self) -> None:
        now = self._clock()
        self._left = min(SAVED_SECONDS, self._left + SHARE * (now - self._as_of))
        self._as_of = now

    @property
    def wait_seconds(self) -> float:
        """How long to wait before the next use."""
        self._update()
        return max(0.0, -self._left / SHARE)

    def use(self, seconds: float) -> None:
        """Take note of a use that has just ended."""
        self._update()
        self._left = max(self._left - seconds, -LONGEST_WAIT_SECONDS * SHARE)
