"""Replay Protected Memory Blocks, on request: 128 KiB each, which live as long as the controller.

What is sent is executed when it is sent; its answer waits until it is asked for, or a reset. Spec:
NVMe Base 2.0c 8.18.
"""

from __future__ import annotations

import hmac

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields, Part
from scsi2nvme.drivers.emulated.model import invalid_field
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.rpmb import (
    AUTHENTICATED_FROM,
    CONFIGURATION_BYTES,
    FRAME,
    SECTOR,
    SUPPORT,
    Message,
    Result,
)

_MOST_TARGETS = 7
_SECTORS = (128 << 10) // SECTOR
_AT_A_TIME = 8  # sectors
_MOST_WRITES = 0xFFFFFFFF


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST_TARGETS):
        raise ValueError(f"is not a number from 0 to {_MOST_TARGETS}")
    return int(text)


RPMB = Option(
    "rpmb",
    "N",
    f"emulated only: how many replay protected memory blocks it has, 0 to {_MOST_TARGETS} "
    "(default 0)",
    _number,
    82,
    "rpmb",
    subject="a number of them",
)


class _Target:
    """One of them: its key, once it is programmed, its write counter, and what is in it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._key = b""
        self._counter = 0
        self._data = bytearray(_SECTORS * SECTOR)
        self._configuration = bytes(CONFIGURATION_BYTES)
        self._ended = (Message.WRITE_DATA, Result.GENERAL_FAILURE, 0)  # what was written last
        self.answer = b""

    def take(self, raw: bytes) -> None:
        """Do what a frame asks for, with the data that follow it."""
        frame, data = FRAME.parse(raw[: FRAME.size]), raw[FRAME.size :]
        known = frame.message in tuple(Message)
        message = Message(frame.message) if known else Message.READ_RESULT
        if message is Message.READ_RESULT:
            of, result, address = self._ended
            self._say(of, result if known else Result.GENERAL_FAILURE, frame, address=address)
        elif message is Message.PROGRAM_KEY:
            self._program(frame)
        elif message in (Message.WRITE_DATA, Message.WRITE_CONFIGURATION):
            self._ended = (message, self._write(message, raw, frame, data), frame.address)
        else:
            self._read(message, frame)

    def _program(self, frame: Values) -> None:
        result = Result.GENERAL_FAILURE if self._key else Result.SUCCESSFUL
        self._key = self._key or frame.bytes("mac")
        self._ended = (Message.PROGRAM_KEY, result, 0)

    def _code(self, from_target_on: bytes) -> bytes:
        return hmac.digest(self._key, from_target_on, "sha256")

    def _write(self, message: Message, raw: bytes, frame: Values, data: bytes) -> Result:
        configures = message is Message.WRITE_CONFIGURATION
        begin, length = frame.address * SECTOR, frame.sectors * SECTOR
        if not self._key:
            return Result.NO_KEY
        if self._counter == _MOST_WRITES:
            return Result.WRITE_FAILURE
        if not hmac.compare_digest(frame.bytes("mac"), self._code(raw[AUTHENTICATED_FROM:])):
            return Result.AUTHENTICATION_FAILURE
        if frame.counter != self._counter:
            return Result.COUNTER_FAILURE
        if configures:
            if self._number or len(data) != CONFIGURATION_BYTES:
                return Result.INVALID_CONFIGURATION
            self._configuration = data
        elif begin + length > len(self._data):
            return Result.ADDRESS_FAILURE
        elif not 0 < frame.sectors <= _AT_A_TIME or len(data) != length:
            return Result.GENERAL_FAILURE
        else:
            self._data[begin : begin + length] = data
        self._counter += 1
        return Result.SUCCESSFUL

    def _read(self, message: Message, frame: Values) -> None:
        data, result = b"", Result.SUCCESSFUL
        begin, length = frame.address * SECTOR, frame.sectors * SECTOR
        if not self._key:
            result = Result.NO_KEY
        elif message is Message.READ_CONFIGURATION:
            data = self._configuration
        elif message is Message.READ_DATA:
            if begin + length > len(self._data):
                result = Result.ADDRESS_FAILURE
            elif not 0 < frame.sectors <= _AT_A_TIME:
                result = Result.GENERAL_FAILURE
            else:
                data = bytes(self._data[begin : begin + length])
        self._say(message, result, frame, data, frame.address)

    def _say(
        self, message: int, result: int, frame: Values, data: bytes = b"", address: int = 0
    ) -> None:
        fields = {
            "target": self._number,
            "nonce": frame.nonce,
            "counter": self._counter,
            "address": address,
            "sectors": len(data) // SECTOR,
            "result": result,
            "message": message << 8,
        }
        code = self._code(FRAME.build(**fields)[AUTHENTICATED_FROM:] + data)
        self.answer = FRAME.build(**fields, mac=int.from_bytes(code, "little")) + data


class ReplayProtected(Part):
    """The targets, by number."""

    def __init__(self, controller: Controller) -> None:
        self._targets = [_Target(number) for number in range(controller.settings[RPMB.keyword])]

    def reset(self) -> None:
        """See Part."""
        for target in self._targets:
            target.answer = b""

    def send(self, number: int, raw: bytes) -> None:
        """Take a frame, with what follows it."""
        if len(raw) < FRAME.size or len(raw) % FRAME.size:
            raise invalid_field(44)
        if FRAME.parse(raw[: FRAME.size]).target != number:
            raise invalid_field(40)
        self._target(number).take(raw)

    def receive(self, number: int) -> bytes:
        """Return what was asked for, once."""
        target = self._target(number)
        answer, target.answer = target.answer, b""
        return answer

    def _target(self, number: int) -> _Target:
        if number >= len(self._targets):
            raise invalid_field(40)
        return self._targets[number]


def _controller(controller: Controller) -> Fields:
    targets = controller.settings[RPMB.keyword]
    if not targets:
        return {}
    told = SUPPORT.build(units=targets, access=_AT_A_TIME - 1)
    return {"rpmbs": int.from_bytes(told, "little")}


CAPABILITY = Capability(
    "replay protected memory",
    controller=_controller,
    options=(RPMB,),
    settings={RPMB.keyword: 0},
    start=ReplayProtected,
)
