"""The task service: joins the engine, the data plane and the controllers.

Reactors hand over what is not hot; the service runs it through the engine and
answers. It keeps the data plane's step-aside flags in line with the logical
units' state. Everything happens in the asyncio loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from scsi2nvme.background import Background
from scsi2nvme.commands.sanitize_status import STATUS_LOG, pick_up
from scsi2nvme.executor import DataExecutor, play
from scsi2nvme.native.plane import Event, Plane, PlaneController, PlaneNexus, Scope
from scsi2nvme.nvme.command import BROADCAST_NSID, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.reservations import RESERVATION_NOTIFICATION_LOG
from scsi2nvme.scsi.result import CheckCondition, NvmeError, Result
from scsi2nvme.scsi.sense import I_T_NEXUS_LOSS_OCCURRED
from scsi2nvme.scsi.task_management import TaskManagement, TaskManagementResponse
from scsi2nvme.service import filling, resting
from scsi2nvme.service.beside import beside
from scsi2nvme.service.by_hand import ByHand
from scsi2nvme.service.events import Care, Events
from scsi2nvme.service.keeping import Keeper, keep
from scsi2nvme.service.mover import Mover
from scsi2nvme.service.names import Verdict
from scsi2nvme.service.namespaces import ControllerEvent, Follower
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.router import Router
from scsi2nvme.service.routing import ServedRoute, also_set
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.service.settling import Settling
from scsi2nvme.service.taking import Taker, watch_blocks
from scsi2nvme.service.task_management import TaskManager
from scsi2nvme.service.tasks import TaskRunner
from scsi2nvme.service.thresholds import Watch
from scsi2nvme.unit.disk_reservations import DiskReservations
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.statistics import Statistics
from scsi2nvme.unit.tokens import End, Tokens

log = logging.getLogger(__name__)

END_SECONDS = 5.0  # for what goes on in the background to end by itself
GIVE_UP_SECONDS = 3.0  # and for the controller to abort it
RETIRING_SECONDS = 2.0  # for what is under way on a logical unit that goes


class TaskService:
    """Runs SCSI tasks and task management for every front end: the room's one door."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._background = Background()
        self._retiring = Background()  # of logical units that were removed
        self._following = Background()  # what controllers have under way by themselves
        self._events = Events(plane, self._background)
        self._registry = Registry(plane, self._events)
        self._manager = TaskManager(plane, self._registry, self._events, self._background)
        self._runner = TaskRunner(
            plane, self._registry, self._events, self._background, self._manager
        )
        self._by_hand = ByHand(self._registry, self._background, self._manager)
        self._routers: dict[LogicalUnit, Router] = {}
        self._follower = Follower(self._registry, self._routers)
        self._mover = Mover(self._registry)
        self._taker = Taker(self._registry)
        self._tokens = Tokens()
        self._manager.moved = self._mover.ended
        self._keeper = Keeper(self._registry)

    def start(self) -> None:
        """Begin to serve the reactors' events in the running loop."""
        self._events.start()
        self._keeper.start()
        self._tokens.later = asyncio.get_running_loop().call_later

    async def stop(self) -> None:
        """Let what is running end, for a bounded time; the front ends have closed their nexuses.

        What the controller keeps ends with the controller.
        """
        self._tokens.stop()
        for unit in self._registry.units.values():
            unit.stop_followers()
        await self._retiring.cancel()
        await self._following.cancel(GIVE_UP_SECONDS)
        if not await self._background.wait(END_SECONDS):
            await self._background.cancel(GIVE_UP_SECONDS)
        self._keeper.stop()
        self._events.stop()

    def close(self) -> None:
        """Free the logical units; after `stop`, with the reactors stopped."""
        self._registry.close()

    # Composition

    def add_controller(self, overdue: Care, give_up: Care) -> tuple[int, PlaneController]:
        """Register a controller.

        `overdue` is called for late commands, `give_up` for those that nobody waits for any more.
        """
        cookie = self._events.number()
        controller = PlaneController(self.plane, cookie)
        self._events.watch_controller(cookie, overdue, give_up, controller.attended)
        return cookie, controller

    def add_unit(
        self, lu: LogicalUnit, executor: DataExecutor, controller: PlaneController
    ) -> None:
        """Serve a logical unit from now on."""
        unit = self._registry.add_unit(lu, executor, controller)
        lu.copies.mover, lu.copies.taker = self._mover.move, self._taker.take
        lu.copies.filler = partial(filling.fill, self._mover)
        lu.rods.tokens, lu.rods.watch = self._tokens, partial(watch_blocks, unit)
        lu.reservations.abort_tasks = lambda keys: self._manager.abort_preempted(unit, keys)
        if isinstance(lu.reservations, DiskReservations):
            lu.reservations.settled = partial(Settling, unit)
        resting.run_timers(unit, self._background)
        watch = Watch(unit, self._background)
        unit.followers.append(watch)
        watch.adjust()

    def add_route(self, lu: LogicalUnit, route: ServedRoute, first: ServedRoute) -> None:
        """Reach a logical unit by another controller as well; `first` is how it was until now.

        OSError if an initiator that sees it cannot use that.
        """
        unit = self._registry.units[lu]
        for opened, _ in unit.all_paths():  # before anything counts as joined
            opened.plane_nexus.prepare(route.controller)
        router = self._routers.get(lu)
        if router is None:
            router = self._routers[lu] = Router(unit, first, self._background)
        self._registry.join(unit, route.controller)
        router.add(route)

    async def also_set(
        self, units: Iterable[LogicalUnit], controller: PlaneController, command: NvmeCommand
    ) -> None:
        """A controller has executed a Set Features: have it set by the others of its disk as well.

        `units` are its logical units. Only those controllers are concerned that lead to what the
        command names; on return they have it, or it was told that they cannot.
        """
        others: dict[PlaneController, ServedRoute] = {}
        for lu in units:
            router = self._routers.get(lu)
            if router is not None and command.nsid in (0, BROADCAST_NSID, lu.nsid):
                others |= {route.controller: route for route in router.every}
        others.pop(controller, None)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        also_set(others.values(), (command,), partial(ended.set_result, None))
        await asyncio.shield(ended)

    def is_joined(self, controller: PlaneController) -> bool:
        """Whether a controller is, or was, one of several by which something is reached."""
        return self._registry.is_joined(controller)

    def remove_route(self, lu: LogicalUnit, controller: PlaneController) -> bool:
        """Reach a logical unit by a controller no more; False if it is reached by no other one."""
        router = self._routers.get(lu)
        return router is not None and router.remove(controller)

    def route_facts(self, lu: LogicalUnit, controller: PlaneController) -> NamespaceFacts:
        """Return what a controller has said of a logical unit's namespace."""
        router = self._routers.get(lu)
        route = None if router is None else router.of(controller)
        return lu.facts_as_read if route is None else route.facts

    def remove_unit(self, lu: LogicalUnit) -> asyncio.Task[None]:
        """Serve a logical unit no more; nobody sees it from now on.

        The task that is returned ends when nothing refers to it any more: what does not end by
        itself soon is aborted, and its initiator told so.
        """
        keep(lu)
        self._routers.pop(lu, None)
        lu.rods.end_all(End.REVOKED)
        retiring = self._retiring.spawn(self._retire(self._registry.remove_unit(lu)))
        if lu.sanitizing.running:  # it may have been the one that follows the operation
            self.follow_sanitize(lu.controller_units)
        return retiring

    async def _retire(self, unit: ServedUnit) -> None:
        aborting = self._retiring.spawn(self._abort_late(unit))
        try:
            await self._registry.free(unit)
        finally:
            aborting.cancel()

    async def _abort_late(self, unit: ServedUnit) -> None:
        await asyncio.sleep(RETIRING_SECONDS)
        unit.end_guests()
        await self._manager.abort(Scope.LU, None, unit, task_aborted_status=True)

    async def remove_controller(self, cookie: int, controller: PlaneController) -> None:
        """Have no reactor know a controller any more; its logical units were removed, and freed."""
        await self._registry.forget_controller(controller)
        self._events.forget_controller(cookie)

    def inventory_changed(self) -> None:
        """Logical units came or went: let every nexus see what it may see now, and tell it."""
        self._registry.update_nexuses()

    # Front ends

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs."""
        return self._registry.open_nexus(nexus)

    async def close_nexus(self, nexus: Nexus, plane_nexus: PlaneNexus, *, lost: bool) -> None:
        """End a nexus whose session is gone: abort what it left, detach, free."""
        await self._manager.abort(Scope.NEXUS, plane_nexus, None)
        self._registry.close_nexus(nexus, plane_nexus, I_T_NEXUS_LOSS_OCCURRED if lost else None)

    def cookie(self, handler: Callable[[Event], None]) -> int:
        """Register who gets the PDU, PAGES and CONN_CLOSED events of one connection."""
        return self._events.register(handler)

    def release(self, cookie: int) -> None:
        """Forget a handler; events that are still under way for it are dropped."""
        self._events.release(cookie)

    async def drained(self, start: Callable[[int], None]) -> int:
        """Call `start` with a token and wait for its DRAINED; returns the count."""
        return await self._events.drained(start)

    async def task_management(
        self,
        function: TaskManagement,
        nexus: Nexus,
        plane_nexus: PlaneNexus,
        lun: int | None,
        itt: int,
        up_to: int | None = None,
    ) -> TaskManagementResponse:
        """Run one function to its end. Spec: SAM-5 7.

        `lun` is None for I_T NEXUS RESET; `itt` names the task of ABORT TASK and QUERY TASK.
        Commands of the nexus that came after `up_to`, an event's `arrived`, go on.
        """
        return await self._manager.perform(function, nexus, plane_nexus, lun, itt, up_to)

    async def run_by_hand(
        self, lu: LogicalUnit, cdb: bytes, data_out: bytes, expected: int
    ) -> Result:
        """Run a SCSI command that no front end has brought, up to its status: see ByHand."""
        return await self._by_hand.run(lu, cdb, data_out, expected)

    def unit_was_reset(self, lu: LogicalUnit) -> None:
        """Whoever is beyond a nexus has reset a logical unit, ended its tasks, and told of it."""
        if (unit := self._registry.units.get(lu)) is not None:
            self._manager.begin_reset(unit, None)

    # Statistics

    def unit_statistics(self, lu: LogicalUnit) -> tuple[Statistics, dict[str, int]]:
        """Return a logical unit's counts, and how many commands were cold, by name."""
        return self._registry.units[lu].statistics()

    def nexus_statistics(self) -> Iterator[tuple[Nexus, Statistics]]:
        """Yield the nexuses that there are, and what was counted of their commands."""
        for opened in self._registry.nexuses.values():
            yield opened.nexus, opened.plane_nexus.statistics()

    # Controllers

    def controller_event(
        self,
        units: Mapping[int, LogicalUnit],
        event: ControllerEvent,
        namespaces: Mapping[int, NamespaceFacts],
        controller: PlaneController | None = None,
    ) -> list[asyncio.Task[None]]:
        """Follow what a controller tells of its namespaces: see `Follower`.

        What is to be known at once, whenever this comes, was told: `revoke_tokens`, `displaced`.
        """
        refreshing = self._follower.controller_event(units, event, namespaces, controller)
        if event.returned or event.log_id == RESERVATION_NOTIFICATION_LOG:
            self.look_at_reservations(units.values())
        # Whoever has followed an operation may have been a namespace that has gone.
        followed = all(lu.readiness is not Readiness.FAILED for lu in units.values())
        if event.returned or event.log_id == STATUS_LOG.identifier or not followed:
            self.follow_sanitize(units.values())
        return refreshing

    def revoke_tokens(self, units: Mapping[int, LogicalUnit], event: ControllerEvent) -> None:
        """Somebody else may have changed blocks: whose namespaces did, or all.

        It is to be known at once, whenever the rest of an event is followed. Once is enough: a
        token that is made later is one of what the blocks have become.
        """
        every = event.returned or event.log_id == STATUS_LOG.identifier
        self.blocks_may_change(
            lu for nsid, lu in units.items() if every or nsid in event.namespaces
        )

    def blocks_may_change(self, units: Iterable[LogicalUnit]) -> None:
        """Any blocks of logical units may change, or have, and not by commands of initiators."""
        for lu in units:
            lu.rods.changed(None)

    def follow_sanitize(self, units: Iterable[LogicalUnit]) -> None:
        """Follow what a controller may have under way that no command here has begun.

        `units` are its logical units. So a sanitize operation is followed over restarts.
        """
        for lu in units:
            unit = self._registry.units.get(lu)
            if unit is None or lu.readiness is Readiness.FAILED:
                continue
            if lu.facts.controller.sanicap:
                self._following.spawn(self._follow_sanitize(unit))
                return

    def look_at_reservations(self, units: Iterable[LogicalUnit]) -> None:
        """Learn what other hosts have done to reservations that the disk keeps as well."""
        for lu in units:
            unit = self._registry.units.get(lu)
            if unit is not None and isinstance(lu.reservations, DiskReservations):
                self._following.spawn(self._look(unit, lu.reservations))

    async def _look(self, unit: ServedUnit, reservations: DiskReservations) -> None:
        try:
            await play(reservations.look(), unit.executor)
        except (NvmeError, CheckCondition) as error:
            log.warning("namespace %d: reservations cannot be read: %s", unit.lu.nsid, error)

    async def _follow_sanitize(self, unit: ServedUnit) -> None:
        await play(pick_up(unit.lu), unit.executor)

    def namespace_gone(self, lu: LogicalUnit) -> None:
        """Begin nothing more of a logical unit's: its namespace is no more, or is another.

        It is to be removed as soon as front ends know.
        """
        if (unit := self._registry.units.get(lu)) is not None:
            unit.layout.gone = True
        lu.fail()
        if unit is not None:
            unit.plane_unit.recall(unit.controller, forgotten=False)

    def displaced(
        self,
        units: Mapping[int, LogicalUnit],
        nsids: Iterable[int],
        namespaces: Mapping[int, NamespaceFacts],
        controller: PlaneController,
        *,
        reset: bool = True,
    ) -> None:
        """Follow before any command goes on that there are other blocks: see `Follower`."""
        nsids = frozenset(nsids)
        self.blocks_may_change(lu for nsid, lu in units.items() if nsid in nsids)
        self._follower.displaced(units, nsids, namespaces, controller, reset=reset)

    def settings_lost(self, units: Iterable[LogicalUnit]) -> None:
        """Tell before any command goes on that a reset undid what was set: see `Follower`."""
        self._follower.settings_lost(units)

    def judged(self, lu: LogicalUnit, verdict: Verdict) -> None:
        """Follow what `names.judge` says of a logical unit that is served: see `Follower`."""
        self._follower.judged(lu, verdict)

    async def limit(self, lu: LogicalUnit, size: int | None) -> None:
        """Make the first `size` bytes of a namespace the logical unit, None: all of it."""
        await self._follower.limit(lu, size)

    async def refresh(self, units: Iterable[LogicalUnit]) -> None:
        """Wait until the hot path knows what logical units have become."""
        for lu in units:
            if (unit := self._registry.units.get(lu)) is not None:
                await unit.refresh()

    async def drain_units(self, units: Iterable[LogicalUnit]) -> None:
        """Wait until nothing is under way on logical units that was begun before."""
        for lu in units:
            if (unit := self._registry.units.get(lu)) is not None:
                async with unit.alone(party=None):
                    pass

    @asynccontextmanager
    async def beside(self, lu: LogicalUnit) -> AsyncIterator[None]:
        """Have nothing be alone on a logical unit for the body, as for a command; see `beside`."""
        unit = self._registry.units.get(lu)
        async with nullcontext() if unit is None else beside(unit):
            yield

    @asynccontextmanager
    async def reserving(self, lu: LogicalUnit) -> AsyncIterator[None]:
        """Have somebody else change reservations as our host for the body; see `lend`.

        NvmeError or CheckCondition if it cannot be learned what they are before.
        """
        unit, reservations = self._registry.units.get(lu), lu.reservations
        if unit is None or not isinstance(reservations, DiskReservations):
            yield
            return
        borrower = object()
        try:
            await play(reservations.lend(borrower), unit.executor)
            yield
        finally:  # also of who is cancelled when it has just been lent
            if reservations.taken_back(borrower):
                await self._look(unit, reservations)

    def controller_interrupted(self) -> None:
        """A controller is about to be reset, or was: what it was asked before may not hold."""
        self._registry.epoch.advance()

    def controller_resumed(self, controller: PlaneController) -> None:
        """A controller that was reset goes on: commands may go by another one now."""
        for router in self._routers.values():
            if router.of(controller) is not None:
                router.choose()

    def controller_forgets(self, controller: PlaneController) -> None:
        """A controller is about to be reset: it forgets the firmware that was not committed."""
        self._registry.discard_firmware(controller)

    def controller_lost(self, controller: PlaneController) -> None:
        """A controller is gone for good, and with it its logical units."""
        self._follower.controller_lost(controller)


class PlaneDataPath:
    """The data plane as a controller's recovery sees it (drivers' DataPath)."""

    def __init__(self, service: TaskService, controller: PlaneController) -> None:
        self._service = service
        self._controller = controller

    async def pause(self) -> None:
        """Keep the reactors off the queues; returns when they are."""
        self._service.controller_interrupted()
        self._service.controller_forgets(self._controller)
        await self._service.drained(self._controller.pause)
        self._controller.paused = True

    def resume(self) -> None:
        """Use the re-created queues; what was in flight is placed again."""
        self._controller.paused = False
        self._service.controller_interrupted()
        self._controller.resume()
        self._service.controller_resumed(self._controller)

    def fail(self, status: int) -> None:
        """The controller is lost: end everything with `status`."""
        self._controller.fail(status)
        self._service.controller_lost(self._controller)
