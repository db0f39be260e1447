"""Hot commands that are alone on their blocks: what becomes of one that fails, and who waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import (
    Bench,
    FakeTask,
    compare_and_write,
    played,
    settle,
    told,
    write,
)

OLD, NEW, OTHER = (byte * 512 for byte in (b"\0", b"\x5a", b"\x33"))
MISCOMPARE, ABORTED = (0xE, 0x1D, 0), (0xB, 0, 0)
RESET = StatusCode.ABORTED_SQ_DELETION
PAIR = [Opcode.COMPARE, Opcode.WRITE]


@dataclass
class FakeHolder:
    """What keeps the blocks of a task, and whether that was answered before they were let go."""

    task: FakeTask
    released: list[bool] = field(default_factory=list)

    def release(self) -> None:
        self.released.append(self.task.ended is not None)


def begin(bench: Bench, status: int, opcode: int, **values: Any) -> tuple[FakeTask, FakeHolder]:
    """Tell of a COMPARE AND WRITE of block 3, an NVMe command of which has failed."""
    cdb, data = compare_and_write(lba=3)
    task = FakeTask(cdb, bench.plane_nexus.cookie, data=data, expected=len(data))
    holder: Any = FakeHolder(task)
    bench.tasks.append(task)
    about = {"lba": 3, "count": 1, "cookie": bench.number(task), **values}
    bench.plane.emit(
        EventType.TASK_FAILED,
        **{"task": task, "holder": holder, "status": status, "nvme_opcode": opcode, **about},
    )
    return task, holder


async def failed(bench: Bench, status: int, opcode: int, **values: Any) -> FakeTask:
    """The same; it has its blocks to its end, asks for no others, and lets them go then."""
    task, holder = begin(bench, status, opcode, **values)
    await settle()
    assert holder.released[0] is False
    assert not bench.unit.drains
    return task


@told
async def test_a_difference_is_located(bench: Bench) -> None:
    bench.controller.model.fill(3, OLD[:7] + OTHER[7:])
    task = await failed(bench, StatusCode.COMPARE_FAILURE, Opcode.COMPARE)
    assert task.sense == MISCOMPARE
    assert task.ended is not None
    assert task.ended[1][3:7] == bytes([0, 0, 0, 7])
    assert bench.controller.model.opcodes() == [Opcode.READ]


@pytest.mark.parametrize("opcode", [Opcode.COMPARE, Opcode.WRITE])
@pytest.mark.parametrize(
    "status", [RESET, StatusCode.COMMAND_INTERRUPTED, StatusCode.TRANSIENT_TRANSPORT_ERROR]
)
def test_a_lost_pair_is_read_back(status: int, opcode: int) -> None:
    for medium, sense, sent in (
        (OLD, None, [Opcode.READ, *PAIR]),
        (NEW, ABORTED, [Opcode.READ]),
        (OTHER, MISCOMPARE, [Opcode.READ]),
    ):

        @told
        async def story(
            bench: Bench, medium: bytes = medium, sense: Any = sense, sent: Any = sent
        ) -> None:
            bench.controller.model.fill(3, medium)
            task = await failed(bench, status, opcode)
            assert bench.controller.model.opcodes() == sent
            if sense is not None:
                assert task.sense == sense
                assert bench.controller.model.blocks(3) == medium
            else:
                assert task.status == Status.GOOD
                assert bench.controller.model.blocks(3) == NEW

        story()


@told
async def test_a_pair_that_was_not_begun_is_sent(bench: Bench) -> None:
    task = await failed(bench, StatusCode.NAMESPACE_NOT_READY, Opcode.COMPARE)
    assert task.status == Status.GOOD
    assert bench.controller.model.opcodes() == PAIR


@told
async def test_a_pair_that_failed_is_told(bench: Bench) -> None:
    task = await failed(bench, StatusCode.WRITE_FAULT, Opcode.WRITE, dnr=True)
    assert task.sense == (3, 0x03, 0x00)
    assert task.ended is not None
    assert task.ended[1][3:7] == bytes([0, 0, 0, 3])
    assert bench.controller.model.executed == []


@told
async def test_what_state_came_meanwhile_is_not_looked_at(bench: Bench) -> None:
    """It may have been done: NOT READY, or a unit attention, would say that it was not."""
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    bench.lu.readiness = Readiness.STOPPED
    bench.controller.model.fill(3, NEW)
    assert (await failed(bench, RESET, Opcode.COMPARE)).sense == ABORTED
    assert bench.lu.pending_attention(bench.nexus) is not None


def test_a_read_that_may_succeed_is_tried_again() -> None:
    async def story(bench: Bench) -> None:
        task = await failed(bench, StatusCode.COMMAND_INTERRUPTED, Opcode.READ)
        assert task.status == Status.GOOD
        assert bench.controller.model.opcodes() == [Opcode.READ, Opcode.WRITE]

    played(story, controller={"fuses": 0})


@told
async def test_a_read_that_failed_is_told(bench: Bench) -> None:
    task = await failed(bench, StatusCode.UNRECOVERED_READ_ERROR, Opcode.READ, dnr=True)
    assert task.sense == (3, 0x11, 0x00)
    assert bench.controller.model.executed == []


@told
async def test_a_write_after_a_read_is_not_compared_again(bench: Bench) -> None:
    bench.controller.model.fill(3, NEW)
    task = await failed(bench, StatusCode.COMMAND_INTERRUPTED, Opcode.WRITE, phase=1)
    assert task.status == Status.GOOD
    assert bench.controller.model.opcodes() == [Opcode.WRITE]
    task = await failed(bench, StatusCode.WRITE_FAULT, Opcode.WRITE, phase=1)
    assert task.sense == (3, 0x03, 0x00)


@told
async def test_what_leads_elsewhere_is_told_how_it_failed(bench: Bench) -> None:
    """BUSY would say that it was not done."""
    task, holder = begin(bench, RESET, Opcode.COMPARE)
    task.misrouted = True
    await settle()
    assert task.sense == ABORTED
    assert holder.released[0] is False
    assert bench.controller.model.executed == []


@told
async def test_a_bug_gives_the_blocks_back(bench: Bench) -> None:
    bench.controller.broken = RuntimeError("a bug")
    task, holder = begin(bench, RESET, Opcode.COMPARE)
    await settle()
    assert task.sense == (4, 0x44, 0)
    assert holder.released


@told
async def test_what_is_aborted_gives_its_blocks_back(bench: Bench) -> None:
    bench.controller.held = True
    task, holder = begin(bench, RESET, Opcode.COMPARE)
    await settle()
    assert bench.controller.opcodes == [Opcode.READ]
    assert not holder.released
    await bench.abort(task)
    assert holder.released[0] is False
    assert task.ended is not None


@told
async def test_what_is_aborted_before_it_goes_on_gives_its_blocks_back(bench: Bench) -> None:
    task, holder = begin(bench, RESET, Opcode.COMPARE)
    task.aborted = True
    bench.plane.emit(EventType.TASK_ABORTED, cookie=bench.number(task))
    await settle()
    assert holder.released
    assert task.ended is not None
    assert bench.controller.model.executed == []


# Commands of the engine on blocks that a hot one has


@told
async def test_a_command_of_the_same_blocks_waits_and_keeps_others_off(bench: Bench) -> None:
    bench.unit.alone.append(range(8, 10))
    waits, beside = await bench.run(*write(lba=9)), await bench.run(*write(lba=10))
    assert beside.status == Status.GOOD
    assert waits.ended is None
    assert list(bench.unit.shared.values()) == [range(9, 10)]
    bench.unit.alone.clear()
    bench.controller.held = True
    await bench.drained()
    assert bench.controller.slbas == [9]
    assert not bench.unit.ranges
    assert list(bench.unit.shared.values()) == [range(9, 10)]
    await bench.controller.release()
    assert waits.status == Status.GOOD
    assert not bench.unit.shared


@told
async def test_who_waits_for_a_hot_command_can_be_aborted(bench: Bench) -> None:
    bench.unit.alone.append(range(8, 10))
    waits = await bench.run(*write(lba=9))
    await bench.abort(waits)
    assert waits.ended is not None
    assert not bench.unit.shared
    assert not bench.unit.ranges
    assert bench.controller.model.executed == []
