"""The tasks that the hot path hands over: run through the engine, and answered.

A task that is aborted is cancelled. It ends when its NVMe commands have, or after
`ANSWER_SECONDS`; what it holds of the logical unit it holds until then, so that nobody works on
blocks that the controller may still change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from scsi2nvme import engine
from scsi2nvme.background import Background
from scsi2nvme.command import Command
from scsi2nvme.executor import begin, play
from scsi2nvme.native.plane import Event, EventType, Plane, PlaneTask
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.status import is_retryable
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.result import Asked, NvmeError, Result, Translation, check_condition
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE, Sense, SenseCode, SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.answers import Noticing, may_change
from scsi2nvme.service.events import Events
from scsi2nvme.service.registry import Registry, ServedUnit
from scsi2nvme.service.task_management import TaskManager
from scsi2nvme.service.turns import Turns
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness

log = logging.getLogger(__name__)

# By then the controller has been told to abort the commands of an aborted task, and reset.
ANSWER_SECONDS = 1.75

_BUSY = Result(Status.BUSY)
_FAULTS = (SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR)


@dataclass(eq=False, slots=True)
class _Run:
    """A task under way, and what it has begun of which command."""

    task: PlaneTask
    begun: engine.Request | None = None
    work: asyncio.Task[None] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether nothing stops what it has begun."""
        begun = self.begun
        if begun is None or begun.command is None or begun.unit is None:
            return False
        return begun.command.goes_on(begun.unit)

    def let_go(self) -> None:
        """End an aborted task; how is not told."""
        if not self.task.ended:
            self.task.end(Status.BUSY)


class TaskRunner:
    """Runs cold tasks; those that may not run beside others wait for their turn.

    Task attributes are the reactors' concern: what arrives here may be begun.
    """

    def __init__(
        self,
        plane: Plane,
        registry: Registry,
        events: Events,
        background: Background,
        manager: TaskManager,
    ) -> None:
        self._registry = registry
        self._background = background
        self._manager = manager
        self._turns = Turns(together=plane.answering)
        self._under_way: dict[int, _Run] = {}  # by the tasks' numbers
        events.handle(
            {
                EventType.TASK: self._in_turn(self._begin),
                EventType.TASK_FAILED: self._in_turn(self._begin_failed),
                EventType.TASK_REFUSED: self._refuse,
                EventType.TASK_ABORTED: self._abort,
            }
        )

    def _in_turn(self, begin: Callable[[Event], bool]) -> Callable[[Event], None]:
        """Return what has a task begun when it is its nexus's turn; `begin` as in `Turns.add`."""

        def handler(event: Event) -> None:
            self._turns.add(_task(event).nexus_cookie, partial(self._attempt, begin, event))

        return handler

    def _attempt(self, begin: Callable[[Event], bool], event: Event) -> bool:
        try:
            return begin(event)
        except Exception as error:
            self._broken(_task(event))
            self._background.failed(error)
            return True

    def _spawn(self, event: Event, work: Callable[[_Run], Coroutine[Any, Any, None]]) -> None:
        """Have a task go on by itself."""
        run = self._under_way[event.cookie] = _Run(_task(event))
        run.work = self._background.spawn(work(run))
        run.work.add_done_callback(lambda _: self._over(event.cookie, run))

    def _over(self, number: int, run: _Run) -> None:
        run.let_go()
        if self._under_way.get(number) is run:  # and not of the task's next portion
            del self._under_way[number]

    def _abort(self, event: Event) -> None:
        """Nobody waits for a task any more: have it end soon."""
        run = self._under_way.get(event.cookie)
        if run is None or run.task.ended:
            return  # it was answered meanwhile
        if run.goes_on:
            run.let_go()
            return
        asyncio.get_running_loop().call_later(ANSWER_SECONDS, run.let_go)
        assert run.work is not None
        run.work.cancel()

    def _nexus_of(self, task: PlaneTask) -> Nexus | None:
        opened = self._registry.nexuses.get(task.nexus_cookie)
        return opened.nexus if opened is not None else None

    def _unit_of(self, task: PlaneTask) -> LogicalUnit | None:
        """Return the logical unit that a task is addressed to, None if there is none."""
        nexus, lun = self._nexus_of(task), lun_of(task.lun)
        return nexus.luns.get(lun) if nexus is not None and lun is not None else None

    def _begin(self, event: Event) -> bool:
        """Answer a task, or have it go on by itself if it has to wait for something.

        Returns whether it has passed the engine's checks: of one nexus's commands the first is to
        report a unit attention.
        """
        task = _task(event)
        opened = self._registry.nexuses.get(task.nexus_cookie)
        # What was begun at one logical unit is not to go on at another.
        if opened is None or task.aborted or task.misrouted:
            task.end(Status.BUSY)
            return True
        kept = self._registry.answers.find(task.nexus_cookie, _kind(task))
        if kept is not None:
            task.end(Status.GOOD, data_in=kept)
            return True
        request = engine.select(opened.nexus, lun_of(task.lun), task.cdb, task.attribute)
        unit = self._registry.units[request.unit] if request.unit is not None else None
        if unit is not None and _waits(unit, request.command):
            self._spawn(event, partial(self._run_on, unit, request, event.phase))
            return False
        self._run(event, unit, request)
        return True

    def _run(self, event: Event, unit: ServedUnit | None, request: engine.Request) -> None:
        """Run a command that waits for nobody, up to what it asks of the controller."""
        task = _task(event)
        data_out = task.data_out()
        translation = engine.run(request, data_out, task.expected, task.portion, event.phase)
        since = self._registry.epoch.number
        try:
            result = begin(translation)
        finally:
            self._notice(request)
        if not isinstance(result, Result):
            assert unit is not None, f"{request.cdb.hex()} without a logical unit"
            self._spawn(event, partial(self._go_on, unit, request, translation, result, since))
            return
        self._keep(task, request, result, since)
        if unit is not None and unit.preempting:
            self._spawn(event, partial(self._conclude, unit, request, result))
        else:
            self._answer(task, unit, request, result)

    async def _run_on(
        self, unit: ServedUnit, request: engine.Request, phase: int, run: _Run
    ) -> None:
        """Run a command on a logical unit, or on blocks of it, alone where it must be."""
        task = run.task
        data_out = task.data_out()
        translation = engine.run(request, data_out, task.expected, task.portion, phase)
        try:
            result = await self._run_in_turn(unit, request, run, data_out, translation)
            await self._conclude(unit, request, result, run)
        except Exception:
            self._broken(task)
            raise

    async def _go_on(
        self,
        unit: ServedUnit,
        request: engine.Request,
        translation: Translation,
        asked: Asked,
        since: int,
        run: _Run,
    ) -> None:
        """Run a command that has asked something of the controller."""
        try:
            result = await self._play(unit, request, translation, asked)
            self._keep(run.task, request, result, since)
            await self._conclude(unit, request, result, run)
        except Exception:
            self._broken(run.task)
            raise

    async def _conclude(
        self, unit: ServedUnit, request: engine.Request, result: Result, run: _Run
    ) -> None:
        """Answer a command once what it is to abort has ended."""
        await self._manager.preempted(unit)
        self._answer(run.task, unit, request, result)

    def _answer(
        self, task: PlaneTask, unit: ServedUnit | None, request: engine.Request, result: Result
    ) -> None:
        """Answer a command, and have go on what goes on after that."""
        _tell_fault(request, result)
        self._end(task, request.unit, result)
        if unit is not None and result.background is not None:
            self._background.spawn(self._play_on(unit, request, result.background))

    async def _play_on(
        self, unit: ServedUnit, request: engine.Request, translation: Translation
    ) -> None:
        try:
            _tell_fault(request, await self._play(unit, request, translation))
        finally:
            await unit.refresh()

    async def _run_in_turn(
        self,
        unit: ServedUnit,
        request: engine.Request,
        run: _Run,
        data_out: bytes,
        translation: Translation,
    ) -> Result:
        command, task = request.command, run.task
        assert command is not None
        of_blocks = command.exclusive and command.names_blocks
        if command.exclusive and not of_blocks:
            async with unit.alone(task.nexus_cookie):
                return await self._play_begun(unit, request, run, translation)
        extents = command.extents(task.cdb, data_out)
        async with (
            unit.lock.hold(exclusive=False, party=task.nexus_cookie),
            unit.blocks.hold(extents, alone=of_blocks),
        ):
            if task.aborted:
                return _BUSY  # nobody waits for it any more
            if not of_blocks:
                return await self._play(unit, request, translation)
            async with unit.drained_of(extents[0]) if extents else unit.drained():
                return await self._play_begun(unit, request, run, translation)

    async def _play_begun(
        self, unit: ServedUnit, request: engine.Request, run: _Run, translation: Translation
    ) -> Result:
        """Run what is alone on the logical unit or on blocks of it, and may go on when aborted."""
        if run.task.aborted:
            return _BUSY
        run.begun = request
        return await self._play(unit, request, translation)

    async def _play(
        self,
        unit: ServedUnit,
        request: engine.Request,
        translation: Translation,
        asked: Asked | None = None,
    ) -> Result:
        def report(fraction: int) -> None:
            unit.lu.progress = fraction

        executor = unit.executor
        if may_change(request.command):
            executor = Noticing(executor, self._registry.epoch)
        try:
            return await play(translation, executor, report, asked)
        finally:
            self._notice(request)

    def _notice(self, request: engine.Request) -> None:
        """A step of a command was done, which may have changed what answers tell."""
        if may_change(request.command):
            self._registry.epoch.advance()

    def _keep(self, task: PlaneTask, request: engine.Request, result: Result, since: int) -> None:
        """Keep an answer that was begun at `since` of the epoch, to give it again."""
        if request.command is not None and request.command.kept:
            self._registry.answers.keep(task.nexus_cookie, _kind(task), result, since)

    def _begin_failed(self, event: Event) -> bool:
        """End a hot task whose NVMe command failed, or try it again with the engine."""
        if is_retryable(event.status) and not event.dnr:
            return self._begin(event)
        self._spawn(event, partial(self._failed, event))
        return False

    async def _failed(self, event: Event, run: _Run) -> None:
        """End a hot task whose NVMe command failed."""
        task = run.task
        nexus, lu = self._nexus_of(task), self._unit_of(task)
        if nexus is None or lu is None or task.misrouted:
            task.end(Status.BUSY)
            return
        request = engine.select(nexus, lun_of(task.lun), task.cdb)
        translation = engine.failed(request, _error(event, lu.nsid))
        result = await self._play(self._registry.units[lu], request, translation)
        _tell_fault(request, result)
        self._end(task, lu, result)

    def _refuse(self, event: Event) -> None:
        """End a task that its front end found at fault."""
        task = _task(event)
        key, asc, ascq = event.count >> 16 & 0xF, event.count >> 8 & 0xFF, event.count & 0xFF
        code = SenseCode(SenseKey(key), asc, ascq, "TRANSPORT ERROR")
        self._end(task, self._unit_of(task), check_condition(Sense(code)))

    def _broken(self, task: PlaneTask) -> None:
        """End a task that met a bug: the initiator gets an answer, the log gets the traceback."""
        failure = check_condition(Sense(INTERNAL_TARGET_FAILURE))
        self._end(task, self._unit_of(task), failure)

    def _end(self, task: PlaneTask, lu: LogicalUnit | None, result: Result) -> None:
        if task.ended:
            return  # it was aborted, and went on
        sense = b""
        if result.sense is not None:
            sense = result.sense.data(lu is not None and lu.mode.descriptor_sense)
        task.end(result.status, sense, result.data_in)


def _kind(task: PlaneTask) -> tuple[bytes, bytes, int]:
    """Return what tells a nexus's commands apart, as far as one without data-out has an effect."""
    return task.cdb, task.lun, task.attribute


def _waits(unit: ServedUnit, command: Command | None) -> bool:
    """Whether a command waits for those that run alone, or is one itself.

    What only asks for the logical unit's state does not, nor does what the engine refuses at
    once: a format, or a stop, may take long.
    """
    readiness = unit.lu.readiness
    if (
        command is None
        or readiness is Readiness.FORMATTING
        or (command.needs_ready and readiness is not Readiness.READY)
    ):
        return False
    return command.exclusive or command.accesses_medium


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
