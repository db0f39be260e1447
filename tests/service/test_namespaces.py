"""Namespaces that change, come and go, and controllers that do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from scsi2nvme.fields import Values
from scsi2nvme.native.plane import EventType
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.sense import REPORTED_LUNS_DATA_HAS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.service import PlaneDataPath
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.readiness import Readiness
from tests.service.bench import (
    FORMAT_IMMED,
    TUR,
    Bench,
    FakeTask,
    compare_and_write,
    settle,
    told,
    write,
)
from tests.support import make_facts, row


async def select_block_length(bench: Bench, length: int) -> None:
    data = bytes([0, 0, 0, 8]) + bytes(5) + length.to_bytes(3, "big")
    cdb = row("MODE SELECT (6)").build(pf=1, parameter_list_length=len(data))
    assert (await bench.run(cdb, data)).status == Status.GOOD


@told
async def test_a_format_changes_the_hot_path_while_it_is_drained(bench: Bench) -> None:
    await select_block_length(bench, 4096)
    task = await bench.run(row("FORMAT UNIT").build())
    await bench.drained()
    assert task.status == Status.GOOD
    assert [each.block_bytes for each in bench.unit.updates] == [4096]
    assert not bench.unit.aside
    assert bench.plane_nexus.aside == {0: False}


@told
async def test_after_a_format_in_the_background_nothing_is_hot_until_drained(
    bench: Bench,
) -> None:
    """With the old block length, the hot path would write to the wrong place."""
    await select_block_length(bench, 4096)
    bench.controller.held = True
    task = await bench.run(*FORMAT_IMMED)
    await bench.drained()
    assert task.status == Status.GOOD
    assert bench.plane_nexus.aside == {0: True}
    while bench.controller.waiting:
        await bench.controller.release()
    assert bench.lu.readiness is Readiness.READY
    assert bench.unit.updates == []
    assert bench.plane_nexus.aside == {0: True}
    await bench.drained()
    assert bench.unit.parameters.block_bytes == 4096
    assert bench.plane_nexus.aside == {0: False}
    assert not bench.unit.aside


@told
async def test_progress_of_the_background_is_kept(bench: Bench) -> None:
    bench.controller.model.formatting_steps = [75, 50]
    bench.controller.held = True
    await bench.run(*FORMAT_IMMED)
    await bench.drained()
    await bench.controller.release()  # Format NVM
    await bench.controller.release()  # Identify: three quarters remain
    assert bench.lu.progress == 65536 // 4
    bench.lu.readiness = Readiness.FAILED
    await bench.service._background.cancel()


def changed(bench: Bench, **values: int | bytes) -> NamespaceFacts:
    bench.controller.model.change_namespace(**values)
    return bench.controller.model.facts


@dataclass(frozen=True)
class Changed:
    namespaces: frozenset[int]
    returned: bool
    health: Values | None = None
    log_id: int = 0


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def tell(
    bench: Bench, facts: dict[int, NamespaceFacts], *nsids: int, returned: bool = False
) -> asyncio.Task[None]:
    event = Changed(frozenset(nsids), returned)
    refreshing = bench.service.controller_event({1: bench.lu}, event, facts)
    task = asyncio.get_running_loop().create_task(ended(refreshing))
    await settle()
    return task


@told
async def test_a_namespace_that_grew(bench: Bench) -> None:
    following = await tell(bench, {1: changed(bench, nsze=9000)}, 1)
    assert bench.lu.capacity_blocks == 9000
    await bench.drained()
    await following
    assert bench.unit.parameters.blocks == 9000
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(TUR)).sense == (6, 0x2A, 0x09)
    assert bench.plane_nexus.aside == {0: False}


@told
async def test_a_namespace_that_changed_in_a_small_way(bench: Bench) -> None:
    await (await tell(bench, {1: changed(bench, nuse=5)}, 1))
    assert bench.unit.drains == []
    assert (await bench.run(TUR)).status == Status.GOOD
    assert bench.lu.facts.namespace.nuse == 5


@told
async def test_a_namespace_that_is_now_write_protected(bench: Bench) -> None:
    following = await tell(bench, {1: changed(bench, nsattr=1)}, 1)
    assert bench.plane_nexus.aside == {0: True}
    await bench.drained()  # nothing is told there any more of what will be read, either
    await following
    assert (await bench.run(*write())).sense[0] == 7


@told
async def test_a_namespace_that_goes_and_comes_back(bench: Bench) -> None:
    facts = bench.lu.facts
    await (await tell(bench, {}, 1))
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(TUR)).sense == (5, 0x25, 0x00)
    await (await tell(bench, {1: facts}, 1))
    assert (await bench.run(TUR)).sense == (6, 0x3F, 0x0E)
    assert (await bench.run(TUR)).status == Status.GOOD
    assert bench.plane_nexus.aside == {0: False}


@told
async def test_a_namespace_that_is_no_logical_unit_is_not_told_of(bench: Bench) -> None:
    await (await tell(bench, {1: bench.lu.facts, 2: make_facts(nsid=2)}, 2))
    assert (await bench.run(TUR)).status == Status.GOOD


@told
async def test_a_format_that_the_disk_did_not_survive_has_failed(bench: Bench) -> None:
    bench.lu.readiness = Readiness.FORMATTING
    PlaneDataPath(bench.service, bench.plane_controller).fail(0x370)
    assert (await bench.run(TUR)).sense == (5, 0x25, 0x00)
    await (await tell(bench, {1: bench.lu.facts}, 1, returned=True))
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x00)
    assert (await bench.run(TUR)).sense == (3, 0x31, 0x00)


@told
async def test_what_waits_for_its_turn_goes_to_no_namespace_that_came_instead(
    bench: Bench,
) -> None:
    bench.controller.held = True
    first = await bench.run(*compare_and_write())
    await bench.drained()
    second = await bench.run(*write())
    bench.service.remove_unit(bench.lu)
    await bench.controller.release()
    assert first.status == Status.GOOD
    assert second.sense == (5, 0x25, 0x00)
    assert not bench.controller.waiting


@told
async def test_what_began_at_another_logical_unit_is_not_carried_on(bench: Bench) -> None:
    """Nor tried again, if it failed there."""
    cdb, data = write()
    task = FakeTask(cdb, bench.plane_nexus.cookie, data=data, misrouted=True)
    for kind in (EventType.TASK, EventType.TASK_FAILED):
        task.ended = None
        bench.plane.emit(kind, task=task, cookie=1, status=0x281, dnr=True, nvme_opcode=1)
        await settle()
        assert task.sense == (5, 0x25, 0x00)
    assert not bench.controller.model.executed


@told
async def test_an_event_without_namespaces_changes_nothing(bench: Bench) -> None:
    await (await tell(bench, {1: bench.lu.facts}))
    assert (await bench.run(TUR)).status == Status.GOOD


@told
async def test_a_lost_controller_fails_its_logical_units(bench: Bench) -> None:
    path = PlaneDataPath(bench.service, bench.plane_controller)
    path.fail(0x370)
    assert bench.plane_controller.calls == [0x370]
    assert (await bench.run(TUR)).sense == (5, 0x25, 0x00)
    assert bench.plane_nexus.aside == {0: True}


@told
async def test_a_controller_that_comes_back(bench: Bench) -> None:
    path = PlaneDataPath(bench.service, bench.plane_controller)
    path.fail(0x370)
    path.resume()
    await (await tell(bench, {1: bench.lu.facts}, 1, returned=True))
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x00)
    assert (await bench.run(TUR)).status == Status.GOOD
    assert bench.plane_nexus.aside == {0: False}


@told
async def test_a_reset_pauses_and_resumes(bench: Bench) -> None:
    path = PlaneDataPath(bench.service, bench.plane_controller)
    pausing = asyncio.get_running_loop().create_task(path.pause())
    await settle()
    assert not pausing.done()
    bench.plane.emit(EventType.DRAINED, cookie=bench.plane_controller.pauses.pop())
    await pausing
    path.resume()
    assert bench.plane_controller.calls == ["resume"]


@told
async def test_what_a_reset_of_the_controller_undid_is_told(bench: Bench) -> None:
    bench.service.settings_lost([bench.lu])
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(TUR)).sense == (6, 0x2A, 0x01)


@told
async def test_units_of_one_controller_know_each_other_whoever_uses_them(bench: Bench) -> None:
    """TCMU has a nexus for each; only one that is used has a say."""
    neighbour, stranger = (LogicalUnit(make_facts(nsid=2)) for _ in range(2))
    bench.service.add_unit(neighbour, bench.controller, bench.plane_controller)
    _, elsewhere = bench.service.add_controller(bench._overdue, bench._overdue)
    bench.service.add_unit(stranger, bench.controller, elsewhere)
    assert bench.lu.siblings() == [bench.lu]
    for lu in (neighbour, stranger):
        nexus = Nexus(PortName(f"tcm-user.{lu.nsid}"), PortName(""), {0: lu})
        bench.service.open_nexus(nexus)
    assert bench.lu.siblings() == [bench.lu, neighbour]


@told
async def test_a_lun_that_could_not_be_mapped_is_mapped_with_the_next_change(bench: Bench) -> None:
    """Memory may be short for a moment; the initiator is told when the LUN is there."""
    bench.ready()
    seen = {0: bench.lu, 1: bench.lu}
    bench.nexus.visible = lambda: seen
    mapped = bench.plane_nexus.map

    def refuse(lun: int, unit: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    bench.plane_nexus.map = refuse
    bench.service.inventory_changed()
    assert set(bench.nexus.luns) == {0}
    bench.plane_nexus.map = mapped
    bench.ready()
    bench.service.inventory_changed()
    assert set(bench.nexus.luns) == {0, 1}
    attention = bench.lu.take_attention(bench.nexus)
    assert attention is not None
    assert attention.code == REPORTED_LUNS_DATA_HAS_CHANGED
    bench.service.inventory_changed()
    assert bench.lu.take_attention(bench.nexus) is None


@told
async def test_what_was_begun_does_not_go_on_when_the_namespace_is_another(bench: Bench) -> None:
    """Its next NVMe command would change what has come under the same number."""
    blocks = 80 * bench.lu.nvme_maximum_blocks
    same = row("WRITE SAME (16)").build(number_of_blocks=blocks)
    bench.controller.held = True
    task = await bench.run(same, b"\7" * 512)
    await bench.controller.release()
    assert bench.controller.waiting
    bench.service.namespace_gone(bench.lu)
    await bench.controller.release()
    assert not bench.controller.waiting
    assert task.sense == (5, 0x25, 0x00)


@told
async def test_after_a_reset_nothing_goes_on_at_blocks_that_are_others(bench: Bench) -> None:
    """Blocks of the old length would be written elsewhere."""
    blocks = 80 * bench.lu.nvme_maximum_blocks
    same = row("WRITE SAME (16)").build(number_of_blocks=blocks)
    bench.controller.held = True
    task = await bench.run(same, b"\7" * 512)
    await bench.controller.release()
    assert bench.controller.waiting
    facts = changed(bench, flbas=1)
    changed(bench, flbas=0)  # what is under way ends as it began
    bench.service.displaced({1: bench.lu}, [1, 2], {1: facts}, bench.plane_controller)
    assert bench.plane_nexus.aside == {0: True}
    assert bench.unit.recalls == [True]
    assert bench.lu.block_bytes == facts.block_bytes
    await bench.controller.release()
    assert not bench.controller.waiting
    assert task.sense == (0xB, 0x00, 0x00)
    bench.controller.held = False
    changed(bench, flbas=1)
    await bench.drained()
    assert (await bench.run(TUR)).sense == (6, 0x2A, 0x09)
    assert (await bench.run(row("READ (10)").build(transfer_length=1))).status == Status.GOOD


@told
async def test_after_a_reset_nothing_goes_on_at_another_namespace(bench: Bench) -> None:
    other = replace(bench.lu.facts, nguid=b"\x99" * 16)
    for facts in ({1: other}, {}):
        bench.service.displaced({1: bench.lu}, [1], facts, bench.plane_controller)
        assert bench.plane_nexus.aside == {0: True}
        assert (await bench.run(*write())).sense == (5, 0x25, 0x00)
    assert bench.unit.recalls == [True] * 2
    assert not bench.controller.model.executed


@told
async def test_what_comes_back_as_other_blocks_is_not_ready_before_it_is_followed(
    bench: Bench,
) -> None:
    """Front ends may have to map their memory anew."""
    bench.lu.fail()
    facts = {1: changed(bench, flbas=1)}
    bench.service.displaced({1: bench.lu}, [1], facts, bench.plane_controller)
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(TUR)).sense == (5, 0x25, 0x00)
    following = await tell(bench, facts, 1, returned=True)
    assert bench.lu.readiness is Readiness.READY
    await bench.drained()
    await following
