"""Waiting for what comes about by itself: never without end, and what is missing is named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LIMIT_S = 30.0  # for what takes milliseconds, on a machine that is busy
_PAUSE_S = 0.005


def until(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Return once `condition` holds; the test fails where it does not within `limit_s`.

    `what` completes "it never came about that …".
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"it never came about that {what}"
        time.sleep(_PAUSE_S)


async def eventually(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """As `until`, while others run."""
    deadline = time.monotonic() + limit_s
    pause_s = 0.0
    for turn in range(1 << 62):
        if condition():
            return
        assert time.monotonic() < deadline, f"it never came about that {what}"
        await asyncio.sleep(pause_s)
        pause_s = 0.0 if turn < 100 else _PAUSE_S
