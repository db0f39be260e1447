"""Get LBA Status of the emulated controller."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.faults import parse_fault
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.lba_status import (
    AOCS_ALLOCATED,
    DESCRIPTOR,
    HEADER,
    OACS_LBA_STATUS,
    Action,
    get_lba_status,
)
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NVM_CONTROLLER
from tests.drivers.emulated.host import MIB, Host, admin, block, identify

BLOCKS = 2 * MIB // 512
UNREADABLE, WRITTEN_SO = 1, 3
FULL, DONE = 1, 2


def run(test: Callable[[Host], Awaitable[None]], **options: Any) -> None:
    async def body() -> None:
        host = Host(**{"lba_status": True, "size_bytes": 2 * MIB, **options}).enable()
        try:
            await host.create_queue()
            await test(host)
        finally:
            host.close()

    asyncio.run(body())


async def told(
    host: Host, action: int = Action.TRACKED, lba: int = 0, most: int = 8, length: int = 0
) -> tuple[int, list[tuple[int, int, int]]]:
    """Return why the list ends, and first block, number and status of each descriptor."""
    command = get_lba_status(1, Action.TRACKED, lba, most)
    cdw13 = action << 24 | length
    data = await host.ok(NvmeCommand(**{**fields(command), "cdw13": cdw13}))
    header = HEADER.parse(data[:8])
    entries = [DESCRIPTOR.parse(data[at : at + 16]) for at in range(8, 8 + 16 * header.nlsd, 16)]
    return header.cmpc, [(each.dslba, each.nlb + 1, each.raw[13]) for each in entries]


def fields(command: NvmeCommand) -> dict[str, Any]:
    names = ("opcode", "nsid", "cdw10", "cdw11", "cdw12", "data_in", "admin")
    return {name: getattr(command, name) for name in names}


async def refused(host: Host, **changed: Any) -> int:
    command = {**fields(get_lba_status(1, Action.TRACKED, 0, 1)), **changed}
    return (await host.execute(NvmeCommand(**command))).status & 0x7FF


def test_a_plain_controller_has_no_such_command() -> None:
    async def test(host: Host) -> None:
        identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        assert not identity.oacs >> OACS_LBA_STATUS & 1
        assert await refused(host, cdw13=0x11 << 24) == StatusCode.INVALID_OPCODE

    run(test, lba_status=False)


def test_blocks_that_were_made_unreadable_are_told_of() -> None:
    async def test(host: Host) -> None:
        identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        assert identity.oacs >> OACS_LBA_STATUS & 1
        assert await told(host) == (DONE, [])
        for first, blocks in ((60, 70), (700, 1), (BLOCKS - 3, 3)):
            await host.ok(block(Opcode.WRITE_UNCORRECTABLE, first, blocks), 1)
        await host.ok(block(Opcode.WRITE_ZEROES, 100, 2), 1)
        runs = [(60, 40), (102, 28), (700, 1), (BLOCKS - 3, 3)]
        entries = [(*each, WRITTEN_SO) for each in runs]
        for action in (Action.TRACKED, Action.SCAN):
            assert await told(host, action) == (DONE, entries)
        assert await told(host, most=2) == (FULL, entries[:2])
        assert await told(host, most=0) == (FULL, [])
        assert await told(host, lba=110) == (DONE, [(110, 20, WRITTEN_SO), *entries[2:]])
        assert await told(host, lba=110, length=5) == (DONE, [(110, 5, WRITTEN_SO)])
        assert await told(host, lba=130, length=500) == (DONE, [])

    run(test, uncorrectable=True)


def test_blocks_that_a_fault_has_are_told_of() -> None:
    faults = (
        *("read:status=2/81:lba=8-15", "any:status=2/81:lba=64-71:nsid=2"),
        *(
            "any:status=2/81:lba=200-201",
            "write:status=2/81:lba=80-81",
            "read:status=2/81:lba=90-91:count=3",
        ),
        *("read:status=2/82:lba=92-93", "read:status=2/81:lba=12-19"),
    )

    async def test(host: Host) -> None:
        await host.ok(block(Opcode.WRITE_UNCORRECTABLE, 10, 4), 1)
        assert await told(host) == (
            DONE,
            [(8, 8, UNREADABLE), (16, 4, UNREADABLE), (200, 2, UNREADABLE)],
        )

    run(test, faults=tuple(map(parse_fault, faults)), uncorrectable=True)


def test_what_a_file_has_is_allocated(tmp_path: Path) -> None:
    async def test(host: Host) -> None:
        nvm = IDENTIFY_NVM_CONTROLLER.parse(await host.ok(identify(6)))
        assert nvm.aocs == AOCS_ALLOCATED
        assert await told(host, Action.ALLOCATED) == (DONE, [])
        buffer = host.data.slice(0, 8192)
        for lba in (16, 1024):
            command = NvmeCommand(Opcode.WRITE, 1, cdw10=lba, cdw12=15, data_out=bytes([7] * 8192))
            assert not (await host.execute(command, 1, buffer)).status
        found = [(16, 16, 0), (1024, 16, 0)]
        assert await told(host, Action.ALLOCATED) == (DONE, found)
        assert await told(host, Action.ALLOCATED, lba=20) == (DONE, [(20, 12, 0), found[1]])
        assert await told(host, Action.ALLOCATED, most=1) == (FULL, found[:1])
        assert await told(host, Action.TRACKED) == (DONE, [])

    run(test, path=tmp_path / "disk")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"cdw13": 0x02 << 24}, StatusCode.INVALID_FIELD),  # it is no disk on a file
        ({"cdw13": 0x12 << 24}, StatusCode.INVALID_FIELD),
        ({"cdw13": 0x11 << 24, "cdw12": 0, "data_in": 4}, StatusCode.INVALID_FIELD),
        ({"cdw13": 0x11 << 24, "cdw10": BLOCKS}, StatusCode.LBA_OUT_OF_RANGE),
        ({"cdw13": 0x11 << 24, "nsid": 2}, StatusCode.INVALID_NAMESPACE),
    ],
)
def test_what_there_is_not_is_refused(changed: dict[str, Any], status: StatusCode) -> None:
    async def test(host: Host) -> None:
        assert await refused(host, **changed) == status

    run(test)


def test_the_opcode_is_that_of_the_standard() -> None:
    assert admin(AdminOpcode.GET_LBA_STATUS).opcode == 0x86
