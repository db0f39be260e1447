"""I/O queues: how many, created and deleted. Spec: NVMe Base 2.0c 5.4 to 5.7, 5.27."""

from __future__ import annotations

import errno
from collections.abc import Callable

from scsi2nvme.drivers.emulated.capabilities.told import told
from scsi2nvme.drivers.emulated.capability import (
    AdminCommand,
    Capability,
    Controller,
    Feature,
    Part,
)
from scsi2nvme.drivers.emulated.memory import UnmappedError
from scsi2nvme.drivers.emulated.model import CommandFailed, invalid_field
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.status import StatusCode

MQES = 4095


def _pairs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65534):
        raise ValueError("is not a number from 1 to 65534")
    return int(text)


QUEUES = Option(
    "queues",
    "N",
    "how many I/O queue pairs are granted (emulated only; default 128)",
    _pairs,
    83,
    "io_queues",
    subject="a choice",
)


class IoQueues(Part):
    """Which queues there are; they themselves are native."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._emulator = controller.model.emulator
        self._mqes = told(controller.settings, "cap").get("mqes", MQES)
        self.reset()

    def reset(self) -> None:
        """See Part: the native side has forgotten them already."""
        self._granted: int | None = None
        self._cqs: set[int] = set()
        self._sqs: dict[int, int] = {}  # SQID: CQID

    def granted(self) -> int:
        """Return DW0 of Number of Queues: both counts, 0's based."""
        most = self._controller.io_queues - 1
        granted = most if self._granted is None else self._granted
        return granted | granted << 16

    def grant(self, cdw11: int) -> int:
        """Carry out Set Features, Number of Queues."""
        if self._cqs or self._sqs:
            raise CommandFailed(StatusCode.COMMAND_SEQUENCE_ERROR)
        wanted = cdw11 & 0xFFFF, cdw11 >> 16
        if 0xFFFF in wanted:
            raise invalid_field(44)
        self._granted = min(max(wanted), self._controller.io_queues - 1)
        return self.granted()

    def _check(self, command: Values, taken: bool) -> tuple[int, int]:
        """Return QID and depth of a queue that may be created."""
        qid, size = command.cdw10 & 0xFFFF, command.cdw10 >> 16
        if qid == 0 or qid > (self.granted() & 0xFFFF) + 1 or taken:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        if not 0 < size <= self._mqes:
            raise CommandFailed(StatusCode.INVALID_QUEUE_SIZE, 42)
        if not command.cdw11 & 1:  # CAP.CQR
            raise invalid_field(44)
        if command.prp1 % PAGE:
            raise CommandFailed(StatusCode.INVALID_PRP_OFFSET, 24)
        return qid, size + 1

    def create_cq(self, command: Values) -> None:
        """Carry out Create I/O Completion Queue."""
        qid, depth = self._check(command, command.cdw10 & 0xFFFF in self._cqs)
        vector = command.cdw11 >> 16
        if vector >= self._controller.vectors:
            raise CommandFailed(StatusCode.INVALID_INTERRUPT_VECTOR, 46)
        eventfd = self._controller.interrupt(vector) if command.cdw11 >> 1 & 1 else -1
        _create(lambda: self._emulator.create_cq(qid, command.prp1, depth, eventfd))
        self._cqs.add(qid)

    def create_sq(self, command: Values) -> None:
        """Carry out Create I/O Submission Queue."""
        qid, depth = self._check(command, command.cdw10 & 0xFFFF in self._sqs)
        cqid = command.cdw11 >> 16
        if cqid not in self._cqs:
            raise CommandFailed(StatusCode.INVALID_COMPLETION_QUEUE, 46)
        _create(lambda: self._emulator.create_sq(qid, cqid, command.prp1, depth))
        self._sqs[qid] = cqid

    def delete_sq(self, command: Values) -> None:
        """Carry out Delete I/O Submission Queue."""
        qid = command.cdw10 & 0xFFFF
        if qid not in self._sqs:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        self._emulator.delete_sq(qid)
        del self._sqs[qid]

    def delete_cq(self, command: Values) -> None:
        """Carry out Delete I/O Completion Queue."""
        qid = command.cdw10 & 0xFFFF
        if qid not in self._cqs:
            raise CommandFailed(StatusCode.INVALID_QUEUE_IDENTIFIER, 40)
        if qid in self._sqs.values():
            raise CommandFailed(StatusCode.INVALID_QUEUE_DELETION, 40)
        self._emulator.delete_cq(qid)
        self._cqs.remove(qid)


def _create(create: Callable[[], None]) -> None:
    try:
        create()
    except OSError as error:
        if error.errno == errno.EFAULT:
            raise UnmappedError(str(error)) from error
        raise


def _command(opcode: int, execute: Callable[[IoQueues, Values], None]) -> AdminCommand:
    def run(controller: Controller, command: Values) -> int:
        execute(controller.part(IoQueues), command)
        return 0

    return AdminCommand(opcode, run)


def _get(controller: Controller, command: Values) -> tuple[int, bytes]:
    return controller.part(IoQueues).granted(), b""


def _put(controller: Controller, command: Values, data: bytes) -> int:
    return controller.part(IoQueues).grant(command.cdw11)


CAPABILITY = Capability(
    "I/O queues",
    commands=(
        _command(AdminOpcode.DELETE_SQ, IoQueues.delete_sq),
        _command(AdminOpcode.CREATE_SQ, IoQueues.create_sq),
        _command(AdminOpcode.DELETE_CQ, IoQueues.delete_cq),
        _command(AdminOpcode.CREATE_CQ, IoQueues.create_cq),
    ),
    features=(Feature(0x07, get=_get, put=_put),),
    cap={"mqes": MQES, "cqr": 1},
    options=(QUEUES,),
    start=IoQueues,
)
