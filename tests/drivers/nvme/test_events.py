"""What events say to people, and warnings that pass."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scsi2nvme.drivers.nvme import events
from scsi2nvme.drivers.nvme.commands import Commands
from scsi2nvme.drivers.nvme.errors import ControllerError
from scsi2nvme.drivers.nvme.events import ControllerEvent, EventMonitor, EventType
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, SMART_LOG
from scsi2nvme.nvme.zoned import CHANGED_ZONES, CHANGED_ZONES_LOG, ZONES_CHANGED

LOG = bytes(4096)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            ControllerEvent(EventType.NOTICE, 0, 4, LOG, frozenset({2, 1})),
            "namespaces changed: 1, 2",
        ),
        (
            ControllerEvent(EventType.NOTICE, 0, 4, LOG, frozenset(range(1, 1025))),
            "namespaces changed: 1, 2, 3, 4, 5, 6, 7, 8 and 1016 more",
        ),
        (ControllerEvent(EventType.HEALTH, 1, 2, LOG), "temperature threshold"),
        (ControllerEvent(EventType.ERROR, 3, 1, LOG), "persistent internal error"),
        (ControllerEvent(EventType.VENDOR, 0x80, 0xC0, LOG), "event of type 7, information 0x80"),
        (ControllerEvent(EventType.NOTICE, 0, 0, returned=True), "is back"),
        (
            ControllerEvent(EventType.NOTICE, 0, 0, unset=frozenset({1})),
            "a feature could not be set again: 1",
        ),
    ],
)
def test_an_event_is_one_short_line(event: ControllerEvent, text: str) -> None:
    assert str(event) == text


def test_a_warning_that_has_passed_is_told_though_the_feature_was_refused_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "REARM_S", 0.0)
    warnings, asked = [0x01, 0x00, 0x00], list[int]()

    async def get_log(*_: Any, **__: Any) -> bytes:
        return SMART_LOG.build(critical_warning=warnings.pop(0))

    async def set_feature(_: int, value: int) -> None:
        asked.append(value)
        if len(asked) == 2:
            raise ControllerError("busy")

    async def work() -> list[ControllerEvent]:
        told = list[ControllerEvent]()
        commands = cast(Commands, SimpleNamespace(get_log=get_log, set_feature=set_feature))
        create_task = asyncio.get_running_loop().create_task
        unused = cast(Any, None)
        monitor = EventMonitor(
            *(commands, unused, unused, unused, unused, told.append, create_task)
        )
        monitor.configuration(IDENTIFY_CONTROLLER.parse(bytes(IDENTIFY_CONTROLLER.size)))
        await monitor._acknowledge(ControllerEvent(EventType.HEALTH, 2, 2))
        await monitor._tasks[0]
        return told

    (event,) = asyncio.run(work())
    assert event.passed
    assert asked == [0x1E, 0x1F, 0x1F]


def test_zones_of_one_namespace_that_cannot_be_read_keep_no_others_notices_masked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = list[int]()

    async def get_log(_: int, nsid: int, size: int, **__: Any) -> bytes:
        asked.append(nsid)
        if nsid == 2:
            raise ControllerError("busy")
        return bytes([nsid]) * size

    commands, unused = cast(Commands, SimpleNamespace(get_log=get_log)), cast(Any, None)
    monitor = EventMonitor(*(commands, unused, unused, lambda: [1, 2, 3]), *(unused,) * 3)
    event = ControllerEvent(EventType.NOTICE, ZONES_CHANGED, CHANGED_ZONES_LOG)
    told = asyncio.run(monitor._acknowledge(event))
    assert asked == [1, 2, 3]
    assert told.raw == b"\1" * CHANGED_ZONES.size + b"\3" * CHANGED_ZONES.size
    assert "namespace 2: busy" in caplog.text
