"""Who may work on a logical unit at the same time: many, or one alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SharedLock:
    """A shared and exclusive lock for one event loop; first come, first served.

    Whoever waits for exclusive use keeps later comers waiting, so that it
    cannot starve (an ORDERED task, SAM-5 8.6.3).
    """

    def __init__(self) -> None:
        self._holders = 0  # -1: one, exclusively
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @property
    def exclusive(self) -> bool:
        """Whether someone holds it exclusively, or waits to."""
        return self._holders < 0 or any(exclusive for exclusive, _ in self._waiting)

    @asynccontextmanager
    async def hold(self, *, exclusive: bool) -> AsyncIterator[None]:
        """Wait for the lock and hold it for the body."""
        if self._waiting or not self._admits(exclusive):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((exclusive, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(exclusive)
                elif (exclusive, turn) in self._waiting:
                    self._waiting.remove((exclusive, turn))
                    self._admit_next()
                raise
        else:
            self._take(exclusive)
        try:
            yield
        finally:
            self._leave(exclusive)

    def _admits(self, exclusive: bool) -> bool:
        return self._holders == 0 if exclusive else self._holders >= 0

    def _take(self, exclusive: bool) -> None:
        self._holders = -1 if exclusive else self._holders + 1

    def _leave(self, exclusive: bool) -> None:
        self._holders = 0 if exclusive else self._holders - 1
        self._admit_next()

    def _admit_next(self) -> None:
        while self._waiting and self._admits(self._waiting[0][0]):
            exclusive, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._take(exclusive)
            turn.set_result(None)
