"""Third-party copies: what meets them while they wait, and whom they may not keep waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.command import Completed, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.service import mover
from scsi2nvme.unit.copies import CONCURRENT_COPIES, Move, Moved
from tests.commands.test_extended_copy import cscd, parameters, segment
from tests.model_controller import Lent
from tests.service.bench import Bench, Controller, played, settle, told
from tests.service.test_mover import (
    GOOD,
    SIZE_LIMIT_EXCEEDED,
    copying,
    ended,
    filled,
    second,
    small_pieces,
)
from tests.support import make_facts, row

__all__ = ["small_pieces"]


def undeterred(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands end by themselves only, as those that were placed do."""
    start = controller.start

    def placed(*arguments: Any) -> Callable[[], None]:
        start(*arguments)
        return lambda: None

    monkeypatch.setattr(controller, "start", placed)


@told
async def test_an_aborted_copy_has_ended_only_when_all_its_writes_have(bench: Bench) -> None:
    """Else what the initiator writes next could be overwritten by what it has given up."""
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    with pytest.MonkeyPatch.context() as monkeypatch:
        undeterred(other, monkeypatch)
        async with bench.service._registry.units[lu].blocks.hold((range(128, 129),), alone=True):
            task = bench.submit(*copying(bench, segment(0, 0, 256, 0, 1), to=lu))
            await settle()
            assert other.slbas == [0]  # and the second piece waits
            await bench.abort(task)
            await settle()
            assert task.ended is None
            await other.release()
            await ended(task)
    assert task.ended is not None


@told
async def test_pieces_that_waited_while_copy_was_found_not_to_work(bench: Bench) -> None:
    data = filled(bench.controller)
    bench.controller.model.faults[Opcode.COPY] = [SIZE_LIMIT_EXCEEDED]
    blocks = bench.service._registry.units[bench.lu].blocks
    async with blocks.hold((range(2048 + 600, 2048 + 601),), alone=True):
        task = bench.submit(*copying(bench, segment(0, 2048, 1024)))
        await settle()
    await ended(task)
    assert task.status == GOOD
    assert bench.controller.model.blocks(2048, 1024) == data[: 1024 * 512]


@told
async def test_what_is_aborted_before_it_begins_moves_nothing(bench: Bench) -> None:
    filled(bench.controller)
    moving = bench.lu.copies.mover(Move(bench.nexus, bench.lu, 0, bench.lu, 2048, 100))
    moving.abort()
    outcomes: list[Any] = []
    moving.start(outcomes.append)
    await settle()
    assert outcomes == [Moved(0, aborted=True)]
    assert bench.controller.model.executed == []


@told
async def test_blocks_beyond_what_any_number_tells_are_asked_of_nobody(bench: Bench) -> None:
    filled(bench.controller)
    share = bench.unit.share

    def native(blocks: range, token: int) -> bool:
        assert blocks.start < 1 << 63
        return bool(share(blocks, token))

    bench.unit.share = native
    last = (1 << 64) - 1
    for lba, to in ((0, last), (last, 0), (0, last - 130)):
        task = await ended(bench.submit(*copying(bench, segment(lba, to, 4000))))
        assert task.sense == (0xA, 0x0D, 0x02)
    assert bench.controller.model.executed == []


@told
async def test_a_preempted_nexus_writes_no_more_once_that_is_answered(bench: Bench) -> None:
    """Also where the copy was asked of another logical unit. Spec: SPC-4 5.13.11.2.5."""
    filled(bench.controller)
    lu, other = second(bench)
    other.held = True
    task = bench.submit(*copying(bench, segment(0, 0, 128, 0, 1), to=lu))
    await settle()
    assert other.opcodes == [Opcode.WRITE]
    manager, unit = bench.service._manager, bench.service._registry.units[lu]
    manager.abort_preempted(unit, [bench.nexus.key])
    answer = asyncio.get_running_loop().create_task(manager.preempted(unit, "another"))
    await settle()
    bench.plane.emit(EventType.DRAINED, cookie=bench.plane.aborts[-1]["token"])
    await settle()
    assert not answer.done()
    await other.release()
    await settle()
    assert answer.done()
    await ended(task)


@told
async def test_all_who_wait_for_preempted_tasks_wait_to_their_end(bench: Bench) -> None:
    """A command that ends beside PREEMPT AND ABORT does not have that answered early."""
    manager, unit = bench.service._manager, bench.service._registry.units[bench.lu]
    manager.abort_preempted(unit, [bench.nexus.key])
    loop = asyncio.get_running_loop()
    another = loop.create_task(manager.preempted(unit, "another"))
    await settle()
    answer = loop.create_task(manager.preempted(unit, "another"))
    await settle()
    assert not another.done()
    assert not answer.done()
    bench.plane.emit(EventType.DRAINED, cookie=bench.plane.aborts[-1]["token"])
    await settle()
    assert another.done()
    assert answer.done()
    assert not unit.preempting


@told
async def test_a_namespace_that_is_formatted_on_the_way_is_left_alone(bench: Bench) -> None:
    """The LBAs that are left are others now."""
    filled(bench.controller)
    bench.controller.model.faults[Opcode.COPY] = [SIZE_LIMIT_EXCEEDED] * 2
    bench.controller.held = True
    task = bench.submit(*copying(bench, segment(0, 2048, 512)))
    await settle()
    bench.lu.facts = make_facts(block_bytes=4096)
    bench.controller.held = False
    while bench.controller.waiting:
        await bench.controller.release()
    await ended(task)
    assert task.sense == (0xA, 0x0D, 0x02)
    assert Opcode.WRITE not in bench.controller.model.opcodes()


@told
async def test_who_waits_for_blocks_holds_no_memory(bench: Bench) -> None:
    """What has the blocks alone may need it."""
    filled(bench.controller)
    lu, other = second(bench)
    lent: list[int] = []

    @asynccontextmanager
    async def borrow(length: int, party: Any = None) -> AsyncIterator[Lent]:
        lent.append(length)
        yield Lent(memoryview(bytearray(length)))

    bench.controller.borrow = other.borrow = borrow  # type: ignore[method-assign]
    async with bench.service._registry.units[lu].lock.hold(exclusive=True):
        task = bench.submit(*copying(bench, segment(0, 0, 256, 0, 1), to=lu))
        await settle()
        assert lent == []
    assert (await ended(task)).status == GOOD
    assert lent


@told
async def test_who_waits_for_a_format_keeps_no_other_copies_waiting(bench: Bench) -> None:
    """That may take hours, and concerns one logical unit."""
    filled(bench.controller)
    lu, other = second(bench)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mover, "PATIENCE_S", 0.001)
        async with bench.service._registry.units[lu].lock.hold(exclusive=True):
            waiting = [
                bench.submit(
                    *copying(bench, segment(0, 0, 1024, 0, 1), to=lu, list_identifier=each)
                )
                for each in range(2 * CONCURRENT_COPIES)
            ]
            cdb, data = copying(bench, segment(0, 2048, 512), list_identifier=99)
            assert (await ended(bench.submit(cdb, data))).status == GOOD
            assert not any(each.ended for each in waiting)
    for each in waiting:
        assert (await ended(each)).status == GOOD
    assert other.model.opcodes().count(Opcode.WRITE) >= len(waiting)


@told
async def test_commands_that_end_unasked_are_not_taken_for_done(bench: Bench) -> None:
    filled(bench.controller)
    lu, other = second(bench)

    def given_up(
        commands: tuple[NvmeCommand, ...], completed: Completed, party: Any = None
    ) -> Callable[[], None]:
        asyncio.get_running_loop().call_soon(completed, asyncio.CancelledError())
        return lambda: None

    other.start = given_up  # type: ignore[method-assign]
    task = await ended(bench.submit(*copying(bench, segment(0, 0, 4000, 0, 1), to=lu)))
    assert task.status != GOOD


@told
async def test_a_source_that_is_freed_meanwhile_is_not_touched(bench: Bench) -> None:
    lu, _ = second(bench)
    unit: Any = bench.service._registry.units[lu]
    unit.closed = True
    unit.plane_unit.share = None  # it is gone
    leave = unit.try_share((range(1),))
    assert leave is not None
    leave()


@told
async def test_the_copies_of_one_host_do_not_keep_others_waiting(bench: Bench) -> None:
    filled(bench.controller)
    nexus, plane_nexus = bench.open("b")
    bench.ready(nexus)
    bench.controller.held = True
    mine = [
        bench.submit(*copying(bench, segment(0, 2048, 1), list_identifier=each))
        for each in range(64)
    ]
    await settle()
    cdb, data = copying(bench, segment(0, 2048, 1))
    other = bench.submit(cdb, data, plane_nexus=plane_nexus)
    await settle()
    for _ in range(6):
        await bench.controller.release()
        await settle()
    assert other.ended is not None
    bench.controller.held = False
    while bench.controller.waiting:
        await bench.controller.release()
    for each in mine:
        assert (await ended(each)).status == GOOD


@pytest.mark.parametrize(("lba", "to"), [(192, 256), (191, 256), (0, 448)])
def test_gaps_between_zones_are_no_blocks_of_a_copy(lba: int, to: int) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        units = [cscd(bench.lu, peripheral_device_type=0x14)]
        data = parameters(units, [segment(lba, to, 2)])
        cdb = row("EXTENDED COPY (LID1)").build(parameter_list_length=len(data))
        task = await ended(bench.submit(cdb, data))
        assert task.sense == (0xA, 0x0D, 0x01)
        assert bench.controller.model.executed == []

    played(story, zones=Zones(size=256, capacity=192, most_open=2))


@told
async def test_what_copy_could_not_read_is_the_sources_fault(bench: Bench) -> None:
    bench.controller.model.faults[Opcode.COPY] = [0x281]
    task = await ended(bench.submit(*copying(bench, segment(0, 2048, 1))))
    assert task.sense == (0xA, 0x0D, 0x01)
    assert task.ended is not None
    assert task.ended[1][8:10] == bytes([18, 0])  # where the source's sense data are
