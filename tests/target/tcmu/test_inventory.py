"""TCMU devices whose namespace comes and goes."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from scsi2nvme.target.tcmu.bearing import NamespacesOf
from scsi2nvme.target.tcmu.device_config import DeviceConfig
from scsi2nvme.target.tcmu.front_end import TcmuFrontEnd
from scsi2nvme.target.tcmu.netlink import EventKind
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import DamagedState, MemoryStore
from tests.support import make_lu
from tests.target.tcmu.played_kernel import NAME, READ_CAPACITY, TEST_UNIT_READY, Bench, run


def test_another_namespace_that_comes_instead(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The device leads there as little as to none: its initiators know the one that went."""

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            gone = bench.lu
            bench.lu = LogicalUnit(replace(gone.facts_as_read, nguid=b"\x99" * 16))
            bench.serve(bench.lu)
            await front_end.follow_inventory()
            bench.service.inventory_changed()
            bench.service.remove_unit(gone)
            status, sense, _ = await bench.kernel.rings[3].command(TEST_UNIT_READY)
            assert (status, sense[2] & 0xF, sense[12], sense[13]) == (2, 5, 0x25, 0)
            assert not bench.lu.nexuses

    run(work())
    assert "its namespace is another; remove it, and create it again" in caplog.text


def test_a_namespace_that_goes_and_comes_back(bench: Bench) -> None:
    """Its device stays, and leads to no logical unit meanwhile."""

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring, gone = bench.kernel.rings[3], bench.lu
            bench.present = False
            await front_end.follow_inventory()
            bench.service.inventory_changed()
            bench.service.remove_unit(gone)
            status, sense, _ = await ring.command(TEST_UNIT_READY)
            assert (status, sense[2] & 0xF, sense[12], sense[13]) == (2, 5, 0x25, 0)
            bench.service.unit_was_reset(gone)

            bench.present, bench.lu = True, make_lu(blocks=8192)
            bench.serve(bench.lu)
            await front_end.follow_inventory()
            bench.service.inventory_changed()
            status, sense, _ = await ring.command(TEST_UNIT_READY)
            assert (status, sense[2] & 0xF, sense[12], sense[13]) == (2, 6, 0x29, 0)
            status, _, data = await ring.command(READ_CAPACITY, 8)
            last, block = struct.unpack(">II", data)
            assert (status, (last + 1) * block) == (0, bench.size)  # dev_size, as before
            await front_end.handle(bench.event(EventKind.REMOVED), bench.answers)
            assert not bench.lu.nexuses

    run(work())


@pytest.mark.parametrize("nameless", [False, True])
def test_after_a_restart_a_device_leads_to_the_namespace_that_it_was_created_for(
    bench: Bench, caplog: pytest.LogCaptureFixture, nameless: bool
) -> None:
    """Its configuration has but a number, which another may have now."""
    facts = bench.lu.facts_as_read
    if nameless:
        facts = replace(facts, uuid=b"", nguid=b"", eui64=b"")
        bench.lu = LogicalUnit(facts)
        bench.lu.read_only = True
        raw = bytearray(facts.controller.raw)
        IDENTIFY_CONTROLLER.write(raw, sn=b"ANOTHER".ljust(20))
        other = replace(facts, controller=IDENTIFY_CONTROLLER.parse(raw))
    else:
        other = replace(facts, nguid=b"\x99" * 16)

    async def served(front_end: TcmuFrontEnd) -> bool:
        await front_end.recover()
        return bool(front_end.devices)

    async def work() -> None:
        first = bench.lu
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
        for facts_now, finds in ((first.facts_as_read, True), (other, False), (other, False)):
            bench.lu = LogicalUnit(facts_now)
            bench.lu.read_only = True
            async with bench.running() as front_end:
                assert await served(front_end) is finds
                assert ("its namespace is another" in caplog.text) is not finds
        async with bench.running() as front_end:  # whoever removes it, and creates it again
            await front_end.handle(bench.event(EventKind.REMOVED), bench.answers)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert front_end.devices
        async with bench.running() as front_end:
            assert await served(front_end)

    run(work())


def test_a_device_that_is_told_another_name_of_its_namespace_is_still_tied_to_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it serves, after a restart, whatever has the number then."""
    bench.names.append(DeviceConfig("0000_01_00.0", 1))
    renamed = "nvme/0000_01_00.0/1"

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            change = bench.event(EventKind.RECONFIG, config=renamed)
            await front_end.handle(change, bench.answers)
            assert bench.answers.statuses == [0, 0]
            del bench.names[0]
            await front_end.follow_inventory()
            assert [one.present for one in front_end.devices.values()] == [True]
        bench.kernel.rename(3, NAME.replace("nvme/0/1", renamed))
        first = bench.lu.facts_as_read
        for facts, finds in ((replace(first, nguid=b"\x99" * 16), False), (first, True)):
            bench.lu = LogicalUnit(facts)
            bench.lu.read_only = True
            async with bench.running() as front_end:
                await front_end.recover()
                assert bool(front_end.devices) is finds
        assert "its namespace is another" in caplog.text

    run(work())


def test_a_device_of_which_nothing_is_known_is_served(bench: Bench) -> None:
    """So it is with those of an earlier version."""

    async def work() -> None:
        bench.add()
        for _ in range(2):
            async with bench.running() as front_end:
                await front_end.recover()
                assert front_end.devices
                assert bench.store.values["devices"]

    run(work())


@pytest.mark.parametrize("saved", [{"user_0/disk0": 1}, {"user_0/disk0": {"uuid": 1}}])
def test_a_record_of_devices_that_makes_no_sense_is_not_ignored(saved: dict[str, object]) -> None:
    store = MemoryStore()
    store.save("devices", saved)
    with pytest.raises(DamagedState, match="user_0/disk0"):
        NamespacesOf(store)
