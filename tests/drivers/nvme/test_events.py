"""What events say to people."""

from __future__ import annotations

import pytest

from scsi2nvme.drivers.nvme.events import ControllerEvent, EventType

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
