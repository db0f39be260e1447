"""A sanitize operation is of all logical units of its controller."""

from __future__ import annotations

from typing import Any

from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.service.bench import Bench, settle, told
from tests.support import make_facts, row
from tests.waiting import eventually

ERASE = row("SANITIZE, BLOCK ERASE")


def neighbour(bench: Bench) -> tuple[LogicalUnit, Any]:
    """Serve another logical unit of the controller; return it and its half in the plane."""
    lu = LogicalUnit(make_facts(nsid=2))
    bench.service.add_unit(lu, bench.controller, bench.plane_controller)
    bench.lu.may_be_sanitized = True
    return lu, bench.service._registry.units[lu].plane_unit


async def drained(bench: Bench, plane_unit: Any) -> None:
    """Report a drain of another logical unit."""
    plane_unit.drained = True
    bench.plane.emit(EventType.DRAINED, cookie=plane_unit.drains.pop(0))
    await settle()


@told
async def test_it_begins_when_nothing_is_under_way_on_any(bench: Bench) -> None:
    """Else a WRITE of several NVMe commands could end well, a part of it erased meanwhile."""
    lu, plane_unit = neighbour(bench)
    bench.controller.held = True
    task = await bench.run(ERASE.build())
    await bench.drained()
    assert lu.sanitizing.running
    assert bench.controller.opcodes == []
    await drained(bench, plane_unit)
    assert bench.controller.opcodes == [AdminOpcode.SANITIZE]
    while bench.controller.waiting:
        await bench.controller.release()
    assert task.status == Status.GOOD


@told
async def test_an_abort_does_not_keep_it_from_beginning(bench: Bench) -> None:
    lu, plane_unit = neighbour(bench)
    task = await bench.run(ERASE.build())
    await bench.drained()
    await bench.abort(task)
    await drained(bench, plane_unit)
    assert bench.controller.model.sanitize_state == 1
    assert not lu.sanitizing.running


@told
async def test_a_controller_that_is_closed_meanwhile_begins_nothing(bench: Bench) -> None:
    _, plane_unit = neighbour(bench)
    task = await bench.run(ERASE.build())
    await bench.drained()
    bench.controller.broken = RuntimeError("it is closed")
    await drained(bench, plane_unit)
    assert task.status == Status.CHECK_CONDITION


@told
async def test_another_follows_when_the_logical_unit_goes_that_did(bench: Bench) -> None:
    lu, plane_unit = neighbour(bench)
    bench.controller.model.sanitizing_steps = [1, 2, 3]
    await bench.run(ERASE.build(immed=1))
    await bench.drained()
    await drained(bench, plane_unit)
    assert lu.sanitizing.running
    bench.controller.model.sanitizing_steps = []
    bench.service.remove_unit(bench.lu)
    await eventually(lambda: not lu.sanitizing.running, "the end is known")
