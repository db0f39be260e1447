"""The task service: joins the engine, the data plane and the controllers.

Reactors hand over what is not hot; the service runs it through the engine and
answers. It keeps the data plane's step-aside flags in line with the logical
units' state. Everything happens in the asyncio loop's thread.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from scsi2nvme import commands, engine
from scsi2nvme.background import Background
from scsi2nvme.command import Command
from scsi2nvme.dataplane import (
    Event,
    EventType,
    Plane,
    PlaneController,
    PlaneNexus,
    PlaneTask,
    PlaneUnit,
    Scope,
    UnitParameters,
)
from scsi2nvme.executor import NvmeExecutor, play
from scsi2nvme.gate import Gate
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.status import is_retryable
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.result import Result, Translation, check_condition
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    CAPACITY_DATA_HAS_CHANGED,
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
    I_T_NEXUS_LOSS_OCCURRED,
    INTERNAL_TARGET_FAILURE,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    REPORTED_LUNS_DATA_HAS_CHANGED,
    Sense,
    SenseCode,
    SenseKey,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_management import (
    TaskManagement,
    TaskManagementResponse,
    asynchronous_event,
)
from scsi2nvme.status_map import result_of_status
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness

_ORDERED = 2  # task attribute, RFC 7143 11.3.1.1

_BUSY = Result(Status.BUSY)


Late = Callable[[int, int], Coroutine[Any, Any, None]]
"""Takes care of a command that does not end: queue pair and command identifier."""


def unit_parameters(lu: LogicalUnit) -> UnitParameters:
    """Return what the hot path must know of a logical unit."""
    return UnitParameters(
        nsid=lu.nsid,
        block_bytes=lu.block_bytes,
        blocks=lu.capacity_blocks,
        maximum_blocks=lu.nvme_maximum_blocks,
        boundary_blocks=lu.optimal_boundary_blocks,
        volatile_cache=lu.volatile_write_cache,
    )


@dataclass(eq=False)
class _OpenNexus:
    nexus: Nexus
    plane_nexus: PlaneNexus


@dataclass(eq=False)
class _Unit:
    """A logical unit with its place in the data plane.

    `parameters` are what the hot path knows; `paths` lists by which nexus and
    LUN the logical unit is reached.
    """

    lu: LogicalUnit
    executor: NvmeExecutor
    controller: PlaneController
    plane_unit: PlaneUnit
    parameters: UnitParameters
    gate: Gate = field(default_factory=Gate)
    paths: list[tuple[_OpenNexus, int]] = field(default_factory=list)
    preempting: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def stale(self) -> bool:
        """Whether the hot path does not know yet what the logical unit has become."""
        return unit_parameters(self.lu) != self.parameters

    def publish(self) -> None:
        """Bring the step-aside flags of every path in line with the logical unit's state."""
        stale = self.stale
        for opened, lun in self.paths:
            aside = stale or self.lu.aside(opened.nexus)
            opened.plane_nexus.set_aside(lun, aside)


class ControllerEvent(Protocol):
    """What is used of a driver's event."""

    @property
    def namespaces(self) -> frozenset[int]:
        """The NSIDs that came, went or changed."""

    @property
    def returned(self) -> bool:
        """Whether the controller was lost, and is there again."""


class _NoController:
    """Executes nothing: for commands that are addressed to no logical unit."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        raise AssertionError(f"{commands[0].name} without a logical unit")


class TaskService:
    """Runs SCSI tasks and task management for every front end."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._units: dict[LogicalUnit, _Unit] = {}
        self._nexuses: dict[int, _OpenNexus] = {}
        self._handlers: dict[int, Callable[[Event], None]] = {}
        self._late: dict[tuple[EventType, int], Late] = {}
        self._drains: dict[int, asyncio.Future[int]] = {}
        self._numbers = itertools.count(1)
        self._background = Background()

    @property
    def plane(self) -> Plane:
        """The data plane."""
        return self._plane

    def start(self) -> None:
        """Begin to serve the reactors' events in the running loop."""
        asyncio.get_running_loop().add_reader(self._plane.event_fd, self._take_events)

    async def stop(self) -> None:
        """Wait for what is running; the front ends have closed their nexuses."""
        await self._background.wait()
        asyncio.get_running_loop().remove_reader(self._plane.event_fd)

    # Composition

    def add_controller(self, overdue: Late, abort: Late) -> tuple[int, PlaneController]:
        """Register a controller.

        `overdue` is called for late commands, `abort` for those that nobody waits for any more.
        """
        cookie = next(self._numbers)
        self._late[EventType.OVERDUE, cookie] = overdue
        self._late[EventType.ABORT, cookie] = abort
        return cookie, PlaneController(self._plane, cookie)

    def add_unit(
        self, lu: LogicalUnit, executor: NvmeExecutor, controller: PlaneController
    ) -> None:
        """Serve a logical unit from now on."""
        parameters = unit_parameters(lu)
        plane_unit = PlaneUnit(controller, parameters)
        unit = _Unit(lu, executor, controller, plane_unit, parameters)
        self._units[lu] = unit
        lu.on_change = unit.publish
        lu.reservations.abort_tasks = lambda keys: self._abort_preempted(unit, keys)
        unit.plane_unit.set_aside(False)

    def close(self) -> None:
        """Free the logical units; after `stop`, with the reactors stopped."""
        for unit in self._units.values():
            unit.plane_unit.close()
        self._units.clear()

    async def drained(self, start: Callable[[int], None]) -> int:
        """Call `start` with a token and wait for its DRAINED; returns the count."""
        token = next(self._numbers)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._drains[token] = future
        start(token)
        return await future

    # Nexuses

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs."""
        cookie = next(self._numbers)
        plane_nexus = PlaneNexus(self._plane, cookie)
        opened = self._nexuses[cookie] = _OpenNexus(nexus, plane_nexus)
        for lun, lu in nexus.luns.items():
            plane_nexus.map(lun, self._units[lu].plane_unit)
            self._units[lu].paths.append((opened, lun))
        for lu in set(nexus.luns.values()):
            lu.attach(nexus)
        return plane_nexus

    async def close_nexus(self, nexus: Nexus, plane_nexus: PlaneNexus, *, lost: bool) -> None:
        """End a nexus whose session is gone: abort what it left, detach, free."""
        await self._abort(Scope.NEXUS, plane_nexus, None)
        for lu in set(nexus.luns.values()):
            paths = self._units[lu].paths
            paths[:] = [path for path in paths if path[0].plane_nexus is not plane_nexus]
            lu.detach(nexus, I_T_NEXUS_LOSS_OCCURRED if lost else None)
        for cookie, opened in list(self._nexuses.items()):
            if opened.plane_nexus is plane_nexus:
                del self._nexuses[cookie]
        plane_nexus.close()

    def cookie(self, handler: Callable[[Event], None]) -> int:
        """Register who gets the PDU, PAGES and CONN_CLOSED events of one connection."""
        number = next(self._numbers)
        self._handlers[number] = handler
        return number

    def release(self, cookie: int) -> None:
        """Forget a handler."""
        self._handlers.pop(cookie, None)

    # Events

    def _take_events(self) -> None:
        for event in self._plane.events():
            match event.type:
                case EventType.TASK:
                    self._background.spawn(self._run(_task(event)))
                case EventType.TASK_FAILED:
                    self._background.spawn(self._failed(event))
                case EventType.TASK_REFUSED:
                    self._refuse(event)
                case EventType.DRAINED:
                    future = self._drains.pop(event.cookie, None)
                    if future is not None and not future.done():
                        future.set_result(event.count)
                case EventType.OVERDUE | EventType.ABORT:
                    late = self._late.get((event.type, event.cookie))
                    if late is not None:
                        self._background.spawn(late(event.qid, event.cid))
                case EventType.PDU | EventType.CONN_CLOSED | EventType.PAGES:
                    handler = self._handlers.get(event.cookie)
                    if handler is not None:
                        handler(event)

    def _nexus_of(self, task: PlaneTask) -> Nexus | None:
        opened = self._nexuses.get(task.nexus_cookie)
        return opened.nexus if opened is not None else None

    # Tasks

    async def _run(self, task: PlaneTask) -> None:
        nexus = self._nexus_of(task)
        if nexus is None or task.aborted:
            task.end(Status.BUSY)
            return
        lun = lun_of(task.lun)
        lu = nexus.luns.get(lun) if lun is not None else None
        command = commands.find(task.cdb)
        unit = self._units[lu] if lu is not None else None
        translation = engine.run(nexus, lun, task.cdb, task.data_out(), task.expected)
        try:
            if unit is None:
                result = await play(translation, _NoController())
            else:
                result = await self._run_on(unit, command, task, translation)
                await self._preempted(unit)
        except BaseException:
            # A bug: the initiator gets an answer, the log gets the traceback.
            self._end(task, lu, check_condition(Sense(INTERNAL_TARGET_FAILURE)))
            raise
        self._end(task, lu, result)
        if unit is not None and result.background is not None:
            try:
                await self._play(unit, result.background)
            finally:
                await self._refresh(unit)

    async def _run_on(
        self, unit: _Unit, command: Command | None, task: PlaneTask, translation: Translation
    ) -> Result:
        """Run a command on a logical unit, alone where it must be."""
        exclusive = command is not None and command.exclusive
        alone = task.attribute == _ORDERED or exclusive
        # What the engine answers at once must not wait behind a long format.
        waits = command is not None and command.needs_ready
        refused = (waits and unit.lu.readiness is not Readiness.READY) or (
            exclusive and unit.lu.readiness is Readiness.FORMATTING
        )
        if refused or not (alone or waits):
            return await self._play(unit, translation)
        async with unit.gate.enter(alone=alone):
            if task.aborted:
                return _BUSY  # nobody waits for it any more
            if not alone:
                return await self._play(unit, translation)
            await self.drained(unit.plane_unit.drain)
            try:
                return await self._play(unit, translation)
            finally:
                self._apply_parameters(unit)
                unit.plane_unit.set_aside(False)

    async def _play(self, unit: _Unit, translation: Translation) -> Result:
        def report(fraction: int) -> None:
            unit.lu.progress = fraction

        return await play(translation, unit.executor, report)

    def _apply_parameters(self, unit: _Unit) -> None:
        """Tell the hot path of a change of the namespace, while drained."""
        if unit.stale:
            unit.parameters = unit_parameters(unit.lu)
            unit.plane_unit.update(unit.parameters)
            unit.publish()

    async def _refresh(self, unit: _Unit) -> None:
        """Drain and apply what a background operation or an event has changed."""
        if not unit.stale:
            return
        unit.publish()
        async with unit.gate.enter(alone=True):
            await self.drained(unit.plane_unit.drain)
            self._apply_parameters(unit)
            unit.plane_unit.set_aside(False)

    # Controller events

    async def controller_event(
        self,
        units: Mapping[int, LogicalUnit],
        event: ControllerEvent,
        namespaces: Mapping[int, NamespaceFacts],
    ) -> None:
        """Follow what a controller tells of its namespaces.

        `units` are its logical units by NSID, `namespaces` what it says now.
        Health needs nothing here: warnings are told on request (MRIE 6h), from
        the SMART log. Spec: SPC-4 7.5.11; SBC-3 4.5 (capacity), SAM-5 4.6.4.
        """
        if any((nsid in units) != (nsid in namespaces) for nsid in event.namespaces):
            for lu in units.values():
                lu.attend(REPORTED_LUNS_DATA_HAS_CHANGED)
        if event.returned:  # its power may have been off
            for lu in units.values():
                lu.attend(POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
        for nsid in sorted(event.namespaces & units.keys()):
            await self._follow(units[nsid], namespaces.get(nsid))

    async def _follow(self, lu: LogicalUnit, facts: NamespaceFacts | None) -> None:
        """Bring a logical unit in line with its namespace; without facts it is gone."""
        if facts is None:
            _fail(lu)
            return
        before = (lu.capacity_blocks, lu.block_bytes)
        lu.facts = facts
        if lu.readiness is Readiness.FAILED:
            lu.readiness = Readiness.READY
        if (lu.capacity_blocks, lu.block_bytes) != before:
            lu.attend(CAPACITY_DATA_HAS_CHANGED)
        lu.on_change()
        await self._refresh(self._units[lu])

    async def limit(self, lu: LogicalUnit, size: int | None) -> None:
        """Make the first `size` bytes of a namespace the logical unit, None: all of it."""
        before = lu.capacity_blocks
        lu.limit = size
        if lu.capacity_blocks != before:
            lu.attend(CAPACITY_DATA_HAS_CHANGED)
            await self._refresh(self._units[lu])

    def controller_lost(self, controller: PlaneController) -> None:
        """A controller is gone for good, and with it its logical units."""
        for unit in self._units.values():
            if unit.controller is controller:
                _fail(unit.lu)

    async def _failed(self, event: Event) -> None:
        """End a hot task whose NVMe command failed, or try it again with the engine."""
        task = _task(event)
        if is_retryable(event.status) and not event.dnr:
            await self._run(task)
            return
        nexus = self._nexus_of(task)
        lun = lun_of(task.lun)
        lu = nexus.luns.get(lun) if nexus is not None and lun is not None else None
        if lu is not None:
            lu.counters.record(event.nvme_opcode, event.status)
        result = result_of_status(event.nvme_opcode, event.status, event.dnr, event.lba)
        self._end(task, lu, result)

    def _refuse(self, event: Event) -> None:
        """End a task that its front end found at fault."""
        task = _task(event)
        nexus = self._nexus_of(task)
        lun = lun_of(task.lun)
        lu = nexus.luns.get(lun) if nexus is not None and lun is not None else None
        key, asc, ascq = event.count >> 16 & 0xF, event.count >> 8 & 0xFF, event.count & 0xFF
        code = SenseCode(SenseKey(key), asc, ascq, "TRANSPORT ERROR")
        self._end(task, lu, check_condition(Sense(code)))

    def _end(self, task: PlaneTask, lu: LogicalUnit | None, result: Result) -> None:
        sense = b""
        if result.sense is not None:
            sense = result.sense.data(lu is not None and lu.mode.descriptor_sense)
        task.end(result.status, sense, result.data_in)

    # Task management

    async def _abort(
        self,
        scope: Scope,
        plane_nexus: PlaneNexus | None,
        unit: _Unit | None,
        *,
        itt: int = 0,
        query: bool = False,
        task_aborted_status: bool = False,
    ) -> int:
        plane_unit = unit.plane_unit if unit is not None else None

        def start(token: int) -> None:
            self._plane.abort(
                scope,
                plane_nexus,
                plane_unit,
                token,
                itt=itt,
                query=query,
                task_aborted_status=task_aborted_status,
            )

        return await self.drained(start)

    def _abort_preempted(self, unit: _Unit, keys: list[str]) -> None:
        """PREEMPT AND ABORT: abort the tasks of the nexuses that lost their registration."""
        for opened in self._nexuses.values():
            if opened.nexus.key in keys:
                unit.preempting.append(self._background.spawn(self._abort_of(opened, unit)))

    async def _preempted(self, unit: _Unit) -> None:
        """Wait for those aborts: afterwards no preempted write reaches the medium.

        Outside the gate, where the tasks may wait that are to end.
        Spec: SPC-4 5.13.11.2.5.
        """
        aborts, unit.preempting = unit.preempting, []
        if aborts:
            await asyncio.wait(aborts)

    async def _abort_of(self, opened: _OpenNexus, unit: _Unit) -> None:
        """Abort what another nexus has under way; TAS says how it learns of that.

        Spec: SAM-5 5.3.1 (TASK ABORTED), SPC-4 7.5.8 (TAS).
        """
        told = unit.lu.mode.task_aborted_status
        found = await self._abort(
            Scope.NEXUS_LU, opened.plane_nexus, unit, task_aborted_status=told
        )
        if found and not told:
            unit.lu.attend(COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, only=opened.nexus.key)

    async def task_management(
        self,
        function: TaskManagement,
        nexus: Nexus,
        plane_nexus: PlaneNexus,
        lun: int | None,
        itt: int,
    ) -> TaskManagementResponse:
        """Run one function to its end. Spec: SAM-5 7."""
        answer = TaskManagementResponse
        if function is TaskManagement.I_T_NEXUS_RESET:
            await self._abort(Scope.NEXUS, plane_nexus, None)
            for lu in set(nexus.luns.values()):
                lu.release(nexus)
                lu.attend(I_T_NEXUS_LOSS_OCCURRED, only=nexus.key)
            return answer.FUNCTION_COMPLETE
        lu_or_none = nexus.luns.get(lun) if lun is not None else None
        if lu_or_none is None:
            return answer.INCORRECT_LOGICAL_UNIT_NUMBER
        lu, unit = lu_or_none, self._units[lu_or_none]
        match function:
            case TaskManagement.ABORT_TASK:
                found = await self._abort(Scope.TASK, plane_nexus, unit, itt=itt)
                return answer.FUNCTION_COMPLETE if found else answer.TASK_DOES_NOT_EXIST
            case TaskManagement.ABORT_TASK_SET:
                await self._abort(Scope.NEXUS_LU, plane_nexus, unit)
            case TaskManagement.CLEAR_TASK_SET:
                await self._clear(nexus, plane_nexus, unit)
            case TaskManagement.LOGICAL_UNIT_RESET:
                await self._abort(Scope.LU, plane_nexus, unit)
                lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
            case TaskManagement.QUERY_TASK:
                found = await self._abort(Scope.TASK, plane_nexus, unit, itt=itt, query=True)
                return answer.FUNCTION_SUCCEEDED if found else answer.FUNCTION_COMPLETE
            case TaskManagement.QUERY_TASK_SET:
                found = await self._abort(Scope.NEXUS_LU, plane_nexus, unit, query=True)
                return answer.FUNCTION_SUCCEEDED if found else answer.FUNCTION_COMPLETE
            case TaskManagement.QUERY_ASYNCHRONOUS_EVENT:
                pending = any(asynchronous_event(lu.unit_attentions.get(nexus.key, ())))
                return answer.FUNCTION_SUCCEEDED if pending else answer.FUNCTION_COMPLETE
        return answer.FUNCTION_COMPLETE

    async def _clear(self, nexus: Nexus, plane_nexus: PlaneNexus, unit: _Unit) -> None:
        """Abort everyone's tasks. Spec: SAM-5 7.5."""
        others = [opened for opened, _ in unit.paths if opened.nexus is not nexus]
        await self._abort(Scope.NEXUS_LU, plane_nexus, unit)
        for opened in dict.fromkeys(others):
            await self._abort_of(opened, unit)


def _fail(lu: LogicalUnit) -> None:
    lu.readiness = Readiness.FAILED
    lu.on_change()


def _task(event: Event) -> PlaneTask:
    assert event.task is not None, f"{event.type.name} without a task"
    return event.task


class PlaneDataPath:
    """The data plane as a controller's recovery sees it (drivers' DataPath)."""

    def __init__(self, service: TaskService, controller: PlaneController) -> None:
        self._service = service
        self._controller = controller

    async def pause(self) -> None:
        """Keep the reactors off the queues; returns when they are."""
        await self._service.drained(self._controller.pause)

    def resume(self) -> None:
        """Use the re-created queues; what was in flight is placed again."""
        self._controller.resume()

    def fail(self, status: int) -> None:
        """The controller is lost: end everything with `status`."""
        self._controller.fail(status)
        self._service.controller_lost(self._controller)
