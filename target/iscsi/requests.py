"""Whose request the portal takes when: so many in a second, of those that end no task.

A command costs a reactor some microseconds. What only Python answers costs the one thread that
runs it ten times as much, and wakes it and a reactor.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

PER_SECOND = 1000  # of all connections: less than a tenth of a CPU
AT_ONCE = 128  # when there were none for a while
_TOGETHER = 8  # those that wait: the thread is woken once for so many


class Requests:
    """Takes requests as they come, or, where they come too fast, connection by connection.

    So a flood waits for itself: reading from its connections stops when enough is unanswered.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._credit = float(AT_ONCE)
        self._reckoned = clock()
        self._waiting: OrderedDict[Hashable, deque[Callable[[], None]]] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, party: Hashable, take: Callable[[], None]) -> None:
        """Have `take` called, at once or when it is the party's turn; its own keep their order."""
        if not self._waiting and self._spend():
            take()
            return
        self._waiting.setdefault(party, deque()).append(take)
        self._schedule()

    def finish(self, party: Hashable) -> None:
        """Take at once what a party has left: it asks for nothing more."""
        for take in self._waiting.pop(party, ()):
            take()

    def _spend(self) -> bool:
        now = self._clock()
        self._credit = min(AT_ONCE, self._credit + (now - self._reckoned) * PER_SECOND)
        self._reckoned = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _schedule(self) -> None:
        if self._timer is None:
            lacking = min(_TOGETHER, sum(map(len, self._waiting.values()))) - self._credit
            delay_s = max(0.0, lacking / PER_SECOND)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._round)

    def _round(self) -> None:
        self._timer = None
        try:
            for _ in range(_TOGETHER):
                if not self._waiting or not self._spend():
                    return
                self._next()()
        finally:
            if self._waiting:
                self._schedule()

    def _next(self) -> Callable[[], None]:
        party, waiting = self._waiting.popitem(last=False)
        take = waiting.popleft()
        if waiting:
            self._waiting[party] = waiting
        return take
