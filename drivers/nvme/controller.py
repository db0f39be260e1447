"""One NVMe controller, from bring-up to shutdown, for the control thread.

The control thread owns the admin queue pair and I/O queue pair 1; the pairs
from 2 on are made here and given away. Spec: NVMe Base 2.0c 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import partial
from typing import Self

from scsi2nvme.background import Background, until_ended, within
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.activation import Activation
from scsi2nvme.drivers.nvme.admin import Feature, LogPage
from scsi2nvme.drivers.nvme.bounce import BOUNCE_BYTES, BouncePool
from scsi2nvme.drivers.nvme.bringup import BringUp, Clock, RealClock
from scsi2nvme.drivers.nvme.coalescing import Coalesced
from scsi2nvme.drivers.nvme.commands import Commands
from scsi2nvme.drivers.nvme.data_path import DataPath, IoQueue
from scsi2nvme.drivers.nvme.directives import with_streams
from scsi2nvme.drivers.nvme.errors import ControllerError, ControllerGoneError
from scsi2nvme.drivers.nvme.events import ControllerEvent, EventMonitor, EventType
from scsi2nvme.drivers.nvme.execution import Executor
from scsi2nvme.drivers.nvme.host_memory import HostMemory
from scsi2nvme.drivers.nvme.identify import (
    Execute,
    differing,
    disk_name,
    displaced,
    identify_controller,
    read_namespaces,
)
from scsi2nvme.drivers.nvme.quirks import Quirk
from scsi2nvme.drivers.nvme.recovery import Recovery, with_function_reset
from scsi2nvme.drivers.nvme.retry import LOST
from scsi2nvme.drivers.nvme.settings import Settings
from scsi2nvme.drivers.nvme.setup import SetUp
from scsi2nvme.drivers.nvme.submission import ControlQueue
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.transport import Alarm, Transport, TransportError
from scsi2nvme.fields import Values
from scsi2nvme.happenings import tell
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import Completed, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.registers import ALL_ONES_64, CAP, NSSR_RESET, Register, decode

_log = logging.getLogger(__name__)

_ADMIN_DEPTH = 128
_CONTROL_QID = 1
_FIRST_REACTOR_QID = 2
_AFTER_RESET_S, _SLOW_RESET_S = 0.1, 0.25
_SHUTDOWN_S = (10.0, 60.0)  # at least, and at most, whatever RTD3E says
_DRAIN_S = 5.0  # at the end: for a reset, for what is under way, and to delete the queues
_FLUSH_S = 30.0  # at the end; to shut down writes back what a cache holds, too
_SURRENDER_S = 10.0  # to write back, when the host wants the device


class ControllerState(Enum):
    """What a controller is good for."""

    STARTING = "starting"
    LIVE = "live"
    RESETTING = "resetting"
    DEAD = "dead"
    CLOSED = "closed"


class Controller:
    """A controller that is up. Make it with `open`.

    `on_event` is called for asynchronous events, with a namespace event when a reset
    brought other namespaces to light, and, before any command goes on, when it undid what
    cannot be set again, or when that would go on at what it was not meant for. `failure` says
    why the controller is dead, `gone` what to tell of what ended with LOST. `commands` are those
    that have a name, over `execute`. `name` is its transport's, `known_as` what it was opened as.
    """

    def __init__(
        self,
        transport: Transport,
        io_queues: int,
        depth: int,
        pool_bytes: int,
        host_memory_bytes: int,
        timing: Timing,
        clock: Clock,
    ) -> None:
        self.transport = transport
        self.commands = Commands(self)
        self.state = ControllerState.STARTING
        self.failure = ""
        self.name = self.known_as = transport.name
        self.on_event: Callable[[ControllerEvent], None] | None = None
        self.identity: Values
        self.namespaces: dict[int, NamespaceFacts] = {}
        self.io_queues: list[IoQueue] = []
        self._wanted = io_queues
        self._pool_bytes = pool_bytes
        self._timing = timing
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._registers = BringUp(transport, clock)
        self.status, self.properties = self._registers.status, self._registers.properties
        self._depth = min(depth, self._registers.maximum_depth)
        self._admin = self._control_queue(0, _ADMIN_DEPTH)
        self._io = self._control_queue(_CONTROL_QID, self._depth)
        queues = (self._admin, self._io)
        self._setup = SetUp(self._registers, *queues, transport.allocate(PAGE), timing)
        bounce = BouncePool(transport.allocate(BOUNCE_BYTES))
        self.host_memory = HostMemory(self.name, transport.allocate, host_memory_bytes)
        self._settings = Settings(self.name, clock)
        self._background = Background(self.name)
        self._executor = Executor(
            *(self._admin, self._io, bounce, timing, clock, self._settings),
            give_up=self.give_up,
            background=self._background,
        )
        self.rescan = Coalesced(self._rescan)
        self._activation = Activation(
            *(self, clock, self._identify_again, self._report_namespaces, self._background.spawn)
        )
        self._events = EventMonitor(
            *(self.commands, self.rescan, self._activation.ended, self._zoned),
            *(self._admin, self._report, self._background.spawn),
        )
        self._recovery = Recovery(self, timing.grace_s, self._executor.uninterruptible)
        self.witness_by = self._recovery.witness_by
        self._data_path: DataPath | None = None
        self._reviving = asyncio.Lock()
        self._waits_for_device = False  # which was let go of, and may come back
        self._resets_subsystem = False  # so that the next reset is to be one of all of it
        self._interrupts = {*map(transport.interrupt, range(min(transport.vectors, 2)))}

    @classmethod
    async def open(
        cls,
        transport: Transport,
        *,
        io_queues: int = 0,
        depth: int = 256,
        pool_bytes: int = 16 << 20,
        host_memory_bytes: int = 0,
        timing: Timing | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """Bring the controller up, with at most `io_queues` queue pairs to give away.

        `depth` is that of every I/O queue, `pool_bytes` the buffer memory that comes with
        each, `host_memory_bytes` what may be lent to the controller for itself. Takes over
        `transport`, also when it raises ControllerError or TransportError.
        """
        try:
            controller = cls(
                *(transport, io_queues, depth, pool_bytes, host_memory_bytes),
                *(timing or Timing(), clock or RealClock()),
            )
        except BaseException:
            transport.give_up()
            transport.close()
            raise
        try:
            await controller._start()
        except BaseException:
            transport.give_up()
            await controller._release()
            raise
        return controller

    # ---- bring-up ----

    def _control_queue(self, qid: int, depth: int) -> ControlQueue:
        def on_overdue(cid: int, again: bool) -> asyncio.Task[None]:
            return self._background.spawn(self._recovery.expired(qid, cid, again=again))

        return ControlQueue(
            self._queue_pair(qid, depth),
            polled=self._vector(qid) is None,
            grace_ms=int(self._timing.grace_s * 1000),
            on_overdue=on_overdue,
        )

    def _queue_pair(self, qid: int, depth: int) -> QueuePair:
        memory = self.transport.allocate(QueuePair.bytes_needed(depth))
        return QueuePair(self.transport.port, qid, depth, memory)

    def _vector(self, qid: int) -> int | None:
        """Return the interrupt vector of a queue pair; queue pair 1 shares if it must."""
        vectors = self.transport.vectors
        if qid == _CONTROL_QID and vectors == 1:
            return 0
        return qid if qid < vectors else None

    async def _start(self) -> None:
        for eventfd in self._interrupts:
            self._loop.add_reader(eventfd, self._on_interrupt, eventfd)
        self._watch_alarms()
        await with_function_reset(self._attempt, self._reset_function)
        self._recovery.set_abort_limit(self.identity.acl + 1)
        self._go_live()
        self._background.spawn(self._watch())

    def _watch_alarms(self) -> None:
        for alarm, eventfd in self.transport.alarms.items():
            self._loop.add_reader(eventfd, self._on_alarm, alarm, eventfd)

    async def _attempt(self) -> None:
        """Go once all the way from an unknown state to all but live."""
        setup = self._setup
        for queue in (self._admin, self._io):
            queue.detach()
        await self._registers.disable()
        for queue in (self._admin, self._io):
            queue.forget()
        await self._registers.enable(self._admin.pair)
        self._admin.attach()
        quirks = self._registers.quirks
        self.identity = await identify_controller(setup.execute, quirks, self._depth)
        await self._create_queues()
        await self.host_memory.lend(setup, self.identity)
        self._executor.retry_delays_s = await setup.retry_delays_s(self.identity)
        mask = self._events.configuration(self.identity)
        await setup.accept(admin.set_features(Feature.ASYNC_EVENTS, mask))
        self.namespaces = await self._read_namespaces(setup.execute)

    async def _bring_back(self) -> dict[int, NamespaceFacts]:
        """Bring up the disk that was up before, with what was set in it; return what it had."""
        before, namespaces = self.identity, self.namespaces

        async def attempt() -> None:
            await self._attempt()
            if (found := disk_name(self.identity)) != disk_name(before):
                raise ControllerGoneError(f"another disk is in its place: {found}")
            await self._settings.repeat(self._setup.execute, namespaces, self.namespaces)

        try:
            await with_function_reset(attempt, self._reset_function)
        except (ControllerError, TransportError):
            self.identity, self.namespaces = before, namespaces
            raise
        return namespaces

    async def _reset_function(self) -> None:
        await self.transport.reset()
        slow = Quirk.SLOW_RESET in self._registers.quirks
        await self._clock.sleep(_SLOW_RESET_S if slow else _AFTER_RESET_S)

    async def _create_queues(self) -> None:
        first = self.state is ControllerState.STARTING and not self.io_queues
        reachable = self.transport.port.queue_pairs - _FIRST_REACTOR_QID
        wanted = 1 + (min(self._wanted, reachable) if first else len(self.io_queues))
        count = await self._setup.number_of_queues(wanted)
        if first:
            self.io_queues = [self._io_queue(_FIRST_REACTOR_QID + n) for n in range(count - 1)]
        elif count < wanted:
            raise ControllerError(f"{count} I/O queues after a reset, {wanted} before")
        for pair in self.pairs()[1:]:
            await self._setup.create_queue(pair, self._vector(pair.qid))
        self._io.attach()

    def _io_queue(self, qid: int) -> IoQueue:
        vector = self._vector(qid)
        eventfd = -1 if vector is None else self.transport.interrupt(vector)
        pool = self.transport.allocate(self._pool_bytes)
        return IoQueue(self._queue_pair(qid, self._depth), eventfd, pool)

    def steer(self, cpus: Iterable[int]) -> None:
        """Have the interrupts of `io_queues` come to these CPUs, one each, where possible."""
        vectors = (self._vector(queue.queue.qid) for queue in self.io_queues)
        pairs = zip(vectors, cpus, strict=False)
        self.transport.steer({vector: cpu for vector, cpu in pairs if vector is not None})

    def pairs(self) -> list[QueuePair]:
        """Return all queue pairs by their numbers."""
        return [self._admin.pair, self._io.pair, *(queue.queue for queue in self.io_queues)]

    def _go_live(self) -> None:
        self.state = ControllerState.LIVE
        self.failure = ""
        for queue in (self._admin, self._io):
            queue.open_gate()
        self._events.start(self.identity)

    # ---- commands ----

    async def execute(self, *commands: NvmeCommand) -> tuple[Completion, ...]:
        """Execute commands, placed side by side and rung for once; return how each ended.

        All are admin or all are I/O commands, of 2 MiB of data at most each. What a controller
        reset interrupts is repeated where that is harmless, and else ends with ABORTED_BY_RESET;
        on a dead controller everything ends with LOST. When the caller is cancelled they are
        aborted, and it goes on once they have ended, within two seconds if there can be a reset.
        ControllerError if the controller is closed, ValueError for what can never be placed.
        """
        return await until_ended(partial(self.start, commands))

    def start(
        self, commands: tuple[NvmeCommand, ...], completed: Completed, party: Hashable = None
    ) -> Callable[[], None]:
        """As `execute`, told by `completed`, for a party; see `NvmeExecutor`."""
        if self.state is ControllerState.CLOSED:
            raise ControllerError(self.gone)
        completed = self._activation.following(commands, completed)
        return self._executor.start(commands, completed, party)

    def borrow(self, length: int, party: Hashable = None) -> AbstractAsyncContextManager[Region]:
        """Lend DMA memory for the body; see `DataExecutor`."""
        return self._executor.borrow(length, party)

    def settings_made(self) -> tuple[NvmeCommand, ...]:
        """Return what sets again what was set in it: for another controller of the same disk."""
        return self._settings.made()

    # ---- namespaces and events ----

    async def _one(self, command: NvmeCommand) -> Completion:
        return self._setup.left_out(command) or (await self.execute(command))[0]

    async def _read_namespaces(self, execute: Execute) -> dict[int, NamespaceFacts]:
        quirks = self._registers.quirks
        found = await read_namespaces(execute, self.identity, quirks, self.namespaces)
        return await with_streams(execute, self.identity, found)

    async def _rescan(self) -> frozenset[int]:
        """Read the namespaces again; return the NSIDs that came, went or changed.

        Before or after a reset, which reads them as well: not on both sides of it.
        """
        while True:
            old = self.namespaces
            found = await self._read_namespaces(self._one)
            if self.namespaces is old:
                break
        self.namespaces = found
        others = displaced(old, self.namespaces, blocks=False)
        self._settings.follow(others)
        self._executor.recall(others)
        return differing(old, self.namespaces)

    async def _identify_again(self) -> frozenset[int]:
        self.identity = await identify_controller(self._one, self._registers.quirks, self._depth)
        return await self.rescan()

    def _zoned(self) -> list[int]:
        return [nsid for nsid, facts in self.namespaces.items() if facts.zones is not None]

    def _report(self, event: ControllerEvent) -> None:
        if event.needs_reset:
            self._background.spawn(self._recovery.reset(str(event)))
        if self.on_event is not None:
            self.on_event(event)

    # ---- recovery ----

    def attach(self, data_path: DataPath) -> None:
        """Make the user of `io_queues` known, for resets."""
        self._data_path = data_path

    async def detach(self) -> None:
        """Nobody uses `io_queues` any more, nor ever will. A reset under way ends before."""
        await self._recovery.stop(_DRAIN_S)
        self._data_path = None

    @property
    def gone(self) -> str:
        """Why it executes nothing, or did not: only one that is dead has failed."""
        if self.live:
            return f"{self.name} was dead, and is live again"
        why = f": {self.failure}" if self.state is ControllerState.DEAD else ""
        return f"{self.name} is {self.state.value}{why}"

    @property
    def live(self) -> bool:
        """Whether commands are being executed."""
        return self.state is ControllerState.LIVE

    @property
    def paused(self) -> bool:
        """Whether nothing is executed, for a while, as firmware is being activated."""
        return self._activation.paused

    async def overdue(self, qid: int, cid: int, again: bool) -> None:
        """A command on one of `io_queues` is overdue: abort it, or reset if it is told of `again`.

        Its owner has given it some more time already.
        """
        await self._recovery.expired(qid, cid, again=again)

    async def give_up(self, qid: int, cid: int, again: bool) -> None:
        """Nobody waits for a command on one of `io_queues` any more: have it end soon.

        `again`: it did not end in half a second when this was told before.
        """
        await self._recovery.give_up(qid, cid, again)

    async def reset(self, reason: str = "asked for") -> None:
        """Reset the controller; what was under way is repeated or ends, as `execute` says.

        One that is dead is brought up again, if that is possible.
        """
        if self.state is ControllerState.DEAD:
            await self.transport.let_go()
            await self._revive()
        else:
            await self._recovery.reset(reason)

    async def reset_subsystem(self) -> None:
        """Reset all controllers of the NVM subsystem; this one goes on as after `reset`.

        It is quiet when that is asked for: what is under way does not meet a controller that has
        forgotten its queues. ControllerError where there is no such reset, or no device.
        Spec: NVMe Base 2.0c 3.7.1.
        """
        value = self.transport.read64(Register.CAP)
        if value == ALL_ONES_64:  # which would say that it has all
            raise ControllerGoneError("it does not answer")
        if not decode(CAP, value).nssrs:
            raise ControllerError("it has no NVM subsystem reset (CAP.NSSRS)")
        reason = "NVM subsystem reset"
        self._resets_subsystem = True
        try:
            if self.state is ControllerState.DEAD:  # nothing is under way
                self._ask_for_subsystem_reset()
            await self.reset(reason)
            if self._resets_subsystem and self.live:  # that was another one, which had gone too far
                await self.reset(reason)
        except TransportError as error:
            raise ControllerGoneError(str(error)) from error
        finally:
            self._resets_subsystem = False

    def _ask_for_subsystem_reset(self) -> None:
        """Reset the NVM subsystem, if that is what a reset is to be."""
        if self._resets_subsystem:
            self._resets_subsystem = False
            self.transport.write32(Register.NSSR, NSSR_RESET)

    async def restart(self) -> None:
        """Pause, reset, set up anew, resume. For the recovery; others call `reset`."""
        await self._quiesce()
        self._recovery.paused()
        self._ask_for_subsystem_reset()
        old = await self._bring_back()
        self._go_on(old)
        self._report_namespaces(differing(old, self.namespaces))

    def _go_on(self, old: Mapping[int, NamespaceFacts]) -> None:
        """Go live after a reset; before any command is placed again what it undid is told.

        So are those of the namespaces that there were which are not the same: what was under way
        there is not placed again.
        """
        unset = self._settings.take_unset()
        others = displaced(old, self.namespaces, blocks=True)
        self._executor.recall(others)
        if unset or others:
            notice = EventType.NOTICE, 0, 0
            self._report(ControllerEvent(*notice, unset=unset, displaced=others))
        self._go_live()
        if self._data_path is not None:
            self._data_path.resume()

    def _report_namespaces(self, changed: frozenset[int], *, returned: bool = False) -> None:
        if changed or returned:
            log = LogPage.CHANGED_NAMESPACES
            self._report(ControllerEvent(EventType.NOTICE, 0, log, b"", changed, returned))

    async def _quiesce(self) -> None:
        """Send nothing any more."""
        self.state = ControllerState.RESETTING
        for queue in (self._admin, self._io):
            queue.close_gate()
        self._events.stop()
        if self._data_path is not None:
            await self._data_path.pause()

    async def _surrender(self, reason: str) -> None:
        """Write back if the device still can, end everything, and give the device back."""
        await self._recovery.finish()
        try:
            if self.live and self.status().rdy:
                await self._quiesce()
                await self._registers.shut_down(_SURRENDER_S)
        except (ControllerError, TransportError) as error:
            _log.warning("%s: %s", self.name, error)
        if self.state is not ControllerState.DEAD:
            self.die(reason)
        await self.transport.let_go()
        _log.warning("%s: the device is given back", self.name)
        self._waits_for_device = True

    def die(self, reason: str) -> None:
        """Give the controller up: everything ends with LOST.

        What another controller of the disk does instead, this one is not to do later.
        """
        told = ("%s is dead: %s", self.known_as, reason)
        tell(_log, logging.ERROR, "controller-dead", *told, controller=self.known_as)
        self.state = ControllerState.DEAD
        self.failure = reason
        try:
            self.transport.cut_off()
        except TransportError as error:
            _log.warning("%s: may write what it was given even now: %s", self.name, error)
        for queue in (self._admin, self._io):
            queue.abandon(LOST)
        if self._data_path is not None:
            self._data_path.fail(LOST)

    async def _revive(self) -> None:
        """Bring a dead controller up again, should its device be there again."""
        async with self._reviving:
            for eventfd in self.transport.alarms.values():
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(eventfd)  # it is of what has gone
            if self.state is not ControllerState.DEAD or not await self.transport.take_back():
                return
            self.state = ControllerState.RESETTING
            self.host_memory.forget()
            for queue in (self._admin, self._io):
                queue.revive()
            try:
                namespaces = await self._bring_back()
            except (ControllerError, TransportError) as error:
                self._waits_for_device = False
                self.die(str(error))
                await self.transport.let_go()
                return
            self._watch_alarms()
            self._go_on(namespaces)
            self._report_namespaces(frozenset(namespaces | self.namespaces), returned=True)

    async def _watch(self) -> None:
        """Notice what no command tells of: fatal status, removal, a lost interrupt."""
        while True:
            await self._clock.sleep(self._timing.watch_s)
            if self.live:
                self._admin.collect()
                self._io.collect()
                await self._recovery.examine()
            elif self._waits_for_device:
                await self._revive()

    def _on_interrupt(self, eventfd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(eventfd)
        self._admin.collect()
        self._io.collect()
        self.transport.rearm()

    def _on_alarm(self, alarm: Alarm, eventfd: int) -> None:
        os.eventfd_read(eventfd)
        if alarm is Alarm.UNPLUG:
            self._loop.remove_reader(eventfd)  # it repeats until the device is given back
        deal_with = self._surrender if alarm is Alarm.UNPLUG else self._recovery.reset
        self._background.spawn(deal_with(alarm.value))

    # ---- the end ----

    async def close(self) -> None:
        """Write back, shut the controller down and let go of it, in bounded time.

        `io_queues` are no longer in use. An error on the way is logged: the
        controller is let go of in any case.
        """
        if self.state is ControllerState.CLOSED:
            return
        await self._recovery.stop(_DRAIN_S)
        try:
            if self.live:
                await self._shut_down()
        except (ControllerError, TransportError) as error:
            _log.error("%s: %s", self.name, error)
        await self._release()

    async def _shut_down(self) -> None:
        idle = await self._executor.drain(_DRAIN_S)
        if not await within(_FLUSH_S, self.commands.flush()):
            _log.error("%s: Flush takes more than %g s", self.name, _FLUSH_S)
        self.state = ControllerState.CLOSED
        self._events.stop()
        await within(_DRAIN_S, self.host_memory.take_back(self._setup))
        if idle:  # else the controller may keep these as well
            await within(_DRAIN_S, self._setup.delete_queues(self.pairs()[1:]))
        at_least, at_most = _SHUTDOWN_S
        await self._registers.shut_down(min(max(self.identity.rtd3e / 1e6, at_least), at_most))

    async def _release(self) -> None:
        self.state = ControllerState.CLOSED
        for eventfd in (*self._interrupts, *self.transport.alarms.values()):
            self._loop.remove_reader(eventfd)
        for queue in (self._admin, self._io):
            queue.abandon(LOST)
        await self._executor.drain()
        await self._background.cancel()
        for queue in (self._admin, self._io):
            queue.detach()
        for pair in self.pairs():
            pair.close()
        await self.transport.let_go()
        self.transport.close()
