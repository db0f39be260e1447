"""A way to namespaces that opens and closes, as initiators of the portal see it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.cli.daemon.serve import Daemon
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.nvme.ana import AnaState
from tests.cli.serving import running, serving
from tests.cli.test_inventory import luns, read, sent, triple, written
from tests.daemon import free_port
from tests.iscsi_client import Initiator
from tests.support import row
from tests.waiting import eventually

DISK = "emulated:memory,size=1M,namespaces=2,ana="
STATE_CHANGED, UNAVAILABLE, TRANSITION = (6, 0x2A, 6), (2, 4, 0xC), (2, 4, 0xA)


async def group(one: Initiator) -> tuple[int, int, int]:
    """Return the group's state, what states it may have, and for how long it may change."""
    cdb = row("REPORT TARGET PORT GROUPS").build(parameter_data_format=1, allocation_length=64)
    data = (await sent(one, 0, cdb, data_in=64)).data
    return data[8], data[9], data[5]


async def become(daemon: Daemon, state: AnaState) -> None:
    (served,) = daemon.served
    assert isinstance(served.controller.transport, EmulatedTransport)
    served.controller.transport.set_ana(state)
    await eventually(
        lambda: (
            all(lu.facts.ana_state is state for lu in served.units.values())
            and len(served.units) == 2
            and not daemon.controllers._following.locked()
        ),
        f"it is {state.name}",
    )


@pytest.mark.parametrize(
    ("state", "code", "sense"),
    [
        (AnaState.NON_OPTIMIZED, 1, None),
        (AnaState.INACCESSIBLE, 3, UNAVAILABLE),
        (AnaState.PERSISTENT_LOSS, 3, UNAVAILABLE),
        (AnaState.CHANGE, 0xF, TRANSITION),
    ],
)
def test_initiators_are_told_of_the_way(
    tmp_path: Path, state: AnaState, code: int, sense: tuple[int, int, int] | None
) -> None:
    port = free_port()
    configured = serving(tmp_path, f"{DISK}optimized", port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, daemon.served[0].iqn)
                for lun in (0, 1):
                    await asyncio.to_thread(one.hear, lun)
                assert await group(one) == (0, 0x8B, 10)
                await written(one, 0, 5)
                await become(daemon, state)
                for lun in (0, 1):
                    assert await triple(one, lun) == STATE_CHANGED
                    assert await triple(one, lun) == sense
                assert await luns(one) == [0, 1]
                assert await group(one) == (code, 0x8B, 10)
                cdb = row("READ (10)").build(transfer_length=1)
                result = await sent(one, 0, cdb, data_in=512)
                assert (result.sense_triple if result.status else None) == sense
                await become(daemon, AnaState.OPTIMIZED)
                assert await triple(one, 0) == STATE_CHANGED
                assert await triple(one, 0) is None
                assert await read(one, 0) == b"\5" * 512
                assert (await group(one))[0] == 0

    asyncio.run(work())


def test_what_cannot_be_reached_at_first_comes_later(tmp_path: Path) -> None:
    port = free_port()
    configured = serving(tmp_path, f"{DISK}inaccessible", port=port)

    async def work() -> None:
        async with running(configured) as daemon:
            with Initiator(("127.0.0.1", port)) as one:
                await asyncio.to_thread(one.login, daemon.served[0].iqn)
                assert await luns(one) == []
                await become(daemon, AnaState.OPTIMIZED)
                assert await luns(one) == [0, 1]
                await asyncio.to_thread(one.hear, 0)
                await written(one, 0, 5)

    asyncio.run(work())
