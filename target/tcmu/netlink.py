"""Generic netlink, as far as the kernel's user backstore speaks it: family TCM-USER.

The kernel tells of devices that come, go or change, and waits for each to be
answered. Spec: netlink(7), <linux/genetlink.h>, <linux/target_core_user.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from types import TracebackType
from typing import Self

from scsi2nvme.records import dataclass

FAMILY = "TCM-USER"
GROUP = "config"
VERSION = 2

_NETLINK_GENERIC = 16
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_REQUEST, _ACK = 0x01, 0x04  # message flags
_ERROR = 2  # message type
_CONTROLLER = 16  # message type: the family that knows of families
_GET_FAMILY = 3
_RECEIVE_BYTES = 65536
_REPLY_SECONDS = 5.0

_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_COMMAND = struct.Struct("=BBH")  # command, version, reserved
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF


class EventKind(IntEnum):
    """What the kernel tells; its answer is the same plus three."""

    ADDED = 1
    REMOVED = 2
    RECONFIG = 3


_DONE = 3
_SET_FEATURES = 7


class Attribute(IntEnum):
    """Attributes of the family."""

    DEVICE = 1
    MINOR = 2
    DEV_CFG = 4
    DEV_SIZE = 5
    WRITECACHE = 6
    CMD_STATUS = 7
    DEVICE_ID = 8
    SUPP_KERN_CMD_REPLY = 9


class _ControllerAttribute(IntEnum):
    FAMILY_ID = 1
    FAMILY_NAME = 2
    GROUPS = 7
    GROUP_NAME = 1
    GROUP_ID = 2


class NetlinkError(Exception):
    """A message makes no sense."""


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One event. Of the last three, RECONFIG has exactly one: what is to become so."""

    kind: EventKind
    name: str  # of the UIO device: tcm-user/HBA/NAME/CONFIG
    minor: int
    device_id: int
    config: str | None = None
    size: int | None = None  # bytes
    write_cache: bool | None = None


def attribute(kind: int, value: bytes) -> bytes:
    """Encode an attribute, padded to a multiple of four."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Decode attributes; NetlinkError if one does not fit."""
    found: dict[int, bytes] = {}
    while data:
        if len(data) < _ATTRIBUTE.size:
            raise NetlinkError("half an attribute")
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise NetlinkError(f"an attribute of {length} bytes in {len(data)}")
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


def message(family: int, command: int, version: int, sequence: int, body: bytes) -> bytes:
    """Encode a request that is to be acknowledged."""
    length = _MESSAGE.size + _COMMAND.size + len(body)
    header = _MESSAGE.pack(length, family, _REQUEST | _ACK, sequence, 0)
    return header + _COMMAND.pack(command, version, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message of a datagram."""
    while data:
        if len(data) < _MESSAGE.size:
            raise NetlinkError("half a message")
        length, kind, _, sequence, _ = _MESSAGE.unpack_from(data)
        if not _MESSAGE.size <= length <= len(data):
            raise NetlinkError(f"a message of {length} bytes in {len(data)}")
        yield kind, sequence, data[_MESSAGE.size : length]
        data = data[length + -length % 4 :]


def _unsigned(values: dict[int, bytes], kind: int, size: int) -> int:
    value = values.get(kind, b"")
    if len(value) != size:
        raise NetlinkError(f"attribute {kind} has {len(value)} bytes, not {size}")
    return int.from_bytes(value, "little" if struct.pack("=H", 1)[0] else "big")


def _text(value: bytes) -> str:
    return os.fsdecode(value.rstrip(b"\0"))


def device_event(body: bytes) -> DeviceEvent | None:
    """Decode what follows a message's header; None if it is no event."""
    if len(body) < _COMMAND.size:
        raise NetlinkError("no command")
    command, _, _ = _COMMAND.unpack_from(body)
    if command not in list(EventKind):
        return None
    values = attributes(body[_COMMAND.size :])
    config, size = values.get(Attribute.DEV_CFG), None
    if Attribute.DEV_SIZE in values:
        size = _unsigned(values, Attribute.DEV_SIZE, 8)
    cache = _unsigned(values, Attribute.WRITECACHE, 1) if Attribute.WRITECACHE in values else None
    return DeviceEvent(
        EventKind(command),
        _text(values.get(Attribute.DEVICE, b"")),
        _unsigned(values, Attribute.MINOR, 4),
        _unsigned(values, Attribute.DEVICE_ID, 4),
        None if config is None else _text(config),
        size,
        None if cache is None else bool(cache),
    )


def family_of(body: bytes) -> tuple[int, int]:
    """Return the number of the family and that of its group, from what GETFAMILY answers."""
    values = attributes(body[_COMMAND.size :])
    for nested in attributes(values.get(_ControllerAttribute.GROUPS, b"")).values():
        group = attributes(nested)
        if _text(group.get(_ControllerAttribute.GROUP_NAME, b"")) == GROUP:
            family = _unsigned(values, _ControllerAttribute.FAMILY_ID, 2)
            return family, _unsigned(group, _ControllerAttribute.GROUP_ID, 4)
    raise NetlinkError(f"the family {FAMILY} has no group {GROUP}")


class TcmuNetlink:
    """The kernel's user backstore, as netlink shows it. OSError: ENOENT if it is not loaded.

    `fileno` is readable when there are events.
    """

    def __init__(self) -> None:
        self._sequence = 0
        self._requests = _socket()
        self._events = _socket()
        try:
            # Sequences begin anew with each socket; nothing else is received on this one.
            name = attribute(_ControllerAttribute.FAMILY_NAME, FAMILY.encode() + b"\0")
            self._family, group = family_of(self._ask(_CONTROLLER, _GET_FAMILY, 1, name))
            self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            self._events.setblocking(False)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor of the events."""
        return self._events.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._requests.close()
        self._events.close()

    def events(self) -> Iterator[DeviceEvent]:
        """Yield what has come; OSError with ENOBUFS if some of it was lost."""
        while True:
            try:
                data, (port, _) = self._events.recvfrom(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            if port != 0:
                continue  # only the kernel is listened to
            for kind, _, body in messages(data):
                event = device_event(body) if kind == self._family else None
                if event is not None:
                    yield event

    def set_features(self, *, answers: bool) -> None:
        """Make the kernel wait for answers to its events, or not. It outlives this process."""
        self._tell(_SET_FEATURES, attribute(Attribute.SUPP_KERN_CMD_REPLY, bytes([answers])))

    def done(self, event: DeviceEvent, status: int) -> None:
        """Answer an event: 0 or a negative errno. OSError: ENODEV if another has answered."""
        body = attribute(Attribute.CMD_STATUS, struct.pack("=i", status))
        body += attribute(Attribute.DEVICE_ID, struct.pack("=I", event.device_id))
        self._tell(event.kind + _DONE, body)

    def _tell(self, command: int, body: bytes) -> None:
        self._ask(self._family, command, VERSION, body)

    def _ask(self, family: int, command: int, version: int, body: bytes) -> bytes:
        """Send a request, wait for its acknowledgement, and return what came before that."""
        self._sequence += 1
        self._requests.send(message(family, command, version, self._sequence, body))
        answer = b""
        while True:
            for kind, sequence, data in messages(self._requests.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if kind != _ERROR:
                    answer = data
                    continue
                number = -struct.unpack_from("=i", data)[0]
                if number:
                    raise OSError(number, f"netlink family {FAMILY}: {os.strerror(number)}")
                return answer


def _socket() -> socket.socket:
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
    one.bind((0, 0))
    one.settimeout(_REPLY_SECONDS)
    return one


def is_missing(error: OSError) -> bool:
    """Whether the family is unknown: its kernel module is not loaded."""
    return error.errno in (errno.ENOENT, errno.EPROTONOSUPPORT)
