"""Aborted tasks in the engine's hands: they end soon, and nothing they began is lost sight of."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.status import Status
from scsi2nvme.service import PlaneDataPath, runs
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import (
    FORMAT_IMMED,
    TUR,
    Bench,
    Controller,
    FakeTask,
    compare_and_write,
    played,
    settle,
    told,
    write,
)
from tests.support import row
from tests.waiting import eventually


class Stubborn(Controller):
    """A controller that ends no command before its time, like the driver's."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        work = asyncio.get_running_loop().create_task(super().execute(*commands))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])
            raise


def stubborn(bench: Bench) -> Stubborn:
    controller = Stubborn(bench.lu.facts)
    controller.held = True
    bench.controller = controller
    bench.service._registry.units[bench.lu].executor = controller
    return controller


@told
async def test_who_waits_ends_at_once(bench: Bench) -> None:
    bench.controller.held = True
    first = await bench.run(*compare_and_write())
    await bench.drained()
    waits = await bench.run(*write())
    await bench.abort(waits)
    assert waits.ended is not None
    assert first.ended is None
    await bench.controller.release()
    assert first.status == Status.GOOD
    assert bench.controller.opcodes == []


@told
async def test_who_waits_for_the_hot_path_ends_at_once_and_gives_it_back(bench: Bench) -> None:
    task = await bench.run(row("START STOP UNIT").build())
    assert bench.unit.aside
    await bench.abort(task)
    assert task.ended is not None
    assert not bench.unit.aside
    bench.plane.emit(EventType.DRAINED, cookie=bench.unit.drains.pop(0))
    await settle()
    assert not bench.unit.aside
    assert bench.controller.model.executed == []


@told
async def test_nothing_more_is_sent(bench: Bench) -> None:
    """A long WRITE SAME stops after the commands that the controller has."""
    controller = stubborn(bench)
    blocks = bench.lu.nvme_maximum_blocks * 40
    assert blocks <= bench.lu.maximum_write_same_blocks
    cdb = row("WRITE SAME (16)").build(number_of_blocks=blocks)
    task = await bench.run(cdb, b"\x5a" * 512)
    assert len(controller.waiting) == 1
    await bench.abort(task)
    await controller.release()
    assert task.ended is not None
    assert not controller.waiting


def test_what_does_not_end_is_answered_and_keeps_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "ANSWER_SECONDS", 0.5)

    async def story(bench: Bench) -> None:
        bench.ready()
        controller = stubborn(bench)
        hangs = await bench.run(*compare_and_write())
        await bench.drained()
        await bench.abort(hangs)
        assert hangs.ended is None
        later = await bench.run(*write())
        await eventually(lambda: hangs.ended is not None, "it is answered")
        assert later.ended is None
        assert controller.opcodes == [Opcode.COMPARE]  # and not the later one
        await controller.release()
        assert controller.opcodes == [Opcode.WRITE]
        await controller.release()
        assert later.status == Status.GOOD

    played(story)


@pytest.mark.parametrize("changes", [False, True])
def test_what_changes_blocks_is_answered_once_no_later_command_can_overtake_it(
    changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is in the midst of a reset, which may be put off."""
    monkeypatch.setattr(runs, "ANSWER_SECONDS", 0)
    monkeypatch.setattr(runs, "_AGAIN_SECONDS", 0)

    async def story(bench: Bench) -> None:
        bench.ready()
        controller = stubborn(bench)
        verify = row("VERIFY (10)").build(lba=1, verification_length=1)
        hangs = await bench.run(*(write() if changes else (verify,)))
        assert len(controller.waiting) == 1
        await bench.abort(hangs)
        await settle()
        assert (hangs.ended is None) == changes
        path = PlaneDataPath(bench.service, bench.plane_controller)
        pause = asyncio.get_running_loop().create_task(path.pause())
        await settle()
        assert (hangs.ended is None) == changes
        bench.plane.emit(EventType.DRAINED, cookie=bench.plane_controller.pauses.pop())
        await pause
        await eventually(lambda: hangs.ended is not None, "it is answered")
        path.resume()
        assert not bench.plane_controller.paused
        await controller.release()

    played(story)


@told
async def test_an_answer_that_is_under_way_is_not_given_twice(bench: Bench) -> None:
    task = await bench.run(*write())
    assert task.status == Status.GOOD
    await bench.abort(task)


@told
async def test_a_format_goes_on_unanswered(bench: Bench) -> None:
    controller = stubborn(bench)
    task = await bench.run(row("FORMAT UNIT").build())
    await bench.drained()
    assert [each[0][0].opcode for each in controller.waiting] == [AdminOpcode.FORMAT_NVM]
    await bench.abort(task)
    assert task.ended is not None
    assert (await bench.run(TUR)).sense == (2, 0x04, 0x04)
    controller.held = False
    await controller.release()
    assert bench.lu.readiness is Readiness.READY
    bench.ready()
    assert (await bench.run(TUR)).status == Status.GOOD


@told
async def test_a_format_that_has_not_begun_never_does(bench: Bench) -> None:
    controller = stubborn(bench)
    first = await bench.run(*write())
    task = await bench.run(row("FORMAT UNIT").build())
    await bench.abort(task)
    assert task.ended is not None
    await controller.release()
    assert first.status == Status.GOOD
    assert bench.lu.readiness is Readiness.READY
    assert controller.opcodes == []


@told
async def test_the_background_is_no_part_of_the_task(bench: Bench) -> None:
    controller = stubborn(bench)
    task = await bench.run(*FORMAT_IMMED)
    await bench.drained()
    assert task.status == Status.GOOD
    await bench.abort(task)
    controller.held = False
    await controller.release()
    assert bench.lu.readiness is Readiness.READY


@told
async def test_a_command_that_runs_alone_makes_room(bench: Bench) -> None:
    controller = stubborn(bench)
    task = await bench.run(*compare_and_write())
    await bench.drained()
    await bench.abort(task)
    assert task.ended is None
    await controller.release()
    assert task.ended is not None
    assert not bench.unit.aside
    controller.held = False
    assert (await bench.run(*write())).status == Status.GOOD
    await settle()


@told
async def test_of_an_aborted_command_that_failed_nothing_is_asked(bench: Bench) -> None:
    """Its abort came before its failure was looked at, and asks for its end no more."""
    bench.ready()
    controller = stubborn(bench)
    cdb, data = write(5)
    for status in (StatusCode.WRITE_FAULT, StatusCode.NAMESPACE_NOT_READY):
        task = FakeTask(cdb, bench.plane_nexus.cookie, data=data, expected=len(data), aborted=True)
        failure = {"nvme_opcode": Opcode.WRITE, "status": status, "lba": 5, "count": 8}
        bench.plane.emit(EventType.TASK_FAILED, task=task, cookie=1, more=True, **failure)
        bench.plane.emit(EventType.TASK_ABORTED, cookie=1)
        await settle()
        assert task.ended is not None
        assert not controller.waiting
