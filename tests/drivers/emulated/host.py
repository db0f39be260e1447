"""A host that writes the emulated controller's registers and queue entries itself."""

from __future__ import annotations

import asyncio
import functools
import os
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capability import Tables
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.native.nvme import QueueCompletion, QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.registers import AQA, CC, CSTS, Register, decode, encode
from scsi2nvme.nvme.status import describe

MIB = 1 << 20
EN = encode(CC, en=1, iosqes=6, iocqes=4)
SHUTDOWN = encode(CC, en=1, iosqes=6, iocqes=4, shn=1)
_MOST_INTERRUPTS = 1000  # for one completion


class Host:
    """The least that is needed to talk to a controller."""

    def __init__(self, tables: Tables = TABLES, **options: Any) -> None:
        options.setdefault("size_bytes", 16 * MIB)
        self.transport = EmulatedTransport(EmulatedOptions.of(**options), tables)
        self.depth = 8
        self.pairs: dict[int, QueuePair] = {}
        self.taken: defaultdict[int, deque[QueueCompletion]] = defaultdict(deque)
        self.data = self.transport.allocate(2 * MIB)
        self.admin = self.pair(0)

    def pair(self, qid: int) -> QueuePair:
        """Return a queue pair in fresh memory."""
        memory = self.transport.allocate(QueuePair.bytes_needed(self.depth))
        self.pairs[qid] = QueuePair(self.transport.port, qid, self.depth, memory)
        return self.pairs[qid]

    def enable(self) -> Host:
        """Set CC.EN; CSTS tells how it went."""
        size = self.depth - 1
        self.transport.write32(Register.AQA, encode(AQA, asqs=size, acqs=size))
        self.transport.write64(Register.ASQ, self.admin.sq_iova)
        self.transport.write64(Register.ACQ, self.admin.cq_iova)
        self.transport.write32(Register.CC, EN)
        return self

    def disable(self) -> None:
        """Clear CC.EN and forget what was under way."""
        self.transport.write32(Register.CC, 0)
        self.taken.clear()
        for pair in self.pairs.values():
            pair.reset(replay=False)

    @property
    def csts(self) -> Any:
        """CSTS, decoded."""
        return decode(CSTS, self.transport.read32(Register.CSTS))

    def place(self, command: NvmeCommand, qid: int = 0, buffer: Region | None = None) -> int:
        """Place and ring a command."""
        length = max(len(command.data_out), command.data_in)
        if buffer is None and length:
            buffer = self.data.slice(0, length)
            buffer.view()[: len(command.data_out)] = command.data_out
        cid = self.pairs[qid].place(command.sqe(), buffer, 0, 0)
        assert cid is not None
        self.pairs[qid].ring()
        return cid

    async def take(self, qid: int = 0) -> QueueCompletion:
        """Wait for the interrupt; return the next completion."""
        for _ in range(_MOST_INTERRUPTS):
            self.taken[qid].extend(self.pairs[qid].poll())
            if self.taken[qid]:
                return self.taken[qid].popleft()
            await readable(self.transport.interrupt(qid))
        raise AssertionError(f"queue {qid}: interrupts, and no completion")

    async def execute(
        self, command: NvmeCommand, qid: int = 0, buffer: Region | None = None
    ) -> QueueCompletion:
        """Execute one command while no other is under way."""
        self.place(command, qid, buffer)
        return await self.take(qid)

    async def ok(self, command: NvmeCommand, qid: int = 0) -> bytes:
        """Execute a command that succeeds; return its data."""
        completion = await self.execute(command, qid)
        assert completion.status == 0, describe(completion.status)
        return bytes(self.data.slice(0, command.data_in).view())

    async def create_queue(self, qid: int = 1) -> None:
        """Create an I/O queue pair with the vector of its number."""
        pair = self.pair(qid)
        for command, iova in (
            (
                admin(AdminOpcode.CREATE_CQ, qid | (self.depth - 1) << 16, qid << 16 | 3),
                pair.cq_iova,
            ),
            (
                admin(AdminOpcode.CREATE_SQ, qid | (self.depth - 1) << 16, qid << 16 | 1),
                pair.sq_iova,
            ),
        ):
            assert (await self.execute(command, buffer=Region(0, iova, 4))).status == 0

    def close(self) -> None:
        """Close everything in order."""
        for pair in self.pairs.values():
            pair.close()
        self.transport.close()


async def readable(fd: int) -> None:
    """Wait for an eventfd and consume it."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        await asyncio.wait_for(event.wait(), 20)
    finally:
        loop.remove_reader(fd)
    os.eventfd_read(fd)


def admin(opcode: int, cdw10: int = 0, cdw11: int = 0, **fields: Any) -> NvmeCommand:
    """Return an admin command."""
    return NvmeCommand(opcode, cdw10=cdw10, cdw11=cdw11, admin=True, **fields)


def identify(cns: int, nsid: int = 0) -> NvmeCommand:
    return admin(AdminOpcode.IDENTIFY, cns, nsid=nsid, data_in=4096)


def log_page(lid: int, length: int, *, rae: bool = False, offset: int = 0) -> NvmeCommand:
    cdw10 = lid | rae << 15 | (length // 4 - 1) << 16
    return admin(AdminOpcode.GET_LOG_PAGE, cdw10, cdw12=offset, data_in=length)


def get_feature(fid: int, select: int = 0, **fields: Any) -> NvmeCommand:
    return admin(AdminOpcode.GET_FEATURES, fid | select << 8, **fields)


def set_feature(fid: int, value: int, *, save: bool = False, **fields: Any) -> NvmeCommand:
    return admin(AdminOpcode.SET_FEATURES, fid | save << 31, value, **fields)


def block(opcode: int, slba: int, blocks: int = 1, length: int = 0, **fields: Any) -> NvmeCommand:
    return NvmeCommand(
        opcode, fields.pop("nsid", 1), cdw10=slba, cdw12=blocks - 1, data_in=length, **fields
    )


def on_host(
    **options: Any,
) -> Callable[[Callable[[Host], Awaitable[None]]], Callable[[], None]]:
    """Run a test with an enabled controller of these options."""

    def decorate(test: Callable[[Host], Awaitable[None]]) -> Callable[[], None]:
        @functools.wraps(test)
        def run() -> None:
            async def main() -> None:
                host = Host(**options).enable()
                try:
                    await test(host)
                finally:
                    host.close()

            asyncio.run(main())

        del run.__wrapped__  # pytest must not see its parameter
        return run

    return decorate


def session(steps: Callable[[Host], Awaitable[None]], **options: Any) -> None:
    """One life of a controller process."""
    on_host(**options)(steps)()
