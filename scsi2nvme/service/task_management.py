"""Task management: what ends tasks, from whomever it comes. Spec: SAM-5 7."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from scsi2nvme.background import Background
from scsi2nvme.commands import unit_reset
from scsi2nvme.executor import play
from scsi2nvme.happenings import tell
from scsi2nvme.native.plane import Plane, PlaneNexus, PlaneUnit, Scope
from scsi2nvme.scsi.result import Translation
from scsi2nvme.scsi.sense import (
    BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
    I_T_NEXUS_LOSS_OCCURRED,
    SenseCode,
)
from scsi2nvme.scsi.task_management import (
    TaskManagement,
    TaskManagementResponse,
    asynchronous_event,
)
from scsi2nvme.service.answers import Noticing
from scsi2nvme.service.events import Events
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.served_unit import OpenNexus, ServedUnit
from scsi2nvme.unit.logical_unit import Nexus

log = logging.getLogger(__name__)

RESET_SECONDS = 1.9  # that all of it may take, with what it aborts and the controller's part


async def _nothing_moves(
    unit: ServedUnit, nexus_key: str | None = None, limit_s: float | None = None
) -> None:
    """There are no copies."""


class TaskManager:
    """SAM's task manager: aborts and queries tasks, hot and cold ones alike."""

    def __init__(
        self, plane: Plane, registry: Registry, events: Events, background: Background
    ) -> None:
        self._plane = plane
        self._registry = registry
        self._events = events
        self._background = background
        # Waits for what others' commands do to a logical unit, a nexus's or all, for so long.
        self.moved: Callable[..., Awaitable[None]] = _nothing_moves

    async def abort(
        self,
        scope: Scope,
        plane_nexus: PlaneNexus | None,
        unit: ServedUnit | None,
        *,
        itt: int = 0,
        query: bool = False,
        task_aborted_status: bool = False,
        up_to: int | None = None,
    ) -> int:
        """Abort, or `query`, tasks, and return how many there were, once they have ended.

        `scope` says which of `plane_nexus`, `unit` and `itt` choose them;
        `task_aborted_status`: their initiator is told by TASK ABORTED. Those of `plane_nexus`
        that came after `up_to` go on. A nexus that has ended meanwhile has none left, and ends
        others' all the same.
        """
        if plane_nexus is not None and plane_nexus.closed:
            if scope is not Scope.LU:
                return 0
            plane_nexus = None

        def order(plane_unit: PlaneUnit | None, token: int) -> None:
            self._plane.abort(
                scope,
                plane_nexus,
                plane_unit,
                token,
                itt=itt,
                query=query,
                task_aborted_status=task_aborted_status,
                up_to=up_to,
            )

        if unit is None:
            return await self._events.drained(partial(order, None))
        if unit.closed:
            return 0
        unit.orders += 1
        try:
            return await self._events.drained(partial(order, unit.plane_unit))
        finally:
            unit.orders -= 1

    def abort_preempted(self, unit: ServedUnit, keys: list[str]) -> None:
        """PREEMPT AND ABORT: abort the tasks of the nexuses that lost their registration."""
        for opened in self._registry.nexuses.values():
            if opened.nexus.key in keys:
                abort = self._background.spawn(self._abort_of(opened, unit))
                unit.preempting[abort] = opened.nexus.key
                abort.add_done_callback(unit.preempting.pop)

    async def preempted(self, unit: ServedUnit, nexus_key: str) -> None:
        """Wait for those aborts: afterwards no preempted write reaches the medium.

        Any command does that has ended meanwhile, but for the abort that waits for its own nexus's.
        Without the lock, for which the tasks may wait that are to end. Spec: SPC-4 5.13.11.2.5.
        """
        others = [abort for abort, key in unit.preempting.items() if key != nexus_key]
        if others:
            await asyncio.wait(others)

    async def _abort_of(self, opened: OpenNexus, unit: ServedUnit) -> None:
        """Abort what another nexus has under way; TAS says how it learns of that.

        Spec: SAM-5 5.3.1 (TASK ABORTED), SPC-4 7.5.8 (TAS).
        """
        told = unit.lu.mode.task_aborted_status
        found = await self.abort(Scope.NEXUS_LU, opened.plane_nexus, unit, task_aborted_status=told)
        await self.moved(unit, opened.nexus.key)
        if found and not told:
            unit.lu.establish_attention(
                COMMANDS_CLEARED_BY_ANOTHER_INITIATOR, only=opened.nexus.key
            )

    async def perform(
        self,
        function: TaskManagement,
        nexus: Nexus,
        plane_nexus: PlaneNexus,
        lun: int | None,
        itt: int,
        up_to: int | None = None,
    ) -> TaskManagementResponse:
        """Run one function to its end. Spec: SAM-5 7.

        The nexus's commands that came after `up_to` came after the request, and go on.
        """
        answer = TaskManagementResponse
        if function is TaskManagement.I_T_NEXUS_RESET:
            await self.abort(Scope.NEXUS, plane_nexus, None, up_to=up_to)
            for lu in set(nexus.luns.values()):
                lu.release(nexus)
                lu.establish_attention(I_T_NEXUS_LOSS_OCCURRED, only=nexus.key)
            return answer.FUNCTION_COMPLETE
        lu_or_none = nexus.luns.get(lun) if lun is not None else None
        if lu_or_none is None:
            return answer.INCORRECT_LOGICAL_UNIT_NUMBER
        lu, unit = lu_or_none, self._registry.units[lu_or_none]
        abort = partial(self.abort, plane_nexus=plane_nexus, unit=unit, up_to=up_to)
        match function:
            case TaskManagement.ABORT_TASK:
                found = await abort(Scope.TASK, itt=itt)
                return answer.FUNCTION_COMPLETE if found else answer.TASK_DOES_NOT_EXIST
            case TaskManagement.ABORT_TASK_SET | TaskManagement.CLEAR_TASK_SET:
                # One, as each nexus has a task set of its own (TST 001b). Spec: SAM-5 7.5.
                await abort(Scope.NEXUS_LU)
            case TaskManagement.LOGICAL_UNIT_RESET:
                await self._share_reset(unit, plane_nexus, up_to)
            case TaskManagement.QUERY_TASK:
                found = await abort(Scope.TASK, itt=itt, query=True)
                return answer.FUNCTION_SUCCEEDED if found else answer.FUNCTION_COMPLETE
            case TaskManagement.QUERY_TASK_SET:
                found = await abort(Scope.NEXUS_LU, query=True)
                return answer.FUNCTION_SUCCEEDED if found else answer.FUNCTION_COMPLETE
            case TaskManagement.QUERY_ASYNCHRONOUS_EVENT:
                pending = any(asynchronous_event(lu.unit_attentions.get(nexus.key, ())))
                return answer.FUNCTION_SUCCEEDED if pending else answer.FUNCTION_COMPLETE
        return answer.FUNCTION_COMPLETE

    async def _share_reset(
        self, unit: ServedUnit, plane_nexus: PlaneNexus, up_to: int | None
    ) -> None:
        own: list[asyncio.Task[None]] = []
        if unit.resets.shared:
            # Its own are ended at once, and without a word.
            own.append(self._background.spawn(self._abort_own(plane_nexus, unit, up_to)))
        until = asyncio.get_running_loop().time() + RESET_SECONDS
        reset = partial(self._abort_and_reset, unit, plane_nexus, up_to, until)
        await unit.resets.share(reset, self._background.spawn)
        if own:
            await asyncio.wait(own)

    async def _abort_own(
        self, plane_nexus: PlaneNexus, unit: ServedUnit, up_to: int | None
    ) -> None:
        await self.abort(Scope.NEXUS_LU, plane_nexus, unit, up_to=up_to)

    async def _abort_and_reset(
        self, unit: ServedUnit, plane_nexus: PlaneNexus, up_to: int | None, until: float
    ) -> None:
        # Before the reset, which may bring back another TAS. Spec: SPC-4 7.5.8.
        told = unit.lu.mode.task_aborted_status
        await self.abort(Scope.LU, plane_nexus, unit, task_aborted_status=told, up_to=up_to)
        left = until - asyncio.get_running_loop().time()
        await self.moved(unit, limit_s=max(left, 0))
        await self.reset(unit, until)

    async def reset(self, unit: ServedUnit, until: float) -> None:
        """Reset a logical unit whose tasks have been aborted. Spec: SAM-5 7.7.

        A controller that does not answer holds up whoever asked no longer than `until`, by the
        loop's clock: what it keeps of the logical unit's state is reset when it does.
        """
        reset = self.begin_reset(unit, BUS_DEVICE_RESET_FUNCTION_OCCURRED)
        left = until - asyncio.get_running_loop().time()
        await asyncio.wait([reset], timeout=max(left, 0))

    def begin_reset(self, unit: ServedUnit, cause: SenseCode | None) -> asyncio.Task[None]:
        """Reset a logical unit at once, and return what resets the controller's part of it.

        `cause` as in `LogicalUnit.reset`.
        """
        translation = unit_reset.reset(unit.lu, cause)
        disk, namespace = unit.lu.facts.controller.text("sn").strip(), str(unit.lu.nsid)
        told = ("disk %s, namespace %s: the logical unit is reset", disk, namespace)
        tell(log, logging.INFO, "unit-reset", *told, disk=disk, namespace=namespace)
        return self._background.spawn(self._finish_reset(unit, translation))

    async def _finish_reset(self, unit: ServedUnit, translation: Translation) -> None:
        executor = unit.on_behalf(unit)  # hosts ask for it
        result = await play(translation, Noticing(executor, unit.lu.epoch))
        unit.lu.epoch.advance()
        if result.sense is not None:
            code = result.sense.code
            log.warning("namespace %d: the reset is not complete: %s", unit.lu.nsid, code)
