"""Third-party copies: what they wait for, what they meet on the way, and how they end early."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.service import mover
from scsi2nvme.unit.copies import Operation
from scsi2nvme.unit.counters import READ_ERRORS, UNCORRECTED_ERRORS
from scsi2nvme.unit.disk_reservations import DiskReservations
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.power_conditions import ACTIVE, IDLE
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.statistics import Statistics
from tests.commands.test_extended_copy import cscd, parameters, segment
from tests.model_reservations import SharedDisk
from tests.service.bench import Bench, Controller, FakeTask, played, settle, told
from tests.support import make_facts, row

BLOCKS = 4096
SIZE_LIMIT_EXCEEDED, UNRECOVERED_READ = 0x183, 0x281
ABORTED, CONFLICT, CHECK_CONDITION, GOOD = 0x40, 0x18, 0x02, 0


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "PIECE_BYTES", 64 << 10)


def filled(controller: Controller) -> bytes:
    """Put blocks on a medium that are all unlike, and return them."""
    data = b"".join(number.to_bytes(4, "big") * 128 for number in range(BLOCKS))
    controller.model.fill(0, data)
    return data


def without_copy(facts: NamespaceFacts) -> NamespaceFacts:
    return replace(facts, controller=make_facts(controller={"oncs": 0xFF}).controller)


def second(bench: Bench, *, same_controller: bool = False) -> tuple[LogicalUnit, Controller]:
    """Serve another logical unit as LUN 1."""
    names = {"nguid": b"\2" * 16, "eui64": b"\3" * 8}
    lu = LogicalUnit(make_facts(nsid=2, namespace=names))
    controller = Controller(lu.facts)
    native = bench.plane_controller
    if not same_controller:
        _, native = bench.service.add_controller(bench._overdue, bench._overdue)
    bench.service.add_unit(lu, controller, native)
    bench.nexus.luns[1] = lu
    registry = bench.service._registry
    bench.plane_nexus.map(1, registry.units[lu].plane_unit)
    lu.attach(bench.nexus)
    lu.take_attention(bench.nexus)
    return lu, controller


def copying(bench: Bench, *segments: bytes, to: LogicalUnit | None = None, **values: Any) -> Any:
    """Return CDB and data of an EXTENDED COPY from the first logical unit."""
    units = [cscd(bench.lu), cscd(to or bench.lu)]
    data = parameters(units, list(segments), **values)
    return row("EXTENDED COPY (LID1)").build(parameter_list_length=len(data)), data


async def ended(task: FakeTask) -> FakeTask:
    for _ in range(4000):
        if task.ended is not None:
            break
        await asyncio.sleep(0)
    return task


@told
async def test_blocks_are_copied_by_the_controller_itself(bench: Bench) -> None:
    data = filled(bench.controller)
    task = await ended(bench.submit(*copying(bench, segment(0, 2048, 2000))))
    assert task.status == GOOD
    model = bench.controller.model
    assert model.blocks(2048, 2000) == data[: 2000 * 512]
    assert set(model.opcodes()) == {Opcode.COPY}
    assert len(model.executed) == 4  # of at most MCL blocks


@told
async def test_a_copy_of_little_at_a_time_is_not_worth_it(bench: Bench) -> None:
    data = filled(bench.controller)
    small = make_facts(namespace={"mssrl": 128, "mcl": 128}).namespace
    bench.lu.facts = replace(bench.lu.facts, namespace=small)
    task = await ended(bench.submit(*copying(bench, segment(0, 2048, 2000))))
    assert task.status == GOOD
    model = bench.controller.model
    assert model.blocks(2048, 2000) == data[: 2000 * 512]
    assert set(model.opcodes()) == {Opcode.READ, Opcode.WRITE}


@told
async def test_blocks_go_to_another_controller_in_pieces(bench: Bench) -> None:
    data = filled(bench.controller)
    lu, other = second(bench)
    task = await ended(bench.submit(*copying(bench, segment(1, 5, 4000, 0, 1), to=lu)))
    assert task.status == GOOD
    assert other.model.blocks(5, 4000) == data[512 : 4001 * 512]
    assert set(bench.controller.model.opcodes()) == {Opcode.READ}
    assert set(other.model.opcodes()) == {Opcode.WRITE}


@told
async def test_what_the_controller_cannot_copy_is_read_and_written(bench: Bench) -> None:
    data = filled(bench.controller)
    bench.controller.model.faults[Opcode.COPY] = [SIZE_LIMIT_EXCEEDED] * 2
    task = await ended(bench.submit(*copying(bench, segment(0, 2048, 2000))))
    assert task.status == GOOD
    assert bench.controller.model.blocks(2048, 2000) == data[: 2000 * 512]


@told
async def test_a_copy_wakes_what_it_reads_and_counts_what_it_cannot_read(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)
    bench.lu.enter(IDLE)
    bench.controller.model.faults[Opcode.READ] = [UNRECOVERED_READ]
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 8, 0, 1), to=lu)))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert bench.lu.power_condition == ACTIVE
    assert bench.lu.log.counters.value(READ_ERRORS, UNCORRECTED_ERRORS) == 1
    assert not other.model.executed


@pytest.mark.parametrize("by", [-3, -700, 0, 3, 700])
def test_blocks_that_overlap_are_copied_as_if_at_once(by: int) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        data = filled(bench.controller)
        task = await ended(bench.submit(*copying(bench, segment(1000, 1000 + by, 2300))))
        assert task.status == GOOD
        found = bench.controller.model.blocks(1000 + by, 2300)
        assert found == data[1000 * 512 : 3300 * 512]

    played(story)


@told
async def test_a_copy_meets_a_reservation_that_is_made_on_the_way(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    task = bench.submit(*copying(bench, segment(0, 0, 4096, 0, 1), to=lu))
    await settle()
    lu.reservations.reserved_by = "another"
    other.held = False
    while other.waiting:
        await other.release()
    await ended(task)
    assert task.sense == (0xA, 0x0D, 0x01)
    assert task.ended is not None
    assert task.ended[1][9] == 18  # forwarded by the destination
    assert task.ended[1][18] == CONFLICT
    assert 0 < len(other.model.executed) < 4096 * 512 // 16384


@told
async def test_a_copy_meets_a_reservation_of_another_host(bench: Bench) -> None:
    """The disk lets pass what comes from our host, as somebody here is registered."""
    lu, other = second(bench)
    disk, ours, theirs = SharedDisk(), b"1" * 16, b"2" * 16
    disk.join(other.model, ours)
    lu.reservations = DiskReservations(lu, ours)
    for host in (theirs, ours):
        disk.reservation.keys[host.hex()] = host[0]
    disk.reservation.type, disk.reservation.holder = 3, theirs.hex()
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 100, 0, 1), to=lu)))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert task.ended is not None
    assert task.ended[1][18] == CONFLICT
    assert Opcode.WRITE not in other.model.opcodes()
    other.model.io[Opcode.RESERVATION_REPORT] = lambda command: b"\xff" * command.data_in
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 100, 0, 1), to=lu)))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert Opcode.WRITE not in other.model.opcodes()


@told
async def test_a_destination_that_is_write_protected(bench: Bench) -> None:
    lu, other = second(bench)
    lu.read_only = True
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 1, 0, 1), to=lu)))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert other.model.executed == []


@told
async def test_a_destination_that_is_stopped(bench: Bench) -> None:
    lu, other = second(bench)
    lu.readiness = Readiness.STOPPED
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 1, 0, 1), to=lu)))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert task.ended is not None
    assert task.ended[1][18] == CHECK_CONDITION
    assert Opcode.WRITE not in other.model.opcodes()


@told
async def test_a_source_that_is_write_protected_can_be_copied(bench: Bench) -> None:
    bench.lu.read_only = True
    lu, _ = second(bench)
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 1, 0, 1), to=lu)))
    assert task.status == GOOD


@told
async def test_an_aborted_copy_ends_with_what_it_has_asked(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    task = bench.submit(*copying(bench, segment(0, 0, 4096, 0, 1), to=lu))
    await settle()
    assert other.waiting
    await bench.abort(task)
    await ended(task)
    await settle()
    assert not bench.service._registry.units[lu].lock.in_use
    assert not bench.service._registry.units[bench.lu].lock.in_use
    assert other.model.executed == []


@told
async def test_a_logical_unit_that_goes_on_the_way(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    task = bench.submit(*copying(bench, segment(0, 0, 4096, 0, 1), to=lu))
    await settle()
    del bench.nexus.luns[1]
    other.held = False
    while other.waiting:
        await other.release()
    await ended(task)
    assert task.sense == (0xA, 0x08, 0x04)


@told
async def test_copies_in_both_directions_do_not_wait_for_one_another(bench: Bench) -> None:
    """Beside what wants to be alone on each logical unit in turn."""
    filled(bench.controller)
    lu, other = second(bench)
    units = bench.service._registry.units
    tasks = [
        bench.submit(*copying(bench, segment(0, 2048, 2000, n, 1 - n), to=lu, list_identifier=i))
        for i, n in enumerate((0, 1, 0, 1))
    ]

    async def alone(unit: Any) -> None:
        for _ in range(5):
            async with unit.lock.hold(exclusive=True):
                await asyncio.sleep(0)

    await asyncio.wait_for(
        asyncio.gather(*(alone(units[each]) for each in (bench.lu, lu)), *map(ended, tasks)), 10
    )
    for task in tasks:
        assert (await ended(task)).status == GOOD
    assert other.model.blocks(2048, 2000) == bench.controller.model.blocks(0, 2000)


@told
async def test_while_others_use_the_controller_a_copy_rests(bench: Bench) -> None:
    counts = iter(range(1000))
    lu, _ = second(bench)
    bench.unit.statistics = lambda: Statistics(begun=next(counts))
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mover, "rest", rest)
        task = await ended(bench.submit(*copying(bench, segment(0, 0, 4096, 0, 1), to=lu)))
    assert task.status == GOOD
    assert rests
    assert max(rests) <= mover._LONGEST_REST_S


@told
async def test_an_operation_may_be_aborted_by_itself(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    task = bench.submit(*copying(bench, segment(0, 0, 4096, 0, 1), to=lu, list_identifier=7))
    await settle()
    operation = bench.lu.copies.find(bench.nexus, 7, long=False)
    assert isinstance(operation, Operation)
    operation.abort()
    await ended(task)
    assert task.status == ABORTED
