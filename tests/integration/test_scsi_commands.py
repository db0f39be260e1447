"""The same SCSI scripts on every controller and on the model that the unit tests use.

They keep the model honest: what it answers, a controller answers too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from scsi2nvme import engine
from scsi2nvme.commands.provisioning import UNMAP_BLOCK_DESCRIPTOR, UNMAP_HEADER
from scsi2nvme.executor import NvmeExecutor, play
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.result import GOOD, Result
from scsi2nvme.scsi.sense import (
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    MISCOMPARE_DURING_VERIFY_OPERATION,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from tests.integration.rig import MIB, Disk, Rig
from tests.model_controller import ModelController, ModelExecutor
from tests.support import make_facts, make_nexus, row

BLOCK = 512
DATA = bytes(range(1, 251)) * BLOCK  # 250 different-looking blocks


@dataclass
class Player:
    """One logical unit on some controller."""

    lu: LogicalUnit
    nexus: Nexus
    executor: NvmeExecutor

    @classmethod
    def on(cls, facts: NamespaceFacts, executor: NvmeExecutor) -> Player:
        lu = LogicalUnit(facts)
        return cls(lu, make_nexus("a", lu), executor)

    async def do(self, name: str, data_out: bytes = b"", /, **fields: int) -> Result:
        translation = engine.run(engine.select(self.nexus, 0, row(name).build(**fields)), data_out)
        result = await play(translation, self.executor)
        if result.background is not None:
            assert await play(result.background, self.executor) == GOOD
        return result

    async def read(self, lba: int, blocks: int) -> bytes:
        result = await self.do("READ (16)", lba=lba, transfer_length=blocks)
        assert result.status is Status.GOOD
        return result.data_in

    async def write(self, lba: int, data: bytes) -> None:
        blocks = len(data) // self.lu.block_bytes
        assert await self.do("WRITE (16)", data, lba=lba, transfer_length=blocks) == GOOD


def text(result: Result) -> str:
    return str(result.sense.code) if result.sense is not None else result.status.name


async def reads_and_writes(player: Player) -> None:
    await player.write(5, DATA)
    assert await player.read(5, 250) == DATA
    assert await player.read(4, 1) == bytes(BLOCK)
    assert await player.do("SYNCHRONIZE CACHE (10)", lba=5) == GOOD
    assert (await player.do("SYNCHRONIZE CACHE (16)", immed=1)).status is Status.GOOD
    beyond = await player.do("READ (10)", lba=player.lu.capacity_blocks - 1, transfer_length=2)
    assert text(beyond) == str(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)


async def verifies(player: Player) -> None:
    await player.write(5, DATA)
    count = {"lba": 5, "verification_length": 250}
    assert await player.do("VERIFY (10)", **count) == GOOD
    assert await player.do("VERIFY (12)", DATA, bytchk=1, **count) == GOOD
    wrong = await player.do("VERIFY (12)", DATA[:-1] + b"\0", bytchk=1, **count)
    assert text(wrong) == str(MISCOMPARE_DURING_VERIFY_OPERATION)
    each = {"lba": 1000, "verification_length": 250, "bytchk": 3}
    assert await player.do("VERIFY (16)", bytes(BLOCK), **each) == GOOD
    written = {"lba": 700, "transfer_length": 250, "bytchk": 1}
    assert await player.do("WRITE AND VERIFY (16)", DATA, **written) == GOOD


async def provisions(player: Player) -> None:
    await player.write(0, DATA)
    block = b"\x5a" * BLOCK
    assert await player.do("WRITE SAME (10)", block, lba=10, number_of_blocks=100) == GOOD
    assert await player.read(0, 250) == DATA[: 10 * BLOCK] + block * 100 + DATA[110 * BLOCK :]
    assert await player.do("WRITE SAME (16)", ndob=1, unmap=1, lba=11, number_of_blocks=8) == GOOD
    assert await player.read(10, 10) == block + bytes(8 * BLOCK) + block
    ranges = [(0, 10), (30, 0), (200, 8)]
    listed = UNMAP_HEADER.build(unmap_block_descriptor_data_length=48) + b"".join(
        UNMAP_BLOCK_DESCRIPTOR.build(lba=lba, number_of_blocks=count) for lba, count in ranges
    )
    assert await player.do("UNMAP", listed, parameter_list_length=len(listed)) == GOOD
    if player.lu.reads_zero_after_unmap:
        assert await player.read(200, 8) == bytes(8 * BLOCK)
    assert await player.read(208, 42) == DATA[208 * BLOCK :]


async def compares_and_writes(player: Player) -> None:
    for blocks in (1, 8, 200):
        size = blocks * BLOCK
        old, new = await player.read(1000, blocks), bytes([blocks]) * size
        fields = {"lba": 1000, "number_of_blocks": blocks}
        assert await player.do("COMPARE AND WRITE", old + new, **fields) == GOOD
        wrong = bytearray(new)
        wrong[-27] ^= 1
        result = await player.do("COMPARE AND WRITE", bytes(wrong) + old, **fields)
        assert text(result) == str(MISCOMPARE_DURING_VERIFY_OPERATION)
        assert result.sense is not None
        assert result.sense.information == size - 27
        assert await player.read(1000, blocks) == new
    joined = {"lba": 1000, "transfer_length": 200}
    assert await player.do("ORWRITE (16)", b"\x07" * 200 * BLOCK, **joined) == GOOD
    assert await player.read(1000, 200) == bytes([200 | 7]) * 200 * BLOCK


async def formats(player: Player) -> None:
    size = player.lu.capacity_blocks * BLOCK
    await player.write(0, DATA)
    player.lu.mode.pending_block_bytes = 4096
    assert await player.do("FORMAT UNIT") == GOOD
    assert (player.lu.block_bytes, player.lu.capacity_blocks) == (4096, size // 4096)
    assert not any(await player.read(0, 10))
    await player.write(player.lu.capacity_blocks - 1, DATA[:4096])
    immediate = await player.do("FORMAT UNIT", b"\0\x02\0\0", fmtdata=1)
    assert immediate.status is Status.GOOD
    assert await player.do("TEST UNIT READY") == GOOD
    assert not any(await player.read(player.lu.capacity_blocks - 1, 1))


SCRIPTS = [reads_and_writes, verifies, provisions, compares_and_writes, formats]
Script = Callable[[Player], Awaitable[None]]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_on_a_controller(rig: Rig, script: Script) -> None:
    rig.expects_guest_errors = script in (verifies, compares_and_writes)  # Compare Failure
    async with rig.controller(Disk(block_bytes=BLOCK)) as controller:
        await script(Player.on(controller.namespaces[1], controller))


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("capable", [True, False])
async def test_on_the_model(capable: bool, script: Script) -> None:
    controller = {} if capable else {"oncs": 0x74, "fuses": 0}
    facts = make_facts(blocks=16 * MIB // BLOCK, controller=controller)
    await script(Player.on(facts, ModelExecutor(ModelController(facts))))
