"""A few places for what many want to do, which the parties have in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Places:
    """So many may go on at once; who waits has a line for each party, and lines have turns.

    Of what a party has sent before others wait for no more than is under way.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._lines: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def hold(self, party: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and have it for the body."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(party, deque()).append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.cancelled():
                self._leave(party, turn)
            else:
                self._free += 1
                self._admit()

    def _leave(self, party: Hashable, turn: asyncio.Future[None]) -> None:
        line = self._lines.get(party)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._lines[party]

    def _admit(self) -> None:
        """Give what is free to the first of each line, line by line."""
        while self._free and self._lines:
            party, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[party] = line
            if not turn.cancelled():
                self._free -= 1
                turn.set_result(None)
