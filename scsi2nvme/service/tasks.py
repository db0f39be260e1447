"""The tasks that the hot path hands over: run through the engine, and answered.

What waits for nobody is begun in its turn, and goes on when what it has asked of the controller has
ended: a task of the event loop is for what waits for others' commands, or is to be alone.

A task that is aborted is stopped. It ends when its NVMe commands have, or in time (`runs`); what it
holds of the logical unit it holds until then, so that nobody works on blocks that the controller
may still change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any

from scsi2nvme import commands, engine
from scsi2nvme.background import Background
from scsi2nvme.command import Hot
from scsi2nvme.executor import NvmeExecutor, Play, begin, play
from scsi2nvme.native.plane import Event, EventType, Plane, PlaneTask
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode, is_retryable
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.result import Asked, Result, Translation, check_condition
from scsi2nvme.scsi.sense import INTERNAL_TARGET_FAILURE, Sense, SenseCode, SenseKey
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.admission import admitted, in_turn, waits
from scsi2nvme.service.answers import Noticing, may_change, unchanged
from scsi2nvme.service.draining import Draining
from scsi2nvme.service.events import Events
from scsi2nvme.service.faults import end_unbegun, error_of, tell_fault, uncertain
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.routing import off_course
from scsi2nvme.service.runs import Run
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.service.sharing import Sharing
from scsi2nvme.service.task_management import TaskManager
from scsi2nvme.service.turns import Turns
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus

_BUSY = Result(Status.BUSY)


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
        self._plane = plane
        self._registry = registry
        self._background = background
        self._manager = manager
        self._turns = Turns(together=plane.answering)
        self._resumed = Turns(together=plane.answering)  # what is to go on
        self._sharing = Sharing[Event]()
        self._under_way: dict[int, Run] = {}  # by the tasks' numbers
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

    def _spawn(self, event: Event, work: Callable[[Run], Coroutine[Any, Any, None]]) -> None:
        """Have a task go on by itself."""
        run = self._under_way[event.cookie] = Run(_task(event), holder=event.holder)
        self._await(event.cookie, run, work(run))

    def _await(self, number: int, run: Run, work: Coroutine[Any, Any, None]) -> None:
        task = self._background.spawn(work)
        run.stop = task.cancel
        task.add_done_callback(lambda _: self._over(number, run))

    def _over(self, number: int, run: Run) -> None:
        run.let_go()
        run.release(self._registry)
        if self._under_way.get(number) is run:  # and not of the task's next portion
            del self._under_way[number]

    def _abort(self, event: Event) -> None:
        """Nobody waits for a task any more: have it end soon."""
        waiting = self._sharing.leave(event.cookie)
        if waiting is not None:
            _task(waiting).end(Status.BUSY)
            return
        run = self._under_way.get(event.cookie)
        if run is None or run.task.ended:
            return  # it was answered meanwhile
        if run.goes_on:
            run.let_go()
            return
        run.answer_in_time(self._registry)
        self._hand_over(run)
        run.stop()

    def _nexus_of(self, task: PlaneTask) -> Nexus | None:
        opened = self._registry.nexuses.get(task.nexus_cookie)
        return opened.nexus if opened is not None else None

    def _unit_of(self, task: PlaneTask) -> LogicalUnit | None:
        """Return the logical unit that a task is addressed to, None if there is none."""
        nexus, lun = self._nexus_of(task), lun_of(task.lun)
        return nexus.luns.get(lun) if nexus is not None and lun is not None else None

    def _begin(self, event: Event, *, repeated: bool = False) -> bool:
        """Answer a task, or have it go on by itself if it has to wait for something.

        `repeated`: the hot path has begun it, and lost the controller. Returns whether it has
        passed the engine's checks: of one nexus's commands the first is to report an attention.
        """
        task = _task(event)
        opened = self._registry.nexuses.get(task.nexus_cookie)
        if opened is None or task.aborted or task.misrouted:
            end_unbegun(task)
            return True
        alike = _alike(task)
        kept = self._registry.answers.find(*alike)
        if kept is not None:
            task.end(Status.GOOD, data_in=kept)
            return True
        if self._sharing.wait(alike, event.cookie, event):
            return True
        request = engine.select(opened.nexus, lun_of(task.lun), task.cdb, task.attribute)
        unit = self._registry.units[request.unit] if request.unit is not None else None
        data_out = task.data_out()
        leave = _nothing
        if unit is not None and request.command is not None and waits(unit, request.command):
            leaving = admitted(unit, request.command, task.cdb, data_out)
            if leaving is None:
                translation = _translation(task, request, data_out, event.phase, repeated=repeated)
                self._spawn(event, partial(self._run_on, unit, request, data_out, translation))
                return False
            leave = leaving
        translation = _translation(task, request, data_out, event.phase, repeated=repeated)
        self._run(event, unit, request, translation, leave)
        return True

    def _run(
        self,
        event: Event,
        unit: ServedUnit | None,
        request: engine.Request,
        translation: Translation,
        leave: Callable[[], None],
    ) -> None:
        """Run a command that waits for nobody, up to what it asks of the controller."""
        task = _task(event)
        since = self._registry.epoch.number
        result: Result | Asked | None = None
        try:
            result = begin(translation)
        finally:
            self._notice(request)
            if result is None or isinstance(result, Result):
                leave()
        if not isinstance(result, Result):
            assert unit is not None, f"{request.cdb.hex()} without a logical unit"
            self._drive(event, unit, request, translation, result, since, leave)
            return
        self._keep(task, request, result, since)
        if unit is not None and unit.preempting:
            self._spawn(event, partial(self._conclude, unit, request, result))
        else:
            self._answer(task, unit, request, result)

    def _drive(
        self,
        event: Event,
        unit: ServedUnit,
        request: engine.Request,
        translation: Translation,
        asked: Asked,
        since: int,
        leave: Callable[[], None],
    ) -> None:
        """Have a command go on with what it asks of the controller, and answer it in the end."""
        run = self._under_way[event.cookie] = Run(_task(event), request)
        if request.command is not None and request.command.shares:
            run.asking = self._sharing.ask(_alike(run.task))

        def ended(outcome: Result | BaseException) -> None:
            self._background.leave(under_way)
            self._notice(request)
            leave()
            try:
                self._end_driven(event, run, unit, request, outcome, since)
            except Exception as error:
                self._broken(run.task)
                self._background.failed(error)

        def in_turn(go_on: Callable[[], None]) -> None:
            self._resumed.add(run.task.nexus_cookie, partial(_done, go_on))

        executor = self._executor(unit, request)
        under_way = Play(translation, executor, ended, unit.report, in_turn)
        run.stop = under_way.stop
        self._background.enter(under_way)
        under_way.begin(asked)

    def _end_driven(
        self,
        event: Event,
        run: Run,
        unit: ServedUnit,
        request: engine.Request,
        outcome: Result | BaseException,
        since: int,
    ) -> None:
        if isinstance(outcome, Result):
            self._keep(run.task, request, outcome, since)
            if run.asking is not None and unchanged(outcome, self._registry.epoch, since):
                for other in self._sharing.answered(run.asking):
                    _task(other).end(Status.GOOD, data_in=outcome.data_in)
        elif not isinstance(outcome, asyncio.CancelledError):
            self._broken(run.task)
            self._background.failed(outcome)
        self._hand_over(run)
        if isinstance(outcome, Result) and unit.preempting:
            self._await(event.cookie, run, self._conclude(unit, request, outcome, run))
            return
        if isinstance(outcome, Result):
            self._answer(run.task, unit, request, outcome)
        self._over(event.cookie, run)

    def _hand_over(self, run: Run) -> None:
        """One that others wait for asks no more: let another do."""
        asking, run.asking = run.asking, None
        if asking is not None and self._sharing.end(asking):
            begin_next = partial(self._begin_for_all, asking.alike)
            self._turns.add(run.task.nexus_cookie, begin_next)

    def _begin_for_all(self, alike: Hashable) -> bool:
        """Begin one of those that wait, and let it ask for the others, if it asks at all."""
        waiting = self._sharing.take(alike)
        for index, (_, event) in enumerate(waiting):
            self._attempt(self._begin, event)
            if self._sharing.let_ask(alike, waiting[index + 1 :]):
                break
        return True

    async def _run_on(
        self,
        unit: ServedUnit,
        request: engine.Request,
        data_out: bytes,
        translation: Translation,
        run: Run,
    ) -> None:
        """Run a command on a logical unit, or on blocks of it, alone where it must be."""
        task, run.request = run.task, request
        try:
            result = await self._run_in_turn(unit, request, run, data_out, translation)
            await self._conclude(unit, request, result, run)
        except Exception:
            self._broken(task)
            raise

    async def _conclude(
        self, unit: ServedUnit, request: engine.Request, result: Result, run: Run
    ) -> None:
        """Answer a command once what it is to abort has ended, or nobody waits for the answer.

        It is done, and what goes on after it has to, whoever waits. One that is aborted does not
        wait: what aborts it waits for it.
        """
        try:
            if not (run.task.ended or run.task.aborted):
                await self._manager.preempted(unit, request.nexus.key)
        finally:
            self._answer(run.task, unit, request, result)

    def _answer(
        self, task: PlaneTask, unit: ServedUnit | None, request: engine.Request, result: Result
    ) -> None:
        """Answer a command, and have go on what goes on after that."""
        tell_fault(request, result)
        self._end(task, request.unit, result)
        if unit is not None and result.background is not None:
            self._background.spawn(self._play_on(unit, request, result.background))

    async def _play_on(
        self, unit: ServedUnit, request: engine.Request, translation: Translation
    ) -> None:
        try:
            tell_fault(request, await self._play(unit, request, translation))
        finally:
            await unit.refresh()

    async def _run_in_turn(
        self,
        unit: ServedUnit,
        request: engine.Request,
        run: Run,
        data_out: bytes,
        translation: Translation,
    ) -> Result:
        command, task = request.command, run.task
        assert command is not None
        turn = in_turn(
            *(unit, command, task.cdb, data_out, task.nexus_cookie), lambda: not task.aborted
        )
        async with turn as wanted:
            if not wanted:
                return _BUSY  # nobody waits for it any more
            if command.exclusive:
                run.begun = request  # it may go on when it is aborted
            return await self._play(unit, request, translation)

    async def _play(
        self, unit: ServedUnit, request: engine.Request, translation: Translation
    ) -> Result:
        try:
            return await play(translation, self._executor(unit, request), unit.report)
        finally:
            self._notice(request)

    def _executor(self, unit: ServedUnit, request: engine.Request) -> NvmeExecutor:
        executor: NvmeExecutor = unit.on_behalf(request.nexus.key)
        if request.command is not None and request.command.exclusive:
            executor = Draining(executor, self._registry.others(unit))
        if may_change(request.command):
            return Noticing(executor, self._registry.epoch)
        return executor

    def _notice(self, request: engine.Request) -> None:
        """A step of a command was done, which may have changed what answers tell."""
        if may_change(request.command):
            self._registry.epoch.advance()

    def _keep(self, task: PlaneTask, request: engine.Request, result: Result, since: int) -> None:
        """Keep an answer that was begun at `since` of the epoch, to give it again."""
        if request.command is not None and request.command.kept:
            self._registry.answers.keep(*_alike(task), result, since)

    def _begin_failed(self, event: Event) -> bool:
        """End a hot task whose NVMe command failed, or try it again with the engine."""
        if event.holder is not None:
            self._spawn(event, partial(self._go_on_alone, event))
            return False
        if (task := _task(event)).aborted:
            task.end(Status.BUSY)
            return True
        if is_retryable(event.status) and not event.dnr:
            return self._begin(event)
        lu = self._unit_of(task)
        hot = None if lu is None else self._registry.units[lu].parameters
        if off_course(lu, event.status) or _was_for_a_hint(event, hot):
            return self._begin(event, repeated=True)
        self._fail(event)
        return True

    def _fail(self, event: Event) -> None:
        """End a hot task whose NVMe command failed."""
        task = _task(event)
        nexus, lu = self._nexus_of(task), self._unit_of(task)
        if nexus is None or lu is None or task.misrouted:
            end_unbegun(task)
            return
        unit = self._registry.units[lu]
        request = engine.select(nexus, lun_of(task.lun), task.cdb)
        translation = engine.failed(request, error_of(event, lu.nsid))
        since = self._registry.epoch.number
        result = begin(translation)
        if isinstance(result, Result):
            self._answer(task, unit, request, result)
        else:
            self._drive(event, unit, request, translation, result, since, _nothing)

    async def _go_on_alone(self, event: Event, run: Run) -> None:
        """Go on with a hot task that still has its blocks alone, after a failure."""
        task = run.task
        nexus, lu = self._nexus_of(task), self._unit_of(task)
        try:
            if task.aborted:
                result = _BUSY  # nobody waits for it any more
            elif nexus is None or lu is None or task.misrouted:
                result = result_of(error_of(event, 0))  # it may be done
            else:
                request = engine.select(nexus, lun_of(task.lun), task.cdb)
                failure = error_of(event, lu.nsid)
                if off_course(lu, event.status):
                    failure = uncertain(failure)
                translation = engine.go_on(request, task.data_out(), event.phase, failure)
                result = await self._play(self._registry.units[lu], request, translation)
                tell_fault(request, result)
        except Exception:
            self._broken(task)
            raise
        finally:
            run.release(self._registry)
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


def _was_for_a_hint(event: Event, hot: UnitParameters | None) -> bool:
    """Whether what failed was a hint, or perhaps a READ or WRITE for what it says: a stream, or
    how its blocks are used.

    That is what the hot path knows: hints that another command was refused for are told no more,
    but what was under way then has been sent with them.
    """
    cdb = _task(event).cdb
    command = commands.find(cdb)
    if command is None or command.hot is Hot.PRE_FETCH:
        return command is not None
    if hot is None or event.status != StatusCode.INVALID_FIELD or not command.hint_field:
        return False
    group = command.hint_of(cdb)
    if event.nvme_opcode == Opcode.READ:
        return any(hot.read_hints[group : group + 1])
    said = group > 0 or any(hot.write_hints[group : group + 1])
    return said and event.nvme_opcode == Opcode.WRITE


def _translation(
    task: PlaneTask, request: engine.Request, data_out: bytes, phase: int, *, repeated: bool
) -> Translation:
    """Have the engine run a task's command."""
    return engine.run(
        *(request, data_out, task.expected, task.portion, phase, task.announced), repeated=repeated
    )


_Alike = tuple[int, tuple[bytes, bytes, int]]


def _alike(task: PlaneTask) -> _Alike:
    """Return what is equal of commands, as far as one without data-out has an effect."""
    return task.nexus_cookie, (task.cdb, task.lun, task.attribute)


def _done(what: Callable[[], None]) -> bool:
    """Do something in its turn, after which there may be another's."""
    what()
    return True


def _nothing() -> None:
    """Give back what was never taken."""


def _task(event: Event) -> PlaneTask:
    assert event.task is not None, f"{event.type.name} without a task"
    return event.task
