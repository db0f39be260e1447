"""Zoned namespaces as a host sees them, where the driver does not show it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.registers import CAP, CC, Register, decode, encode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from scsi2nvme.nvme.zoned import (
    IDENTIFY_ZONED_NAMESPACE,
    NO_LIMIT,
    ZoneAction,
    ZoneState,
    manage_zone,
    number_of,
    report_zones,
    zones_of,
)
from tests.drivers.emulated.host import MIB, Host, admin, set_feature

BLOCK, ZONE, CAPACITY = 4096, 256, 250
ZONED: dict[str, Any] = {"zone_bytes": ZONE * BLOCK, "zone_capacity_bytes": CAPACITY * BLOCK}


def on_zones(test: Callable[[Host], Awaitable[None]], **settings: Any) -> None:
    """Run a test on a host with one I/O queue pair and a namespace of 16 zones."""

    async def run() -> None:
        host = Host(block_bytes=BLOCK, **ZONED, **settings)
        try:
            await host.enable().create_queue()
            await test(host)
        finally:
            host.close()

    asyncio.run(run())


def append(zone: int, blocks: int = 1) -> NvmeCommand:
    data = b"\x5a" * blocks * BLOCK
    return NvmeCommand(Opcode.ZONE_APPEND, 1, zone * ZONE, cdw12=blocks - 1, data_out=data)


def identify(cns: int, csi: int, nsid: int = 1) -> NvmeCommand:
    return admin(AdminOpcode.IDENTIFY, cns, csi << 24, nsid=nsid, data_in=4096)


async def status(host: Host, command: NvmeCommand, qid: int = 1) -> int:
    return (await host.execute(command, qid)).status & 0x7FF


def test_appends_are_told_where_they_went() -> None:
    async def test(host: Host) -> None:
        at = []
        for blocks in (1, 32, 3):
            completion = await host.execute(append(2, blocks), 1)
            assert completion.status == 0
            at.append(completion.dw0)
        assert at == [2 * ZONE, 2 * ZONE + 1, 2 * ZONE + 33]
        assert await status(host, append(2, 33)) == StatusCode.INVALID_FIELD  # ZASL
        inside = NvmeCommand(Opcode.ZONE_APPEND, 1, 2 * ZONE + 1, data_out=bytes(BLOCK))
        assert await status(host, inside) == StatusCode.INVALID_FIELD
        (zone,) = zones_of(await host.ok(report_zones(1, 2 * ZONE, 1), 1))
        assert (zone.zs, zone.wp) == (ZoneState.IMPLICITLY_OPENED, 2 * ZONE + 36)
        assert await host.ok(manage_zone(1, 2 * ZONE, ZoneAction.FINISH), 1) == b""
        assert await status(host, append(2)) == StatusCode.ZONE_IS_FULL

    on_zones(test)


def changed(*, rae: bool = False, nsid: int = 1) -> NvmeCommand:
    cdw10 = 0xBF | rae << 15 | 1023 << 16
    return admin(AdminOpcode.GET_LOG_PAGE, cdw10, nsid=nsid, data_in=4096)


def test_zones_that_the_controller_finishes_are_told_of() -> None:
    async def zones(host: Host, command: NvmeCommand) -> list[int]:
        data = await host.ok(command)
        number = int.from_bytes(data[:2], "little")
        return [int.from_bytes(data[8 + 8 * n : 16 + 8 * n], "little") for n in range(number)]

    async def test(host: Host) -> None:
        assert (await host.execute(append(2), 1)).status == 0
        with pytest.raises(OSError, match="zone of block 768"):
            host.transport.finish_zone(1, 3 * ZONE)  # which is not active
        await host.ok(set_feature(0x0B, 1 << 27))
        request = host.place(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        host.transport.finish_zone(1, 2 * ZONE)
        event = await host.take()
        assert (event.cid, event.dw0) == (request, 2 | 0xEF << 8 | 0xBF << 16)
        (zone,) = zones_of(await host.ok(report_zones(1, 2 * ZONE, 1), 1))
        assert (zone.zs, zone.zfc) == (ZoneState.FULL, 1)
        assert await status(host, changed(nsid=2), 0) == StatusCode.INVALID_NAMESPACE
        assert await zones(host, changed(rae=True)) == [2 * ZONE]
        assert await zones(host, changed()) == [2 * ZONE]
        assert await zones(host, changed()) == []
        await host.ok(manage_zone(1, 2 * ZONE, ZoneAction.RESET), 1)
        (zone,) = zones_of(await host.ok(report_zones(1, 2 * ZONE, 1), 1))
        assert (zone.zs, zone.zfc) == (ZoneState.EMPTY, 0)

    on_zones(test)


def test_what_it_tells_of_zones() -> None:
    async def test(host: Host) -> None:
        data = IDENTIFY_ZONED_NAMESPACE.parse(await host.ok(identify(5, 2)))
        assert (data.mor, data.mar, data.zoc) == (3, NO_LIMIT, 2)
        assert await host.ok(identify(7, 2, 0)) == (1).to_bytes(4, "little").ljust(4096, b"\0")
        assert not any(await host.ok(identify(7, 0, 0)))
        assert (await host.ok(identify(0x1C, 0)))[0] == 0b101
        assert await status(host, identify(5, 1), 0) == StatusCode.INVALID_FIELD

    on_zones(test, max_open_zones=4)


def test_without_zones_there_is_nothing_of_them() -> None:
    async def run() -> None:
        host = Host(block_bytes=BLOCK)
        try:
            assert decode(CAP, host.transport.read64(Register.CAP)).css == 1
            await host.enable().create_queue()
            for command in (append(0), report_zones(1, 0, 1), manage_zone(1, 0, ZoneAction.OPEN)):
                assert await status(host, command) == StatusCode.INVALID_OPCODE
            assert await status(host, identify(5, 2), 0) == StatusCode.INVALID_FIELD
        finally:
            host.close()

    asyncio.run(run())


def test_all_command_sets_can_be_enabled() -> None:
    async def test(host: Host) -> None:
        host.disable()
        host.transport.write32(Register.CC, encode(CC, en=1, css=6, iosqes=6, iocqes=4))
        assert host.csts.rdy

    on_zones(test)


def test_zones_outlive_what_is_set_and_resets_but_no_format() -> None:
    async def test(host: Host) -> None:
        assert await status(host, append(1)) == 0
        await host.ok(admin(AdminOpcode.SET_FEATURES, 0x06, 0))  # no write cache
        full = report_zones(1, 0, 0, states=2)
        assert number_of(await host.ok(full, 1)) == 1
        format_nvm = admin(AdminOpcode.FORMAT_NVM, 0, nsid=1)  # to blocks of 512 bytes
        assert (await host.execute(format_nvm)).status == 0
        assert number_of(await host.ok(full, 1)) == 0
        data = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, 0)))
        assert data.nsze == 16 * MIB // 512
        zones = [*zones_of(await host.ok(report_zones(1, 0, 32), 1))]
        assert [zone.zslba for zone in zones] == [n * ZONE * 8 for n in range(16)]
        assert {zone.zcap for zone in zones} == {CAPACITY * 8}

    on_zones(test)


def test_what_makes_no_sense_is_refused() -> None:
    async def test(host: Host) -> None:
        for command in (
            manage_zone(1, 1, ZoneAction.RESET),
            NvmeCommand(Opcode.ZONE_MANAGEMENT_SEND, 1, cdw13=9),
            NvmeCommand(Opcode.ZONE_MANAGEMENT_RECEIVE, 1, cdw12=15, cdw13=9, data_in=64),
            NvmeCommand(Opcode.ZONE_MANAGEMENT_RECEIVE, 1, cdw12=0, data_in=4),
        ):
            assert await status(host, command) == StatusCode.INVALID_FIELD
        beyond = report_zones(1, 16 * ZONE, 1)
        assert await status(host, beyond) == StatusCode.LBA_OUT_OF_RANGE

    on_zones(test)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"zone_bytes": 3 * MIB}, "zones of 3145728 bytes"),
        ({"zone_bytes": 1024}, "no whole blocks"),
        ({"zone_bytes": MIB, "zone_capacity_bytes": 2 * MIB}, "more than its size"),
    ],
)
def test_zones_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TransportError, match=words):
        Host(block_bytes=BLOCK, **settings)


def test_what_zones_hold_is_not_kept_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="only for emulated:memory"):
        Host(path=tmp_path / "disk", block_bytes=BLOCK, **ZONED)
