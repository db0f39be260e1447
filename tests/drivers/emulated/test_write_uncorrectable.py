"""Blocks that are marked as unreadable, as a host sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import DSM_RANGE, IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin

BLOCK = 4096


def on_a_host(test: Callable[[Host], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        host = Host(block_bytes=BLOCK, **settings)
        try:
            await host.enable().create_queue()
            await test(host)
        finally:
            host.close()

    asyncio.run(run())


def command(opcode: Opcode, lba: int, blocks: int = 1, cdw12: int = 0) -> NvmeCommand:
    data = bytes(blocks * BLOCK)
    return NvmeCommand(
        opcode,
        1,
        lba,
        cdw12=cdw12 | blocks - 1,
        data_out=data if opcode in (Opcode.WRITE, Opcode.COMPARE) else b"",
        data_in=len(data) if opcode == Opcode.READ else 0,
    )


async def status(host: Host, what: NvmeCommand) -> int:
    return (await host.execute(what, 1)).status & 0x7FF


async def unreadable(host: Host, lba: int, blocks: int = 1) -> bool:
    """Whether blocks cannot be read: all commands that read agree."""
    opcodes = Opcode.READ, Opcode.VERIFY, Opcode.COMPARE
    found = {await status(host, command(opcode, lba, blocks)) for opcode in opcodes}
    assert found in ({0}, {StatusCode.UNRECOVERED_READ_ERROR})
    return 0 not in found


async def mark(host: Host, lba: int, blocks: int = 1) -> None:
    assert await status(host, command(Opcode.WRITE_UNCORRECTABLE, lba, blocks)) == 0


def test_marked_blocks_cannot_be_read_until_they_are_written() -> None:
    async def test(host: Host) -> None:
        await mark(host, 60, 80)  # over three words of bits
        assert not await unreadable(host, 59)
        assert await unreadable(host, 50, 11)
        assert await unreadable(host, 139, 5)
        assert not await unreadable(host, 140, 100)
        heals = [
            command(Opcode.WRITE, 60),
            command(Opcode.WRITE_ZEROES, 61),
            command(Opcode.WRITE_ZEROES, 62, cdw12=1 << 25),
            NvmeCommand(
                Opcode.DATASET_MANAGEMENT, 1, cdw11=4, data_out=DSM_RANGE.build(slba=63, nlb=1)
            ),
        ]
        for lba, each in enumerate(heals, start=60):
            assert await unreadable(host, lba)
            assert await status(host, each) == 0
            assert not await unreadable(host, lba)
        assert await unreadable(host, 64)
        assert await status(host, command(Opcode.WRITE, 0, 256)) == 0
        assert not await unreadable(host, 0, 256)

    on_a_host(test, uncorrectable=True)


def test_marks_outlive_a_reset_and_end_with_a_format() -> None:
    async def test(host: Host) -> None:
        await mark(host, 5)
        host.disable()
        await host.enable().create_queue()
        assert await unreadable(host, 5)
        await host.ok(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))  # as before: 4096 bytes
        assert not await unreadable(host, 5)

    on_a_host(test, uncorrectable=True)


def test_what_names_no_blocks_of_the_namespace() -> None:
    async def test(host: Host) -> None:
        beyond = command(Opcode.WRITE_UNCORRECTABLE, 4095, 2)
        assert await status(host, beyond) == StatusCode.LBA_OUT_OF_RANGE
        assert not await unreadable(host, 4095)

    on_a_host(test, uncorrectable=True)


def test_it_is_there_on_request() -> None:
    async def test(host: Host) -> None:
        data = await host.ok(admin(AdminOpcode.IDENTIFY, 1, data_in=4096))
        assert not IDENTIFY_CONTROLLER.parse(data).oncs & 2
        refused = await status(host, command(Opcode.WRITE_UNCORRECTABLE, 5))
        assert refused == StatusCode.INVALID_OPCODE

    on_a_host(test)


def test_a_file_would_forget(tmp_path: Path) -> None:
    async def nothing(host: Host) -> None:
        pass

    with pytest.raises(TransportError, match="uncorrectable is only for emulated:memory"):
        on_a_host(nothing, path=tmp_path / "disk", uncorrectable=True)
