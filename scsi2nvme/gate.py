"""Who may work on a logical unit at the same time: many, or one alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """A shared and exclusive lock for one event loop; first come, first served.

    Whoever waits for exclusive use keeps later comers waiting, so that it
    cannot starve (an ORDERED task, SAM-5 8.6.3).
    """

    def __init__(self) -> None:
        self._inside = 0  # -1: one alone
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @property
    def exclusive(self) -> bool:
        """Whether someone is alone inside, or waits to be."""
        return self._inside < 0 or any(alone for alone, _ in self._waiting)

    @asynccontextmanager
    async def enter(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for a place and hold it for the body."""
        if self._waiting or not self._admits(alone):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((alone, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(alone)
                elif (alone, turn) in self._waiting:
                    self._waiting.remove((alone, turn))
                    self._admit_next()
                raise
        else:
            self._take(alone)
        try:
            yield
        finally:
            self._leave(alone)

    def _admits(self, alone: bool) -> bool:
        return self._inside == 0 if alone else self._inside >= 0

    def _take(self, alone: bool) -> None:
        self._inside = -1 if alone else self._inside + 1

    def _leave(self, alone: bool) -> None:
        self._inside = 0 if alone else self._inside - 1
        self._admit_next()

    def _admit_next(self) -> None:
        while self._waiting and self._admits(self._waiting[0][0]):
            alone, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._take(alone)
            turn.set_result(None)
