"""What the emulated controller does over time."""

from __future__ import annotations

import asyncio

from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    SELF_TEST_RESULT,
)
from tests.drivers.emulated.host import (
    MIB,
    Host,
    admin,
    block,
    identify,
    log_page,
    on_host,
    set_feature,
)


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
    async with asyncio.timeout(20):
        while (await log())[0]:
            assert (await log())[1] < 100
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 2))
    assert (await log())[0] == 2
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 0xF))
    results = [SELF_TEST_RESULT.parse((await log())[4 + 28 * n :]) for n in range(2)]
    assert [(r.code, r.result, r.nsid) for r in results] == [(2, 1, 0), (1, 0, 1)]


@on_host()
async def test_it_does_not_refresh_unless_it_is_told_to(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert not controller.dsto & 2
    refused = await host.execute(admin(AdminOpcode.DEVICE_SELF_TEST, 3))
    assert refused.status == StatusCode.INVALID_FIELD


@on_host(refresh_s=600.0)
async def test_a_refresh_of_the_medium(host: Host) -> None:
    controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert controller.dsto & 2
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 3, nsid=77))  # which is not looked at
    assert (await host.ok(log_page(6, 4)))[0] == 3
    await host.ok(admin(AdminOpcode.DEVICE_SELF_TEST, 0xF))
    log = await host.ok(log_page(6, 32))
    latest = SELF_TEST_RESULT.parse(log[4:])
    assert (log[0], latest.code, latest.result, latest.nsid) == (0, 3, 1, 0)
