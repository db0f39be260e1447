"""What a controller has to be told between CC.EN and the first command of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import Feature
from scsi2nvme.drivers.nvme.bringup import BringUp
from scsi2nvme.drivers.nvme.errors import ControllerError, StatusError
from scsi2nvme.drivers.nvme.execution import completion_of, data_bytes, fill
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.fields import Values
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand

_log = logging.getLogger(__name__)

_ACRE = bytes([1]).ljust(512, b"\0")  # Host Behavior Support: CRD may be used


class SetUp:
    """Admin commands one at a time, while nobody else may send any.

    `page` is DMA memory for their data. Every method may raise ControllerError.
    """

    def __init__(
        self, registers: BringUp, queue: ControlQueue, page: Region, timing: Timing
    ) -> None:
        self._registers = registers
        self._queue = queue
        self._page = page
        self._timing = timing

    async def execute(self, command: NvmeCommand, memory: int | None = None) -> Completion:
        """Execute a command; `memory` is the address that it names instead of its data."""
        data = self._page.slice(0, data_bytes(command))
        fill(command, data)
        buffer = data if memory is None else Region(0, memory, 4)
        limit_s = self._timing.of(command)
        (placed,) = self._queue.place([Entry(command.sqe(), buffer, int(limit_s * 1000))])
        future = placed.ended
        clock = self._registers.clock
        deadline = clock.now() + limit_s
        while not future.done():
            await asyncio.wait([future], timeout=self._timing.watch_s)
            self._queue.collect()  # an interrupt may have been lost
            if future.done():
                break
            if self._registers.status().cfs:
                raise ControllerError(f"controller fatal status during {command.name}")
            if clock.now() >= deadline:
                raise ControllerError(f"{command.name} takes too long")
        outcome = future.result()
        assert outcome is not None, "nobody forgets the queue meanwhile"
        return completion_of(command, outcome, data, 0)

    async def succeed(self, command: NvmeCommand, memory: int | None = None) -> Completion:
        """As `execute`, but StatusError unless it succeeds."""
        completion = await self.execute(command, memory)
        if completion.status:
            raise StatusError(command, completion)
        return completion

    async def accept(self, command: NvmeCommand) -> bool:
        """Execute a command that may fail; whether it succeeded."""
        completion = await self.execute(command)
        if completion.status:
            name = self._registers.transport.name
            _log.warning("%s: %s", name, StatusError(command, completion))
        return not completion.status

    async def number_of_queues(self, wanted: int) -> int:
        """Ask for I/O queue pairs; return how many there may be, `wanted` at most.

        Spec: NVMe Base 2.0c 5.27 (feature 07h).
        """
        command = admin.set_features(Feature.NUMBER_OF_QUEUES, (wanted - 1) | (wanted - 1) << 16)
        granted = (await self.succeed(command)).dw0
        return min(wanted, (granted & 0xFFFF) + 1, (granted >> 16) + 1)

    async def create_queue(self, pair: QueuePair, vector: int | None) -> None:
        """Create an I/O queue pair, with its interrupt if it has one."""
        await self.succeed(admin.create_cq(pair.qid, pair.depth, vector), pair.cq_iova)
        await self.succeed(admin.create_sq(pair.qid, pair.depth), pair.sq_iova)

    async def delete_queues(self, pairs: Iterable[QueuePair]) -> None:
        """Delete I/O queue pairs: submission queues first, then their memory is ours again."""
        pairs = [*pairs]
        for opcode in (AdminOpcode.DELETE_SQ, AdminOpcode.DELETE_CQ):
            for pair in pairs:
                await self.succeed(NvmeCommand(opcode, cdw10=pair.qid, admin=True))

    async def retry_delays_s(self, identity: Values) -> tuple[float, ...]:
        """Let the controller ask for delays before retries; return those, if it will."""
        delays = (identity.crdt1, identity.crdt2, identity.crdt3)
        if not any(delays):
            return ()
        accepted = await self.accept(admin.set_features(Feature.HOST_BEHAVIOR, data_out=_ACRE))
        return tuple(0.1 * delay for delay in delays) if accepted else ()
