"""Task management, and the end of nexuses."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from scsi2nvme.native.plane import Scope
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_management import TaskManagement, TaskManagementResponse
from scsi2nvme.service import resets
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import (
    ORDERED,
    SIMPLE,
    TUR,
    Bench,
    played,
    reserve_out,
    settle,
    told,
    write,
)
from tests.support import row
from tests.waiting import eventually


async def manage(
    bench: Bench,
    function: TaskManagement,
    *,
    lun: int | None = 0,
    itt: int = 5,
    up_to: int | None = None,
) -> asyncio.Task[TaskManagementResponse]:
    work = bench.service.task_management(function, bench.nexus, bench.plane_nexus, lun, itt, up_to)
    task = asyncio.get_running_loop().create_task(work)
    await settle()
    return task


ANSWER = TaskManagementResponse


@pytest.mark.parametrize(
    "function",
    [
        TaskManagement.ABORT_TASK,
        TaskManagement.ABORT_TASK_SET,
        TaskManagement.CLEAR_TASK_SET,
        TaskManagement.LOGICAL_UNIT_RESET,
        TaskManagement.I_T_NEXUS_RESET,
        TaskManagement.QUERY_TASK,
        TaskManagement.QUERY_TASK_SET,
    ],
)
def test_what_came_after_the_request_goes_on(function: TaskManagement) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        managing = await manage(bench, function, up_to=7)
        assert (await bench.aborted())["up_to"] == 7
        await managing

    played(story)


@told
async def test_each_reset_that_waits_ends_what_came_before_it(bench: Bench) -> None:
    """Two that come together are one, which begins with the first."""
    reset = TaskManagement.LOGICAL_UNIT_RESET
    asked = [
        asyncio.ensure_future(
            bench.service.task_management(reset, bench.nexus, bench.plane_nexus, 0, 5, up_to)
        )
        for up_to in (7, 9)
    ]
    await settle()
    orders = [await bench.aborted(), await bench.aborted()]
    assert {(order["scope"], order["up_to"]) for order in orders} == {
        (Scope.LU, 7),
        (Scope.NEXUS_LU, 9),
    }
    assert await asyncio.gather(*asked) == [ANSWER.FUNCTION_COMPLETE] * 2


@pytest.mark.parametrize(
    ("function", "found", "answer", "scope", "query"),
    [
        (TaskManagement.ABORT_TASK, 1, ANSWER.FUNCTION_COMPLETE, Scope.TASK, False),
        (TaskManagement.ABORT_TASK, 0, ANSWER.TASK_DOES_NOT_EXIST, Scope.TASK, False),
        (TaskManagement.ABORT_TASK_SET, 3, ANSWER.FUNCTION_COMPLETE, Scope.NEXUS_LU, False),
        (TaskManagement.QUERY_TASK, 1, ANSWER.FUNCTION_SUCCEEDED, Scope.TASK, True),
        (TaskManagement.QUERY_TASK, 0, ANSWER.FUNCTION_COMPLETE, Scope.TASK, True),
        (TaskManagement.QUERY_TASK_SET, 2, ANSWER.FUNCTION_SUCCEEDED, Scope.NEXUS_LU, True),
        (TaskManagement.QUERY_TASK_SET, 0, ANSWER.FUNCTION_COMPLETE, Scope.NEXUS_LU, True),
    ],
)
def test_functions_for_tasks(
    function: TaskManagement, found: int, answer: ANSWER, scope: Scope, query: bool
) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        managing = await manage(bench, function)
        assert not managing.done()
        order = await bench.aborted(found)
        assert (order["scope"], order["nexus"], order["lu"]) == (
            scope,
            bench.plane_nexus,
            bench.unit,
        )
        assert (order["query"], order["itt"]) == (query, 5 if scope is Scope.TASK else 0)
        assert await managing == answer

    played(story)


@told
async def test_a_logical_unit_reset(bench: Bench) -> None:
    await bench.run(row("RESERVE (6)").build())
    managing = await manage(bench, TaskManagement.LOGICAL_UNIT_RESET)
    order = await bench.aborted()
    assert (order["scope"], order["nexus"]) == (Scope.LU, bench.plane_nexus)
    assert order["task_aborted_status"] is True  # TAS is one by default
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert bench.lu.reservations.reserved_by is None
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x03)


@told
async def test_a_logical_unit_reset_ends_without_a_word_what_others_want_no_word_of(
    bench: Bench,
) -> None:
    bench.lu.mode.change(CONTROL, CONTROL.layout.build(tas=0))
    managing = await manage(bench, TaskManagement.LOGICAL_UNIT_RESET)
    assert (await bench.aborted())["task_aborted_status"] is False
    assert await managing == ANSWER.FUNCTION_COMPLETE


@told
async def test_a_logical_unit_reset_makes_it_active(bench: Bench) -> None:
    stopping = bench.submit(row("START STOP UNIT").build(no_flush=1))
    await settle()
    await bench.drained()
    assert stopping.status == Status.GOOD
    assert bench.controller.model.features[0x02] == 1
    managing = await manage(bench, TaskManagement.LOGICAL_UNIT_RESET)
    await bench.aborted()
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert bench.lu.readiness is Readiness.READY
    assert bench.controller.model.features[0x02] == 0


@told
async def test_a_controller_that_does_not_answer_holds_no_reset_up(bench: Bench) -> None:
    bench.controller.held = True
    bench.lu.mode.change(CONTROL, CONTROL.layout.build(swp=1))
    managing = await manage(bench, TaskManagement.LOGICAL_UNIT_RESET)
    await bench.aborted()
    assert not bench.lu.mode.swp
    assert not managing.done()
    assert await asyncio.wait_for(managing, 10) == ANSWER.FUNCTION_COMPLETE
    bench.controller.held = False
    await bench.controller.release()


async def _ends(tasks: list[asyncio.Task[TaskManagementResponse]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_resets_without_end_leave_time_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets, "PAUSE_SECONDS", 3600.0)

    async def story(bench: Bench) -> None:
        first = await manage(bench, TaskManagement.LOGICAL_UNIT_RESET)
        assert (await bench.aborted())["scope"] is Scope.LU
        assert await first == ANSWER.FUNCTION_COMPLETE
        more = [await manage(bench, TaskManagement.LOGICAL_UNIT_RESET) for _ in range(16)]
        own = [await bench.aborted() for _ in range(16)]
        assert {order["scope"] for order in own} == {Scope.NEXUS_LU}
        assert not any(order["task_aborted_status"] for order in own)
        assert not bench.plane.aborts
        assert not any(each.done() for each in more)
        due = bench.service._registry.units[bench.lu].resets._next
        assert due is not None
        due.cancel()
        assert all(isinstance(each, asyncio.CancelledError) for each in await _ends(more))

    played(story)


@told
async def test_a_reset_that_is_due_is_done_although_who_asked_has_gone(bench: Bench) -> None:
    """Others have it as well; of its own there is nothing left to be aborted."""
    manager, unit = bench.service._manager, bench.service._registry.units[bench.lu]
    begin = asyncio.get_running_loop().create_task
    going, native = bench.open("b")
    end = begin(bench.service.close_nexus(going, native, lost=True))
    await settle()
    assert (await bench.aborted())["nexus"] is native
    await end
    reset = begin(manager.abort(Scope.LU, native, unit, task_aborted_status=True))
    await settle()
    order = await bench.aborted(found=3)
    assert (order["scope"], order["nexus"], await reset) == (Scope.LU, None, 3)
    for scope in Scope.TASK, Scope.NEXUS_LU, Scope.NEXUS:
        assert await manager.abort(scope, native, unit) == 0
    assert not bench.plane.aborts


@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_who_asks_for_a_reset_has_one_that_begins_afterwards(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resets, "PAUSE_SECONDS", pause)

    async def story() -> None:
        ours, begun, ends = resets.Resets(), [], [asyncio.Event() for _ in range(3)]
        loop = asyncio.get_running_loop()

        async def reset() -> None:
            begun.append(loop.time())
            await ends[len(begun) - 1].wait()

        async def ask() -> None:
            await ours.share(reset, loop.create_task)

        first = loop.create_task(ask())
        await eventually(lambda: len(begun) == 1, "it begins at once")
        others = [loop.create_task(ask()) for _ in range(4)]
        await eventually(lambda: len(begun) == 2, "the next has begun")
        last = loop.create_task(ask())
        ends[1].set()
        await asyncio.gather(*others)
        assert not first.done()
        await eventually(lambda: len(begun) == 3, "the last has begun")
        assert not last.done()
        ends[0].set()
        ends[2].set()
        await asyncio.gather(first, last)
        assert all(after - before >= pause for before, after in itertools.pairwise(begun))

    asyncio.run(story())


@told
async def test_a_nexus_reset(bench: Bench) -> None:
    """What the nexus had reserved is free. Spec: SPC-2 5.5.1."""
    other, other_plane = bench.open("b")
    bench.ready(bench.nexus, other)
    assert (await bench.run(row("RESERVE (6)").build())).status == 0
    assert (await bench.run(TUR, plane_nexus=other_plane)).status == Status.RESERVATION_CONFLICT
    managing = await manage(bench, TaskManagement.I_T_NEXUS_RESET, lun=None)
    assert (await bench.aborted())["scope"] is Scope.NEXUS
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x07)
    assert (await bench.run(TUR, plane_nexus=other_plane)).status == 0


@told
async def test_functions_for_no_logical_unit(bench: Bench) -> None:
    managing = await manage(bench, TaskManagement.ABORT_TASK_SET, lun=9)
    assert await managing == ANSWER.INCORRECT_LOGICAL_UNIT_NUMBER


@told
async def test_query_asynchronous_event(bench: Bench) -> None:
    function = TaskManagement.QUERY_ASYNCHRONOUS_EVENT
    assert await (await manage(bench, function)) == ANSWER.FUNCTION_COMPLETE
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    assert await (await manage(bench, function)) == ANSWER.FUNCTION_SUCCEEDED


@told
async def test_clear_task_set(bench: Bench) -> None:
    """Each nexus has a task set of its own."""
    other, _ = bench.open("b")
    bench.ready(bench.nexus, other)
    managing = await manage(bench, TaskManagement.CLEAR_TASK_SET)
    own = await bench.aborted(1)
    assert (own["scope"], own["nexus"]) == (Scope.NEXUS_LU, bench.plane_nexus)
    assert own["task_aborted_status"] is False
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert not bench.plane.aborts  # of anybody else
    assert bench.lu.pending_attention(other) is None


@pytest.mark.parametrize("attribute", [SIMPLE, ORDERED])
@pytest.mark.parametrize("tas", [True, False])
def test_preempt_and_abort_waits_for_the_aborts(tas: bool, attribute: int) -> None:
    """Once it has ended, no write of the preempted nexus reaches the medium."""

    async def story(bench: Bench) -> None:
        other, plane_other = bench.open("b")
        bench.ready(bench.nexus, other)
        bench.lu.mode.change(CONTROL, CONTROL.layout.build(tas=int(tas)))
        for nexus, key in ((bench.plane_nexus, 1), (plane_other, 2)):
            registered = await bench.run(*reserve_out("REGISTER", 0, key), plane_nexus=nexus)
            assert registered.status == Status.GOOD
        bench.controller.held = True
        late = await bench.run(*write(), plane_nexus=plane_other)
        preempting = await bench.run(
            *reserve_out("PREEMPT AND ABORT", 1, 2, type=5), attribute=attribute
        )
        assert preempting.ended is None
        order = bench.plane.aborts[0]
        assert (order["scope"], order["nexus"]) == (Scope.NEXUS_LU, plane_other)
        assert order["task_aborted_status"] is tas
        assert late.ended is None
        await bench.controller.release()
        assert late.ended is not None
        assert preempting.ended is None
        await bench.aborted(1)
        assert preempting.status == Status.GOOD

    played(story)


@told
async def test_who_was_preempted_waits_for_those_whom_it_preempts_in_turn(bench: Bench) -> None:
    """Though what itself had under way has not ended yet."""
    other, plane_other = bench.open("b")
    bench.ready(bench.nexus, other)
    await bench.run(*reserve_out("REGISTER", 0, 1))
    await bench.run(*reserve_out("REGISTER", 0, 2), plane_nexus=plane_other)
    first = await bench.run(*reserve_out("PREEMPT AND ABORT", 1, 2, type=5))
    bench.ready(other)
    again = await bench.run(*reserve_out("REGISTER", 0, 2), plane_nexus=plane_other)
    assert again.status == Status.GOOD
    second = await bench.run(
        *reserve_out("PREEMPT AND ABORT", 2, 1, type=5), plane_nexus=plane_other
    )
    assert second.ended is None
    late = await bench.run(TUR, plane_nexus=plane_other)
    assert late.ended is None
    await bench.abort(late)
    assert late.ended is not None
    assert (await bench.aborted())["nexus"] is plane_other
    assert first.status == Status.GOOD
    assert second.ended is None
    assert (await bench.aborted())["nexus"] is bench.plane_nexus
    assert second.status == Status.GOOD


@told
async def test_what_goes_on_after_its_status_does_so_where_nobody_waits_for_that(
    bench: Bench,
) -> None:
    """Else a copy in the background would have begun for good, and never ended."""
    preempting: Any = asyncio.get_running_loop().create_future()
    bench.service._registry.units[bench.lu].preempting = {preempting: "another"}
    flushing = await bench.run(row("SYNCHRONIZE CACHE (10)").build(immed=1))
    assert flushing.ended is None
    bench.controller.held = True
    await bench.abort(flushing)
    assert flushing.ended is not None
    assert bench.controller.opcodes == [Opcode.FLUSH]
    await bench.controller.release()
    preempting.set_result(None)


@pytest.mark.parametrize("lost", [True, False])
def test_the_end_of_a_nexus(lost: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.ready()
        await bench.run(row("RESERVE (6)").build())
        loop = asyncio.get_running_loop()
        closing = loop.create_task(
            bench.service.close_nexus(bench.nexus, bench.plane_nexus, lost=lost)
        )
        await settle()
        assert not bench.plane_nexus.closed
        assert (await bench.aborted())["scope"] is Scope.NEXUS
        await closing
        assert bench.plane_nexus.closed
        assert bench.lu.reservations.reserved_by is None
        bench.lu.establish_attention(
            CAPACITY_DATA_HAS_CHANGED
        )  # no flag of a closed nexus is touched
        assert (await bench.run(TUR)).status == Status.BUSY  # nobody listens
        _, again = bench.open("a")
        task = await bench.run(TUR, plane_nexus=again)
        assert task.sense == ((6, 0x29, 0x07) if lost else (6, 0x2A, 0x09))

    played(story)
