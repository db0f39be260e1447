"""The task service between a fake data plane and a model of a controller."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsi2nvme import service
from scsi2nvme.dataplane import Event, EventType, Scope, UnitParameters
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_management import TaskManagement, TaskManagementResponse
from scsi2nvme.service import PlaneDataPath, TaskService, registry
from scsi2nvme.unit.counters import UNCORRECTED_ERRORS, WRITE_ERRORS
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.readiness import Readiness
from tests.model_controller import ModelController
from tests.support import make_facts, row

SIMPLE, ORDERED = 1, 2
POWER_ON = (6, 0x29, 0x00)

# The data plane, faked


@dataclass(eq=False)
class FakeTask:
    """A task in Python's hands, and how it ended."""

    cdb: bytes
    nexus_cookie: int
    lun: bytes = bytes(8)
    attribute: int = SIMPLE
    data: bytes = b""
    expected: int = 0
    aborted: bool = False
    ended: tuple[int, bytes, bytes] | None = None

    def data_out(self) -> bytes:
        return self.data

    def end(self, status: int, sense: bytes = b"", data_in: bytes = b"") -> None:
        assert self.ended is None, "a task ends once"
        self.ended = status, sense, data_in

    @property
    def status(self) -> int:
        assert self.ended is not None, "the task is still under way"
        return self.ended[0]

    @property
    def sense(self) -> tuple[int, int, int]:
        assert self.ended is not None
        data = self.ended[1]
        descriptor = data[0] & 0x7F >= 0x72
        return (data[1], data[2], data[3]) if descriptor else (data[2] & 0xF, data[12], data[13])


class FakePlane:
    """Collects what it is asked; `emit` makes an event."""

    def __init__(self) -> None:
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.queue: deque[Event] = deque()
        self.aborts: list[dict[str, Any]] = []

    def close(self) -> None:
        os.close(self.event_fd)

    def emit(self, type: EventType, **values: Any) -> None:
        blank: dict[str, Any] = {
            "count": 0,
            "cookie": 0,
            "task": None,
            "nvme_opcode": 0,
            "dnr": False,
            "status": 0,
            "qid": 0,
            "cid": 0,
            "lba": 0,
            "bhs": bytes(48),
            "data": b"",
        }
        self.queue.append(Event(type, **{**blank, **values}))
        os.eventfd_write(self.event_fd, 1)

    def events(self) -> Iterator[Event]:
        try:
            os.eventfd_read(self.event_fd)
        except BlockingIOError:
            return  # there is nothing
        while self.queue:
            yield self.queue.popleft()

    def abort(self, scope: Scope, nexus: Any, lu: Any, token: int, **options: Any) -> None:
        self.aborts.append({"scope": scope, "nexus": nexus, "lu": lu, "token": token, **options})


@dataclass(eq=False)
class FakeController:
    plane: FakePlane
    cookie: int
    pauses: list[int] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def pause(self, token: int) -> None:
        self.pauses.append(token)

    def resume(self) -> None:
        self.calls.append("resume")

    def fail(self, status: int) -> None:
        self.calls.append(status)


@dataclass(eq=False)
class FakeUnit:
    controller: FakeController
    parameters: UnitParameters
    aside: bool = True
    drains: list[int] = field(default_factory=list)
    drained: bool = False
    updates: list[UnitParameters] = field(default_factory=list)
    closed: bool = False

    def update(self, parameters: UnitParameters) -> None:
        assert self.aside, "changed while the hot path uses it"
        assert self.drained, "changed while hot tasks may be under way"
        self.updates.append(parameters)
        self.parameters = parameters

    def set_aside(self, aside: bool) -> None:
        self.aside = aside
        self.drained = self.drained and aside

    def drain(self, token: int) -> None:
        self.aside = True
        self.drains.append(token)

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class FakeNexus:
    plane: FakePlane
    cookie: int
    units: dict[int, FakeUnit] = field(default_factory=dict)
    aside: dict[int, bool] = field(default_factory=dict)
    closed: bool = False

    def map(self, lun: int, unit: FakeUnit) -> None:
        self.units[lun], self.aside[lun] = unit, True

    def set_aside(self, lun: int, aside: bool) -> None:
        assert not self.closed
        self.aside[lun] = aside

    def close(self) -> None:
        self.closed = True


class Controller:
    """Executes on the model, each group of commands when it is let; counts who is inside."""

    def __init__(self, facts: NamespaceFacts) -> None:
        self.model = ModelController(facts)
        self.held = False
        self.waiting: deque[tuple[tuple[NvmeCommand, ...], asyncio.Future[None]]] = deque()
        self.broken: Exception | None = None

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        if self.broken is not None:
            raise self.broken
        if self.held:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append((commands, turn))
            await turn
        return self.model.execute(*commands)

    async def release(self) -> None:
        """Let the command go on that has waited longest."""
        _, turn = self.waiting.popleft()
        turn.set_result(None)
        await settle()

    @property
    def opcodes(self) -> list[int]:
        """What waits now, by the opcode of each group's first command."""
        return [commands[0].opcode for commands, _ in self.waiting]


async def settle() -> None:
    """Let everything run that can; nothing here waits for anything but the loop."""
    for _ in range(12):
        await asyncio.sleep(0)


class Bench:
    """A service with one logical unit and two nexuses."""

    def __init__(self, **options: Any) -> None:
        self.plane = FakePlane()
        self.service = TaskService(self.plane)  # type: ignore[arg-type]
        self.lu = LogicalUnit(make_facts(**options))
        self.controller = Controller(self.lu.facts)
        self.overdue: list[tuple[int, int]] = []
        _, controller = self.service.add_controller(self._overdue, self._overdue)
        self.plane_controller: Any = controller
        self.service.add_unit(self.lu, self.controller, controller)
        self.unit: Any = self.service._registry.units[self.lu].plane_unit
        self.nexus, self.plane_nexus = self.open("a")
        self.tasks: list[FakeTask] = []

    async def _overdue(self, qid: int, cid: int) -> None:
        self.overdue.append((qid, cid))

    def open(self, name: str) -> tuple[Nexus, Any]:
        nexus = Nexus(
            PortName(f"iqn.2004-01.test:{name}", name.encode().rjust(6, b"\0")),
            PortName("iqn.2004-01.test:target"),
        )
        nexus.luns[0] = self.lu
        return nexus, self.service.open_nexus(nexus)

    def ready(self, *nexuses: Nexus) -> None:
        """Take the unit attentions of new nexuses."""
        for nexus in nexuses or (self.nexus,):
            self.lu.take_attention(nexus)

    def submit(
        self, cdb: bytes, data: bytes = b"", *, plane_nexus: Any = None, **values: Any
    ) -> FakeTask:
        """Hand a task over, as a reactor does."""
        cookie = (plane_nexus or self.plane_nexus).cookie
        task = FakeTask(cdb, cookie, data=data, expected=len(data), **values)
        self.tasks.append(task)
        self.plane.emit(EventType.TASK, task=task)
        return task

    async def run(self, cdb: bytes, data: bytes = b"", **values: Any) -> FakeTask:
        """Hand a task over, and wait until nothing goes on by itself."""
        task = self.submit(cdb, data, **values)
        await settle()
        return task

    def take_drain(self) -> int:
        """Return the token of the drain that is asked for; all hot tasks have ended."""
        assert self.unit.aside
        self.unit.drained = True
        token: int = self.unit.drains.pop(0)
        return token

    async def drained(self) -> None:
        """Report the drain that is asked for."""
        self.plane.emit(EventType.DRAINED, cookie=self.take_drain())
        await settle()

    async def aborted(self, found: int = 0) -> dict[str, Any]:
        """Report the abort that is asked for as done, and return what it was."""
        order = self.plane.aborts.pop(0)
        self.plane.emit(EventType.DRAINED, cookie=order["token"], count=found)
        await settle()
        return order

    async def stop(self) -> None:
        await settle()
        await asyncio.wait_for(self.service.stop(), 5)
        self.service.close()
        self.plane.close()


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PlaneController", FakeController)
    monkeypatch.setattr(registry, "PlaneUnit", FakeUnit)
    monkeypatch.setattr(registry, "PlaneNexus", FakeNexus)


Story = Callable[[Bench], Awaitable[None]]


def played(story: Story, **options: Any) -> None:
    async def work() -> None:
        bench = Bench(**options)
        bench.service.start()
        await story(bench)
        await bench.stop()

    asyncio.run(work())


def told(story: Story) -> Callable[[], None]:
    """Make a test of a coroutine that gets a bench whose first nexus is ready."""

    @wraps(story)
    def test() -> None:
        async def begin(bench: Bench) -> None:
            bench.ready()
            await story(bench)

        played(begin)

    del test.__wrapped__
    return test


TUR = row("TEST UNIT READY").build()
FORMAT_IMMED = row("FORMAT UNIT").build(fmtdata=1), bytes([0, 0x82, 0, 0])


def write(lba: int = 0, blocks: int = 1) -> tuple[bytes, bytes]:
    cdb = row("WRITE (10)").build(lba=lba, transfer_length=blocks)
    return cdb, b"\xa5" * 512 * blocks


def compare_and_write(lba: int = 0) -> tuple[bytes, bytes]:
    cdb = row("COMPARE AND WRITE").build(lba=lba, number_of_blocks=1)
    return cdb, bytes(512) + b"\x5a" * 512


def reserve_out(action: str, key: int, new: int = 0, **fields: int) -> tuple[bytes, bytes]:
    command = row(f"PERSISTENT RESERVE OUT, {action}")
    data = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes(8)
    return command.build(parameter_list_length=24, **fields), data


# Commands


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


# Step-aside flags


@told
async def test_flags_follow_the_state(bench: Bench) -> None:
    other, plane_other = bench.open("b")
    bench.ready(other)
    flags = bench.plane_nexus.aside, plane_other.aside
    assert flags == ({0: False}, {0: False})
    bench.lu.attend(CAPACITY_DATA_HAS_CHANGED, but=bench.nexus)
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
    assert bench.unit.aside
    await bench.drained()
    assert task.status == Status.GOOD
    assert not bench.unit.aside
    assert bench.controller.model.blocks(0) == b"\x5a" * 512


@told
async def test_a_stop_flushes_what_was_under_way(bench: Bench) -> None:
    await bench.run(row("START STOP UNIT").build())
    assert bench.controller.model.executed == []
    await bench.drained()
    assert bench.controller.model.opcodes()[0] == Opcode.FLUSH
    assert bench.lu.readiness is Readiness.STOPPED


@told
async def test_an_ordered_task_is_alone(bench: Bench) -> None:
    task = await bench.run(*write(), attribute=ORDERED)
    assert bench.unit.drains
    await bench.drained()
    assert task.status == Status.GOOD
    assert not bench.unit.aside


@told
async def test_what_is_under_way_holds_an_exclusive_command_back(bench: Bench) -> None:
    bench.controller.held = True
    first = await bench.run(*write())
    exclusive = await bench.run(*compare_and_write(lba=16))
    later = await bench.run(*write(lba=8))
    assert bench.unit.drains == []
    assert bench.controller.opcodes == [Opcode.WRITE]
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
async def test_a_command_that_fails_alone_leaves_the_hot_path_on(bench: Bench) -> None:
    bench.controller.broken = RuntimeError("a bug")
    task = await bench.run(*compare_and_write())
    await bench.drained()
    assert task.sense == (4, 0x44, 0)
    assert not bench.unit.aside


@told
async def test_who_waits_and_is_aborted_does_nothing(bench: Bench) -> None:
    bench.controller.held = True
    first = await bench.run(*compare_and_write())
    waits = await bench.run(*write(lba=8))
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


# Changes of the namespace


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


async def tell(
    bench: Bench, facts: dict[int, NamespaceFacts], *nsids: int, returned: bool = False
) -> asyncio.Task[None]:
    event = Changed(frozenset(nsids), returned)
    work = bench.service.controller_event({1: bench.lu}, event, facts)
    task = asyncio.get_running_loop().create_task(work)
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
    await (await tell(bench, {1: changed(bench, nsattr=1)}, 1))
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(*write())).sense[0] == 7


@told
async def test_a_namespace_that_goes_and_comes_back(bench: Bench) -> None:
    facts = bench.lu.facts
    await (await tell(bench, {}, 1))
    assert bench.plane_nexus.aside == {0: True}
    assert (await bench.run(TUR)).sense == (6, 0x3F, 0x0E)
    assert (await bench.run(TUR)).sense == (4, 0x44, 0x00)
    await (await tell(bench, {1: facts}, 1))
    assert (await bench.run(TUR)).status == Status.GOOD
    assert bench.plane_nexus.aside == {0: False}


@told
async def test_a_new_namespace_is_told_to_all(bench: Bench) -> None:
    await (await tell(bench, {1: bench.lu.facts, 2: make_facts(nsid=2)}, 2))
    assert (await bench.run(TUR)).sense == (6, 0x3F, 0x0E)


@told
async def test_an_event_without_namespaces_changes_nothing(bench: Bench) -> None:
    await (await tell(bench, {1: bench.lu.facts}))
    assert (await bench.run(TUR)).status == Status.GOOD


@told
async def test_a_lost_controller_fails_its_logical_units(bench: Bench) -> None:
    path = PlaneDataPath(bench.service, bench.plane_controller)
    path.fail(0x370)
    assert bench.plane_controller.calls == [0x370]
    assert (await bench.run(TUR)).sense == (4, 0x44, 0x00)
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


# What the hot path could not do


async def failed(bench: Bench, cdb: bytes, data: bytes = b"", **values: Any) -> FakeTask:
    task = FakeTask(cdb, bench.plane_nexus.cookie, data=data, expected=len(data))
    bench.plane.emit(EventType.TASK_FAILED, task=task, **values)
    await settle()
    return task


@told
async def test_a_failed_hot_command_is_told_and_counted(bench: Bench) -> None:
    task = await failed(
        bench, *write(5), nvme_opcode=Opcode.WRITE, status=StatusCode.WRITE_FAULT, dnr=True, lba=5
    )
    assert task.ended is not None
    assert task.sense == (3, 0x03, 0x00)
    assert task.ended[1][3:7] == bytes([0, 0, 0, 5])
    assert bench.lu.counters.value(WRITE_ERRORS, UNCORRECTED_ERRORS) == 1
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
async def test_a_task_that_its_front_end_refuses(bench: Bench) -> None:
    task = FakeTask(TUR, bench.plane_nexus.cookie)
    bench.plane.emit(EventType.TASK_REFUSED, task=task, count=0x0B4B03)
    await settle()
    assert task.sense == (0xB, 0x4B, 0x03)


@told
async def test_overdue_commands_go_to_their_controller(bench: Bench) -> None:
    bench.plane.emit(EventType.OVERDUE, cookie=bench.plane_controller.cookie, qid=2, cid=7)
    bench.plane.emit(EventType.OVERDUE, cookie=999, qid=3, cid=8)
    await settle()
    assert bench.overdue == [(2, 7)]


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


# Task management and the end of nexuses


async def manage(
    bench: Bench, function: TaskManagement, *, lun: int | None = 0, itt: int = 5
) -> asyncio.Task[TaskManagementResponse]:
    work = bench.service.task_management(function, bench.nexus, bench.plane_nexus, lun, itt)
    task = asyncio.get_running_loop().create_task(work)
    await settle()
    return task


ANSWER = TaskManagementResponse


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
    assert (await bench.aborted())["scope"] is Scope.LU
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert bench.lu.reservations.reserved_by is None
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x03)


@told
async def test_a_nexus_reset(bench: Bench) -> None:
    managing = await manage(bench, TaskManagement.I_T_NEXUS_RESET, lun=None)
    assert (await bench.aborted())["scope"] is Scope.NEXUS
    assert await managing == ANSWER.FUNCTION_COMPLETE
    assert (await bench.run(TUR)).sense == (6, 0x29, 0x07)


@told
async def test_functions_for_no_logical_unit(bench: Bench) -> None:
    managing = await manage(bench, TaskManagement.ABORT_TASK_SET, lun=9)
    assert await managing == ANSWER.INCORRECT_LOGICAL_UNIT_NUMBER


@told
async def test_query_asynchronous_event(bench: Bench) -> None:
    function = TaskManagement.QUERY_ASYNCHRONOUS_EVENT
    assert await (await manage(bench, function)) == ANSWER.FUNCTION_COMPLETE
    bench.lu.attend(CAPACITY_DATA_HAS_CHANGED)
    assert await (await manage(bench, function)) == ANSWER.FUNCTION_SUCCEEDED


@pytest.mark.parametrize("tas", [True, False])
def test_clear_task_set(tas: bool) -> None:
    async def story(bench: Bench) -> None:
        other, plane_other = bench.open("b")
        idle, _ = bench.open("c")
        bench.ready(bench.nexus, other, idle)
        bench.lu.mode.change(CONTROL, CONTROL.layout.build(tas=int(tas)))
        managing = await manage(bench, TaskManagement.CLEAR_TASK_SET)
        own = await bench.aborted(1)
        assert (own["nexus"], own["task_aborted_status"]) == (bench.plane_nexus, False)
        theirs = await bench.aborted(2)
        assert (theirs["nexus"], theirs["task_aborted_status"]) == (plane_other, tas)
        await bench.aborted(0)
        assert await managing == ANSWER.FUNCTION_COMPLETE
        pending = [bench.lu.pending_attention(nexus) for nexus in (bench.nexus, other, idle)]
        codes = [sense and (sense.code.asc, sense.code.ascq) for sense in pending]
        assert codes == [None, None if tas else (0x2F, 0x00), None]

    played(story)


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
        if attribute == ORDERED:
            assert preempting.ended is None
            await bench.controller.release()  # it waits for what is under way
            await bench.drained()
        assert preempting.ended is None
        order = bench.plane.aborts[0]
        assert (order["scope"], order["nexus"]) == (Scope.NEXUS_LU, plane_other)
        assert order["task_aborted_status"] is tas
        if attribute == SIMPLE:
            assert late.ended is None
            await bench.controller.release()
        assert late.ended is not None
        assert preempting.ended is None
        await bench.aborted(1)
        assert preempting.status == Status.GOOD

    played(story)


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
        bench.lu.attend(CAPACITY_DATA_HAS_CHANGED)  # no flag of a closed nexus is touched
        assert (await bench.run(TUR)).status == Status.BUSY  # nobody listens
        _, again = bench.open("a")
        task = await bench.run(TUR, plane_nexus=again)
        assert task.sense == ((6, 0x29, 0x07) if lost else (6, 0x2A, 0x09))

    played(story)


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


# Any order of things

STEPS = ("write", "exclusive", "ordered", "inquiry", "complete", "drain", "abort")


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
                assert bench.unit.aside
                assert bench.unit.drained
        while bench.controller.waiting or bench.unit.drains:
            await take(bench, "drain" if bench.unit.drains else "complete")
        assert all(task.ended is not None for task in bench.tasks)
        assert not bench.unit.aside
        good = [task for task in bench.tasks if not task.aborted]
        assert {task.status for task in good} <= {Status.GOOD, Status.CHECK_CONDITION}

    played(story)


async def take(bench: Bench, step: str) -> None:
    match step:
        case "write":
            await bench.run(*write())
        case "exclusive":
            await bench.run(*compare_and_write())
        case "ordered":
            await bench.run(*write(lba=9), attribute=ORDERED)
        case "inquiry":
            task = await bench.run(row("INQUIRY").build(allocation_length=36))
            assert task.status == Status.GOOD
        case "complete" if bench.controller.waiting:
            await bench.controller.release()
        case "drain" if bench.unit.drains:
            await bench.drained()
        case "abort" if waiting := [task for task in bench.tasks if task.ended is None]:
            waiting[-1].aborted = True
