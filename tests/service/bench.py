"""The task service between a fake data plane and a model of a controller."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from scsi2nvme.native.plane import Event, EventType, Scope
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.service import TaskService
from scsi2nvme.service.allowance import Allowance
from scsi2nvme.unit.block_device import Portion
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.statistics import Statistics
from tests.model_controller import Awaited, ModelController
from tests.support import make_facts, row

SIMPLE, ORDERED, HEAD_OF_QUEUE = 1, 2, 3
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
    portion: Portion | None = None
    announced: int | None = None
    aborted: bool = False
    misrouted: bool = False
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
        self.rounds = 0  # whose answers are given together

    def close(self) -> None:
        os.close(self.event_fd)

    def emit(self, type: EventType, **values: Any) -> None:
        blank: dict[str, Any] = {
            "count": 0,
            "cookie": 0,
            "task": None,
            "nvme_opcode": 0,
            "dnr": False,
            "more": False,
            "phase": 0,
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
        try:
            while self.queue:
                yield self.queue.popleft()
        finally:
            if self.queue:
                os.eventfd_write(self.event_fd, 1)

    @contextmanager
    def answering(self) -> Iterator[None]:
        self.rounds += 1
        yield

    def abort(self, scope: Scope, nexus: Any, lu: Any, token: int, **options: Any) -> None:
        assert nexus is None or not nexus.closed
        self.aborts.append({"scope": scope, "nexus": nexus, "lu": lu, "token": token, **options})


@dataclass(eq=False)
class FakeController:
    plane: FakePlane
    cookie: int
    paused: bool = False
    pauses: list[int] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)

    def attended(self, qid: int, cid: int) -> None:
        self.calls.append((qid, cid))

    def pause(self, token: int) -> None:
        self.pauses.append(token)

    def close(self) -> None:
        self.calls.append("close")

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
    looks: int = 0  # after what waits
    recalls: list[bool] = field(default_factory=list)  # what was placed, too
    ranges: dict[int, range] = field(default_factory=dict)  # that it keeps off, by token
    shared: dict[int, range] = field(default_factory=dict)  # with the engine, by token
    alone: list[range] = field(default_factory=list)  # that hot tasks have alone
    updates: list[UnitParameters] = field(default_factory=list)
    watched: list[range] = field(default_factory=list)  # whose changes are the engine's
    moves: list[FakeController] = field(default_factory=list)
    left: bool = False  # the engine's commands go elsewhere
    closed: bool = False

    def watch(self, blocks: Sequence[range]) -> None:
        self.watched = list(blocks)

    def statistics(self) -> Statistics:
        return Statistics()

    def update(self, parameters: UnitParameters) -> None:
        assert self.aside, "changed while the hot path uses it"
        assert self.drained, "changed while hot tasks may be under way"
        self.updates.append(parameters)
        self.parameters = parameters

    def set_descriptor_sense(self, descriptor: bool) -> None:
        self.descriptor_sense = descriptor

    def set_left(self, left: bool) -> None:
        self.left = left

    def move(self, controller: FakeController) -> None:
        assert self.aside, "moved while the hot path uses it"
        assert self.drained, "moved while hot tasks may be under way"
        self.moves.append(controller)

    def set_aside(self, aside: bool) -> None:
        self.aside = aside
        self.drained = self.drained and aside

    def look_again(self) -> None:
        assert self.aside, "looks again although nothing waits"
        self.looks += 1

    def recall(self, controller: FakeController, *, forgotten: bool) -> None:
        self.recalls.append(forgotten)

    def drain(self, token: int) -> None:
        self.aside = True
        self.drains.append(token)

    def drain_range(self, blocks: range, token: int) -> None:
        assert token not in self.ranges
        self.ranges[token] = blocks
        self.drains.append(token)

    def release_range(self, token: int) -> None:
        del self.ranges[token]

    def share(self, blocks: range, token: int) -> bool:
        self.shared[token] = blocks
        return any(max(b.start, blocks.start) < min(b.stop, blocks.stop) for b in self.alone)

    def unshare(self, token: int) -> None:
        self.shared.pop(token, None)

    def keeps_off(self, lba: int) -> bool:
        """Whether the hot path is kept off a block."""
        return self.aside or any(lba in blocks for blocks in self.ranges.values())

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class FakeNexus:
    cookie: int
    units: dict[int, FakeUnit] = field(default_factory=dict)
    aside: dict[int, bool] = field(default_factory=dict)
    closed: bool = False

    def map(self, lun: int, unit: FakeUnit) -> None:
        self.units[lun], self.aside[lun] = unit, True

    def prepare(self, controller: FakeController) -> None:
        assert not self.closed

    def set_aside(self, lun: int, aside: bool) -> None:
        assert not self.closed
        self.aside[lun] = aside

    def close(self) -> None:
        self.closed = True


class Controller(Awaited):
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

    @property
    def slbas(self) -> list[int]:
        """The same, by the first LBA of each group."""
        return [commands[0].slba for commands, _ in self.waiting]


async def settle() -> None:
    """Let everything run that can; nothing here waits for anything but the loop."""
    for _ in range(24):
        await asyncio.sleep(0)


class Bench:
    """A service with one logical unit and two nexuses."""

    def __init__(self, **options: Any) -> None:
        self.plane = FakePlane()
        self.service = TaskService(self.plane)  # type: ignore[arg-type]
        self.lu = LogicalUnit(make_facts(**options))
        self.controller = Controller(self.lu.facts)
        self.overdue: list[tuple[int, int, bool]] = []
        _, controller = self.service.add_controller(self._overdue, self._overdue)
        self.plane_controller: Any = controller
        self.service.add_unit(self.lu, self.controller, controller)
        served = self.service._registry.units[self.lu]
        served.allowance = Allowance(itertools.count().__next__)  # there is always time
        for turns in (self.service._runner._turns, self.service._runner._resumed):
            turns._clock = lambda: 0.0  # nothing takes long
        served.patience_s = 3600.0
        self.unit: Any = served.plane_unit
        self.nexus, self.plane_nexus = self.open("a")
        self.tasks: list[FakeTask] = []

    async def _overdue(self, qid: int, cid: int, again: bool) -> None:
        self.overdue.append((qid, cid, again))

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
        self.plane.emit(EventType.TASK, task=task, cookie=self.number(task))
        return task

    def number(self, task: FakeTask) -> int:
        """Return what tells a task from all others."""
        return 1 + self.tasks.index(task)

    async def abort(self, task: FakeTask) -> None:
        """Abort a task, as a reactor does that has handed it over."""
        task.aborted = True
        self.plane.emit(EventType.TASK_ABORTED, cookie=self.number(task))
        await settle()

    async def run(self, cdb: bytes, data: bytes = b"", **values: Any) -> FakeTask:
        """Hand a task over, and wait until nothing goes on by itself."""
        task = self.submit(cdb, data, **values)
        await settle()
        return task

    def take_drain(self) -> int:
        """Return the token of the drain that is asked for; all hot tasks have ended."""
        token: int = self.unit.drains.pop(0)
        assert self.unit.aside or token in self.unit.ranges
        self.unit.drained = token not in self.unit.ranges
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
