"""The emulated controller's admin commands, queues and events."""

from __future__ import annotations

import os

import pytest

from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode, describe
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_INDEPENDENT_NAMESPACE,
    IDENTIFY_NAMESPACE,
    LBA_FORMAT,
    SMART_LOG,
)
from tests.drivers.emulated.host import (
    MIB,
    Host,
    admin,
    block,
    get_feature,
    identify,
    log_page,
    on_host,
    set_feature,
)


@on_host(namespaces=3, serial="SERIAL1")
async def test_identify_is_coherent(host: Host) -> None:
    data = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert data.text("sn") == "SERIAL1"
    assert data.nn == 3
    assert data.tnvmcap == 3 * 16 * MIB
    independent = IDENTIFY_INDEPENDENT_NAMESPACE.parse(await host.ok(identify(8, nsid=3)))
    assert (independent.fpi, independent.nstat) == (0x80, 1)
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
