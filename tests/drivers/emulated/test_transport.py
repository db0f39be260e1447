"""The emulated controller, by a host that writes registers and queue entries itself."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.dataplane import QueueCompletion, QueuePair, Region
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.registers import AQA, CC, CSTS, Register, decode, encode
from scsi2nvme.nvme.status import StatusCode, describe
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_INDEPENDENT_NAMESPACE,
    IDENTIFY_NAMESPACE,
    LBA_FORMAT,
    SELF_TEST_RESULT,
    SMART_LOG,
)

MIB = 1 << 20
EN = encode(CC, en=1, iosqes=6, iocqes=4)
SHUTDOWN = encode(CC, en=1, iosqes=6, iocqes=4, shn=1)


class Host:
    """The least that is needed to talk to a controller."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("size_bytes", 16 * MIB)
        self.transport = EmulatedTransport(EmulatedOptions(**options))
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
        while not self.taken[qid]:
            self.taken[qid].extend(self.pairs[qid].poll())
            if not self.taken[qid]:
                await readable(self.transport.interrupt(qid))
        return self.taken[qid].popleft()

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


# ---- registers ----


@on_host()
async def test_enable_and_disable_follow_cc(host: Host) -> None:
    assert host.csts.rdy == 1
    host.transport.write64(Register.ASQ, 0)  # read-only while enabled
    assert host.transport.read64(Register.ASQ) == host.admin.sq_iova
    host.disable()
    assert host.csts.rdy == 0
    host.enable()
    await host.ok(identify(1))


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Register.ASQ, 0x1000),  # no DMA memory
        (Register.ASQ, 1 << 32 | 0x800),  # not page aligned
        (Register.AQA, 0),
        (Register.CC, encode(CC, en=1, css=6)),
        (Register.CC, encode(CC, en=1, mps=1)),
    ],
)
def test_a_bad_configuration_is_fatal(register: Register, value: int) -> None:
    async def main() -> None:
        host = Host()
        size = host.depth - 1
        host.transport.write32(Register.AQA, encode(AQA, asqs=size, acqs=size))
        host.transport.write64(Register.ASQ, host.admin.sq_iova)
        host.transport.write64(Register.ACQ, host.admin.cq_iova)
        if register == Register.CC:
            host.transport.write32(register, value)
        else:
            host.transport.write64(register, value)
            host.transport.write32(Register.CC, EN)
        assert (host.csts.rdy, host.csts.cfs) == (0, 1)
        host.disable()
        host.enable()
        assert (host.csts.rdy, host.csts.cfs) == (1, 0)
        host.close()

    asyncio.run(main())


@on_host()
async def test_shutdown_is_reported_until_the_next_reset(host: Host) -> None:
    host.transport.write32(Register.CC, SHUTDOWN)
    assert host.csts.shst == 2
    host.disable()
    assert host.csts.shst == 0


@on_host()
async def test_function_reset_restores_defaults(host: Host) -> None:
    await host.transport.reset()
    assert host.csts.raw == bytes(4)
    assert host.transport.read64(Register.ASQ) == 0


@on_host()
async def test_a_removed_controller_reads_all_ones(host: Host) -> None:
    host.transport.remove()
    assert host.transport.read32(Register.CSTS) == 0xFFFFFFFF
    assert host.transport.read64(Register.CAP) == 0xFFFFFFFFFFFFFFFF


# ---- Identify ----


@on_host(namespaces=3, serial="SERIAL1")
async def test_identify_is_coherent(host: Host) -> None:
    data = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert data.text("sn") == "SERIAL1"
    assert data.nn == 3
    assert data.tnvmcap == 3 * 16 * MIB
    independent = IDENTIFY_INDEPENDENT_NAMESPACE.parse(await host.ok(identify(8, nsid=3)))
    assert (independent.fpi, independent.nrdy) == (0x80, 1)
    assert await host.ok(identify(2)) == b"".join(n.to_bytes(4, "little") for n in (1, 2, 3)).ljust(
        4096, b"\0"
    )
    assert (await host.ok(identify(2, nsid=2)))[:8] == b"\3\0\0\0\0\0\0\0"
    identities = set()
    for nsid in (1, 2, 3):
        namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=nsid)))
        assert namespace.nsze == 16 * MIB // 512
        assert [LBA_FORMAT.parse(namespace.bytes("lbafs")[n:]).lbads for n in (0, 4)] == [9, 12]
        descriptors = await host.ok(identify(3, nsid=nsid))
        assert descriptors[4:12] == namespace.bytes("eui64")
        assert descriptors[16:32] == namespace.bytes("nguid")
        identities |= {descriptors[4:12], descriptors[16:32], descriptors[36:52]}
    assert len(identities) == 9


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (identify(0, nsid=2), StatusCode.INVALID_NAMESPACE),
        (identify(0, nsid=0), StatusCode.INVALID_NAMESPACE),
        (identify(2, nsid=BROADCAST_NSID), StatusCode.INVALID_NAMESPACE),
        (identify(0x55), StatusCode.INVALID_FIELD),
        (admin(0xC5), StatusCode.INVALID_OPCODE),
        (log_page(0x55, 512), StatusCode.INVALID_LOG_PAGE),
        (log_page(0x02, 512, offset=516), StatusCode.INVALID_FIELD),
        (log_page(0x02, 512, offset=2), StatusCode.INVALID_FIELD),
        (get_feature(0x55), StatusCode.INVALID_FIELD),
        (get_feature(0x06, 4), StatusCode.INVALID_FIELD),
        (set_feature(0x02, 0, save=True), StatusCode.FEATURE_NOT_SAVEABLE),
        (set_feature(0x02, 2), StatusCode.INVALID_FIELD),
        (set_feature(0x06, 0, nsid=1), StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC),
        (set_feature(0x07, 0xFFFF), StatusCode.INVALID_FIELD),
        (set_feature(0x09, 500), StatusCode.INVALID_FIELD),
        (set_feature(0x84, 3, nsid=1), StatusCode.INVALID_FIELD),
        (admin(AdminOpcode.CREATE_CQ, 0x70000, 1), StatusCode.INVALID_QUEUE_IDENTIFIER),
        (admin(AdminOpcode.CREATE_CQ, 0x70001 + 200, 1), StatusCode.INVALID_QUEUE_IDENTIFIER),
        (admin(AdminOpcode.CREATE_CQ, 0x00001, 1), StatusCode.INVALID_QUEUE_SIZE),
        (admin(AdminOpcode.CREATE_CQ, 0x10000001, 1), StatusCode.INVALID_QUEUE_SIZE),
        (admin(AdminOpcode.CREATE_CQ, 0x70001, 0), StatusCode.INVALID_FIELD),
        (admin(AdminOpcode.CREATE_CQ, 0x70001, 500 << 16 | 3), StatusCode.INVALID_INTERRUPT_VECTOR),
        (admin(AdminOpcode.CREATE_CQ, 0x70001, 1), StatusCode.DATA_TRANSFER_ERROR),
        (admin(AdminOpcode.CREATE_SQ, 0x70001, 1 << 16 | 1), StatusCode.INVALID_COMPLETION_QUEUE),
        (admin(AdminOpcode.DELETE_SQ, 1), StatusCode.INVALID_QUEUE_IDENTIFIER),
        (admin(AdminOpcode.DELETE_CQ, 1), StatusCode.INVALID_QUEUE_IDENTIFIER),
        (admin(AdminOpcode.FORMAT_NVM, 2, nsid=1), StatusCode.INVALID_FORMAT),
        (admin(AdminOpcode.FORMAT_NVM, 1 << 5, nsid=1), StatusCode.INVALID_FORMAT),
        (admin(AdminOpcode.FORMAT_NVM, 2 << 9, nsid=1), StatusCode.INVALID_FIELD),
        (admin(AdminOpcode.FORMAT_NVM, 0, nsid=7), StatusCode.INVALID_NAMESPACE),
        (admin(AdminOpcode.DEVICE_SELF_TEST, 7), StatusCode.INVALID_FIELD),
    ],
)
def test_refused_commands(command: NvmeCommand, status: StatusCode) -> None:
    @on_host()
    async def run(host: Host) -> None:
        completion = await host.execute(command)
        assert completion.status == status, describe(completion.status)
        assert completion.more
        entry = ERROR_LOG_ENTRY.parse(await host.ok(log_page(1, 64)))
        assert (entry.error_count, entry.status_field & 0x7FF) == (1, status)
        assert (entry.cmdid, entry.nsid) == (completion.cid, command.nsid)

    run()


@on_host()
async def test_prps_of_admin_commands(host: Host) -> None:
    whole = await host.ok(log_page(5, 4096))
    at = host.data.slice(4096 - 8, 4096)
    assert (await host.execute(log_page(5, 4096), buffer=at)).status == 0
    assert bytes(at.view()) == whole
    large = log_page(5, 64 << 10)  # beyond the log: zeroes
    assert (await host.ok(large))[:8192] == whole.ljust(8192, b"\0")
    assert (await host.execute(identify(1))).status == 0
    bad = Region(0, 0x5000, 4096)
    assert (await host.execute(identify(1), buffer=bad)).status == StatusCode.DATA_TRANSFER_ERROR


# ---- queues and I/O ----


@on_host(namespaces=2)
async def test_io_through_a_created_queue(host: Host) -> None:
    await host.create_queue()
    pattern = os.urandom(4096)
    await host.ok(block(Opcode.WRITE, 8, 8, nsid=2, data_out=pattern), 1)
    assert await host.ok(block(Opcode.READ, 8, 8, 4096, nsid=2), 1) == pattern
    assert await host.ok(block(Opcode.READ, 8, 8, 4096), 1) == bytes(4096)
    await host.ok(NvmeCommand(Opcode.FLUSH, BROADCAST_NSID), 1)
    smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
    assert (smart.host_read_commands, smart.host_write_commands) == (2, 1)
    assert smart.data_units_written == 1


@on_host()
async def test_queues_in_the_right_order(host: Host) -> None:
    assert (await host.execute(set_feature(0x07, 0x00030003))).dw0 == 0x00030003
    await host.create_queue()
    late = await host.execute(set_feature(0x07, 0))
    assert late.status == StatusCode.COMMAND_SEQUENCE_ERROR
    again = admin(AdminOpcode.CREATE_CQ, 0x70001, 1)
    assert (await host.execute(again)).status == StatusCode.INVALID_QUEUE_IDENTIFIER
    early = await host.execute(admin(AdminOpcode.DELETE_CQ, 1))
    assert early.status == StatusCode.INVALID_QUEUE_DELETION
    await host.ok(admin(AdminOpcode.DELETE_SQ, 1))
    await host.ok(admin(AdminOpcode.DELETE_CQ, 1))
    host.pairs.pop(1).close()
    await host.create_queue()
    assert await host.ok(block(Opcode.READ, 0, 1, 512), 1) == bytes(512)


@on_host(faults=({"opcode": Opcode.READ, "action": 1, "count": 1},))
async def test_abort_of_a_command_that_hangs(host: Host) -> None:
    await host.create_queue()
    cid = host.place(block(Opcode.READ, 0, 1, 512), 1)
    missing = await host.execute(admin(AdminOpcode.ABORT, 1 | (cid + 1) << 16))
    assert missing.dw0 == 1
    assert (await host.execute(admin(AdminOpcode.ABORT, 1 | cid << 16))).dw0 == 0
    assert (await host.take(1)).status == StatusCode.ABORT_REQUESTED


@on_host(faults=({"opcode": Opcode.READ, "status": 0x281, "count": 1},))
async def test_io_errors_are_in_the_error_log(host: Host) -> None:
    await host.create_queue()
    completion = await host.execute(block(Opcode.READ, 77, 1, 512), 1)
    assert completion.status == StatusCode.UNRECOVERED_READ_ERROR
    entry = ERROR_LOG_ENTRY.parse(await host.ok(log_page(1, 64)))
    assert (entry.sqid, entry.cmdid, entry.lba, entry.nsid) == (1, completion.cid, 77, 1)
    assert SMART_LOG.parse(await host.ok(log_page(2, 512))).media_errors == 1


@on_host()
async def test_more_replies_than_the_completion_queue_holds(host: Host) -> None:
    command = log_page(2, 512)
    for _ in range(host.depth - 1):
        host.admin.place(command.sqe(), host.data.slice(0, 512), 0, 0)
    host.admin.ring()
    for _ in range(host.depth - 1):
        assert (await host.take()).status == 0


# ---- features ----


@on_host()
async def test_select_values_of_a_saveable_feature(host: Host) -> None:
    async def values() -> list[int]:
        return [(await host.execute(get_feature(6, select))).dw0 for select in range(4)]

    assert await values() == [1, 1, 1, 0b101]
    await host.ok(set_feature(6, 0))
    assert await values() == [0, 1, 1, 0b101]
    await host.ok(set_feature(6, 0, save=True))
    assert await values() == [0, 1, 0, 0b101]
    host.disable()
    host.enable()
    assert await values() == [0, 1, 0, 0b101]


@on_host()
async def test_features_with_data(host: Host) -> None:
    await host.ok(set_feature(0x0E, 0, data_out=(10**12).to_bytes(8, "little")))
    stamp = await host.ok(get_feature(0x0E, data_in=8))
    assert 0 <= int.from_bytes(stamp[:6], "little") - 10**12 < 60_000
    assert stamp[6] == 0b10
    await host.ok(set_feature(0x81, 1, data_out=bytes(range(16))))
    assert await host.ok(get_feature(0x81, cdw11=1, data_in=16)) == bytes(range(16))
    assert await host.ok(get_feature(0x81, data_in=8)) == bytes(8)


@on_host()
async def test_write_protection(host: Host) -> None:
    await host.create_queue()
    await host.ok(set_feature(0x84, 1, nsid=1))
    completion = await host.execute(block(Opcode.WRITE, 0, data_out=bytes(512)), 1)
    assert completion.status == StatusCode.NAMESPACE_WRITE_PROTECTED
    assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).nsattr == 1
    await host.ok(set_feature(0x84, 0, nsid=1))
    await host.ok(block(Opcode.WRITE, 0, data_out=bytes(512)), 1)


# ---- asynchronous events ----


@on_host()
async def test_events_wait_for_a_request_and_for_their_log(host: Host) -> None:
    request = admin(AdminOpcode.ASYNC_EVENT_REQUEST)
    await host.ok(set_feature(0x0B, 0x1F | 1 << 8))
    await host.ok(set_feature(0x04, 300))  # the temperature is 310 K
    assert (await host.execute(request)).dw0 == 0x020101
    assert SMART_LOG.parse(await host.ok(log_page(2, 512, rae=True))).critical_warning == 2
    first = host.place(request)
    await host.ok(set_feature(0x04, 400))
    await host.ok(set_feature(0x04, 300))  # masked: the log was not read with RAE=0
    host.place(log_page(2, 512))
    assert (await host.take()).status == 0
    event = await host.take()
    assert (event.cid, event.dw0) == (first, 0x020101)


@on_host()
async def test_too_many_event_requests(host: Host) -> None:
    request = admin(AdminOpcode.ASYNC_EVENT_REQUEST)
    for _ in range(4):
        last = host.place(request)
    assert (await host.execute(request)).status == StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED
    host.place(admin(AdminOpcode.ABORT, last << 16))
    assert {(await host.take()).status for _ in range(2)} == {0, StatusCode.ABORT_REQUESTED}


@on_host()
async def test_a_bad_doorbell_value_is_an_event(host: Host) -> None:
    await host.create_queue()
    wide = QueuePair(
        host.transport.port, 1, 32, host.transport.allocate(QueuePair.bytes_needed(32))
    )
    for _ in range(20):
        wide.place(bytes(64), None, 0, 0)
    wide.ring()
    assert (await host.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))).dw0 == 0x010100
    wide.close()


# ---- Format NVM, self-test ----


@on_host(namespaces=2, format_s=0.2)
async def test_format_changes_the_block_size_and_erases(host: Host) -> None:
    await host.create_queue()
    await host.ok(set_feature(0x0B, 1 << 8))
    for nsid in (1, 2):
        await host.ok(block(Opcode.WRITE, 1, nsid=nsid, data_out=b"x" * 512), 1)
    cid = host.place(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
    namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1)))
    assert namespace.fpi > 0x80
    assert namespace.flbas == 0
    busy = await host.execute(block(Opcode.READ, 0, 1, 512), 1)
    assert busy.status == StatusCode.FORMAT_IN_PROGRESS
    second = await host.execute(admin(AdminOpcode.FORMAT_NVM, 1, nsid=2))
    assert second.status == StatusCode.FORMAT_IN_PROGRESS
    done = await host.take()
    assert (done.cid, done.status) == (cid, 0)
    namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1)))
    assert (namespace.flbas, namespace.nsze, namespace.fpi) == (1, 16 * MIB // 4096, 0x80)
    assert await host.ok(block(Opcode.READ, 0, 1, 4096), 1) == bytes(4096)
    assert await host.ok(block(Opcode.READ, 1, 1, 512, nsid=2), 1) == b"x" * 512
    assert (await host.execute(admin(AdminOpcode.ASYNC_EVENT_REQUEST))).dw0 == 0x040002
    assert (await host.ok(log_page(4, 4096)))[:8] == b"\1\0\0\0\0\0\0\0"
    assert await host.ok(log_page(4, 4096)) == bytes(4096)


@on_host(short_test_s=0.05, extended_test_s=600.0)
async def test_self_tests_and_their_log(host: Host) -> None:
    async def log() -> bytes:
        return await host.ok(log_page(6, 564))

    assert (await log())[4] == 0x0F
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 1, nsid=1))
    busy = await host.execute(admin(AdminOpcode.DEVICE_SELF_TEST, 2))
    assert busy.status == StatusCode.SELF_TEST_IN_PROGRESS
    while (await log())[0]:
        assert (await log())[1] < 100
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 2))
    assert (await log())[0] == 2
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 0xF))
    results = [SELF_TEST_RESULT.parse((await log())[4 + 28 * n :]) for n in range(2)]
    assert [(r.code, r.result, r.nsid) for r in results] == [(2, 1, 0), (1, 0, 1)]


# ---- what a process leaves behind ----


def test_state_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    seen: list[tuple[bytes, bytes]] = []

    async def first(host: Host) -> None:
        await host.create_queue()
        await host.ok(block(Opcode.WRITE, 5, data_out=b"a" * 512, nsid=2), 1)
        await host.ok(set_feature(0x06, 0, save=True))
        await host.ok(set_feature(0x84, 1, nsid=2))
        await host.ok(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        await host.execute(admin(0xC5))
        seen.append((await host.ok(identify(3, nsid=1)), await host.ok(identify(3, nsid=2))))
        host.transport.write32(Register.CC, SHUTDOWN)

    async def second(host: Host) -> None:
        await host.create_queue()
        seen.append((await host.ok(identify(3, nsid=1)), await host.ok(identify(3, nsid=2))))
        assert (await host.execute(get_feature(0x06))).dw0 == 0
        assert (await host.execute(get_feature(0x84, nsid=2))).dw0 == 1
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).flbas == 1
        assert await host.ok(block(Opcode.READ, 5, 1, 512, nsid=2), 1) == b"a" * 512
        smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
        assert (smart.power_cycles, smart.unsafe_shutdowns) == (2, 0)
        assert (smart.host_write_commands, smart.num_err_log_entries) == (1, 1)

    async def third(host: Host) -> None:
        smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
        assert (smart.power_cycles, smart.unsafe_shutdowns) == (3, 1)

    session(first, path=path, namespaces=2)
    session(second, path=path, namespaces=2, size_bytes=None)
    session(third, path=path, namespaces=2)
    assert seen[0] == seen[1]
    assert path.stat().st_size == 32 * MIB


def test_a_format_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def cut(host: Host) -> None:
        host.place(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).fpi > 0x80

    async def after(host: Host) -> None:
        namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1)))
        assert (namespace.flbas, namespace.fpi) == (1, 0x80)

    session(cut, path=path, format_s=600.0)
    session(after, path=path)


def test_what_cannot_be_saved_fails(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()

    async def run(host: Host) -> None:
        shutil.rmtree(directory)
        completion = await host.execute(set_feature(0x06, 0, save=True))
        assert completion.status == StatusCode.INTERNAL_ERROR
        await host.ok(identify(1))
        host.transport.write32(Register.CC, SHUTDOWN)
        assert (host.csts.shst, host.csts.cfs) == (1, 1)

    with pytest.raises(TransportError, match=r"disk\.json: No such file"):
        session(run, path=directory / "disk")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = EmulatedTransport(EmulatedOptions(path=tmp_path / "disk", size_bytes=MIB))
    with pytest.raises(TransportError, match="in use by another process"):
        EmulatedTransport(EmulatedOptions(path=tmp_path / "disk"))
    first.close()
    EmulatedTransport(EmulatedOptions(path=tmp_path / "disk")).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_bytes": 2 * MIB}, "has 1048576 bytes, not 1 times 2097152"),
        ({"namespaces": 2}, "has 1 namespaces, not 2"),
        ({"namespaces": 3}, "not 3 equal shares"),
        ({"block_bytes": 520}, "blocks of 520 bytes"),
    ],
)
def test_an_image_is_never_bent(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "disk"
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB)).close()
    before = path.read_bytes(), path.with_name("disk.json").read_bytes()
    with pytest.raises(TransportError, match=message):
        EmulatedTransport(EmulatedOptions(path=path, **options))
    assert (path.read_bytes(), path.with_name("disk.json").read_bytes()) == before


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"serial": "x", "namespaces": [1], "smart": {}}']
)
def test_a_broken_sidecar_is_told_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "disk"
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB)).close()
    path.with_name("disk.json").write_text(text)
    with pytest.raises(TransportError, match=r"disk\.json: cannot be read"):
        EmulatedTransport(EmulatedOptions(path=path))


def test_dma_memory_that_is_not_there() -> None:
    transport = EmulatedTransport(EmulatedOptions(size_bytes=MIB))
    first, second = transport.allocate(100), transport.allocate(4096)
    assert first.length == 4096
    assert second.iova > first.iova + first.length
    assert first.iova != first.vaddr
    assert bytes(first.view()) == bytes(4096)
    with pytest.raises(TransportError, match="no interrupt vector 500"):
        transport.interrupt(500)
    transport.close()
    transport.close()
