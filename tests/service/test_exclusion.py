"""When the hot path steps aside, and what runs alone on a logical unit."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsi2nvme.native.plane import EventType, Scope
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.service import registry
from scsi2nvme.service.served_unit import MOST_RANGES
from scsi2nvme.service.settling import Settling
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import (
    HEAD_OF_QUEUE,
    ORDERED,
    SIMPLE,
    TUR,
    Bench,
    compare_and_write,
    played,
    settle,
    told,
    write,
)
from tests.support import make_facts, row
from tests.waiting import eventually

# Step-aside flags


@told
async def test_flags_follow_the_state(bench: Bench) -> None:
    other, plane_other = bench.open("b")
    bench.ready(other)
    flags = bench.plane_nexus.aside, plane_other.aside
    assert flags == ({0: False}, {0: False})
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED, but=bench.nexus)
    assert flags == ({0: False}, {0: True})
    bench.ready(other)
    assert flags == ({0: False}, {0: False})
    await bench.run(row("START STOP UNIT").build())
    await bench.drained()
    assert flags == ({0: True}, {0: True})
    await bench.run(row("START STOP UNIT").build(start=1))
    await bench.drained()
    assert flags == ({0: False}, {0: False})
    await bench.run(row("RESERVE (6)").build())
    assert flags == ({0: False}, {0: True})


@told
async def test_what_waits_for_a_drain_does_not_when_it_is_the_engines(bench: Bench) -> None:
    start = await bench.run(row("START STOP UNIT").build(start=1))
    await bench.drained()
    assert (start.status, bench.unit.looks) == (Status.GOOD, 0)  # it waits for the end
    other, _ = bench.open("b")
    bench.ready(other)
    stop = await bench.run(row("START STOP UNIT").build())
    token = bench.take_drain()
    assert bench.unit.looks == 0
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED, only=other.key)
    assert bench.unit.looks == 1
    bench.plane.emit(EventType.DRAINED, cookie=token)
    await settle()
    assert stop.status == Status.GOOD
    assert bench.unit.looks > 1  # it is told at once that the logical unit was stopped
    assert not bench.unit.aside


@told
async def test_what_waits_for_a_drain_does_not_when_its_logical_unit_goes(bench: Bench) -> None:
    """What is alone there may never end: whoever waits is told that the LUN leads nowhere."""
    seen = {0: bench.lu}
    bench.nexus.visible = lambda: seen
    await bench.run(row("START STOP UNIT").build(start=1))
    token = bench.take_drain()
    seen.clear()
    bench.service.inventory_changed()
    assert bench.unit.looks == 1
    bench.open("b")
    bench.service.remove_unit(bench.lu)
    assert bench.unit.looks > 1
    bench.plane.emit(EventType.DRAINED, cookie=token)
    await settle()


@told
async def test_what_the_hot_path_has_begun_is_waited_for(bench: Bench) -> None:
    outcomes: list[object] = []
    Settling(bench.service._registry.units[bench.lu]).start(outcomes.append)
    await settle()
    token = bench.take_drain()
    assert not outcomes
    bench.plane.emit(EventType.DRAINED, cookie=token)
    await settle()
    assert outcomes == [None]
    assert not bench.unit.aside
    stop = Settling(bench.service._registry.units[bench.lu]).start(outcomes.append)
    await settle()
    stop()
    await settle()
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert not bench.unit.aside


@told
async def test_only_the_nexuses_of_a_logical_unit_are_told(bench: Bench) -> None:
    stranger = LogicalUnit(make_facts(nsid=2))
    bench.service.add_unit(stranger, bench.controller, bench.plane_controller)
    before = dict(bench.plane_nexus.aside)
    stranger.readiness = Readiness.STOPPED
    stranger.on_change()
    assert bench.plane_nexus.aside == before


# Alone on the logical unit


@told
async def test_an_exclusive_command_drains_the_hot_path_first(bench: Bench) -> None:
    task = await bench.run(*compare_and_write())
    assert bench.controller.model.executed == []
    assert bench.unit.keeps_off(0)
    assert not bench.unit.keeps_off(1)
    await bench.drained()
    assert task.status == Status.GOOD
    assert not bench.unit.keeps_off(0)
    assert bench.controller.model.blocks(0) == b"\x5a" * 512


@told
async def test_a_stop_flushes_what_was_under_way(bench: Bench) -> None:
    await bench.run(row("START STOP UNIT").build())
    assert bench.controller.model.executed == []
    await bench.drained()
    assert bench.controller.model.opcodes()[0] == Opcode.FLUSH
    assert bench.lu.readiness is Readiness.STOPPED


@told
async def test_nothing_gets_between_a_stop_and_its_flush(bench: Bench) -> None:
    """With IMMED the flush comes after the status."""
    bench.controller.held = True
    stop = await bench.run(row("START STOP UNIT").build(immed=1))
    await bench.drained()
    assert stop.status == Status.GOOD
    assert bench.controller.opcodes == [Opcode.FLUSH]
    format_unit = bench.submit(row("FORMAT UNIT").build())
    await settle()
    await bench.drained()
    assert format_unit.sense == (2, 0x04, 0x02)
    assert (await bench.run(*write())).sense == (2, 0x04, 0x02)
    bench.controller.held = False
    await bench.controller.release()
    assert bench.lu.readiness is Readiness.STOPPED
    assert bench.lu.pending_attention(bench.nexus) is None  # no deferred error


@told
async def test_the_order_of_a_nexus_is_its_reactor_s(bench: Bench) -> None:
    """What arrives may be begun, and keeps nobody off: neither hot tasks nor other nexuses."""
    other, plane_nexus = bench.open("b")
    bench.ready(other)
    bench.controller.held = True
    tasks = [
        await bench.run(*write(lba=lba), attribute=attribute)
        for lba, attribute in ((0, ORDERED), (8, HEAD_OF_QUEUE), (16, SIMPLE))
    ]
    tasks.append(await bench.run(*write(lba=24), attribute=ORDERED, plane_nexus=plane_nexus))
    assert bench.controller.slbas == [0, 8, 16, 24]
    assert not bench.unit.drains
    assert not bench.unit.aside
    for _ in tasks:
        await bench.controller.release()
    assert {task.status for task in tasks} == {Status.GOOD}


@told
async def test_what_is_under_way_holds_an_exclusive_command_back(bench: Bench) -> None:
    bench.controller.held = True
    first = await bench.run(row("READ (10)").build(transfer_length=1))
    exclusive = await bench.run(*compare_and_write())
    later = await bench.run(*write())
    assert bench.unit.drains == []
    assert bench.controller.opcodes == [Opcode.READ]
    await bench.controller.release()
    assert first.status == Status.GOOD
    await bench.drained()
    assert bench.controller.opcodes == [Opcode.COMPARE]  # and not the later write
    await bench.controller.release()
    assert exclusive.status == Status.GOOD
    assert bench.controller.opcodes == [Opcode.WRITE]
    await bench.controller.release()
    assert later.status == Status.GOOD


@told
async def test_what_takes_long_keeps_others_waiting_for_a_while_only(bench: Bench) -> None:
    """Where a command that is to be alone waits for it."""
    bench.service._registry.units[bench.lu].patience_s = 0.01
    bench.controller.held = True
    first = await bench.run(row("READ (10)").build(transfer_length=1))
    start = await bench.run(row("START STOP UNIT").build(start=1))
    later = await bench.run(*write())
    await eventually(lambda: Opcode.WRITE in bench.controller.opcodes, "others go on")
    assert start.ended is None
    bench.controller.held = False
    await bench.controller.release()
    await bench.controller.release()
    assert (first.status, later.status) == (Status.GOOD, Status.GOOD)
    while start.ended is None:
        await eventually(lambda: bench.unit.drains, "it is tried again")
        await bench.drained()
    assert start.status == Status.GOOD


@told
async def test_only_what_names_the_same_blocks_waits(bench: Bench) -> None:
    """A long command of one host, and the lock of another's file system (ATS)."""
    bench.controller.held = True
    descriptor = bytes(4) + (64).to_bytes(4, "big") + (8).to_bytes(4, "big") + bytes(4)
    unmap = row("UNMAP").build(parameter_list_length=24), bytes([0, 22, 0, 16, *bytes(4)])
    long = await bench.run(unmap[0], unmap[1] + descriptor)
    assert bench.controller.opcodes == [Opcode.DATASET_MANAGEMENT]
    elsewhere = await bench.run(*compare_and_write(lba=16))
    await bench.drained()
    within = await bench.run(*compare_and_write(lba=71))
    assert (await bench.run(TUR)).status == Status.GOOD
    beside = await bench.run(*compare_and_write(lba=72))
    await bench.drained()
    assert bench.controller.opcodes == [Opcode.DATASET_MANAGEMENT, *[Opcode.COMPARE] * 2]
    assert bench.unit.drains == []
    await bench.controller.release()
    assert long.status == Status.GOOD
    await bench.drained()
    for task, lba in ((elsewhere, 16), (beside, 72), (within, 71)):
        assert bench.unit.keeps_off(lba)
        await bench.controller.release()
        assert task.status == Status.GOOD
        assert not bench.unit.keeps_off(lba)


@told
async def test_the_hot_path_stays_away_until_each_has_ended(bench: Bench) -> None:
    bench.controller.held = True
    tasks = [await bench.run(*compare_and_write(lba)) for lba in range(3)]
    for _ in tasks:
        await bench.drained()
    assert len(bench.controller.waiting) == 3
    assert not bench.unit.keeps_off(3)
    for lba, task in enumerate(tasks):
        assert [each for each in range(9) if bench.unit.keeps_off(each)] == [*range(lba, 3)]
        await bench.controller.release()
        assert task.status == Status.GOOD
    assert not bench.unit.ranges


@told
async def test_the_hot_path_stays_away_altogether_where_too_many_are_alone(bench: Bench) -> None:
    bench.controller.held = True
    tasks = [await bench.run(*compare_and_write(lba)) for lba in range(MOST_RANGES + 1)]
    assert bench.unit.aside
    for _ in tasks:
        await bench.drained()
    await bench.controller.release()
    assert len(bench.unit.ranges) == MOST_RANGES - 1
    assert bench.unit.aside
    later = await bench.run(*compare_and_write(lba=100))
    assert bench.unit.keeps_off(100)
    await bench.drained()
    while bench.controller.waiting:
        await bench.controller.release()
    assert {task.status for task in (*tasks, later)} == {Status.GOOD}
    assert not bench.unit.aside
    assert not bench.unit.ranges


@told
async def test_who_is_aborted_gives_its_blocks_back(bench: Bench) -> None:
    task = await bench.run(*compare_and_write())
    assert bench.unit.keeps_off(0)
    await bench.abort(task)
    assert not bench.unit.keeps_off(0)
    bench.plane.emit(EventType.DRAINED, cookie=bench.unit.drains.pop(0))
    await settle()
    assert (await bench.run(*write())).status == Status.GOOD


@told
async def test_nothing_is_given_back_to_a_unit_that_is_gone(bench: Bench) -> None:
    bench.controller.held = True
    await bench.run(*compare_and_write())
    await bench.drained()
    bench.service.remove_unit(bench.lu)
    bench.service.close()
    ranges = dict(bench.unit.ranges)
    await bench.controller.release()
    assert bench.unit.ranges == ranges


def test_a_unit_that_is_gone_is_freed_when_nothing_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a task of the reactors, nor a command of the engine that goes on without one."""
    monkeypatch.setattr(registry, "FIRST_PAUSE_S", 0.0)

    async def story(bench: Bench) -> None:
        bench.ready()
        bench.controller.held = True
        await bench.run(*write())
        bench.service.remove_unit(bench.lu)
        await settle()
        assert not bench.plane.aborts
        await bench.controller.release()
        for found in (2, 1, 0):  # and once more for what they have told each other
            assert (await bench.aborted(found))["scope"] is Scope.HELD
            assert not bench.unit.closed
        assert (await bench.aborted())["query"]
        assert bench.unit.closed
        assert bench.service._registry._retired == []

    played(story)


@told
async def test_nobody_waits_to_be_told_of_the_state(bench: Bench) -> None:
    """A command that is alone may take long."""
    bench.controller.held = True
    await bench.run(*compare_and_write())
    await bench.drained()
    assert bench.controller.opcodes == [Opcode.COMPARE]
    assert (await bench.run(TUR)).status == Status.GOOD
    capacity = row("READ CAPACITY (16)").build(allocation_length=32)
    assert (await bench.run(capacity)).status == Status.GOOD
    bench.controller.held = False
    await bench.controller.release()


@told
async def test_a_command_that_fails_alone_leaves_the_hot_path_on(bench: Bench) -> None:
    bench.controller.broken = RuntimeError("a bug")
    task = await bench.run(*compare_and_write())
    await bench.drained()
    assert task.sense == (4, 0x44, 0)
    assert not bench.unit.keeps_off(0)


@told
async def test_who_waits_and_is_aborted_does_nothing(bench: Bench) -> None:
    bench.controller.held = True
    first = await bench.run(*compare_and_write())
    waits = await bench.run(*write())
    await bench.drained()
    waits.aborted = True
    await bench.controller.release()
    assert first.status == Status.GOOD
    assert waits.ended is not None
    assert bench.controller.opcodes == []


@told
async def test_what_asks_nothing_of_the_medium_does_not_wait(bench: Bench) -> None:
    await bench.run(*compare_and_write())
    inquiry = await bench.run(row("INQUIRY").build(allocation_length=36))
    assert inquiry.status == Status.GOOD
    await bench.drained()


FORMAT = row("FORMAT UNIT").build(), b""


@pytest.mark.parametrize("command", [write(), compare_and_write(), (TUR, b""), FORMAT])
def test_a_long_format_refuses_at_once(command: tuple[bytes, bytes]) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        bench.controller.held = True
        format_unit = await bench.run(row("FORMAT UNIT").build())
        await bench.drained()
        assert bench.controller.waiting
        for attribute in (SIMPLE, ORDERED):
            assert (await bench.run(*command, attribute=attribute)).sense == (2, 0x04, 0x04)
        bench.controller.held = False
        await bench.controller.release()
        assert format_unit.status == Status.GOOD

    played(story)


# Any order of things

STEPS = ("write", "exclusive", "start", "inquiry", "complete", "drain", "abort")


@settings(max_examples=60)
@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_nothing_runs_beside_what_runs_alone(steps: list[str]) -> None:
    """In any order: who is alone is alone, everybody ends once, and the hot path returns."""

    async def story(bench: Bench) -> None:
        bench.ready()
        bench.controller.held = True
        for step in steps:
            await take(bench, step)
            alone = [each for each in bench.controller.opcodes if each == Opcode.COMPARE]
            if alone:
                assert bench.controller.opcodes == [Opcode.COMPARE]
                assert bench.unit.keeps_off(0)
        while bench.controller.waiting or bench.unit.drains:
            await take(bench, "drain" if bench.unit.drains else "complete")
        assert all(task.ended is not None for task in bench.tasks)
        assert not bench.unit.keeps_off(0)
        good = [task for task in bench.tasks if not task.aborted]
        assert {task.status for task in good} <= {Status.GOOD, Status.CHECK_CONDITION}

    played(story)


async def take(bench: Bench, step: str) -> None:
    match step:
        case "write":
            await bench.run(*write())
        case "exclusive":
            await bench.run(*compare_and_write())
        case "start":
            await bench.run(row("START STOP UNIT").build(start=1))
        case "inquiry":
            task = await bench.run(row("INQUIRY").build(allocation_length=36))
            assert task.status == Status.GOOD
        case "complete" if bench.controller.waiting:
            await bench.controller.release()
        case "drain" if bench.unit.drains:
            await bench.drained()
        case "abort" if waiting := [task for task in bench.tasks if task.ended is None]:
            waiting[-1].aborted = True
