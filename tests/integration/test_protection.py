"""Namespaces whose blocks have protection information, served as plain disks.

QEMU's controller judges: it refuses PRINFO and tags that are wrong, and checks what it stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import CHECK_GUARD, CHECK_REFERENCE, PRACT
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED
from scsi2nvme.scsi.status import Status
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.integration.rig import Disk, Rig, good, io, one
from tests.integration.test_scsi_commands import (
    DATA,
    Player,
    compares_and_writes,
    provisions,
    reads_and_writes,
    text,
    verifies,
)
from tests.iscsi_client import Initiator
from tests.support import row

BLOCK = 512
TYPES = (1, 2, 3)
KINDS = ("qemu",)


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return a rig of a controller that has protection information."""
    rig = Rig(request.param, tmp_path / "disk")
    yield rig
    rig.check()


def disk(kind: int, *, extended: bool = False, first: bool = False) -> Disk:
    return Disk(
        block_bytes=BLOCK,
        metadata_bytes=8,
        extended=extended,
        protection_type=kind,
        protection_first=first,
    )


@pytest.mark.parametrize(("kind", "extended"), [(1, False), (2, True), (3, False)])
async def test_as_a_plain_disk(rig: Rig, kind: int, extended: bool) -> None:
    async with rig.controller(disk(kind, extended=extended)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        for script in (reads_and_writes, verifies, provisions, compares_and_writes):
            # QEMU takes its file's zeroes for tags where a page of it is no hole as a whole.
            zeroes = {"ndob": 1, "number_of_blocks": player.lu.capacity_blocks}
            assert await player.do("WRITE SAME (16)", **zeroes) == GOOD
            await script(player)


@pytest.mark.parametrize(("kind", "first"), [*product(TYPES, (False, True))])
async def test_what_is_written_passes_every_check(rig: Rig, kind: int, first: bool) -> None:
    """Guards are those of the data, and reference tags those of the LBA, also of zeroes."""
    checks = CHECK_GUARD | (CHECK_REFERENCE if kind != 3 else 0)
    async with rig.controller(disk(kind, first=first)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        await player.write(0x105, DATA)
        block = b"\x5a" * BLOCK
        assert await player.do("WRITE SAME (16)", block, lba=0x400, number_of_blocks=300) == GOOD
        assert await player.do("WRITE SAME (16)", ndob=1, lba=0x600, number_of_blocks=9) == GOOD
        for lba, blocks in ((0x105, 250), (0x400, 300), (0x600, 9)):
            for start in range(lba, lba + blocks, 50):
                count = min(50, lba + blocks - start)
                read = io(Opcode.READ, start, count, data_in=count * BLOCK)
                await good(controller, _with(read, PRACT | checks, start))
                verify = io(Opcode.VERIFY, start, count)
                await good(controller, _with(verify, checks, start))


def _with(command: NvmeCommand, prinfo: int, tag: int) -> NvmeCommand:
    return NvmeCommand(
        command.opcode,
        command.nsid,
        command.cdw10,
        cdw12=command.cdw12 | prinfo,
        cdw14=tag,
        data_in=command.data_in,
    )


async def test_a_format_keeps_the_protection_information(rig: Rig) -> None:
    rig.expects_guest_errors = True
    async with rig.controller(disk(1, first=True)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        player.lu.mode.pending_block_bytes = 4096
        assert await player.do("FORMAT UNIT") == GOOD
        namespace = player.lu.facts.namespace
        assert (namespace.dps, player.lu.facts.lba_format.ms, player.lu.block_bytes) == (9, 8, 4096)
        await player.write(3, DATA[:40960])
        assert await player.read(3, 10) == DATA[:40960]


async def test_a_tag_that_is_wrong(rig: Rig) -> None:
    """What somebody else has spoilt is not read as if it were good."""
    rig.expects_guest_errors = True
    async with rig.controller(disk(1)) as controller:
        player = Player.on(controller.namespaces[1], controller)
        write = NvmeCommand(Opcode.WRITE, 1, 7, cdw12=PRACT, cdw14=8, data_out=b"\x11" * BLOCK)
        await one(controller, write)  # QEMU takes the tag as it is given
        result = await player.do("READ (16)", lba=6, transfer_length=4)
        assert text(result) == str(LOGICAL_BLOCK_REFERENCE_TAG_CHECK_FAILED)
        assert (await player.do("READ (16)", lba=8, transfer_length=4)).status is Status.GOOD


@pytest.mark.parametrize(("kind", "number"), [*product(KINDS, TYPES)])
def test_the_hot_path(tmp_path: Path, kind: str, number: int) -> None:
    options = {"block": BLOCK, "metadata": 8, "protection": number}
    with (
        Daemon(tmp_path, spec(kind, tmp_path, size_mib=16, **options)) as daemon,
        Initiator(("127.0.0.1", daemon.port)) as initiator,
    ):
        initiator.login(IQN)
        initiator.hear()
        data = DATA * 4
        blocks = len(data) // BLOCK
        write = row("WRITE (16)").build(lba=77, transfer_length=blocks)
        assert initiator.command(0, write, data_out=data).status == Status.GOOD
        read = row("READ (16)").build(lba=77, transfer_length=blocks)
        assert zlib.crc32(initiator.command(0, read, data_in=len(data)).data) == zlib.crc32(data)
        verify = row("VERIFY (16)").build(lba=77, verification_length=blocks, bytchk=1)
        assert initiator.command(0, verify, data_out=data).status == Status.GOOD
        same = row("WRITE SAME (16)").build(lba=100, number_of_blocks=10, unmap=1, ndob=1)
        assert initiator.command(0, same).status == Status.GOOD
        swap = row("COMPARE AND WRITE").build(lba=100, number_of_blocks=1)
        halves = bytes(BLOCK) + b"\x77" * BLOCK
        assert initiator.command(0, swap, data_out=halves).status == Status.GOOD
        assert initiator.command(0, swap, data_out=halves).status == Status.CHECK_CONDITION
        again = initiator.command(0, read, data_in=len(data))
        assert again.data[23 * BLOCK : 25 * BLOCK] == b"\x77" * BLOCK + bytes(BLOCK)
