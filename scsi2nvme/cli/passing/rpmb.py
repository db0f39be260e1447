"""Replay protected memory: what is written there has been authenticated by a key.

Spec: NVMe Base 2.0c 8.18, 5.25, 5.26.
"""

from __future__ import annotations

import argparse
import hmac
import os
from collections.abc import Callable

from scsi2nvme.api.passing import DATA_OUT_BYTES
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.data import whole_file
from scsi2nvme.cli.passing.row import FORCE, Option, Row, number
from scsi2nvme.cli.passing.shown import hex_dump
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.rpmb import (
    AUTHENTICATED_FROM,
    CONFIGURATION_BYTES,
    EXPIRED,
    FRAME,
    HMAC_SHA_256,
    KEY_BYTES,
    PROTOCOL,
    PROTOCOL_SPECIFIC,
    RESULTS,
    SECTOR,
    SUPPORT,
    Message,
)
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER

_NONCE_BYTES = 16
_MOST_BYTES = 32 << 20  # what a target may have
_UNIT = 128 << 10  # of RPMBS


def _key(given: argparse.Namespace) -> bytes | None:
    """Return the key that is given, None without any."""
    if given.key is not None and given.keyfile is not None:
        raise UsageError("rpmb: give --key or --keyfile, not both")
    if given.keyfile is not None:
        key = whole_file(given.keyfile, _MOST_BYTES)
    elif given.key is not None:
        key = os.fsencode(given.key)
    else:
        return None
    if len(key) != KEY_BYTES:
        raise UsageError(f"rpmb: a key has {KEY_BYTES} bytes, not {len(key)}")
    return key


def _needed_key(given: argparse.Namespace) -> bytes:
    key = _key(given)
    if key is None:
        raise UsageError(f"rpmb: {given.cmd} wants --keyfile (or --key)")
    return key


def _message(given: argparse.Namespace) -> bytes:
    """Return what is to be written, whole sectors; what --msg lacks of one is zeroes."""
    if (given.msg is None) == (given.msgfile is None):
        raise UsageError(f"rpmb: {given.cmd} wants --msgfile, or --msg")
    if given.msgfile is not None:
        data = whole_file(given.msgfile, _MOST_BYTES)
    else:
        data = os.fsencode(given.msg)
        data = data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
    wanted = given.blocks * SECTOR or len(data)
    if wanted % SECTOR or not 0 < wanted <= len(data):
        raise UsageError(f"rpmb: {len(data)} bytes are not whole sectors of {SECTOR}, or too few")
    return data[:wanted]


def _code(key: bytes, frame: bytes, data: bytes) -> bytes:
    return hmac.digest(key, frame[AUTHENTICATED_FROM:] + data, "sha256")


def _authenticated(key: bytes, data: bytes, **fields: int) -> bytes:
    """Return a frame with its code, and data behind it."""
    code = _code(key, FRAME.build(**fields), data)
    return FRAME.build(**fields, mac=int.from_bytes(code, "little")) + data


class _Target:
    """What one target is asked, and answers."""

    def __init__(self, given: argparse.Namespace, support: Values) -> None:
        self.number: int = given.target
        self.sectors = (support.total + 1) * _UNIT // SECTOR
        # What a daemon takes with a frame, also where the controller would take more.
        most = (DATA_OUT_BYTES - FRAME.size) // SECTOR
        self.at_a_time: int = min(support.access + 1, most)
        self._verb: str = given.cmd

    def command(self, opcode: AdminOpcode, length: int, data: bytes = b"") -> NvmeCommand:
        return NvmeCommand(
            opcode,
            cdw10=PROTOCOL << 24 | PROTOCOL_SPECIFIC << 8 | self.number,
            cdw11=length,
            data_out=data,
            data_in=0 if data else length,
            admin=True,
        )

    def send(self, frame: bytes) -> Conversation[None]:
        yield from succeed(self.command(AdminOpcode.SECURITY_SEND, len(frame), frame), "rpmb")

    def answer(
        self, message: Message, key: bytes | None, more: int = 0, nonce: bytes = b""
    ) -> Conversation[tuple[Values, bytes]]:
        """Receive the answer to a message; OperationError unless it is, and tells of success."""
        command = self.command(AdminOpcode.SECURITY_RECEIVE, FRAME.size + more)
        raw = (yield from succeed(command, "rpmb")).data
        frame, data = FRAME.parse(raw[: FRAME.size]), raw[FRAME.size :]
        if (frame.message, frame.target) != (message << 8, self.number):
            raise OperationError(f"rpmb: {self._verb}: the answer is to something else; try again")
        result = frame.result & ~EXPIRED
        if result:
            why = RESULTS.get(result, f"result {result:#x}")
            raise OperationError(f"rpmb: {self._verb}: the target answers: {why}")
        if nonce and frame.bytes("nonce") != nonce:
            raise OperationError(f"rpmb: {self._verb}: the answer is an old one")
        if key is not None and not hmac.compare_digest(
            frame.bytes("mac"), _code(key, raw[: FRAME.size], data)
        ):
            raise OperationError(f"rpmb: {self._verb}: the answer is not made by this key")
        return frame, data

    def read(
        self, message: Message, key: bytes | None, length: int = 0, address: int = 0
    ) -> Conversation[tuple[Values, bytes]]:
        """Ask by a nonce, so that no old answer is taken for a new one."""
        nonce = os.urandom(_NONCE_BYTES)
        asked = FRAME.build(
            message=message,
            target=self.number,
            nonce=int.from_bytes(nonce, "little"),
            address=address,
            sectors=length // SECTOR,
        )
        yield from self.send(asked)
        return (yield from self.answer(message, key, length, nonce))

    def write(
        self, message: Message, key: bytes, data: bytes, address: int = 0
    ) -> Conversation[int]:
        """Write data at once, and return the write counter after it.

        The answer has no nonce: by its counter it is known to be that of this write.
        """
        now, _ = yield from self.read(Message.READ_COUNTER, key)
        frame = _authenticated(
            key,
            data,
            message=message,
            target=self.number,
            counter=now.counter,
            address=address,
            sectors=len(data) // SECTOR,
        )
        yield from self.send(frame)
        done, _ = yield from self.result(message, key)
        if done.counter != now.counter + 1:
            raise OperationError(
                f"rpmb: {self._verb}: the answer is that of another write; see by read-counter and "
                "read-data whether this one was done"
            )
        return int(done.counter)

    def result(self, message: Message, key: bytes | None) -> Conversation[tuple[Values, bytes]]:
        """Ask how what was sent has ended."""
        yield from self.send(FRAME.build(message=Message.READ_RESULT, target=self.number))
        return (yield from self.answer(message, key))

    def checked(self, address: int, sectors: int) -> None:
        if not 0 < sectors <= self.sectors - address:
            raise UsageError(
                f"rpmb: {sectors} sectors from {address} on: the target has {self.sectors}"
            )


def _program_key(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    mac = int.from_bytes(_needed_key(given), "little")
    yield from target.send(FRAME.build(message=Message.PROGRAM_KEY, target=target.number, mac=mac))
    yield from target.result(Message.PROGRAM_KEY, None)
    return Shown((f"target {target.number} has its key, for good",))


def _read_counter(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    frame, _ = yield from target.read(Message.READ_COUNTER, _key(given))
    return Shown((f"Write Counter is: {frame.counter}",))


def _read_data(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    key, address, end = _key(given), given.address, given.address + given.blocks
    target.checked(address, given.blocks)
    data = b""
    while address < end:
        length = min(end - address, target.at_a_time) * SECTOR
        _, more = yield from target.read(Message.READ_DATA, key, length, address)
        data, address = data + more, address + length // SECTOR
    return _read(given, data)


def _read(given: argparse.Namespace, data: bytes) -> Shown:
    file = given.msgfile or ""
    return Shown(() if file else hex_dump(data), raw=data, file=file)


def _write_data(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    key, data, address = _needed_key(given), _message(given), given.address
    target.checked(address, len(data) // SECTOR)
    step, counter = target.at_a_time * SECTOR, 0
    for at in range(0, len(data), step):
        part = data[at : at + step]
        done = at // SECTOR
        try:
            counter = yield from target.write(Message.WRITE_DATA, key, part, address + done)
        except OperationError as error:
            if done:
                raise OperationError(f"{error}; {done} sectors before are written") from None
            raise
    return Shown((f"{len(data) // SECTOR} sectors are written, write counter {counter}",))


def _write_config(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    key, data = _needed_key(given), _message(given)
    if len(data) != CONFIGURATION_BYTES:
        raise UsageError(f"rpmb: the configuration has {CONFIGURATION_BYTES} bytes")
    counter = yield from target.write(Message.WRITE_CONFIGURATION, key, data)
    return Shown((f"the configuration is written, write counter {counter}",))


def _read_config(given: argparse.Namespace, target: _Target) -> Conversation[Shown]:
    key, size = _key(given), CONFIGURATION_BYTES
    return _read(given, (yield from target.read(Message.READ_CONFIGURATION, key, size))[1])


_ACTIONS: dict[str, Callable[[argparse.Namespace, _Target], Conversation[Shown]]] = {
    "program-key": _program_key,
    "read-counter": _read_counter,
    "write-data": _write_data,
    "read-data": _read_data,
    "write-config": _write_config,
    "read-config": _read_config,
}
_INFO = "info"
_COMMANDS = (_INFO, *_ACTIONS)
_OF_TARGET_0 = ("write-config", "read-config")


def _rpmb(given: argparse.Namespace) -> Conversation[Shown]:
    if given.cmd not in _COMMANDS:
        raise UsageError(f"rpmb: --cmd {given.cmd!r} is unknown; known: {', '.join(_COMMANDS)}")
    identity = (yield from succeed(admin.identify(admin.CNS_CONTROLLER), "rpmb")).data
    support = SUPPORT.parse(IDENTIFY_CONTROLLER.parse(identity).bytes("rpmbs"))
    if not support.units:
        raise OperationError("rpmb: the controller has no replay protected memory")
    if given.cmd == _INFO:
        return _info(support)
    if support.method != HMAC_SHA_256:
        raise OperationError(f"rpmb: authentication method {support.method} is not known here")
    if given.target >= support.units:
        raise UsageError(f"rpmb: --target is between 0 and {support.units - 1}")
    if given.target and given.cmd in _OF_TARGET_0:
        raise UsageError(f"rpmb: {given.cmd} is of --target 0")
    return (yield from _ACTIONS[given.cmd](given, _Target(given, support)))


def _info(support: Values) -> Shown:
    told = {
        "Number of RPMB Units": support.units,
        "Authentication Method": support.method,
        "Total size of each unit": f"{(support.total + 1) * _UNIT} bytes",
        "Most that one access moves": f"{(support.access + 1) * SECTOR} bytes",
    }
    return Shown(tuple(f"{name:<26}: {value}" for name, value in told.items()), told)


ROWS = (
    Row(
        "rpmb",
        "read and write memory that is protected against replay",
        "Read and write Replay Protected Memory Blocks: what is written there is authenticated "
        "by a key, which is programmed once and for all. Where a key is given, answers are seen to "
        "be made by it. While a daemon serves the disk it wants --force.",
        (
            Option("cmd", "c", ", ".join(_COMMANDS), str, None, "ACTION", required=True),
            Option("msgfile", "f", "file that is written, or read to", str, None, "FILE"),
            Option("keyfile", "g", f"file of the key, {KEY_BYTES} bytes", str, None, "FILE"),
            Option("key", "k", "the key as text, which others may see", str, None, "KEY"),
            Option("msg", "d", "what is written, as text", str, None, "TEXT"),
            Option("address", "o", "first sector", number(32)),
            Option("blocks", "b", "how many sectors of 512 bytes", number(32)),
            Option("target", "t", "target (default: 0)", number(3)),
            FORCE,
        ),
        _rpmb,
        lambda given: given.cmd != _INFO,
    ),
)
