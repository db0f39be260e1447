"""Generic netlink messages, against bytes that were written out by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.target.tcmu.netlink import (
    Attribute,
    DeviceEvent,
    EventKind,
    NetlinkError,
    attribute,
    attributes,
    device_event,
    family_of,
    message,
    messages,
)

NAME = b"tcm-user/0/disk0/nvme/0/1\0"


def body(command: int, *parts: bytes) -> bytes:
    return bytes([command, 2, 0, 0]) + b"".join(parts)


def added(*more: bytes, command: int = 1) -> bytes:
    name = bytes([4 + len(NAME), 0, 1, 0]) + NAME + bytes(-len(NAME) % 4)
    minor = bytes.fromhex("08000200 03000000")
    number = bytes.fromhex("08000800 07000000")
    return body(command, name, minor, number, *more)


def test_a_request() -> None:
    command = message(0x1C, 4, 2, 5, attribute(Attribute.CMD_STATUS, struct.pack("=i", -22)))
    assert command == bytes.fromhex(
        "1c000000 1c00 0500 05000000 00000000 04020000 08000700 eaffffff"
    )


def test_padding_is_not_counted() -> None:
    assert attribute(9, b"\1") == bytes.fromhex("05000900 01000000")
    assert attributes(attribute(9, b"\1") + attribute(2, b"abcd")) == {9: b"\1", 2: b"abcd"}


def test_flags_of_an_attribute_type_are_ignored() -> None:
    assert attributes(bytes.fromhex("05000980 01000000")) == {9: b"\1"}


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (added(), DeviceEvent(EventKind.ADDED, NAME[:-1].decode(), 3, 7)),
        (added(command=2), DeviceEvent(EventKind.REMOVED, NAME[:-1].decode(), 3, 7)),
        (
            added(bytes.fromhex("0c000500 0000000001000000"), command=3),
            DeviceEvent(EventKind.RECONFIG, NAME[:-1].decode(), 3, 7, size=1 << 32),
        ),
        (
            added(bytes.fromhex("0c000400") + b"nvme/1/\0", command=3),
            DeviceEvent(EventKind.RECONFIG, NAME[:-1].decode(), 3, 7, config="nvme/1/"),
        ),
        (
            added(bytes.fromhex("05000600 01000000"), command=3),
            DeviceEvent(EventKind.RECONFIG, NAME[:-1].decode(), 3, 7, write_cache=True),
        ),
        (body(4), None),
        (body(0), None),
    ],
)
def test_events(raw: bytes, event: DeviceEvent | None) -> None:
    assert device_event(raw) == event


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\1\2",
        body(1),
        body(1, b"\4\0\2"),
        body(1, b"\3\0\2\0"),
        body(1, b"\xff\0\2\0\1\1\1\1"),
        body(1, bytes.fromhex("06000200 01020000 08000800 07000000")),
    ],
)
def test_what_is_malformed_is_refused(raw: bytes) -> None:
    with pytest.raises(NetlinkError):
        device_event(raw)


@pytest.mark.parametrize("raw", [b"\x10", bytes(16), bytes.fromhex("20000000") + bytes(20)])
def test_malformed_messages_are_refused(raw: bytes) -> None:
    with pytest.raises(NetlinkError):
        list(messages(raw))


def test_the_family_and_its_group() -> None:
    groups = b"".join(
        attribute(index, attribute(1, name) + attribute(2, struct.pack("=I", number)))
        for index, (name, number) in enumerate([(b"other\0", 5), (b"config\0", 6)], start=1)
    )
    answer = body(1, attribute(2, b"TCM-USER\0"), attribute(1, b"\x1c\0"), attribute(7, groups))
    assert family_of(answer) == (0x1C, 6)
    with pytest.raises(NetlinkError):
        family_of(body(1, attribute(1, b"\x1c\0")))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    try:
        for _, _, content in messages(raw):
            device_event(content)
    except NetlinkError:
        return


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, value) for kind, value in values.items())) == values
