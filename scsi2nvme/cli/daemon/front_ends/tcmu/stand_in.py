"""Who answers targetcli on D-Bus while no daemon runs: it tells that, as long as anybody asks."""

from __future__ import annotations

import asyncio

from scsi2nvme.cli import advice
from scsi2nvme.cli.errors import OperationError

NOTICE = (
    "The daemon does not run: initiators are told BUSY, and nothing can be created; "
    "run: scsi2nvme check; or: systemctl status scsi2nvme"
)
LINGER_S = 30.0


async def stand_in(address: str | None = None, linger_s: float = LINGER_S) -> None:
    """Stand in on a bus, the system's by default, until a daemon comes, or nobody asks any more.

    OperationError if that is impossible.
    """
    try:
        from scsi2nvme.target.tcmu.dbus import BusUnavailable, TcmuBus
    except ModuleNotFoundError as error:
        if error.name != "dbus_fast":
            raise
        raise OperationError(
            f"targetcli is told by D-Bus; run: {advice.install(advice.DBUS_FAST)}"
        ) from None
    try:
        bus = await TcmuBus.stand_in(NOTICE, address)
    except BusUnavailable as error:
        raise OperationError(str(error)) from error
    try:
        asked = -1
        while not bus.guest and bus.asked != asked:
            asked = bus.asked
            await asyncio.sleep(linger_s)
    finally:
        bus.close()


def run() -> int:
    """Stand in on the system's bus; returns the exit status."""
    asyncio.run(stand_in())
    return 0
