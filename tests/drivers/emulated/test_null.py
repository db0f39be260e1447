"""A medium that moves nothing."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from tests.drivers.emulated.host import Host, block, session

BLOCK = bytes(range(256)) * 2


@pytest.mark.parametrize(
    ("null", "left"), [(True, StatusCode.COMPARE_FAILURE), (False, StatusCode.SUCCESS)]
)
def test_what_is_written_is_lost_where_it_is_asked_for(null: bool, left: StatusCode) -> None:
    async def steps(host: Host) -> None:
        await host.create_queue()
        await host.ok(block(Opcode.WRITE, 0, data_out=BLOCK), 1)
        await host.ok(block(Opcode.READ, 0, length=len(BLOCK)), 1)
        compared = await host.execute(block(Opcode.COMPARE, 0, data_out=BLOCK), 1)
        assert compared.status == left

    session(steps, null=null)
