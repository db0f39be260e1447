"""A zoned namespace of every controller, as the host-managed disk that initiators see.

QEMU's model was written by others from the same specification: it judges ours, and what we
make of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scsi2nvme.commands.zones import DESCRIPTOR, GAP, HEADER
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.events import ControllerEvent
from scsi2nvme.fields import Values
from scsi2nvme.nvme.zoned import CHANGED_ZONES
from scsi2nvme.scsi.result import GOOD, Result
from tests.integration.rig import MIB, Disk, Rig
from tests.integration.test_scsi_commands import Player, text

BLOCK = 4096
ZONE, CAPACITY, ZONES = 256, 192, 16  # in blocks
MOST_OPEN, MOST_ACTIVE = 3, 5
EMPTY, IMPLICIT, EXPLICIT, CLOSED, FULL = 1, 2, 3, 4, 14
ALL = {"all": 1}


@pytest.fixture(params=["emulated", "qemu"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Return a rig of the kinds of controllers that have zones."""
    return Rig(request.param, tmp_path / "disk")


@asynccontextmanager
async def zoned(rig: Rig, capacity: int = CAPACITY) -> AsyncIterator[Player]:
    """Serve a zoned namespace of 16 MiB, a zone of which has 1 MiB."""
    zones = {
        "zone_size": ZONE * BLOCK,
        "zone_capacity": capacity * BLOCK,
        "max_open": MOST_OPEN,
        "max_active": MOST_ACTIVE,
    }
    disk = Disk(size_bytes=16 * MIB, block_bytes=BLOCK, zones=zones)
    async with rig.controller(disk) as controller:
        yield Player.on(controller.namespaces[1], controller)


async def report(player: Player, start: int = 0, **fields: int) -> tuple[Values, list[Values]]:
    """Return the header and the descriptors of REPORT ZONES."""
    fields = {"allocation_length": 1 << 20, "zone_start_lba": start, **fields}
    result = await player.do("REPORT ZONES", **fields)
    assert result.sense is None, text(result)
    data = result.data_in
    whole = range(HEADER.size, len(data) - DESCRIPTOR.size + 1, DESCRIPTOR.size)
    return HEADER.parse(data), [DESCRIPTOR.parse(data[at:]) for at in whole]


async def conditions(player: Player) -> list[int]:
    """Return the conditions of the zones that can be written."""
    _, zones = await report(player, reporting_options=0x3E)
    return [zone.zone_condition for zone in zones]


async def write(player: Player, lba: int, blocks: int = 1, byte: int = 0xA5) -> Result:
    data = bytes([byte]) * blocks * BLOCK
    return await player.do("WRITE (16)", data, lba=lba, transfer_length=blocks)


async def refused(player: Player, name: str, **fields: int) -> str:
    return text(await player.do(name, **fields)).split()[0]


async def written(player: Player, lba: int, blocks: int = 1) -> str:
    return text(await write(player, lba, blocks)).split()[0]


async def test_what_it_is(rig: Rig) -> None:
    async with zoned(rig) as player:
        assert (await player.do("INQUIRY", allocation_length=36)).data_in[0] == 0x14
        page = await player.do("INQUIRY", evpd=1, page_code=0xB6, allocation_length=64)
        limits = page.data_in
        assert (limits[0], limits[1], limits[4], limits[23]) == (0x14, 0xB6, 1, 8)
        assert int.from_bytes(limits[16:20], "big") == MOST_OPEN
        assert int.from_bytes(limits[24:32], "big") == ZONE
        capacity = await player.do("READ CAPACITY (16)", allocation_length=32)
        assert capacity.data_in[:8] == (ZONE * ZONES - 1).to_bytes(8, "big")
        assert capacity.data_in[12] == 0b01 << 4
        for withdrawn in ("UNMAP", "COMPARE AND WRITE", "ORWRITE (16)"):
            assert await refused(player, withdrawn) == "5/20/00"


async def test_zones_are_reported_with_the_gaps_between_them(rig: Rig) -> None:
    async with zoned(rig) as player:
        header, zones = await report(player)
        assert (header.zone_list_length, header.maximum_lba) == (2 * ZONES * 64, ZONE * ZONES - 1)
        at = 0
        for index, zone in enumerate(zones):
            assert zone.zone_start_lba == at
            assert zone.zone_type == (GAP if index % 2 else 2)
            at += zone.zone_length
        assert at == ZONE * ZONES
        header, zones = await report(player, allocation_length=64 + 3 * 64, partial=1)
        assert (header.zone_list_length, len(zones)) == (3 * 64, 3)
        header, zones = await report(player, allocation_length=64 + 3 * 64)
        assert (header.zone_list_length, len(zones)) == (2 * ZONES * 64, 3)
        header, zones = await report(player, ZONE + 7)
        assert (header.zone_list_length, zones[0].zone_start_lba) == (2 * (ZONES - 1) * 64, ZONE)
        header, zones = await report(player, ZONE + CAPACITY)
        assert header.zone_list_length == (2 * (ZONES - 1) - 1) * 64 == len(zones) * 64
        assert (zones[0].zone_type, zones[0].zone_start_lba) == (GAP, ZONE + CAPACITY)
        header, zones = await report(player, reporting_options=0x3F)
        assert len(zones) == ZONES == header.zone_list_length // 64
        beyond = {"zone_start_lba": ZONE * ZONES, "allocation_length": 64}
        assert await refused(player, "REPORT ZONES", **beyond) == "5/21/00"
        unknown = {"reporting_options": 0x20, "allocation_length": 64}
        assert await refused(player, "REPORT ZONES", **unknown) == "5/24/00"


async def test_a_format_empties_all_zones(rig: Rig) -> None:
    """QEMU's controller formats none with zones, which is no more than a refusal."""
    async with zoned(rig) as player:
        await player.do("WRITE (16)", bytes(BLOCK), lba=ZONE, transfer_length=1)
        await player.do("FINISH ZONE", zone_id=2 * ZONE)
        before = await conditions(player)
        assert before[:3] == [EMPTY, IMPLICIT, FULL]
        result = await player.do("FORMAT UNIT")
        if rig.kind == "qemu":
            assert result.sense is not None
            assert await conditions(player) == before
        else:
            assert result == GOOD
            assert await conditions(player) == [EMPTY] * ZONES
        player.lu.take_attention(player.nexus)
        written = await player.do("WRITE (16)", bytes(BLOCK), lba=3 * ZONE, transfer_length=1)
        assert written == GOOD


async def test_without_gaps_all_zones_are_alike(rig: Rig) -> None:
    async with zoned(rig, capacity=ZONE) as player:
        header, zones = await report(player)
        assert (header.same, len(zones), zones[-1].zone_length) == (1, ZONES, ZONE)
        page = await player.do("INQUIRY", evpd=1, page_code=0xB6, allocation_length=64)
        assert page.data_in[23] == 1
        assert await write(player, 0, ZONE) == GOOD
        assert await player.read(ZONE - 2, 4) == b"\xa5" * 2 * BLOCK + bytes(2 * BLOCK)
        verified = {"lba": ZONE - 2, "verification_length": 4}
        assert await player.do("VERIFY (16)", **verified) == GOOD


async def test_zones_are_written_from_their_start_to_their_end(rig: Rig) -> None:
    async with zoned(rig) as player:
        assert await write(player, ZONE, 5) == GOOD
        assert await write(player, ZONE + 5, 60, 0x3C) == GOOD  # in several pieces
        assert await player.read(ZONE, 66) == b"\xa5" * 5 * BLOCK + b"\x3c" * 60 * BLOCK + bytes(
            BLOCK
        )
        _, (zone, *_) = await report(player, ZONE)
        assert (zone.zone_condition, zone.write_pointer_lba) == (IMPLICIT, ZONE + 65)
        for lba in (ZONE, ZONE + 64, ZONE + 66):
            assert await written(player, lba) == "5/21/04"
        assert await written(player, ZONE + 65, CAPACITY) == "5/21/05"
        assert await written(player, CAPACITY) == "5/21/09"
        assert await written(player, ZONE * ZONES) == "5/21/00"
        assert await write(player, ZONE + 65, CAPACITY - 65) == GOOD
        assert await written(player, ZONE) == "5/24/00"
        _, (zone, *_) = await report(player, ZONE)
        assert (zone.zone_condition, zone.write_pointer_lba) == (FULL, (1 << 64) - 1)
        same = {"lba": 2 * ZONE, "number_of_blocks": 70}
        assert await player.do("WRITE SAME (16)", b"\x77" * BLOCK, **same) == GOOD
        assert await player.read(2 * ZONE, 70) == b"\x77" * 70 * BLOCK
        rest = {"lba": 2 * ZONE + 70, "number_of_blocks": 30, "ndob": 1}
        assert await player.do("WRITE SAME (16)", **rest) == GOOD


async def test_gaps_are_not_read(rig: Rig) -> None:
    async with zoned(rig) as player:
        for lba, blocks, sense in (
            (CAPACITY, 1, "5/21/09"),
            (CAPACITY - 1, 2, "5/21/07"),
            (0, ZONE + 1, "5/21/07"),
        ):
            assert await refused(player, "READ (16)", lba=lba, transfer_length=blocks) == sense
            named = {"lba": lba, "verification_length": blocks}
            assert await refused(player, "VERIFY (16)", **named) == sense
        assert await player.read(CAPACITY - 1, 1) == bytes(BLOCK)
        assert await player.do("READ (16)", lba=CAPACITY, transfer_length=0) == GOOD


async def test_zones_change_as_zbc_says(rig: Rig) -> None:
    async with zoned(rig) as player:
        at = {"zone_id": ZONE}
        for name in ("CLOSE ZONE", "RESET WRITE POINTER"):
            assert await player.do(name, **at) == GOOD
            assert (await conditions(player))[1] == EMPTY
        for name, condition in (
            ("OPEN ZONE", EXPLICIT),
            ("OPEN ZONE", EXPLICIT),
            ("CLOSE ZONE", EMPTY),  # it was never written
            ("OPEN ZONE", EXPLICIT),
        ):
            assert await player.do(name, **at) == GOOD
            assert (await conditions(player))[1] == condition
        assert await write(player, ZONE, 2) == GOOD
        for name, condition in (
            ("CLOSE ZONE", CLOSED),
            ("CLOSE ZONE", CLOSED),
            ("FINISH ZONE", FULL),
            *((name, FULL) for name in ("FINISH ZONE", "OPEN ZONE", "CLOSE ZONE")),
            ("RESET WRITE POINTER", EMPTY),
        ):
            assert await player.do(name, **at) == GOOD
            assert (await conditions(player))[1] == condition, name
        assert await player.read(ZONE, 2) == bytes(2 * BLOCK)
        for wrong in (ZONE + 1, ZONE + CAPACITY):
            assert await refused(player, "OPEN ZONE", zone_id=wrong) == "5/24/00"
        assert await refused(player, "OPEN ZONE", zone_id=ZONE * ZONES) == "5/21/00"


async def test_zones_change_together(rig: Rig) -> None:
    async with zoned(rig) as player:
        assert await player.do("OPEN ZONE", zone_id=0) == GOOD
        for zone in (1, 2):
            assert await write(player, zone * ZONE, 3) == GOOD
        assert await player.do("CLOSE ZONE", **ALL) == GOOD
        assert (await conditions(player))[:4] == [EMPTY, CLOSED, CLOSED, EMPTY]
        assert await player.do("OPEN ZONE", **ALL) == GOOD
        assert (await conditions(player))[:4] == [EMPTY, EXPLICIT, EXPLICIT, EMPTY]
        assert await player.do("FINISH ZONE", **ALL, zone_id=1 << 63) == GOOD
        assert (await conditions(player))[:4] == [EMPTY, FULL, FULL, EMPTY]
        header, zones = await report(player, reporting_options=0x05)
        assert [zone.zone_start_lba for zone in zones] == [ZONE, 2 * ZONE]
        assert header.zone_list_length == 2 * 64
        assert await player.do("RESET WRITE POINTER", zone_id=ZONE, zone_count=2) == GOOD
        assert set(await conditions(player)) == {EMPTY}
        assert await write(player, 0) == GOOD
        assert await player.do("RESET WRITE POINTER", **ALL) == GOOD
        assert set(await conditions(player)) == {EMPTY}


async def test_no_more_zones_are_open_than_there_may_be(rig: Rig) -> None:
    async with zoned(rig) as player:
        for zone in range(MOST_OPEN + 1):  # what writes have opened gives way
            assert await write(player, zone * ZONE) == GOOD
        found = await conditions(player)
        assert found.count(IMPLICIT) <= MOST_OPEN
        assert found.count(IMPLICIT) + found.count(CLOSED) == MOST_OPEN + 1
        assert await player.do("RESET WRITE POINTER", **ALL) == GOOD
        for zone in range(MOST_OPEN):
            assert await player.do("OPEN ZONE", zone_id=zone * ZONE) == GOOD
        for name in ("OPEN ZONE",):
            assert await refused(player, name, zone_id=8 * ZONE) == "7/55/0E"
        assert await written(player, 8 * ZONE) == "7/55/0E"
        assert await player.do("CLOSE ZONE", **ALL) == GOOD
        for zone in range(MOST_ACTIVE):
            assert await write(player, zone * ZONE) == GOOD
        assert await player.do("CLOSE ZONE", **ALL) == GOOD
        assert await written(player, 8 * ZONE) == "7/55/0E"  # active zones
        assert await refused(player, "OPEN ZONE", **ALL) == "7/55/0E"
        assert (await conditions(player)).count(CLOSED) == MOST_ACTIVE


async def test_the_controller_tells_of_zones_that_it_finishes_itself(tmp_path: Path) -> None:
    rig = Rig("emulated", tmp_path / "disk")
    async with zoned(rig) as player:
        controller, transport = player.executor, rig.transports[-1]
        assert isinstance(controller, Controller)
        assert isinstance(transport, EmulatedTransport)
        told: asyncio.Queue[ControllerEvent] = asyncio.Queue()
        controller.on_event = told.put_nowait
        for zone in (1, 3):
            await player.do("WRITE (16)", bytes(BLOCK), lba=zone * ZONE, transfer_length=1)
            transport.finish_zone(1, zone * ZONE)
            event = await asyncio.wait_for(told.get(), 20)
            assert str(event) == "the controller has changed zones by itself"
            changed = CHANGED_ZONES.parse(event.raw)
            assert (changed.nrzid, changed.zids) == (1, zone * ZONE)
        assert (await conditions(player))[:4] == [EMPTY, FULL, EMPTY, FULL]
        assert (await player.do("RESET WRITE POINTER", zone_id=ZONE)) == GOOD
        written = await player.do("WRITE (16)", bytes(BLOCK), lba=ZONE, transfer_length=1)
        assert written == GOOD
