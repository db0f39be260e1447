"""Namespaces that are attached and detached by controllers of every kind, as drivers see it."""

from __future__ import annotations

import asyncio
import struct

from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.passing import Attachment
from scsi2nvme.nvme.status import StatusCode
from tests.integration.rig import BLOCK, Disk, Rig, good, one, read, write


def attachment(select: Attachment, nsid: int, controller: int) -> NvmeCommand:
    data = struct.pack("<HH", 1, controller).ljust(4096, b"\0")
    return NvmeCommand(
        AdminOpcode.NAMESPACE_ATTACHMENT, nsid, cdw10=select, data_out=data, admin=True
    )


async def test_a_driver_follows_namespaces(rig: Rig) -> None:
    told: asyncio.Queue[ControllerEvent] = asyncio.Queue()
    disk = Disk(namespaces=2, managed=True)
    rig.expects_guest_errors = True  # of commands for a namespace that is not there
    async with rig.controller(disk) as controller:
        controller.on_event = told.put_nowait
        identifier = controller.identity.cntlid
        before = controller.namespaces[2]
        await good(controller, write(3, b"\5" * BLOCK, nsid=2))
        for _ in range(2):
            await good(controller, attachment(Attachment.DETACH, 2, identifier))
            event = await asyncio.wait_for(told.get(), 20)
            assert event.namespaces == {2}
            assert sorted(controller.namespaces) == [1]
            gone = await one(controller, read(3, 1, nsid=2))
            # QEMU has Invalid Field for what it has not.
            assert gone.status in (StatusCode.INVALID_NAMESPACE, StatusCode.INVALID_FIELD)
            await good(controller, read(3, 1))
            await good(controller, attachment(Attachment.ATTACH, 2, identifier))
            event = await asyncio.wait_for(told.get(), 20)
            assert event.namespaces == {2}
            assert controller.namespaces[2].identifiers == before.identifiers
            assert await good(controller, read(3, 1, nsid=2)) == b"\5" * BLOCK
        refused = await one(controller, attachment(Attachment.ATTACH, 2, identifier))
        assert refused.status == StatusCode.NAMESPACE_ALREADY_ATTACHED
