"""A disk that goes read only while it is served, and returns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme import events
from tests.cli.serving import running, serving
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import eventually

WRITE = row("WRITE (10)").build(transfer_length=1)


def test_a_medium_that_is_placed_in_read_only_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REARM_S", 0.02)
    port = free_port()
    configured = serving(tmp_path, "emulated:memory,size=1M,namespaces=2", port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            (served,) = daemon.served
            transport = served.controller.transport
            assert isinstance(transport, EmulatedTransport)
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, daemon.served[0].iqn)
                for lun in (0, 1):
                    await asyncio.to_thread(one.command, lun, bytes(6))
                    result = await asyncio.to_thread(one.command, lun, WRITE, data_out=bytes(512))
                    assert result.status == 0
                transport.wear_out()
                await eventually(
                    lambda: all(lu.write_protected for lu in served.units.values()),
                    "all are write protected",
                )
                for lun in (0, 1):
                    result = await asyncio.to_thread(one.command, lun, WRITE, data_out=bytes(512))
                    assert result.sense_triple == (7, 0x27, 0x00)
                transport.set_health(read_only=0)
                await eventually(
                    lambda: not any(lu.write_protected for lu in served.units.values()),
                    "none is write protected any more",
                )
                for lun in (0, 1):
                    result = await asyncio.to_thread(one.command, lun, WRITE, data_out=bytes(512))
                    assert result.status == 0

    asyncio.run(work())
