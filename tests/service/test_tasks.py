"""Tasks that the hot path hands over, and how they are answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from scsi2nvme import engine
from scsi2nvme.native.plane import Event, EventType
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import Translation
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.counters import UNCORRECTED_ERRORS, WRITE_ERRORS
from scsi2nvme.unit.mode_pages.control import CONTROL
from tests.service.bench import (
    POWER_ON,
    TUR,
    Bench,
    FakeTask,
    played,
    settle,
    told,
    write,
)
from tests.support import row


def test_a_new_nexus_learns_of_the_power_on_and_is_served() -> None:
    async def story(bench: Bench) -> None:
        assert bench.plane_nexus.aside == {0: True}
        assert (await bench.run(TUR)).sense == POWER_ON
        assert bench.plane_nexus.aside == {0: False}
        assert (await bench.run(TUR)).status == Status.GOOD

    played(story)


@told
async def test_data_goes_both_ways(bench: Bench) -> None:
    assert (await bench.run(*write(lba=3))).status == Status.GOOD
    task = await bench.run(row("READ (10)").build(lba=3, transfer_length=1))
    assert task.ended == (Status.GOOD, b"", b"\xa5" * 512)


@told
async def test_sense_is_in_the_format_that_d_sense_asks_for(bench: Bench) -> None:
    unknown = bytes([0xFF, *bytes(5)])
    assert (await bench.run(unknown)).ended[1][0] == 0x70  # type: ignore[index]
    bench.lu.mode.change(CONTROL, CONTROL.layout.build(d_sense=1))
    task = await bench.run(unknown)
    assert task.ended is not None
    assert task.ended[1][0] == 0x72
    assert task.sense == (5, 0x20, 0)


@told
async def test_a_lun_without_a_logical_unit(bench: Bench) -> None:
    task = await bench.run(TUR, lun=bytes([0, 9, *bytes(6)]))
    assert task.sense == (5, 0x25, 0)
    inquiry = row("INQUIRY").build(allocation_length=96)
    task = await bench.run(inquiry, lun=bytes([0xC1, 1, *bytes(6)]))
    assert task.ended is not None
    assert task.ended[2][0] == 0x7F


@told
async def test_a_task_of_a_nexus_that_is_gone(bench: Bench) -> None:
    task = bench.submit(TUR)
    task.nexus_cookie = 12345
    await settle()
    assert task.status == Status.BUSY


@told
async def test_an_aborted_task_is_not_begun(bench: Bench) -> None:
    task = await bench.run(*write(), aborted=True)
    assert task.ended is not None
    assert bench.controller.model.executed == []


def test_a_bug_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        bench.controller.broken = RuntimeError("a bug")
        assert (await bench.run(*write())).sense == (4, 0x44, 0)
        bench.controller.broken = None
        assert (await bench.run(*write())).status == Status.GOOD

    with caplog.at_level(logging.ERROR):
        played(story)
    assert "internal error" in caplog.text
    assert "a bug" in caplog.text


# What asks nothing of the controller


INQUIRY = row("INQUIRY").build(allocation_length=96)


@told
async def test_what_waits_for_nothing_is_answered_in_its_turn(bench: Bench) -> None:
    before = asyncio.all_tasks()
    tasks = [bench.submit(cdb) for cdb in (INQUIRY, TUR, bytes([0xFF, *bytes(5)])) * 4]
    rounds = bench.plane.rounds
    while tasks[-1].ended is None:
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
    assert [task.status for task in tasks[:3]] == [Status.GOOD, Status.GOOD, 2]
    # Of eight; less where a processor is taken away for so long that a round ends early.
    assert 2 <= bench.plane.rounds - rounds < len(tasks)


def test_the_first_of_a_nexus_reports_the_attention() -> None:
    async def story(bench: Bench) -> None:
        first = bench.submit(row("READ (10)").build(transfer_length=1))
        second = bench.submit(TUR)
        await settle()
        assert (first.sense, second.status) == (POWER_ON, Status.GOOD)

    played(story)


@pytest.mark.parametrize("alone", [True, False])
def test_who_waits_for_nothing_keeps_its_place(alone: bool) -> None:
    """What comes behind a command that waits for its turn may overtake it, and not another."""

    async def story(bench: Bench) -> None:
        bench.ready()
        read = row("READ (10)").build(transfer_length=1)
        bench.submit(row("START STOP UNIT").build(start=1) if alone else read)
        tasks = [bench.submit(cdb) for cdb in (INQUIRY, TUR) * 20]
        while tasks[-1].ended is None:
            await asyncio.sleep(0)
            ended = [task.ended is not None for task in tasks]
            assert ended == sorted(ended, reverse=True)
        if alone:
            await bench.drained()
        await settle()

    played(story)


def test_a_bug_harms_no_other_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = engine.run

    def broken(request: engine.Request, *arguments: Any, **more: Any) -> Translation:
        if request.cdb == TUR:
            raise RuntimeError("a bug")
        return run(request, *arguments, **more)

    async def story(bench: Bench) -> None:
        bench.ready()
        monkeypatch.setattr(engine, "run", broken)
        good, bad, other = (bench.submit(cdb) for cdb in (INQUIRY, TUR, INQUIRY))
        await settle()
        assert (good.status, bad.sense, other.status) == (Status.GOOD, (4, 0x44, 0), Status.GOOD)

    with caplog.at_level(logging.ERROR):
        played(story)
    assert "internal error" in caplog.text
    assert "a bug" in caplog.text


# What the hot path could not do


async def failed(bench: Bench, cdb: bytes, data: bytes = b"", **values: Any) -> FakeTask:
    task = FakeTask(cdb, bench.plane_nexus.cookie, data=data, expected=len(data))
    bench.plane.emit(EventType.TASK_FAILED, task=task, **values)
    await settle()
    return task


@told
async def test_a_failed_hot_command_is_told_and_counted(bench: Bench) -> None:
    task = await failed(
        bench,
        *write(5),
        nvme_opcode=Opcode.WRITE,
        status=StatusCode.WRITE_FAULT,
        dnr=True,
        lba=5,
        count=1,
    )
    assert task.ended is not None
    assert task.sense == (3, 0x03, 0x00)
    assert task.ended[1][3:7] == bytes([0, 0, 0, 5])
    assert bench.lu.log.counters.value(WRITE_ERRORS, UNCORRECTED_ERRORS) == 1
    assert bench.controller.model.executed == []


@told
async def test_what_may_succeed_is_tried_again(bench: Bench) -> None:
    status = StatusCode.NAMESPACE_NOT_READY
    task = await failed(bench, *write(5), nvme_opcode=Opcode.WRITE, status=status)
    assert task.status == Status.GOOD
    assert bench.controller.model.blocks(5) == b"\xa5" * 512
    task = await failed(bench, *write(5), nvme_opcode=Opcode.WRITE, status=status, dnr=True)
    assert task.sense == (2, 0x04, 0x00)


@told
async def test_a_write_whose_group_is_refused_is_written_without_it(bench: Bench) -> None:
    """The hot path may have placed it before it knew that the streams are no more."""
    _, data = write(5)
    refused: dict[str, Any] = {"nvme_opcode": Opcode.WRITE, "status": StatusCode.INVALID_FIELD}
    cdb = row("WRITE (10)").build(lba=5, transfer_length=1, group=3)
    assert (await failed(bench, cdb, data, **refused)).status == Status.GOOD
    assert bench.controller.model.blocks(5) == data
    assert (await failed(bench, *write(6), **refused)).sense == (5, 0x24, 0)
    assert len(bench.controller.model.executed) == 1


@told
async def test_what_was_written_is_not_written_again(bench: Bench) -> None:
    cdb, data = (
        row("WRITE AND VERIFY (10)").build(lba=5, transfer_length=1, bytchk=1),
        b"\xa5" * 512,
    )
    status = StatusCode.NAMESPACE_NOT_READY
    task = await failed(bench, cdb, data, nvme_opcode=Opcode.COMPARE, status=status, phase=1)
    assert [each.opcode for each in bench.controller.model.executed] == [Opcode.COMPARE]
    assert task.sense == (0xE, 0x1D, 0x00)  # others have written since
    task = await failed(bench, cdb, data, nvme_opcode=Opcode.WRITE, status=status)
    assert task.status == Status.GOOD


@told
async def test_a_failed_unmap_tells_no_block(bench: Bench) -> None:
    """What stands there in its submission queue entry is no LBA."""
    data = (
        bytes.fromhex("0016 0010 00000000")
        + (5).to_bytes(8, "big")
        + bytes([0, 0, 0, 1, 0, 0, 0, 0])
    )
    cdb = row("UNMAP").build(parameter_list_length=len(data))
    values = {"nvme_opcode": Opcode.DATASET_MANAGEMENT, "lba": 4 << 32, "count": 1}
    task = await failed(bench, cdb, data, status=StatusCode.WRITE_FAULT, dnr=True, **values)
    assert task.ended is not None
    assert (task.sense, task.ended[1][0]) == ((3, 0x03, 0x00), 0x70)  # VALID is not set
    assert bench.controller.model.executed == []


@told
async def test_a_task_that_its_front_end_refuses(bench: Bench) -> None:
    task = FakeTask(TUR, bench.plane_nexus.cookie)
    bench.plane.emit(EventType.TASK_REFUSED, task=task, count=0x0B4B03)
    await settle()
    assert task.sense == (0xB, 0x4B, 0x03)


@told
async def test_overdue_commands_go_to_their_controller(bench: Bench) -> None:
    for count in range(2):
        told = {"cookie": bench.plane_controller.cookie, "qid": 2, "cid": 7, "count": count}
        bench.plane.emit(EventType.OVERDUE, **told)
    bench.plane.emit(EventType.OVERDUE, cookie=999, qid=3, cid=8)
    assert bench.plane_controller.calls == []
    await settle()
    assert bench.overdue == [(2, 7, False), (2, 7, True)]
    assert bench.plane_controller.calls == [(2, 7)] * 2


@told
async def test_connections_get_their_own_events(bench: Bench) -> None:
    seen: list[Event] = []
    cookie = bench.service.cookie(seen.append)
    bench.plane.emit(EventType.PDU, cookie=cookie)
    bench.plane.emit(EventType.CONN_CLOSED, cookie=cookie)
    bench.plane.emit(EventType.PDU, cookie=cookie + 1)
    await settle()
    assert [event.type for event in seen] == [EventType.PDU, EventType.CONN_CLOSED]
    bench.service.release(cookie)
    bench.plane.emit(EventType.PDU, cookie=cookie)
    await settle()
    assert len(seen) == 2


@told
async def test_stopping_waits_for_what_is_under_way(bench: Bench) -> None:
    bench.controller.held = True
    task = await bench.run(*write())
    stopping = asyncio.get_running_loop().create_task(bench.service.stop())
    await settle()
    assert not stopping.done()
    await bench.controller.release()
    await stopping
    assert task.status == Status.GOOD
    bench.service.start()  # for the bench's own stop


def test_a_failure_in_the_background_is_a_deferred_error() -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        bench.controller.model.faults[Opcode.FLUSH] = [StatusCode.WRITE_FAULT]
        task = await bench.run(row("SYNCHRONIZE CACHE (10)").build(immed=1))
        assert task.status == Status.GOOD
        assert bench.plane_nexus.aside == {0: True}
        task = await bench.run(TUR)
        assert task.ended is not None
        assert (task.ended[1][0], task.sense) == (0x71, (3, 0x03, 0x00))

    played(story)
