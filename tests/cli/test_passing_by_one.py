"""Commands as people write them for one of two controllers that lead to one logical unit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scsi2nvme.api.passing import COMMAND, CommandEnded, WhichCommand
from scsi2nvme.cli import controllers
from scsi2nvme.cli.control import ask
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from tests.cli.test_inventory import formatted, sent, triple
from tests.cli.test_two_controllers import (
    ONE,
    OPTIMIZED,
    OTHER,
    STATE_CHANGED,
    Twins,
    set_groups,
    twins,
)
from tests.support import row

WRITE_CACHE = 0x06  # a feature
MODE_CHANGED = (6, 0x2A, 1)
CAPACITY_CHANGED, INQUIRY_CHANGED = (6, 0x2A, 9), (6, 0x3F, 3)
READ = row("READ (10)").build(transfer_length=1)
WRITE = row("WRITE (10)").build(transfer_length=1)


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


async def told(both: Twins) -> set[tuple[int, int, int]]:
    """Return the unit attentions that wait for one initiator."""
    found = set()
    while (attention := await triple(both.one, 0)) is not None:
        found.add(attention)
    return found


@pytest.mark.parametrize("used", [0, 1], ids=["by the one in use", "by the other one"])
def test_a_format_by_one_is_known_whichever_is_used(
    tmp_path: Path, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else commands of the old length move other data than initiators have room for."""

    async def work() -> None:
        async with twins(tmp_path) as both:
            emulate_format(both, monkeypatch)
            if used:
                assert (await set_groups(both.other, (OTHER, OPTIMIZED))).status == 0
            await both.active((ONE, OTHER)[used])
            await told(both)
            which = WhichCommand("0", AdminOpcode.FORMAT_NVM, nsid=1, cdw10=1, force=True)
            assert (await passed(tmp_path, which)).status == 0
            assert await told(both) == {CAPACITY_CHANGED, INQUIRY_CHANGED}
            assert {route.facts.block_bytes for route in both.lu.routes.every} == {4096}
            cdb = row("READ CAPACITY (10)").build()
            assert (await sent(both.one, 0, cdb, data_in=8)).data[4:8] == bytes([0, 0, 16, 0])
            assert not both.daemon.controllers._service._registry.units[both.lu].stale
            data = bytes([7]) * 4096
            assert (await sent(both.one, 0, WRITE, data_out=data)).status == 0
            both.pull(used)
            await both.active((OTHER, ONE)[used])
            assert await told(both) == {STATE_CHANGED}
            assert (await sent(both.one, 0, READ, data_in=4096)).data == data

    asyncio.run(work())


def emulate_format(both: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the disk, a file, formatted by a Format NVM to either of its controllers."""
    execute = controllers.execute

    async def formatting(
        controller: Controller, command: NvmeCommand, *known: NamespaceFacts
    ) -> Completion:
        if command.opcode != AdminOpcode.FORMAT_NVM:
            return await execute(controller, command, *known)
        for index in range(2):
            formatted(both.transport(index))
        return Completion()

    monkeypatch.setattr(controllers, "execute", formatting)


def test_there_is_room_for_blocks_of_a_format_that_a_controller_did_not_tell_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the room that it is given is what belongs to others, or no memory."""

    async def work() -> None:
        async with twins(tmp_path) as both:
            emulate_format(both, monkeypatch)
            which = WhichCommand("0", AdminOpcode.FORMAT_NVM, nsid=1, cdw10=1, force=True)
            assert (await passed(tmp_path, which)).status == 0
            controller = both.daemon.served[1].controller
            assert controller.namespaces[1].block_bytes == 512
            rooms: list[int] = []
            execute = controller.execute

            async def noting(*commands: NvmeCommand) -> tuple[Completion, ...]:
                rooms.extend(command.data_in for command in commands)
                return await execute(*commands)

            monkeypatch.setattr(controller, "execute", noting)
            which = WhichCommand("1", Opcode.READ, admin=False, nsid=1, data_in=512)
            assert len(bytes.fromhex((await passed(tmp_path, which)).data)) == 512
            assert rooms == [4096]
            which = WhichCommand(
                "1", Opcode.WRITE, admin=False, nsid=1, data_out="00" * 512, force=True
            )
            with pytest.raises(OperationError, match="takes 4096 bytes of data, not 512"):
                await passed(tmp_path, which)

    asyncio.run(work())
