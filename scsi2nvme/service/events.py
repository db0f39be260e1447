"""The reactors' events, handed to those whom they concern."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from scsi2nvme.background import Background
from scsi2nvme.native.plane import Event, EventType, Plane

Late = Callable[[int, int], Coroutine[Any, Any, None]]
"""Takes care of a command that does not end: queue pair and command identifier."""

Handler = Callable[[Event], None]

AT_A_TIME = 256  # events taken in one round of the loop, of some microseconds each


class Events:
    """Who gets which event, by its type or its cookie. Runs in the asyncio loop's thread."""

    def __init__(self, plane: Plane, background: Background) -> None:
        self._plane = plane
        self._background = background
        self._by_type: dict[EventType, Handler] = {EventType.DRAINED: self._drained}
        self._by_cookie: dict[int, Handler] = {}
        self._late: dict[tuple[EventType, int], Late] = {}
        self._drains: dict[int, asyncio.Future[int]] = {}
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Begin to take events in the running loop."""
        asyncio.get_running_loop().add_reader(self._plane.event_fd, self._take)

    def stop(self) -> None:
        """Take no more events."""
        asyncio.get_running_loop().remove_reader(self._plane.event_fd)

    def number(self) -> int:
        """Return a cookie or token that nothing else has."""
        return next(self._numbers)

    def handle(self, handlers: Mapping[EventType, Handler]) -> None:
        """Set who gets the events of some types, whatever their cookie."""
        self._by_type.update(handlers)

    def register(self, handler: Handler) -> int:
        """Return a cookie whose events of other types `handler` gets from now on."""
        cookie = self.number()
        self._by_cookie[cookie] = handler
        return cookie

    def release(self, cookie: int) -> None:
        """Forget a handler; events that are still under way for it are dropped."""
        self._by_cookie.pop(cookie, None)

    def watch_controller(self, overdue: Late, abort: Late) -> int:
        """Return a cookie for a controller's queue pairs.

        `overdue` is called for late commands, `abort` for those that nobody waits for any more.
        """
        cookie = self.number()
        self._late[EventType.OVERDUE, cookie] = overdue
        self._late[EventType.ABORT, cookie] = abort
        return cookie

    async def drained(self, start: Callable[[int], None]) -> int:
        """Call `start` with a token and wait for its DRAINED; returns the count."""
        token = self.number()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._drains[token] = future
        start(token)
        return await future

    def _take(self) -> None:
        # The rest stays readable: whatever else the loop serves has its turn first.
        for event in itertools.islice(self._plane.events(), AT_A_TIME):
            late = self._late.get((event.type, event.cookie))
            if late is not None:
                self._background.spawn(late(event.qid, event.cid))
                continue
            handler = self._by_type.get(event.type) or self._by_cookie.get(event.cookie)
            if handler is not None:
                handler(event)

    def _drained(self, event: Event) -> None:
        future = self._drains.pop(event.cookie, None)
        if future is not None and not future.done():
            future.set_result(event.count)
