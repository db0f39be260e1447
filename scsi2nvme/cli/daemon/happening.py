"""Events for whoever asks the daemon."""

from __future__ import annotations

from scsi2nvme.api.events import EVENTS, Event, Events, WhichEvents
from scsi2nvme.cli.daemon.control import Answers
from scsi2nvme.happenings import HAPPENINGS


def answer(answers: Answers) -> None:
    """Have the method of the control API answered."""
    answers.add(EVENTS, _events)


async def _events(which: WhichEvents) -> Events:
    await HAPPENINGS.wait(which.after, which.wait_s)
    found, lost = HAPPENINGS.after(which.after)
    told = (Event(one.number, one.at_s, one.kind, one.text, dict(one.about)) for one in found)
    return Events(tuple(told), lost, HAPPENINGS.last)
