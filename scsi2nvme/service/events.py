"""The reactors' events, handed to those whom they concern."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from scsi2nvme.background import Background
from scsi2nvme.native.plane import Event, EventType, Plane
from scsi2nvme.records import dataclass

Care = Callable[[int, int, bool], Coroutine[Any, Any, None]]
"""Takes care of a command that does not end: queue pair, command identifier, and whether it did
not end when this was told before."""

Handler = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A controller whose queue pairs are watched."""

    overdue: Care
    give_up: Care
    attended: Callable[[int, int], None]


AT_A_TIME = 256  # events taken in one round of the loop, of some microseconds each


class Events:
    """Who gets which event, by its type or its cookie. Runs in the asyncio loop's thread."""

    def __init__(self, plane: Plane, background: Background) -> None:
        self._plane = plane
        self._background = background
        self._by_type: dict[EventType, Handler] = {
            EventType.DRAINED: self._drained,
            EventType.OVERDUE: self._late,
            EventType.ABORT: self._unwanted,
        }
        self._by_cookie: dict[int, Handler] = {}
        self._watched: dict[int, _Watched] = {}
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

    def watch_controller(
        self, cookie: int, overdue: Care, give_up: Care, attended: Callable[[int, int], None]
    ) -> None:
        """Have a controller's queue pairs watched.

        `overdue` is called for late commands, `give_up` for those that nobody waits for any more;
        `attended` when either is over: until then no other command has the identifier.
        """
        self._watched[cookie] = _Watched(overdue, give_up, attended)

    def forget_controller(self, cookie: int) -> None:
        """Call nobody any more for a controller that is gone."""
        del self._watched[cookie]

    async def drained(self, start: Callable[[int], None], token: int | None = None) -> int:
        """Call `start` with a token and wait for its DRAINED; returns the count."""
        token = self.number() if token is None else token
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._drains[token] = future
        start(token)
        return await future

    def _take(self) -> None:
        # The rest stays readable: whatever else the loop serves has its turn first.
        for event in itertools.islice(self._plane.events(), AT_A_TIME):
            handler = self._by_type.get(event.type) or self._by_cookie.get(event.cookie)
            if handler is not None:
                handler(event)

    def _late(self, event: Event) -> None:
        if watched := self._watched.get(event.cookie):
            self._attend(watched, event, watched.overdue(event.qid, event.cid, event.count > 0))

    def _unwanted(self, event: Event) -> None:
        if watched := self._watched.get(event.cookie):
            care = watched.give_up(event.qid, event.cid, event.count > 0)
            self._attend(watched, event, care)

    def _attend(self, watched: _Watched, event: Event, care: Coroutine[Any, Any, None]) -> None:
        task = self._background.spawn(care)
        task.add_done_callback(lambda _: watched.attended(event.qid, event.cid))

    def _drained(self, event: Event) -> None:
        future = self._drains.pop(event.cookie, None)
        if future is not None and not future.done():
            future.set_result(event.count)
