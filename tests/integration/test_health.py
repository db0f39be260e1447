"""What becomes of a disk's health, as an initiator of the portal is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.unit.mode_pages.error_recovery import READ_WRITE_ERROR_RECOVERY
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL
from tests.cli.serving import running, serving
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import eventually

TUR = bytes(6)
PAGE = INFORMATIONAL_EXCEPTIONS_CONTROL
Told = Callable[..., Awaitable[Any]]


def exceptions(**fields: int) -> bytes:
    return bytes(4) + PAGE.with_header(PAGE.layout.build(ewasc=1, **fields), saveable=False)


def on_a_disk(
    tmp_path: Path, steps: Callable[[EmulatedTransport, Any, Told], Awaitable[None]]
) -> None:
    """Run steps with a disk, its logical unit, and what sends a command and returns its result."""
    port = free_port()
    configured = serving(tmp_path, "emulated:memory,size=1M", port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            transport = served.controller.transport
            assert isinstance(transport, EmulatedTransport)
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, served.iqn)

                async def told(cdb: bytes, **data: Any) -> Any:
                    return await asyncio.to_thread(one.command, 0, cdb, **data)

                await told(TUR)
                await steps(transport, served.units[1], told)

    asyncio.run(work())


async def select(told: Told, **fields: int) -> None:
    data = exceptions(**fields)
    cdb = row("MODE SELECT (6)").build(pf=1, parameter_list_length=len(data))
    assert (await told(cdb, data_out=data)).status == 0


def test_a_warning_is_a_unit_attention(tmp_path: Path) -> None:
    async def steps(transport: EmulatedTransport, lu: Any, told: Told) -> None:
        await select(told, mrie=2)
        transport.set_health(spare=3)
        await eventually(lambda: any(lu.unit_attentions.values()), "the event has come")
        assert (await told(TUR)).sense_triple == (6, 0x5D, 0x03)
        assert (await told(TUR)).status == 0

    on_a_disk(tmp_path, steps)


def test_a_read_that_reports_a_recovered_error_has_its_data(tmp_path: Path) -> None:
    async def steps(transport: EmulatedTransport, lu: Any, told: Told) -> None:
        data = bytes(range(256)) * 2
        write = row("WRITE (10)").build(lba=5, transfer_length=1)
        assert (await told(write, data_out=data)).status == 0
        await select(told, mrie=4)
        transport.set_health(temperature=90)
        await eventually(lambda: lu.exceptions.due, "the event has come")
        read = row("READ (10)").build(lba=5, transfer_length=1)
        result = await told(read, data_in=512)
        assert (result.sense_triple, result.data) == ((1, 0x0B, 0x01), data)
        again = await told(read, data_in=512)
        assert (again.status, again.data) == (0, data)

    on_a_disk(tmp_path, steps)


def test_log_pages_tell_how_it_is(tmp_path: Path) -> None:
    async def steps(transport: EmulatedTransport, lu: Any, told: Told) -> None:
        transport.set_health(temperature=51, sensor_2=60, used=12)
        read = row("LOG SENSE").build(pc=1, page_code=0x0D, subpage_code=1, allocation_length=99)
        page = (await told(read, data_in=99)).data
        assert [page[at : at + 6] for at in range(4, len(page), 12)] == [
            bytes([0, 0, 3, 8, 0, 51]),
            bytes([0, 1, 3, 8, 0, 51]),
            bytes([0, 2, 3, 8, 0, 60]),
        ]
        limits = row("LOG SENSE").build(pc=1, page_code=0x0D, subpage_code=2, allocation_length=99)
        page = (await told(limits, data_in=99)).data
        assert page[8:] == bytes([80, 80, 0x80, 0x80, 70, 70, 0x80, 0x80])
        worn = row("LOG SENSE").build(pc=1, page_code=0x11, allocation_length=12)
        assert (await told(worn, data_in=12)).data[-1] == 12

    on_a_disk(tmp_path, steps)


def test_the_time_for_recovery_is_the_controllers(tmp_path: Path) -> None:
    async def steps(transport: EmulatedTransport, lu: Any, told: Told) -> None:
        page = READ_WRITE_ERROR_RECOVERY
        values = page.layout.build(awre=1, arre=1, recovery_time_limit=7000)
        data = bytes(4) + page.with_header(values, saveable=False)
        cdb = row("MODE SELECT (6)").build(pf=1, parameter_list_length=len(data))
        assert (await told(cdb, data_out=data)).status == 0
        read = row("MODE SENSE (6)").build(page_code=1, dbd=1, allocation_length=255)
        found = page.layout.parse((await told(read, data_in=255)).data[4:])
        assert found.recovery_time_limit == 7000

    on_a_disk(tmp_path, steps)
