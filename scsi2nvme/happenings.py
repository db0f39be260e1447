"""What has happened, for the log and for whoever asks the daemon: the latest, numbered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import partial
from itertools import takewhile
from operator import attrgetter

from scsi2nvme.printable import printable
from scsi2nvme.records import dataclass

MOST = 256  # of a kind that are kept


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that has happened: the words of the log, and what they are about, by name."""

    number: int
    at_s: float  # since 1970
    kind: str
    text: str
    about: Mapping[str, str]


class Happenings:
    """The latest happenings of each kind. Of the asyncio loop's thread.

    What others can make happen as often as they like, such as refusals, leaves the rest here.
    """

    def __init__(self, most: int = MOST) -> None:
        self._kept: dict[str, deque[Happening]] = defaultdict(partial(deque, maxlen=most))
        self._waiting: set[asyncio.Future[None]] = set()
        self.last = 0  # the latest one's number

    def note(self, kind: str, text: str, about: Mapping[str, str]) -> None:
        """Keep one, and wake who waits for it."""
        self.last += 1
        plain = {name: printable(each) for name, each in about.items()}
        happening = Happening(self.last, time.time(), kind, printable(text), plain)
        self._kept[kind].append(happening)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, number: int) -> tuple[list[Happening], int]:
        """Return those after a number, and how many of them are kept no more.

        A number that is still to come is of a former daemon's: all are returned.
        """
        if number > self.last:
            number = 0
        later = [
            each
            for kept in self._kept.values()
            for each in takewhile(lambda one: one.number > number, reversed(kept))
        ]
        later.sort(key=attrgetter("number"))
        return later, self.last - number - len(later)

    async def wait(self, number: int, seconds: float) -> None:
        """Return once there is one after this number, or in so many seconds."""
        if number != self.last or seconds <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiter)


HAPPENINGS = Happenings()
"""The process's, as its log is."""


def tell(
    log: logging.Logger, level: int, kind: str, text: str, *values: object, **about: str
) -> None:
    """Log what has happened, and keep it for whoever asks."""
    log.log(level, text, *values, stacklevel=2)
    HAPPENINGS.note(kind, text % values, about)
