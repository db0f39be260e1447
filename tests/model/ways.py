"""The ways to a logical unit: straight through the engine, and through sockets of the portal."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from scsi2nvme import engine
from scsi2nvme.command import Data
from scsi2nvme.commands.unit_reset import reset
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.executor import play
from scsi2nvme.native.emulator import Emulator
from scsi2nvme.native.plane import Plane
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED
from scsi2nvme.service import PlaneDataPath, TaskService
from scsi2nvme.target.iscsi.node import TargetNode
from scsi2nvme.target.iscsi.portal import Portal
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.integration.rig import MIB, RIGS, Disk
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import DATA_IN, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, ScsiResult
from tests.model.judgement import CHECK_CONDITION, UNIT_ATTENTION, Outcome
from tests.model.requests import Request
from tests.support import make_nexus

IQN = "iqn.2026-11.test:model"
INITIATORS = 3
_BLANK_BLOCKS = 8192
PIECE_BYTES = 4096  # of an NVMe command, so that small SCSI commands have several
BLOCK_BYTES = 512
_TEST_UNIT_READY = bytes(6)
_ABORT_TASK, _LOGICAL_UNIT_RESET = 1, 5
T = TypeVar("T")


class Disturbance(Enum):
    """What happens while commands are under way."""

    NONE = "nothing"
    CONTROLLER_RESET = "the controller is reset"
    UNIT_RESET = "the logical unit is reset"


def outcome_of(status: int, sense: bytes, **others: Any) -> Outcome:
    """Return an outcome from sense data of either format."""
    if not sense:
        return Outcome(status, **others)
    others["deferred"] = bool(sense[0] & 1)
    if sense[0] & 0x7F >= 0x72:
        key, code, information = sense[1] & 0xF, int.from_bytes(sense[2:4], "big"), None
        at = 8
        while at < 8 + sense[7]:
            if sense[at] == 0 and sense[at + 2] & 0x80:
                information = int.from_bytes(sense[at + 4 : at + 12], "big")
            at += 2 + sense[at + 1]
    else:
        key, code = sense[2] & 0xF, int.from_bytes(sense[12:14], "big")
        information = int.from_bytes(sense[3:7], "big") if sense[0] & 0x80 else None
    return Outcome(status, key=key, code=code, information=information, **others)


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(seconds):
        return await work


class Bed:
    """A controller with a logical unit, in a loop that runs in its own thread or while we wait."""

    def __init__(self, kind: str, path: Path, *, threaded: bool = True) -> None:
        self.kind = kind
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever) if threaded else None
        if self._thread is not None:
            self._thread.start()
        try:
            self.run(self._open(kind, path))
        except BaseException:
            self._end()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        if self._thread is None:
            return self.loop.run_until_complete(_within(60, work))
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _open(self, kind: str, path: Path) -> None:
        disk = Disk(size_bytes=16 * MIB, block_bytes=BLOCK_BYTES)
        self.transport = RIGS[kind](path, disk)
        self.controller = await Controller.open(
            self.transport, io_queues=2, pool_bytes=4 * MIB, timing=Timing(io_s=20, admin_s=20)
        )
        facts = replace(self.controller.namespaces[1], maximum_transfer_bytes=PIECE_BYTES)
        self.lu = LogicalUnit(facts)

    @property
    def emulator(self) -> Emulator | None:
        """What takes faults, where there is something."""
        return self.transport.emulator if isinstance(self.transport, EmulatedTransport) else None

    def blank(self) -> None:
        """Leave zeroes in every block, past the logical unit."""
        self.run(self._blank())

    async def _blank(self) -> None:
        for lba in range(0, self.lu.capacity_blocks, _BLANK_BLOCKS):
            cdw12 = min(_BLANK_BLOCKS, self.lu.capacity_blocks - lba) - 1
            (done,) = await self.controller.execute(
                NvmeCommand(Opcode.WRITE_ZEROES, self.lu.nsid, lba, cdw12=cdw12)
            )
            assert done.status == 0, f"Write Zeroes: {done.status:#05x}"

    def close(self) -> None:
        """End it."""
        try:
            self.run(self.controller.close())
        finally:
            self._end()

    def _end(self) -> None:
        if self._thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        self.loop.close()


def _is_heard(ready: Outcome) -> bool:
    """Whether the end of TEST UNIT READY tells of nothing more; else it tells of an attention."""
    if not ready.status:
        return True
    assert (ready.status, ready.key) == (CHECK_CONDITION, UNIT_ATTENTION), f"{ready}"
    return False


class Way(ABC):
    """How initiators reach the logical unit of a bed, whose loop needs a thread or not."""

    threaded = True

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.lu = bed.lu

    @abstractmethod
    def renew(self) -> None:
        """Begin anew, whatever went wrong before."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""

    @abstractmethod
    def command(self, initiator: int, cdb: bytes, data_out: bytes, data_in: int) -> Outcome:
        """Run one command."""

    def hear(self) -> None:
        """Let every initiator take what it is to be told; there is nothing but unit attentions."""
        for index in range(INITIATORS):
            while not _is_heard(self.command(index, _TEST_UNIT_READY, b"", 0)):
                pass

    @abstractmethod
    def settle(self) -> None:
        """Wait for what commands do after their status."""

    @abstractmethod
    def perform(self, requests: Sequence[Request], disturbance: Disturbance) -> list[Outcome]:
        """Run commands side by side, one of each initiator, from the last one on."""

    def reset_controller(self) -> None:
        """Reset the controller."""
        self.bed.run(self.bed.controller.reset())

    @abstractmethod
    def reset_unit(self) -> None:
        """Reset the logical unit, and let initiators hear of it."""

    @abstractmethod
    def abort(self, request: Request) -> Outcome:
        """Run one command and abort it."""


class ThroughEngine(Way):
    """The engine, played against the controller, a command at a time; nothing is aborted."""

    threaded = False

    def __init__(self, bed: Bed) -> None:
        super().__init__(bed)
        self._nexuses = [make_nexus(f"i{index}", bed.lu) for index in range(INITIATORS)]

    def renew(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def _play(self, initiator: int, cdb: bytes, data_out: bytes, expected: int) -> Outcome:
        request = engine.select(self._nexuses[initiator], 0, cdb)
        result = await play(engine.run(request, data_out, expected), self.bed.controller)
        if result.background is not None:
            await play(result.background, self.bed.controller)
        return self._outcome(result, expected)

    def _outcome(self, result: Result, expected: int) -> Outcome:
        sense = result.sense.data(self.lu.mode.descriptor_sense) if result.sense else b""
        return outcome_of(int(result.status), sense, data=result.data_in[:expected])

    def command(self, initiator: int, cdb: bytes, data_out: bytes, data_in: int) -> Outcome:
        return self.bed.run(self._play(initiator, cdb, data_out, len(data_out) or data_in))

    async def _hear(self) -> None:
        for index in range(INITIATORS):
            while not _is_heard(await self._play(index, _TEST_UNIT_READY, b"", 0)):
                pass

    def hear(self) -> None:
        self.bed.run(self._hear())

    def settle(self) -> None:
        pass  # it has ended with its command

    async def _perform(
        self, requests: Sequence[Request], disturbance: Disturbance
    ) -> list[Outcome]:
        resetting = None
        if disturbance is Disturbance.CONTROLLER_RESET:
            resetting = asyncio.create_task(self.bed.controller.reset())
        outcomes = [
            await self._play(index, each.cdb, each.sent, each.expected)
            for index, each in enumerate(requests)
        ]
        if resetting is not None:
            await resetting
        return outcomes

    def perform(self, requests: Sequence[Request], disturbance: Disturbance) -> list[Outcome]:
        outcomes = self.bed.run(self._perform(requests, disturbance))
        if disturbance is Disturbance.UNIT_RESET:
            self.reset_unit()
        return outcomes

    async def _reset_unit(self) -> None:
        await play(reset(self.lu, BUS_DEVICE_RESET_FUNCTION_OCCURRED), self.bed.controller)
        await self._hear()

    def reset_unit(self) -> None:
        self.bed.run(self._reset_unit())

    def abort(self, request: Request) -> Outcome:
        return self.perform([request], Disturbance.NONE)[0]


def _outcome(done: ScsiResult) -> Outcome:
    residual = {"overflow": done.overflow, "underflow": done.underflow}
    return outcome_of(done.status, done.sense, data=done.data, **residual)


# What initiators negotiate: all at once, digests and small pieces, and nothing unasked for.
_KEYS: tuple[dict[str, str], ...] = (
    {"InitialR2T": "No"},
    {
        "HeaderDigest": "CRC32C",
        "DataDigest": "CRC32C",
        "MaxRecvDataSegmentLength": "1024",
        "MaxBurstLength": "16384",
        "FirstBurstLength": "4096",
    },
    {"ImmediateData": "No", "MaxOutstandingR2T": "4", "MaxBurstLength": "8192"},
)


class ThroughPortal(Way):
    """Sockets of the portal, with reactors, the service and the hot path."""

    def __init__(self, bed: Bed) -> None:
        super().__init__(bed)
        self._initiators: list[Initiator] = []
        self._busy = True
        bed.run(self._start())

    async def _start(self) -> None:
        bed = self.bed
        self._plane = Plane([-1, -1], 0)
        self._service = TaskService(self._plane)
        _, self._native = self._service.add_controller(
            bed.controller.overdue, bed.controller.give_up
        )
        for index, queue in enumerate(bed.controller.io_queues):
            self._native.set_queue(index, queue.queue, queue.eventfd, queue.pool)
        bed.controller.attach(PlaneDataPath(self._service, self._native))
        self._service.add_unit(bed.lu, bed.controller, self._native)
        self._plane.start()
        self._service.start()
        self._portal = Portal(self._service, {IQN: TargetNode(IQN, {0: bed.lu})})
        await self._portal.listen([PortalAddress("127.0.0.1", 0)])

    async def _stop(self) -> None:
        await self._portal.close()
        await self._service.stop()
        self._plane.stop()
        self._service.close()
        self._native.close()
        self._plane.close()

    def close(self) -> None:
        self._leave()
        self.bed.run(self._stop())

    def _leave(self) -> None:
        for one in self._initiators:
            one.close()
        self._initiators.clear()

    def renew(self) -> None:
        if not self._busy:
            return
        self._leave()
        address = "127.0.0.1", self._portal.addresses[0].port
        for index, keys in enumerate(_KEYS):
            one = Initiator(address, f"iqn.2026-11.test:i{index}", timeout=40.0)
            self._initiators.append(one)
            one.login(IQN, keys)
        self._busy = False
        self.hear()

    def _begin(self, one: Initiator, request: Request) -> int:
        data_in = request.expected if request.row.data is not Data.OUT else 0
        return one.begin(0, request.cdb, data_out=request.data_out, data_in=data_in)

    def command(self, initiator: int, cdb: bytes, data_out: bytes, data_in: int) -> Outcome:
        self._busy = True
        one = self._initiators[initiator]
        itt = one.begin(0, cdb, data_out=data_out, data_in=data_in)
        outcome = _outcome(one.finish(itt, 0, data_out))
        self._busy = False
        return outcome

    def perform(self, requests: Sequence[Request], disturbance: Disturbance) -> list[Outcome]:
        self._busy = True
        # The first one resets, when there is something to reset.
        users = self._initiators[::-1][: len(requests)]
        begun = [
            (one, self._begin(one, each), each) for one, each in zip(users, requests, strict=True)
        ]
        resetting = None
        if disturbance is Disturbance.CONTROLLER_RESET:
            resetting = asyncio.run_coroutine_threadsafe(self.bed.controller.reset(), self.bed.loop)
        if disturbance is Disturbance.UNIT_RESET:
            assert len(requests) < INITIATORS
            assert self._initiators[0].task_management(_LOGICAL_UNIT_RESET).response == 0
            # No word comes of what it aborted, but perhaps of what came later.
            outcomes = [self._abort(one, itt) for one, itt, _ in begun]
            self.hear()
        else:
            outcomes = [_outcome(one.finish(itt, 0, each.data_out)) for one, itt, each in begun]
        if resetting is not None:
            resetting.result(60)
        self._busy = False
        return outcomes

    def settle(self) -> None:
        assert self.bed.run(self._service._background.wait(40))

    def reset_unit(self) -> None:
        assert self._initiators[-1].task_management(_LOGICAL_UNIT_RESET).response == 0
        self.hear()

    def abort(self, request: Request) -> Outcome:
        """The answer may have left before; after the function's there is none."""
        self._busy = True
        one = self._initiators[0]
        outcome = self._abort(one, self._begin(one, request))
        self._busy = False
        return outcome

    @staticmethod
    def _abort(one: Initiator, itt: int) -> Outcome:
        one.request_task_management(_ABORT_TASK, referenced=itt)
        data, outcome = b"", Outcome(None)
        while (pdu := one.receive()).opcode != TASK_MANAGEMENT_RESPONSE:
            if pdu.opcode == DATA_IN:
                data += pdu.data
            if pdu.opcode == SCSI_RESPONSE or (pdu.opcode == DATA_IN and pdu.flags & 1):
                outcome = _outcome(one.result(pdu, data))
        return outcome


WAYS: dict[str, type[Way]] = {"engine": ThroughEngine, "portal": ThroughPortal}
