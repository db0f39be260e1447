"""TCMU devices whose namespace comes and goes."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from scsi2nvme.target.tcmu.netlink import EventKind
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.support import make_lu
from tests.target.tcmu.played_kernel import READ_CAPACITY, TEST_UNIT_READY, Bench, run


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
