"""Which route a logical unit takes, where it has several, and the change from one to another.

The engine's commands follow at once (`RouteExecutor`). The hot path follows when nothing of it is
under way on the logical unit: of a controller that is lost all ends, by itself, and the engine
repeats it. A task has its data in memory of the controller that the logical unit had when it came:
if that has changed before the task is begun, the engine takes the data from there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from scsi2nvme.background import Background, until_ended
from scsi2nvme.commands.timestamp import TIMESTAMP_FEATURE
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import PlaneController
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.sense import ASYMMETRIC_ACCESS_STATE_CHANGED, CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.service.routing import RouteExecutor, ServedRoute
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.routes import AccessChange, Route

log = logging.getLogger(__name__)

_FID = 0xFF  # CDW10 of Set Features


class Router:
    """The routes of one logical unit: `every` of them, and the one `chosen`."""

    def __init__(self, unit: ServedUnit, first: ServedRoute, background: Background) -> None:
        self.chosen = first
        self._unit = unit
        self._every: list[ServedRoute] = [first]
        self._active = first
        self._background = background
        self._following = False
        self._behind: set[ServedRoute] = set()  # that were lost, and may be there again
        self._setting: dict[ServedRoute, asyncio.Task[None]] = {}  # what brings these in line
        self._gone: dict[ServedRoute, Callable[[], bool]] = {}  # whether these are alive
        unit.executor = RouteExecutor(self)
        unit.lu.routes.activate = self._activate_explicitly
        self._list()

    @property
    def every(self) -> Sequence[ServedRoute]:
        """All routes."""
        return self._every

    def add(self, route: ServedRoute) -> None:
        """There is another route, which the nexuses are prepared for."""
        self._every.append(route)
        self._list()
        if self._unit.lu.unit_attentions:  # else nobody knows of another state
            self._tell_of_change(AccessChange.IMPLICIT)
        self._bring_in_line(route)

    def _bring_in_line(self, route: ServedRoute) -> None:
        """Set by a route what was set by the one in use, before it is taken."""
        self._behind.discard(route)
        self._stop_setting(route)
        wanted = list(self.chosen.settings())  # now: it may be lost before these are set
        route.refused = route is not self.chosen and bool(wanted)
        if route.refused:
            self._setting[route] = self._background.spawn(self._set_all(route, wanted))
        else:
            self.choose()

    def _stop_setting(self, route: ServedRoute) -> None:
        """Have it not be in line by what is being set."""
        if (task := self._setting.pop(route, None)) is not None:
            task.cancel()

    async def _set_all(self, route: ServedRoute, wanted: list[NvmeCommand]) -> None:
        """Set all, and again if something is set meanwhile, which this may have undone."""
        found: list[NvmeCommand] = []
        try:
            while _alike(wanted) != _alike(found):
                found = wanted
                for command in found:
                    await self._set(route, command)
                wanted = list(self.chosen.settings())
            if self._sets(route):
                route.refused = False
                self.choose()
        finally:
            if self._sets(route):
                del self._setting[route]

    def _sets(self, route: ServedRoute) -> bool:
        """Whether it is this task that brings a route in line: not one that was stopped."""
        return self._setting.get(route) is asyncio.current_task()

    async def _set(self, route: ServedRoute, command: NvmeCommand) -> None:
        try:
            outcome = await until_ended(partial(route.executor.start, (command,)))
            failed = any(completion.status for completion in outcome)
        except Exception:  # it is being closed
            failed = True
        if failed:
            log.error(
                "controller %r: what was set by another controller cannot be set", route.label
            )

    def remove(self, controller: PlaneController) -> bool:
        """A controller leads there no more; False if it is the only one."""
        route = self.of(controller)
        if route is None or len(self._every) == 1:
            return False
        route.alive = lambda: False
        self._stop_setting(route)
        self.choose()
        self._every.remove(route)
        self._list()
        self._tell_of_change(AccessChange.IMPLICIT)
        return True

    def displaced(self, controller: PlaneController) -> bool:
        """A controller leads to another namespace: whether one is there that does not."""
        route = self.of(controller)
        if route is not None:
            route.alive = lambda: False
            self.choose()
        return self.chosen.alive()

    def gone(self) -> None:
        """The namespace is no more, unless a controller tells of it again."""
        for route in self._every:
            self._gone.setdefault(route, route.alive)
            route.alive = lambda: False

    def lost(self, controller: PlaneController) -> bool:
        """A controller is lost: take another; whether there is none."""
        route = self.of(controller)
        if route is None:
            return False
        route.refused = True  # until it is in line, should it return
        self._behind.add(route)
        self._stop_setting(route)
        self.choose()
        return not self.chosen.alive()

    def heard(self, controller: PlaneController, facts: NamespaceFacts) -> bool:
        """A controller tells of the namespace; whether commands go by it.

        One that was lost may have missed what was set meanwhile.
        """
        route = self.of(controller)
        if route is None:
            return True
        route.facts = facts
        if (alive := self._gone.pop(route, None)) is not None:
            route.alive, self._unit.layout.gone = alive, False
        if route in self._behind:
            self._bring_in_line(route)
        else:
            if route not in self._setting:
                route.refused = False
            self.choose()
        return self.chosen is route

    def of(self, controller: PlaneController) -> ServedRoute | None:
        """Return the route by a controller, None: there is none."""
        return next((one for one in self._every if one.controller is controller), None)

    def _list(self) -> None:
        routes = self._unit.lu.routes
        routes.every, routes.active = tuple(self._every), self._active
        self._unit.controllers = tuple(route.controller for route in self._every)

    def choose(self) -> None:
        """Take another route, if that is better.

        Not while the controller in use is being reset, which ends what it still has of commands
        that nobody waits for any more: what comes later is not to be overtaken by these.
        """
        better = self._unit.lu.routes.better_than(self.chosen)
        resetting = self.chosen.controller.paused and self.chosen.alive()
        if better is None or resetting or self._unit.closed:
            return
        assert isinstance(better, ServedRoute)
        before = self.chosen
        self._take(better)
        tell(
            log,
            logging.WARNING,
            "route-changed",
            "namespace %d of disk %s is reached by controller %r from now on, not by %r",
            *(self._unit.lu.nsid, self._disk, better.label, before.label),
            disk=self._disk,
            controller=better.label,
        )
        if not self._following:
            self._following = True
            self._unit.step_aside()  # at once: the other may lead to another namespace
            self._background.spawn(self._follow())

    def _take(self, route: ServedRoute) -> None:
        """Have the engine's commands go by a route."""
        self.chosen, self._unit.lender = route, route.executor
        self._unit.lu.firmware.discard()  # the pieces of an image that the other has

    @property
    def _disk(self) -> str:
        return self._unit.lu.facts.controller.text("sn").strip()

    async def _follow(self) -> None:
        """Have the hot path take the route that is chosen."""
        try:
            while self._active is not self.chosen and not self._unit.closed:
                async with self._unit.drained():
                    self._activate(self.chosen, AccessChange.IMPLICIT)
        finally:
            self._following = False
            self._unit.step_back()

    def _activate_explicitly(self, route: Route, nexus: Nexus) -> None:
        """Take a route as an initiator asks; nothing is under way."""
        assert isinstance(route, ServedRoute)
        self._take(route)
        self._activate(route, AccessChange.EXPLICIT, nexus)

    def _activate(
        self, route: ServedRoute, change: AccessChange, asker: Nexus | None = None
    ) -> None:
        """Nothing of the hot path is under way: let it, and initiators, know."""
        unit, lu = self._unit, self._unit.lu
        if unit.closed:
            return
        unit.plane_unit.move(route.controller)
        unit.controller = route.controller
        self._active = route
        self._list()
        before = (lu.capacity_blocks, lu.block_bytes)
        lu.become(route.facts)
        if route.alive():
            unit.layout.gone = False
            lu.recover()
        if (lu.capacity_blocks, lu.block_bytes) != before:
            lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
        self._tell_of_change(change, asker)

    def _tell_of_change(self, change: AccessChange, asker: Nexus | None = None) -> None:
        lu = self._unit.lu
        lu.routes.change = change
        lu.establish_attention(ASYMMETRIC_ACCESS_STATE_CHANGED, but=asker)


def _alike(settings: Sequence[NvmeCommand]) -> list[NvmeCommand]:
    """Return what is equal of settings, whenever they are asked for: a clock's time is not."""
    return [replace(one, data_out=b"") if _is_clock(one) else one for one in settings]


def _is_clock(setting: NvmeCommand) -> bool:
    return setting.cdw10 & _FID == TIMESTAMP_FEATURE
