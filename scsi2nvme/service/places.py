"""A few places for what many want to do, which the parties have in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress


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


class Place:
    """One of the places, for what works together as a party: nobody has it while all wait."""

    def __init__(self, places: Places, party: Hashable) -> None:
        self._places, self._party = places, party
        self._turn = asyncio.Lock()
        self._held = AsyncExitStack()
        self._users = 0

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Have the place for the body, beside others of the same party."""
        await self._take()
        try:
            yield
        finally:
            await self._give()

    @asynccontextmanager
    async def within(
        self, patience_s: float, hold: Callable[[], AbstractAsyncContextManager[None]]
    ) -> AsyncIterator[None]:
        """In the body of `shared`, enter what `hold` returns, which may have to be waited for.

        What takes longer is waited for without the place, and entered again with it.
        """
        while True:
            async with AsyncExitStack() as stack:
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        await stack.enter_async_context(hold())
                        entered = stack.pop_all()
                        break
            await self._give()
            try:
                async with hold():
                    pass
                await self._take()
            except BaseException:
                self._users += 1  # as `shared` takes one away: nobody waits for a place in vain
                raise
        async with entered:
            yield

    async def _take(self) -> None:
        async with self._turn:
            if not self._users:
                await self._held.enter_async_context(self._places.hold(self._party))
            self._users += 1

    async def _give(self) -> None:
        self._users -= 1
        if not self._users:
            await self._held.aclose()
