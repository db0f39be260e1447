"""Telemetry logs of the emulated controller."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.log_structures import TELEMETRY_HEADER
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin, identify, log_page, set_feature


def create() -> NvmeCommand:
    return admin(AdminOpcode.GET_LOG_PAGE, 7 | 1 << 8 | 1 << 15 | 127 << 16, data_in=512)


def run(test: Any, **options: Any) -> None:
    async def body() -> None:
        host = Host(**{"telemetry": True, **options}).enable()
        try:
            await test(host)
        finally:
            host.close()

    asyncio.run(body())


def test_the_host_is_told_of_a_saved_log_if_it_wants() -> None:
    async def test(host: Host) -> None:
        assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oaes & 1 << 10
        await host.ok(set_feature(0x0B, 1 << 10))
        request = host.place(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        assert (await host.execute(log_page(0x7E, 512))).status
        event = await host.take()
        assert (event.cid, event.dw0) == (request, 2 | 2 << 8 | 0x08 << 16)
        assert TELEMETRY_HEADER.parse(await host.ok(log_page(0x08, 512, rae=True))).available

    run(test)


def test_a_plain_controller_has_none() -> None:
    async def test(host: Host) -> None:
        assert not IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).lpa & 8
        completion = await host.execute(log_page(0x07, 512))
        assert completion.status & 0x7FF == StatusCode.INVALID_LOG_PAGE

    run(test, telemetry=False)


def test_a_snapshot_is_made_when_it_is_asked_for() -> None:
    async def test(host: Host) -> None:
        assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).lpa & 8
        none = TELEMETRY_HEADER.parse(await host.ok(log_page(0x07, 512)))
        assert (none.area1_last, none.area3_last) == (0, 0)
        made = TELEMETRY_HEADER.parse(await host.ok(create()))
        length = (made.area3_last + 1) * 512
        assert (made.lid, made.area1_last, made.raw[381]) == (7, 1, 1)
        whole = await host.ok(log_page(0x07, length))
        assert whole[:512] == made.raw
        smart = await host.ok(log_page(0x02, 512))
        assert whole[512:1024][:5] == smart[:5]
        assert (await host.ok(create()))[381] == 2

    run(test)


@pytest.mark.parametrize("retain", [True, False])
def test_the_controller_saves_one_when_a_command_has_failed(retain: bool) -> None:
    async def test(host: Host) -> None:
        assert not TELEMETRY_HEADER.parse(await host.ok(log_page(0x08, 512))).available
        assert (await host.execute(log_page(0x7E, 512))).status
        saved = TELEMETRY_HEADER.parse(await host.ok(log_page(0x08, 512, rae=retain)))
        assert (saved.lid, saved.available, saved.generation) == (8, 1, 1)
        again = TELEMETRY_HEADER.parse(await host.ok(log_page(0x08, 512, rae=True)))
        assert again.available == retain

    run(test)
