"""Events for whoever asks the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from scsi2nvme.api.events import (
    EVENT,
    EVENTS,
    LOST,
    SUBSCRIBE,
    Event,
    Events,
    Lost,
    Since,
    Subscribed,
    WhichEvents,
)
from scsi2nvme.api.method import Notification
from scsi2nvme.cli.daemon.control import Answers, Stream
from scsi2nvme.happenings import HAPPENINGS, Happening

_WAIT_S = 3600.0  # and again


def answer(answers: Answers) -> None:
    """Have the methods of the control API answered."""
    answers.add(EVENTS, _events)
    answers.add_stream(SUBSCRIBE, _subscribe)


async def _events(which: WhichEvents) -> Events:
    await HAPPENINGS.wait(which.after, which.wait_s)
    found, lost = HAPPENINGS.after(which.after)
    return Events(tuple(map(_event, found)), lost, HAPPENINGS.last)


async def _subscribe(since: Since) -> Stream[Subscribed]:
    after = HAPPENINGS.last if since.after is None else since.after
    return Stream(Subscribed(HAPPENINGS.last), _follow(after))


async def _follow(after: int) -> AsyncIterator[tuple[Notification[Any], object]]:
    """Yield what comes after a number.

    What is kept is every subscriber's queue, and is bounded: who is slow finds the oldest gone.
    """
    while True:
        await HAPPENINGS.wait(after, _WAIT_S)
        found, lost = HAPPENINGS.after(after)
        after = HAPPENINGS.last
        if lost:
            yield LOST, Lost(lost)
        for one in found:
            yield EVENT, _event(one)


def _event(one: Happening) -> Event:
    return Event(one.number, one.at_s, one.kind, one.text, dict(one.about))
