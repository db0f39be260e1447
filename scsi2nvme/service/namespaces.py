"""Following the controllers: namespaces that change, come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from scsi2nvme.fields import Values
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import PlaneController
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.sense import (
    ASYMMETRIC_ACCESS_STATE_CHANGED,
    CAPACITY_DATA_HAS_CHANGED,
    INQUIRY_DATA_HAS_CHANGED,
    MICROCODE_HAS_BEEN_CHANGED,
    MODE_PARAMETERS_CHANGED,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    REPORTED_LUNS_DATA_HAS_CHANGED,
)
from scsi2nvme.service.names import Verdict
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.router import Router
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness

log = logging.getLogger(__name__)


class ControllerEvent(Protocol):
    """What is used of a driver's event."""

    @property
    def namespaces(self) -> frozenset[int]:
        """The NSIDs that came, went or changed."""

    @property
    def health(self) -> Values | None:
        """The SMART log, if that is what it is about."""

    @property
    def log_id(self) -> int:
        """The log page that tells more of it, 0: none."""

    @property
    def returned(self) -> bool:
        """Whether the controller was lost, and is there again."""


class Follower:
    """Brings logical units in line with their namespaces."""

    def __init__(self, registry: Registry, routers: Mapping[LogicalUnit, Router]) -> None:
        self._registry = registry
        self._routers = routers

    def settings_lost(self, units: Iterable[LogicalUnit]) -> None:
        """A reset returned to its default what could not be set again, perhaps of a mode page."""
        for lu in units:
            lu.establish_attention(MODE_PARAMETERS_CHANGED)

    def displaced(
        self,
        units: Mapping[int, LogicalUnit],
        nsids: Iterable[int],
        namespaces: Mapping[int, NamespaceFacts],
        controller: PlaneController,
        *,
        reset: bool = True,
    ) -> None:
        """A controller has other namespaces under some NSIDs, or other blocks in them.

        Nothing that was queued comes to these: it is judged anew, by what the logical units are
        now. After a `reset`, before anything goes on, nothing is under way either. `units` and
        `namespaces` are as of `controller_event`.
        """
        for lu in (units[nsid] for nsid in nsids if nsid in units):
            facts, unit = namespaces.get(lu.nsid), self._registry.units.get(lu)
            gone = not lu.is_of(facts)
            elsewhere = gone and self._leads_elsewhere(lu, controller, facts)
            if gone and not elsewhere:
                lu.fail()
            failed = lu.readiness is Readiness.FAILED  # it is followed when it recovers
            if not gone and not failed and self._tell_router(lu, facts, controller):
                self._follow(lu, facts)
            if unit is not None:
                if not elsewhere:  # where nothing has changed
                    unit.layout.lose(gone=gone)
                unit.plane_unit.recall(controller, forgotten=reset)
                if gone and not elsewhere and unit.controller is not controller:
                    unit.plane_unit.recall(unit.controller, forgotten=False)

    def _leads_elsewhere(
        self, lu: LogicalUnit, controller: PlaneController, facts: NamespaceFacts | None
    ) -> bool:
        """Have a logical unit not be reached by a controller any more, if there is another.

        Where another namespace has its number, it has it at all controllers, whether or not they
        have told of it. Spec: NVMe Base 2.0c 3.2.1.2.
        """
        router = self._routers.get(lu)
        if router is not None and facts is not None:
            router.gone()
            return False
        return router is not None and router.displaced(controller)

    def judged(self, lu: LogicalUnit, verdict: Verdict) -> None:
        """Rename a logical unit that turns out to have another's name, or serve it no more."""
        if verdict is Verdict.MODEL and not lu.ambiguous:
            lu.ambiguous = True
            lu.establish_attention(INQUIRY_DATA_HAS_CHANGED)
        elif verdict is Verdict.NONE:
            lu.fail()

    def controller_event(
        self,
        units: Mapping[int, LogicalUnit],
        event: ControllerEvent,
        namespaces: Mapping[int, NamespaceFacts],
        controller: PlaneController | None = None,
    ) -> list[asyncio.Task[None]]:
        """Follow what a controller tells of its namespaces.

        What is reached by another one of the same disk just now goes on as it is.

        `units` are its logical units by NSID, `namespaces` what it says now. On return each is
        what its namespace has become; the hot path knows when the tasks have ended.
        Spec: SPC-4 7.5.11; SBC-3 4.5 (capacity), SAM-5 4.6.4.
        """
        if event.health is not None:
            for lu in units.values():
                lu.exceptions.observe(event.health.critical_warning)
        if any(nsid not in namespaces for nsid in event.namespaces & units.keys()):
            for lu in units.values():
                lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED)
        followed = {
            nsid: units[nsid]
            for nsid in sorted(event.namespaces & units.keys())
            if self._tell_router(units[nsid], namespaces.get(nsid), controller)
        }
        if event.returned:  # its power may have been off
            for lu in units.values():
                if lu.nsid in followed or not lu.routes.several:
                    lu.establish_attention(POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
        refreshing = [self._follow(lu, namespaces.get(nsid)) for nsid, lu in followed.items()]
        return [each for each in refreshing if each is not None]

    def _tell_router(
        self,
        lu: LogicalUnit,
        facts: NamespaceFacts | None,
        controller: PlaneController | None,
    ) -> bool:
        """Have who knows the routes hear what a controller says of a logical unit's namespace.

        Another route may be taken by that. Whether commands go by this controller then, so that
        the logical unit is to follow.
        """
        router = self._routers.get(lu)
        if router is None or facts is None or controller is None:
            return True
        return router.heard(controller, facts)

    def _follow(self, lu: LogicalUnit, facts: NamespaceFacts | None) -> asyncio.Task[None] | None:
        """Bring a logical unit in line with its namespace; without facts it is gone."""
        if facts is None:
            lu.fail()
            return None
        before = (lu.capacity_blocks, lu.block_bytes)
        if facts.controller.bytes("fr") != lu.facts.controller.bytes("fr"):
            lu.establish_attention(MICROCODE_HAS_BEEN_CHANGED)
            lu.establish_attention(INQUIRY_DATA_HAS_CHANGED)
        if facts.ana_state is not lu.facts.ana_state:
            lu.establish_attention(ASYMMETRIC_ACCESS_STATE_CHANGED)
        lu.become(facts)
        lu.recover()
        if (lu.capacity_blocks, lu.block_bytes) != before:
            lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
        lu.on_change()
        unit = self._registry.units.get(lu)
        return None if unit is None else unit.begin_refresh()  # else all ends

    async def limit(self, lu: LogicalUnit, size: int | None) -> None:
        """Make the first `size` bytes of a namespace the logical unit, None: all of it."""
        before = lu.capacity_blocks
        lu.limit = size
        unit = self._registry.units.get(lu)
        if lu.capacity_blocks != before and unit is not None:
            lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
            await unit.refresh()

    def controller_lost(self, controller: PlaneController) -> None:
        """A controller is gone for good, and with it its logical units."""
        for unit in self._registry.units.values():
            router = self._routers.get(unit.lu)
            alone = router is None and unit.controller is controller
            if alone or (router is not None and router.lost(controller)):
                unit.lu.fail()
                disk, namespace = unit.lu.facts.controller.text("sn").strip(), str(unit.lu.nsid)
                told = ("disk %s, namespace %s is lost", disk, namespace)
                tell(log, logging.ERROR, "disk-lost", *told, disk=disk, namespace=namespace)
