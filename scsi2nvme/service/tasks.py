"""The tasks that the hot path hands over: run through the engine, and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from scsi2nvme import engine
from scsi2nvme.background import Background
from scsi2nvme.executor import play
from scsi2nvme.native.plane import Event, EventType, PlaneTask
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.status import is_retryable
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.result import NvmeError, Result, Translation, check_condition
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE, Sense, SenseCode, SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute
from scsi2nvme.service.events import Events
from scsi2nvme.service.registry import Registry, ServedUnit
from scsi2nvme.service.task_management import TaskManager
from scsi2nvme.service.turns import Turns
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness

log = logging.getLogger(__name__)

_BUSY = Result(Status.BUSY)
_FAULTS = (SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR)


class _NoController:
    """Executes nothing: for commands that are addressed to no logical unit."""

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        raise AssertionError(f"{commands[0].name} without a logical unit")


class TaskRunner:
    """Runs cold tasks; those that may not run beside others wait for their turn."""

    def __init__(
        self, registry: Registry, events: Events, background: Background, manager: TaskManager
    ) -> None:
        self._registry = registry
        self._background = background
        self._manager = manager
        self._turns = Turns()
        events.handle(
            {
                EventType.TASK: self._in_turn(self._begin),
                EventType.TASK_FAILED: self._in_turn(self._begin_failed),
                EventType.TASK_REFUSED: self._refuse,
            }
        )

    def _in_turn(self, begin: Callable[[Event], None]) -> Callable[[Event], None]:
        """Return what has a task begun when it is its nexus's turn."""
        return lambda event: self._turns.add(_task(event).nexus_cookie, partial(begin, event))

    def _begin(self, event: Event) -> None:
        self._background.spawn(self._run(_task(event)))

    def _begin_failed(self, event: Event) -> None:
        self._background.spawn(self._failed(event))

    def _nexus_of(self, task: PlaneTask) -> Nexus | None:
        opened = self._registry.nexuses.get(task.nexus_cookie)
        return opened.nexus if opened is not None else None

    def _unit_of(self, task: PlaneTask) -> LogicalUnit | None:
        """Return the logical unit that a task is addressed to, None if there is none."""
        nexus, lun = self._nexus_of(task), lun_of(task.lun)
        return nexus.luns.get(lun) if nexus is not None and lun is not None else None

    async def _run(self, task: PlaneTask) -> None:
        nexus = self._nexus_of(task)
        if nexus is None or task.aborted:
            task.end(Status.BUSY)
            return
        request = engine.select(nexus, lun_of(task.lun), task.cdb, task.attribute)
        lu = request.unit
        unit = self._registry.units[lu] if lu is not None else None
        translation = engine.run(request, task.data_out(), task.expected, task.portion)
        try:
            if unit is None:
                result = await play(translation, _NoController())
            else:
                result = await self._run_on(unit, request, task, translation)
                await self._manager.preempted(unit)
        except BaseException:
            # A bug: the initiator gets an answer, the log gets the traceback.
            self._end(task, lu, check_condition(Sense(INTERNAL_TARGET_FAILURE)))
            raise
        _tell_fault(request, result)
        self._end(task, lu, result)
        if unit is not None and result.background is not None:
            try:
                _tell_fault(request, await self._play(unit, result.background))
            finally:
                await unit.refresh()

    async def _run_on(
        self, unit: ServedUnit, request: engine.Request, task: PlaneTask, translation: Translation
    ) -> Result:
        """Run a command on a logical unit, alone where it must be."""
        command = request.command
        exclusive = command is not None and command.exclusive
        alone = task.attribute == TaskAttribute.ORDERED or exclusive
        # What the engine answers at once must not wait behind a long format.
        waits = command is not None and command.needs_ready
        refused = (waits and unit.lu.readiness is not Readiness.READY) or (
            exclusive and unit.lu.readiness is Readiness.FORMATTING
        )
        if refused or not (alone or waits):
            return await self._play(unit, translation)
        first = task.attribute == TaskAttribute.HEAD_OF_QUEUE
        async with unit.lock.hold(exclusive=alone, party=task.nexus_cookie, first=first):
            if task.aborted:
                return _BUSY  # nobody waits for it any more
            if not alone:
                return await self._play(unit, translation)
            async with unit.drained():
                return await self._play(unit, translation)

    async def _play(self, unit: ServedUnit, translation: Translation) -> Result:
        def report(fraction: int) -> None:
            unit.lu.progress = fraction

        return await play(translation, unit.executor, report)

    async def _failed(self, event: Event) -> None:
        """End a hot task whose NVMe command failed, or try it again with the engine."""
        task = _task(event)
        if is_retryable(event.status) and not event.dnr:
            await self._run(task)
            return
        nexus, lu = self._nexus_of(task), self._unit_of(task)
        if nexus is None or lu is None:
            task.end(Status.BUSY)
            return
        request = engine.select(nexus, lun_of(task.lun), task.cdb)
        translation = engine.failed(request, _error(event, lu.nsid))
        result = await self._play(self._registry.units[lu], translation)
        _tell_fault(request, result)
        self._end(task, lu, result)

    def _refuse(self, event: Event) -> None:
        """End a task that its front end found at fault."""
        task = _task(event)
        key, asc, ascq = event.count >> 16 & 0xF, event.count >> 8 & 0xFF, event.count & 0xFF
        code = SenseCode(SenseKey(key), asc, ascq, "TRANSPORT ERROR")
        self._end(task, self._unit_of(task), check_condition(Sense(code)))

    def _end(self, task: PlaneTask, lu: LogicalUnit | None, result: Result) -> None:
        sense = b""
        if result.sense is not None:
            sense = result.sense.data(lu is not None and lu.mode.descriptor_sense)
        task.end(result.status, sense, result.data_in)


def _tell_fault(request: engine.Request, result: Result) -> None:
    """Log a command that the disk has failed: not every initiator's log is read."""
    sense, unit, command = result.sense, request.unit, request.command
    if unit is None or command is None or sense is None or sense.key not in _FAULTS:
        return
    serial = unit.facts.controller.text("sn").strip()
    block = "" if sense.information is None else f", block {sense.information}"
    log.warning(
        "disk %s, namespace %d: %s of %s: %s%s",
        *(serial, unit.nsid, command.name, request.nexus.who, sense.code, block),
    )


def _error(event: Event, nsid: int) -> NvmeError:
    """Return the failure that an event tells of: that at the lowest LBA."""
    command = NvmeCommand(
        event.nvme_opcode,
        nsid=nsid,
        cdw10=event.lba & 0xFFFFFFFF,
        cdw11=event.lba >> 32,
        cdw12=event.count - 1,
    )
    completion = Completion(
        event.status, dnr=event.dnr, more=event.more, sqid=event.qid, cid=event.cid
    )
    return NvmeError(command, completion)


def _task(event: Event) -> PlaneTask:
    assert event.task is not None, f"{event.type.name} without a task"
    return event.task
