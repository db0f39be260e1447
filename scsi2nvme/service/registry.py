"""What is served: logical units and I_T nexuses, with their halves in the data plane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from scsi2nvme.executor import NvmeExecutor
from scsi2nvme.native.plane import Plane, PlaneController, PlaneNexus, PlaneUnit, UnitParameters
from scsi2nvme.scsi.sense import REPORTED_LUNS_DATA_HAS_CHANGED, SenseCode
from scsi2nvme.service.allowance import Allowance
from scsi2nvme.service.answers import KeptAnswers
from scsi2nvme.service.blocks import BlockLock
from scsi2nvme.service.events import Events
from scsi2nvme.service.lock import SharedLock
from scsi2nvme.service.resets import Resets
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus

log = logging.getLogger(__name__)

# Each hot command is held against all of them.
MOST_RANGES = 32


@dataclass(eq=False)
class OpenNexus:
    """An I_T nexus that is served, with its half in the data plane."""

    nexus: Nexus
    plane_nexus: PlaneNexus
    told: dict[int, LogicalUnit]  # what it saw when it was last told of that


@dataclass(eq=False)
class ServedUnit:
    """A logical unit with its half in the data plane.

    `parameters` are what the hot path knows; `paths` lists by which nexus and
    LUN the logical unit is reached. Commands hold `lock` shared while they run, or
    exclusively where they run alone, as often as `allowance` lets them, one after the other by
    `next_alone`, and of `blocks` those that they name. `preempting` are the aborts that PREEMPT
    AND ABORT has begun and not yet waited for; `drains` counts those who keep the hot path off,
    or are about to, and `ranges` those who keep it off some blocks.
    """

    lu: LogicalUnit
    executor: NvmeExecutor
    plane_unit: PlaneUnit
    controller: PlaneController
    parameters: UnitParameters
    events: Events
    lock: SharedLock = field(default_factory=SharedLock)
    blocks: BlockLock = field(default_factory=BlockLock)
    allowance: Allowance = field(default_factory=Allowance)
    next_alone: SharedLock = field(default_factory=SharedLock)
    resets: Resets = field(default_factory=Resets)
    paths: list[tuple[OpenNexus, int]] = field(default_factory=list)
    preempting: list[asyncio.Task[None]] = field(default_factory=list)
    closed: bool = False
    drains: int = 0
    ranges: int = 0

    def close(self) -> None:
        """Free its half in the data plane; what still runs does not touch it any more."""
        self.closed = True
        self.plane_unit.close()

    @property
    def stale(self) -> bool:
        """Whether the hot path does not know yet what the logical unit has become."""
        return UnitParameters.of(self.lu) != self.parameters

    def publish(self) -> None:
        """Bring the step-aside flags of every path in line with the logical unit's state.

        Answers that were made before hold no longer.
        """
        self.lu.epoch.advance()
        stale = self.stale
        for opened, lun in self.paths:
            aside = stale or self.lu.aside(opened.nexus)
            opened.plane_nexus.set_aside(lun, aside)

    @asynccontextmanager
    async def drained(self) -> AsyncIterator[None]:
        """Keep the hot path off the logical unit for the body.

        Whoever holds `lock` exclusively may change the namespace: afterwards the hot path
        knows of it.
        """
        drained = False
        self.drains += 1
        try:
            await self.events.drained(self.plane_unit.drain)
            drained = True
            yield
        finally:
            self.drains -= 1
            if not self.closed:
                self._return_to_hot_path(drained=drained)

    @asynccontextmanager
    async def alone(self, party: Hashable) -> AsyncIterator[None]:
        """Hold `lock` exclusively and keep the hot path off for the body, on behalf of `party`.

        Not for most of the time: who has to wait for that waits before it keeps others waiting.
        """
        async with self.next_alone.hold(exclusive=True, party=party):
            if (wait_seconds := self.allowance.wait_seconds) > 0:
                await asyncio.sleep(wait_seconds)
            async with self.lock.hold(exclusive=True, party=party):
                begun = time.monotonic()
                try:
                    async with self.drained():
                        yield
                finally:
                    self.allowance.use(time.monotonic() - begun)

    @asynccontextmanager
    async def drained_of(self, blocks: range) -> AsyncIterator[None]:
        """Keep the hot path off some blocks for the body; what it does elsewhere goes on.

        Off the whole logical unit, where it is kept off `MOST_RANGES` others.
        """
        if self.ranges == MOST_RANGES:
            async with self.drained():
                yield
            return
        token = self.events.number()
        self.ranges += 1
        try:
            await self.events.drained(partial(self.plane_unit.drain_range, blocks), token)
            yield
        finally:
            self.ranges -= 1
            if not self.closed:
                self.plane_unit.release_range(token)

    def _return_to_hot_path(self, *, drained: bool) -> None:
        """End a drain, or give it up: then nothing has changed that the hot path must know."""
        if drained and self.stale:
            self.parameters = UnitParameters.of(self.lu)
            self.plane_unit.update(self.parameters)
            self.publish()
        if not self.drains:
            self.plane_unit.set_aside(False)

    async def refresh(self) -> None:
        """Tell the hot path of what a background operation or an event has changed."""
        if not self.stale or self.closed:
            return
        self.publish()
        async with self.lock.hold(exclusive=True), self.drained():
            pass


class Registry:
    """The logical units by identity, the nexuses by the cookie of their events.

    `epoch` advances whenever an answer that was kept may no longer hold.
    """

    def __init__(self, plane: Plane, events: Events) -> None:
        self._plane = plane
        self._events = events
        self.epoch = Epoch()
        self.answers = KeptAnswers(self.epoch)
        self.units: dict[LogicalUnit, ServedUnit] = {}
        self._by_controller: dict[PlaneController, list[LogicalUnit]] = {}
        self.nexuses: dict[int, OpenNexus] = {}
        self._retired: list[ServedUnit] = []  # tasks may still lead there

    def add_unit(
        self, lu: LogicalUnit, executor: NvmeExecutor, controller: PlaneController
    ) -> ServedUnit:
        """Serve a logical unit from now on."""
        parameters = UnitParameters.of(lu)
        plane_unit = PlaneUnit(controller, parameters)
        unit = ServedUnit(lu, executor, plane_unit, controller, parameters, self._events)
        self.units[lu] = unit
        lu.controller_units = self._by_controller.setdefault(controller, [])
        self._by_controller[controller].append(lu)
        lu.epoch, lu.on_change = self.epoch, unit.publish
        plane_unit.set_aside(False)
        return unit

    def remove_unit(self, lu: LogicalUnit) -> None:
        """Serve a logical unit no more: no nexus sees it any longer. What is under way ends."""
        unit = self.units[lu]
        for opened, lun in list(unit.paths):
            self._unmap(opened, lun)
        del self.units[lu]
        lu.fail()  # for what waits for its turn
        self._retired.append(unit)
        self._by_controller[unit.controller].remove(lu)

    def close(self) -> None:
        """Free the logical units, with the reactors stopped."""
        for unit in (*self._retired, *self.units.values()):
            unit.close()
        self._retired.clear()
        self.units.clear()
        self._by_controller.clear()

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs."""
        cookie = self._events.number()
        plane_nexus = PlaneNexus(self._plane, cookie)
        opened = self.nexuses[cookie] = OpenNexus(nexus, plane_nexus, dict(nexus.luns))
        for lun, lu in nexus.luns.items():
            plane_nexus.map(lun, self.units[lu].plane_unit)
            self.units[lu].paths.append((opened, lun))
        for lu in set(nexus.luns.values()):
            lu.attach(nexus)
        return plane_nexus

    def update_nexuses(self) -> None:
        """Let nexuses see what they may see now, and tell those for whom that is something else.

        Spec: SPC-4 6.33, SAM-5 5.14 (REPORTED LUNS DATA HAS CHANGED).
        """
        for opened in self.nexuses.values():
            nexus = opened.nexus
            if nexus.visible is None:
                continue
            before, now = opened.told, dict(nexus.visible())
            if now == before:
                continue
            for lun in [lun for lun, lu in nexus.luns.items() if now.get(lun) is not lu]:
                self._unmap(opened, lun)
            for lu in set(nexus.luns.values()):
                lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED, only=nexus.key)
            for lun in now.keys() - nexus.luns.keys():
                self._map(opened, lun, now[lun])
            opened.told = dict(nexus.luns)  # what could not be mapped is, with the next change

    def _map(self, opened: OpenNexus, lun: int, lu: LogicalUnit) -> None:
        nexus, unit = opened.nexus, self.units[lu]
        try:
            opened.plane_nexus.map(lun, unit.plane_unit)
        except OSError as error:
            log.error("LUN %d of %s: %s", lun, nexus.initiator.name, error)
            return
        seen = lu in nexus.luns.values()
        nexus.luns[lun] = lu
        self.epoch.advance()
        unit.paths.append((opened, lun))
        if not seen:
            lu.attach(nexus)
        unit.publish()

    def _unmap(self, opened: OpenNexus, lun: int) -> None:
        nexus = opened.nexus
        opened.plane_nexus.map(lun, None)
        lu = nexus.luns.pop(lun)
        self.epoch.advance()
        self.units[lu].paths.remove((opened, lun))
        if lu not in nexus.luns.values():
            lu.detach(nexus)

    def close_nexus(
        self, nexus: Nexus, plane_nexus: PlaneNexus, condition: SenseCode | None
    ) -> None:
        """Detach the nexus' LUNs and free it; `condition` waits for its return."""
        for lu in set(nexus.luns.values()):
            paths = self.units[lu].paths
            paths[:] = [path for path in paths if path[0].plane_nexus is not plane_nexus]
            lu.detach(nexus, condition)
        for cookie, opened in list(self.nexuses.items()):
            if opened.plane_nexus is plane_nexus:
                del self.nexuses[cookie]
        plane_nexus.close()
