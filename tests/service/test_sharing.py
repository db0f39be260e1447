"""Commands alike that come while one of them asks the controller: one asks for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command, Data, Hot, Transfer
from scsi2nvme.nvme.command import AdminOpcode, Completed, NvmeCommand, Opcode
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED, MODE_PARAMETERS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.sharing import Sharing
from scsi2nvme.unit.reservations import Access
from tests.model_controller import Awaited
from tests.service.bench import ORDERED, Bench, FakeTask, settle, told
from tests.service.test_aborts import stubborn
from tests.support import row

TEMPERATURE = row("LOG SENSE").build(pc=1, page_code=0x0D, allocation_length=0xFF)
SELF_TESTS = row("LOG SENSE").build(pc=1, page_code=0x10, allocation_length=0xFFFF)
REQUEST_SENSE = row("REQUEST SENSE").build(allocation_length=0xFC)
SHARED = [each for each in commands.COMMANDS if each.shared]


async def held(bench: Bench, cdb: bytes, count: int) -> list[FakeTask]:
    """Return commands alike, of which the first asks and the others have come since."""
    bench.controller.held = True
    tasks = [bench.submit(cdb) for _ in range(count)]
    await settle()
    assert len(bench.controller.waiting) == 1
    return tasks


def asked(bench: Bench) -> list[int]:
    """Return what the controller has executed."""
    return [each.opcode for each in bench.controller.model.executed]


def heated(bench: Bench, kelvin: int) -> None:
    bench.controller.model.logs[0x02] = SMART_LOG.build(temperature=kelvin)


def celsius(task: FakeTask) -> int:
    assert task.ended is not None
    return task.ended[2][9]


@told
async def test_one_asks_for_all_that_have_come_by_then(bench: Bench) -> None:
    first, *others = await held(bench, TEMPERATURE, 9)
    await bench.controller.release()
    assert first.status == Status.GOOD
    assert {each.ended for each in others} == {None}
    assert len(bench.controller.waiting) == 1
    await bench.controller.release()
    assert {each.status for each in others} == {Status.GOOD}
    assert asked(bench) == [AdminOpcode.GET_LOG_PAGE] * 2


@told
async def test_no_answer_is_older_than_its_command(bench: Bench) -> None:
    """The log is read, and hotter before the others come."""
    controller = stubborn(bench)
    heated(bench, 300)
    first = await bench.run(TEMPERATURE)
    others = [await bench.run(TEMPERATURE) for _ in range(3)]
    await controller.release()
    heated(bench, 350)
    await controller.release()
    assert (celsius(first), {celsius(each) for each in others}) == (27, {77})


@pytest.mark.parametrize("cdb", [TEMPERATURE, REQUEST_SENSE, SELF_TESTS], ids=bytes.hex)
def test_what_shares(cdb: bytes) -> None:
    @told
    async def story(bench: Bench) -> None:
        tasks = await held(bench, cdb, 5)
        while bench.controller.waiting:
            await bench.controller.release()
        assert {each.status for each in tasks} == {Status.GOOD}
        assert len(asked(bench)) == 2

    story()


@told
async def test_what_is_not_alike_asks_for_itself(bench: Bench) -> None:
    other, plane_other = bench.open("b")
    bench.ready(other)
    await held(bench, TEMPERATURE, 1)
    await bench.run(REQUEST_SENSE)
    await bench.run(TEMPERATURE, plane_nexus=plane_other)
    await bench.run(TEMPERATURE, attribute=ORDERED)
    assert len(bench.controller.waiting) == 4
    while bench.controller.waiting:
        await bench.controller.release()


@told
async def test_who_waits_for_an_answer_and_is_aborted_ends_at_once(bench: Bench) -> None:
    _, waits, other = await held(bench, TEMPERATURE, 3)
    await bench.abort(waits)
    assert waits.ended is not None
    await bench.controller.release()
    late = await bench.run(TEMPERATURE)
    bench.controller.waiting.clear()
    await bench.abort(other)
    assert other.ended is not None
    assert late.ended is None
    await bench.controller.release()
    assert late.status == Status.GOOD


@told
async def test_nobody_waits_for_one_that_is_aborted(bench: Bench) -> None:
    controller = stubborn(bench)
    hangs, *others = [await bench.run(TEMPERATURE) for _ in range(4)]
    await bench.abort(hangs)
    assert hangs.ended is None
    assert len(controller.waiting) == 2  # it, and one for the others
    controller.waiting[1][1].set_result(None)
    await settle()
    assert {each.status for each in others} == {Status.GOOD}
    assert hangs.ended is None
    await controller.release()
    assert hangs.ended is not None


@told
async def test_all_that_wait_may_be_aborted(bench: Bench) -> None:
    tasks = await held(bench, TEMPERATURE, 3)
    controller = bench.controller
    for task in reversed(tasks):
        await bench.abort(task)
    assert all(task.ended for task in tasks)
    controller.waiting.clear()
    controller.held = False
    assert (await bench.run(TEMPERATURE)).status == Status.GOOD


@told
async def test_a_unit_attention_is_told_once_and_no_answer_shared(bench: Bench) -> None:
    first, second, third = await held(bench, TEMPERATURE, 3)
    await bench.controller.release()
    assert first.status == Status.GOOD
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    await bench.controller.release()
    assert second.status == Status.GOOD  # it was begun before
    assert third.sense == (6, 0x2A, 0x09)
    assert not bench.controller.waiting


@told
async def test_each_unit_attention_is_sensed_once(bench: Bench) -> None:
    tasks = await held(bench, REQUEST_SENSE, 4)
    for code in (CAPACITY_DATA_HAS_CHANGED, MODE_PARAMETERS_CHANGED):
        bench.lu.establish_attention(code)
    while bench.controller.waiting:
        await bench.controller.release()
    codes = [task.ended[2][12:14] for task in tasks if task.ended is not None]
    assert codes == [b"\0\0", b"\x2a\x09", b"\x2a\x01", b"\0\0"]


@told
async def test_who_has_waited_longest_goes_first_whatever_changes(bench: Bench) -> None:
    tasks = await held(bench, TEMPERATURE, 5)
    order: list[FakeTask] = []
    for _ in range(12):
        if not bench.controller.waiting:
            break
        bench.service.controller_interrupted()
        tasks.append(bench.submit(TEMPERATURE))
        await bench.controller.release()
        order += [task for task in tasks if task.ended and task not in order]
    assert order == tasks[: len(order)]
    assert len(order) >= 12
    while bench.controller.waiting:
        await bench.controller.release()
    assert {each.status for each in tasks} == {Status.GOOD}


@told
async def test_what_breaks_one_breaks_no_other(bench: Bench) -> None:
    first, *others = await held(bench, TEMPERATURE, 4)
    bench.controller.waiting.popleft()[1].set_exception(OSError("a bug"))
    await settle()
    assert first.sense == (4, 0x44, 0)
    await bench.controller.release()
    assert {each.status for each in others} == {Status.GOOD}


@told
async def test_what_stops_a_nexus_stops_what_waits(bench: Bench) -> None:
    first, waits = await held(bench, TEMPERATURE, 2)
    waits.misrouted = True
    bench.service.controller_interrupted()  # as what a nexus sees changes
    while bench.controller.waiting:
        await bench.controller.release()
    assert first.status == Status.GOOD
    assert waits.sense == (5, 0x25, 0x00)


@pytest.mark.parametrize("shared", SHARED, ids=lambda shared: shared.name)
def test_rows_whose_answers_are_shared_change_nothing(shared: Command) -> None:
    assert (shared.data, shared.transfer, shared.hot) == (Data.IN, Transfer.BYTES, Hot.NO)
    assert shared.access in (Access.ALWAYS, Access.READ)
    assert {shared.modifies_medium, shared.exclusive, shared.kept} == {False}


def test_numbers_are_forgotten() -> None:
    sharing = Sharing[str]()
    asking = sharing.ask("alike")
    assert sharing.wait("alike", 1, "one")
    assert sharing.wait("alike", 2, "two")
    assert not sharing.wait("other", 3, "three")
    assert sharing.leave(1) == "one"
    assert sharing.leave(1) is None
    assert sharing.end(asking)
    assert not sharing.end(asking)
    assert sharing.wait("alike", 4, "four")
    assert sharing.take("alike") == [(2, "two"), (4, "four")]
    assert sharing.leave(2) is None
    assert not sharing.let_ask("alike", [(2, "two")])
    again = sharing.ask("alike")
    assert sharing.let_ask("alike", [(2, "two"), (4, "four")])
    assert sharing.leave(4) == "four"
    assert sharing.answered(again) == ["two"]
    assert not sharing.end(again)
    assert (sharing._asking, sharing._waiting) == ({}, {})


# What waits for nobody


class Deferring(Awaited):
    """Completes nothing by itself."""

    def __init__(self) -> None:
        self.under_way: list[tuple[tuple[NvmeCommand, ...], Completed]] = []

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        self.under_way.append((commands, completed))
        return lambda: None

    async def reset(self, reason: str) -> None:
        raise NotImplementedError


@told
async def test_what_waits_for_the_controller_alone_has_no_task_of_the_loop(bench: Bench) -> None:
    deferring = Deferring()
    bench.service._registry.units[bench.lu].executor = deferring
    before = asyncio.all_tasks()
    reads = [row("READ (10)").build(lba=lba, transfer_length=1) for lba in range(5)]
    logs = [row("LOG SENSE").build(pc=1, page_code=0x0D, allocation_length=n) for n in range(5)]
    tasks = [bench.submit(cdb) for cdb in (*reads, *logs)]
    await settle()
    assert len(deferring.under_way) == len(tasks)
    assert asyncio.all_tasks() == before
    opcodes = {commands[0].opcode for commands, _ in deferring.under_way}
    assert opcodes == {Opcode.READ, AdminOpcode.GET_LOG_PAGE}
    rounds = bench.plane.rounds
    for asked_for, completed in deferring.under_way:
        completed(bench.controller.model.execute(*asked_for))
    await settle()
    assert {each.status for each in tasks} == {Status.GOOD}
    assert bench.plane.rounds - rounds <= 2  # and are answered together


@told
async def test_the_service_waits_at_its_end_for_what_the_controller_has(bench: Bench) -> None:
    task = bench.submit(row("READ (10)").build(transfer_length=1))
    bench.controller.held = True
    await settle()
    stopping = asyncio.get_running_loop().create_task(bench.service.stop())
    await settle()
    assert not stopping.done()
    await bench.controller.release()
    assert task.status == Status.GOOD
    await stopping
