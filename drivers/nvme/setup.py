"""What a controller has to be told between CC.EN and the first command of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import CNS_COMMAND_SET_CONTROLLER, CNS_DESCRIPTORS, Feature
from scsi2nvme.drivers.nvme.bringup import BringUp
from scsi2nvme.drivers.nvme.errors import ControllerError, StatusError, UnansweredError
from scsi2nvme.drivers.nvme.execution import completion_of, data_bytes, fill
from scsi2nvme.drivers.nvme.submission import ControlQueue, Entry
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.fields import Values
from scsi2nvme.native.nvme import QueueCompletion, QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.status import StatusCode

_log = logging.getLogger(__name__)

# What a controller may ask for before a retry, of which there are several: initiators give up
# after 30 s. CRDT has room for two hours.
_MOST_RETRY_DELAY_S = 5.0
_ACRE = bytes([1]).ljust(512, b"\0")  # Host Behavior Support: CRD may be used

# Commands that take longer are told of, and left out if there is a way without them.
_PATIENCE_S = 10.0
_LEFT_OUT = Completion(StatusCode.INVALID_FIELD, dnr=True)


def _dispensable(command: NvmeCommand) -> tuple[int, int] | None:
    """Return what tells a command that the driver can do without from others, None of the rest.

    The logs, limits, names and settings that these read or set have defaults.
    """
    key = command.opcode, command.cdw10 & 0xFF
    if not command.admin:
        return None
    match key:
        case AdminOpcode.GET_LOG_PAGE | AdminOpcode.GET_FEATURES, _:
            return key
        case AdminOpcode.DIRECTIVE_SEND | AdminOpcode.DIRECTIVE_RECEIVE, _:
            return key
        case AdminOpcode.IDENTIFY, cns if cns in (CNS_DESCRIPTORS, CNS_COMMAND_SET_CONTROLLER):
            return key
        case AdminOpcode.SET_FEATURES, fid if fid != Feature.NUMBER_OF_QUEUES:
            return key
    return None


class SetUp:
    """Commands one at a time, while nobody else may send any.

    `queue` is for admin commands, `io` for the others, once it was created; `page` is DMA memory
    for their data. Every method may raise ControllerError; where that is an UnansweredError, the
    controller is to be disabled and set up anew, without the command.
    """

    def __init__(
        self,
        registers: BringUp,
        queue: ControlQueue,
        io: ControlQueue,
        page: Region,
        timing: Timing,
    ) -> None:
        self._registers = registers
        self._queues = {True: queue, False: io}
        self._page = page
        self._timing = timing
        self._unanswered: set[tuple[int, int]] = set()

    def left_out(self, command: NvmeCommand) -> Completion | None:
        """Return a refusal if the controller did not answer such a command, and need not."""
        return _LEFT_OUT if _dispensable(command) in self._unanswered else None

    async def execute(self, command: NvmeCommand, memory: int | None = None) -> Completion:
        """Execute a command; `memory` is the address that it names instead of its data."""
        if (refusal := self.left_out(command)) is not None:
            return refusal
        data = self._page.slice(0, data_bytes(command))
        fill(command, data)
        buffer = data if memory is None else Region(0, memory, 4)
        limit_s = self._timing.of(command)
        entry = Entry(command.sqe(), buffer, int(limit_s * 1000))
        (placed,) = self._queues[command.admin].place([entry])
        outcome = await self._outcome(command, placed.ended, limit_s)
        return completion_of(command, outcome, data, 0)

    async def _outcome(
        self, command: NvmeCommand, future: asyncio.Future[QueueCompletion | None], limit_s: float
    ) -> QueueCompletion:
        """Wait for the end of a command, as long as the controller may still come to it."""
        clock = self._registers.clock
        began = clock.now()
        told = False
        while not future.done():
            await asyncio.wait([future], timeout=self._timing.watch_s)
            self._queues[command.admin].collect()  # an interrupt may have been lost
            if future.done():
                break
            if self._registers.status().cfs:
                raise ControllerError(f"controller fatal status during {command.name}")
            elapsed_s = clock.now() - began
            if elapsed_s >= limit_s:
                raise ControllerError(f"{command.name} takes more than {limit_s:g} s")
            if elapsed_s >= _PATIENCE_S and not told:
                told = True
                self._late(command, limit_s)
        outcome = future.result()
        assert outcome is not None, "nobody forgets the queue meanwhile"
        return outcome

    def _late(self, command: NvmeCommand, limit_s: float) -> None:
        """Leave a command out that does not end, or say that there may be long to wait."""
        name = self._registers.transport.name
        key = _dispensable(command)
        if key is not None:
            self._unanswered.add(key)
            told = f"{command.name} takes more than {_PATIENCE_S:g} s, and is done without"
            raise UnansweredError(f"{name}: {told}")
        _log.warning("%s: %s is waited for, at most %g s", name, command.name, limit_s)

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
        if not accepted:
            return ()
        return tuple(min(0.1 * delay, _MOST_RETRY_DELAY_S) for delay in delays)
