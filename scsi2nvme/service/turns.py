"""What waits to be begun: by whom, and how much of it at a time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext

AT_A_TIME = 8  # commands, of some hundredths to some tenths of a millisecond each
LONG_S = 0.005  # but none follows one that takes so long, as what is saved durably does


class Turns:
    """Begins things party by party, a few in each round of the event loop.

    Whatever else the loop serves, logins first of all, waits for no more than that; nor does
    one party for what another has sent before it.
    """

    def __init__(
        self,
        together: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin what is begun in one round within what `together` returns."""
        self._together = together
        self._clock = clock
        self._waiting: OrderedDict[Hashable, deque[Callable[[], bool]]] = OrderedDict()
        self._scheduled = False

    def add(self, party: Hashable, begin: Callable[[], bool]) -> None:
        """Have `begin` called when it is the party's turn; its own come in their order.

        It returns whether it is done, or begun so far that the party's next may begin at once.
        Else that comes after what `begin` has the loop call.
        """
        self._waiting.setdefault(party, deque()).append(begin)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._scheduled = False
        try:
            with self._together():
                end = self._clock() + LONG_S
                for _ in range(AT_A_TIME):
                    if not self._waiting or not self._next()() or self._clock() >= end:
                        return
        finally:
            if self._waiting:
                self._schedule()

    def _next(self) -> Callable[[], bool]:
        """Take what the party whose turn it is has sent first."""
        party, waiting = self._waiting.popitem(last=False)
        begin = waiting.popleft()
        if waiting:
            self._waiting[party] = waiting
        return begin
