"""What is served: logical units and I_T nexuses, with their halves in the data plane."""

from __future__ import annotations

import asyncio
import logging

from scsi2nvme.executor import DataExecutor
from scsi2nvme.native.plane import (
    Plane,
    PlaneController,
    PlaneNexus,
    PlaneUnit,
    Scope,
)
from scsi2nvme.native.unit_parameters import UnitParameters
from scsi2nvme.scsi.sense import REPORTED_LUNS_DATA_HAS_CHANGED, SenseCode
from scsi2nvme.service.answers import KeptAnswers
from scsi2nvme.service.events import Events
from scsi2nvme.service.served_unit import OpenNexus, ServedUnit
from scsi2nvme.unit.epoch import Epoch
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus

log = logging.getLogger(__name__)

# Between looks whether a logical unit that was removed can be freed.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class Registry:
    """The logical units by identity, the nexuses by the cookie of their events.

    `epoch` advances whenever an answer that was kept may no longer hold. `closed`: the logical
    units were freed.
    """

    def __init__(self, plane: Plane, events: Events) -> None:
        self._plane = plane
        self._events = events
        self.epoch = Epoch()
        self.answers = KeptAnswers(self.epoch)
        self.units: dict[LogicalUnit, ServedUnit] = {}
        self._by_controller: dict[PlaneController, list[LogicalUnit]] = {}
        self.nexuses: dict[int, OpenNexus] = {}
        self.closed = False
        self._retired: list[ServedUnit] = []  # tasks may still refer to them

    def add_unit(
        self, lu: LogicalUnit, executor: DataExecutor, controller: PlaneController
    ) -> ServedUnit:
        """Serve a logical unit from now on."""
        parameters = UnitParameters.of(lu)
        plane_unit = PlaneUnit(controller, parameters)
        unit = ServedUnit(lu, executor, executor, plane_unit, controller, parameters, self._events)
        self.units[lu] = unit
        lu.controller_units = self._by_controller.setdefault(controller, [])
        if lu.controller_units:
            lu.sanitizing = lu.controller_units[0].sanitizing
            lu.firmware = lu.controller_units[0].firmware
        self._by_controller[controller].append(lu)
        lu.epoch, lu.on_change, lu.on_nexus_change = self.epoch, unit.publish, unit.publish_to
        lu.on_streams_refused, lu.on_hints_refused = unit.streams_refused, unit.hints_refused
        lu.on_mode_changed = unit.begin_refresh  # of what is said of groups the hot path is told
        lu.statistics = plane_unit.statistics
        lu.exceptions.later = lambda *what: asyncio.get_running_loop().call_later(*what)
        plane_unit.set_aside(False)
        return unit

    def join(self, unit: ServedUnit, controller: PlaneController) -> None:
        """A logical unit is reached by another controller as well: they are one disk's."""
        family = self._by_controller[unit.controller]
        other = self._by_controller.get(controller, [])
        if other is family:
            return
        for lu in other:
            lu.controller_units = family
            lu.sanitizing, lu.firmware = unit.lu.sanitizing, unit.lu.firmware
        family += other
        for each in [each for each, units in self._by_controller.items() if units is other]:
            self._by_controller[each] = family
        self._by_controller[controller] = family

    def is_joined(self, controller: PlaneController) -> bool:
        """Whether what is served is, or was, reached by this one of several controllers.

        Tasks that began then may have its memory.
        """
        family = self._by_controller.get(controller)
        return bool(family) and any(
            units is family
            for other, units in self._by_controller.items()
            if other is not controller
        )

    def others(self, unit: ServedUnit) -> list[ServedUnit]:
        """Return what is served of the same controller beside a logical unit."""
        beside = self._by_controller.get(unit.controller, ())
        return [self.units[lu] for lu in beside if lu is not unit.lu]

    def remove_unit(self, lu: LogicalUnit) -> ServedUnit:
        """Serve a logical unit no more: no nexus sees it any longer. What is under way ends."""
        unit = self.units[lu]
        for opened, lun in unit.all_paths():
            self._unmap(opened, lun)
        del self.units[lu]
        lu.fail()  # for what waits for its turn
        unit.stop_followers()
        lu.exceptions.reset()
        self._retired.append(unit)
        self._by_controller[unit.controller].remove(lu)
        return unit

    async def free(self, unit: ServedUnit) -> None:
        """Free a logical unit that was removed, as soon as nothing refers to it any more.

        No task comes to refer to it now: when the reactors have counted none, none will.
        """
        pause_s = FIRST_PAUSE_S
        while unit.in_use or await self._referred_to(unit) or unit.in_use:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        unit.close()
        self._retired.remove(unit)

    async def forget_controller(self, controller: PlaneController) -> None:
        """Take a controller, whose logical units were freed, from the reactors.

        On return none of them knows its queues any more.
        """
        assert not self._by_controller.get(controller)
        while any(controller in (one.controller, *one.controllers) for one in self._retired):
            await asyncio.sleep(FIRST_PAUSE_S)  # tasks of what has gone may have its memory
        self._by_controller.pop(controller, None)
        await self._events.drained(controller.pause)
        controller.close()
        # Reactors do what they are told in order: who has counted has let go as well.
        nobody = PlaneNexus(self._events.number())

        def count(token: int) -> None:
            self._plane.abort(Scope.NEXUS, nobody, None, token, query=True)

        await self._events.drained(count)
        nobody.close()

    async def _referred_to(self, unit: ServedUnit) -> bool:
        """Whether tasks refer to a logical unit, or messages do that such have sent.

        What a task has sent to other reactors before the first look comes there before the second.
        """
        return bool(await self._references(unit) or await self._references(unit))

    async def _references(self, unit: ServedUnit) -> int:
        """Return how many of the reactors' tasks refer to a logical unit."""

        def start(token: int) -> None:
            self._plane.abort(Scope.HELD, None, unit.plane_unit, token, query=True)

        return await self._events.drained(start)

    def close(self) -> None:
        """Free the logical units, with the reactors stopped."""
        self.closed = True
        for unit in (*self._retired, *self.units.values()):
            unit.lu.exceptions.stop()
            unit.close()
        self._retired.clear()
        self.units.clear()
        self._by_controller.clear()

    def discard_firmware(self, controller: PlaneController) -> None:
        """A controller forgets the pieces of an image that it was sent."""
        for lu in self._by_controller.get(controller, ()):
            lu.firmware.discard()

    def open_nexus(self, nexus: Nexus) -> PlaneNexus:
        """Map and attach the nexus' LUNs; OSError, which leaves nothing behind."""
        cookie = self._events.number()
        plane_nexus = PlaneNexus(cookie)
        try:
            for lun, lu in nexus.luns.items():
                self._lead(plane_nexus, lun, self.units[lu])
        except OSError:
            plane_nexus.close()
            raise
        opened = self.nexuses[cookie] = OpenNexus(nexus, plane_nexus, dict(nexus.luns))
        for lun, lu in nexus.luns.items():
            self.units[lu].add_path(opened, lun)
        for lu in set(nexus.luns.values()):
            lu.attach(nexus)
        return plane_nexus

    def update_nexuses(self) -> None:
        """Let nexuses see what they may see now, and tell those for whom that is something else.

        Spec: SPC-4 6.33, SAM-5 5.14 (REPORTED LUNS DATA HAS CHANGED).
        """
        for opened in self.nexuses.values():
            nexus = opened.nexus
            visible = None if nexus.visible is None else nexus.visible()
            if visible is None or dict(visible) == opened.told:
                continue
            before, now = opened.told, dict(visible)
            for lun in [lun for lun, lu in nexus.luns.items() if now.get(lun) is not lu]:
                self._unmap(opened, lun)
            for lun in now.keys() - nexus.luns.keys():
                self._map(opened, lun, now[lun])
            # Also by what has come in the place of another: it may be all that is asked.
            for lu in {lu for lun, lu in nexus.luns.items() if lun in before}:
                lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED, only=nexus.key)
            opened.told = dict(nexus.luns)  # what could not be mapped is, with the next change

    @staticmethod
    def _lead(plane_nexus: PlaneNexus, lun: int, unit: ServedUnit) -> None:
        """Have a LUN lead to a logical unit, by whichever controller."""
        for controller in unit.controllers:
            plane_nexus.prepare(controller)
        plane_nexus.map(lun, unit.plane_unit)

    def _map(self, opened: OpenNexus, lun: int, lu: LogicalUnit) -> None:
        nexus, unit = opened.nexus, self.units[lu]
        try:
            self._lead(opened.plane_nexus, lun, unit)
        except OSError as error:
            log.error("LUN %d of %s: %s", lun, nexus.initiator.name, error)
            return
        seen = lu in nexus.luns.values()
        nexus.luns[lun] = lu
        self.epoch.advance()
        unit.add_path(opened, lun)
        if not seen:
            lu.attach(nexus)
        unit.publish_to(nexus.key)

    def _unmap(self, opened: OpenNexus, lun: int) -> None:
        nexus = opened.nexus
        opened.plane_nexus.map(lun, None)
        lu = nexus.luns.pop(lun)
        unit = self.units[lu]
        self.epoch.advance()
        unit.remove_path(opened, lun)
        if unit.drains:
            unit.plane_unit.look_again()
        if lu not in nexus.luns.values():
            lu.detach(nexus)

    def close_nexus(
        self, nexus: Nexus, plane_nexus: PlaneNexus, condition: SenseCode | None
    ) -> None:
        """Detach the nexus' LUNs and free it; `condition` waits for its return."""
        opened = self.nexuses.pop(plane_nexus.cookie)
        for lun, lu in nexus.luns.items():
            self.units[lu].remove_path(opened, lun)
        for lu in set(nexus.luns.values()):
            lu.detach(nexus, condition)
        plane_nexus.close()
