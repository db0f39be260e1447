"""Commands as people write them for one of two controllers that lead to one logical unit."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scsi2nvme.api.passing import COMMAND, CommandEnded, WhichCommand
from scsi2nvme.cli.control import ask
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.nvme.command import AdminOpcode
from tests.cli.test_inventory import triple
from tests.cli.test_two_controllers import Twins, twins

WRITE_CACHE = 0x06  # a feature
MODE_CHANGED = (6, 0x2A, 1)


async def passed(directory: Path, which: WhichCommand) -> CommandEnded:
    return await asyncio.to_thread(ask, directory, COMMAND, which)


async def cached(both: Twins) -> list[int]:
    """Return what each controller says of its write cache."""
    found = []
    for served in both.daemon.served:
        (completion,) = await served.controller.execute(admin.get_features(WRITE_CACHE))
        assert not completion.status
        found.append(completion.dw0)
    return found


def test_what_is_set_by_one_is_set_by_the_other(tmp_path: Path) -> None:
    """Commands may go by either: else a write by the other could be in a cache that is off."""

    async def work() -> None:
        async with twins(tmp_path) as both:
            for one, value in ((1, 0), (0, 1), (0, 0)):
                which = WhichCommand(str(one), AdminOpcode.SET_FEATURES, cdw10=6, cdw11=value)
                assert (await passed(tmp_path, which)).status == 0
                assert await cached(both) == [value, value]
                assert await triple(both.other, 0) == MODE_CHANGED
            which = WhichCommand("0", AdminOpcode.SET_FEATURES, cdw10=6, cdw11=1, nsid=77)
            assert (await passed(tmp_path, which)).status
            assert await cached(both) == [0, 0]

    asyncio.run(work())
