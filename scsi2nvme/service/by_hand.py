"""SCSI commands that no front end has brought: people write them (`scsi-passthru`).

They are as any initiator's: the engine's checks around them, the reservations of a nexus of their
own, their turn on the logical unit. But all are cold, nobody aborts them but a logical unit that
goes, and none is told of what had happened before it.

Their nexus lasts as long as the logical unit, so that copies go on, and their results and what was
written into buffers can be asked for. But nobody else is to meet more of it than what a command
was sent for: it is none of those that the logical unit has, with their ports and what they are to
be told, and keeps nobody out once its command has ended.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from scsi2nvme import engine
from scsi2nvme.background import Background
from scsi2nvme.executor import NvmeExecutor, play
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.service.admission import in_turn, waits
from scsi2nvme.service.answers import Noticing, may_change
from scsi2nvme.service.draining import Draining
from scsi2nvme.service.faults import tell_fault
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.service.task_management import TaskManager
from scsi2nvme.unit.delivery import ServiceDelivery
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName

_NAME = "iqn.2026-11.io.github.scsi2nvme:by-hand"
_LUN = 0


class ByHand:
    """Runs commands that people write, one by one or side by side."""

    def __init__(self, registry: Registry, background: Background, manager: TaskManager) -> None:
        self._registry = registry
        self._background = background
        self._manager = manager

    async def run(self, lu: LogicalUnit, cdb: bytes, data_out: bytes, expected: int) -> Result:
        """Run a command of a logical unit that is served, up to its status.

        `expected`: see Task. What it does after its status goes on. GoneError if the logical unit
        goes, and it would not end by itself.
        """
        unit = self._registry.units[lu]
        initiator, target = PortName(_NAME, bytes(6)), PortName(_NAME)
        delivery = ServiceDelivery(protection=True)
        nexus = Nexus(initiator, target, {_LUN: lu}, delivery)
        lu.unit_attentions.pop(nexus.key, None)  # another's PERSISTENT RESERVE OUT, perhaps
        try:
            request = engine.select(nexus, _LUN, cdb)
            command = request.command
            turn: AbstractAsyncContextManager[object] = nullcontext()
            if command is not None and waits(unit, command):
                turn = in_turn(unit, command, cdb, data_out, nexus.key)
            async with unit.guest(), turn:
                result = await self._play(unit, request, engine.run(request, data_out, expected))
            await self._manager.preempted(unit, nexus.key)
        finally:
            lu.unit_attentions.pop(nexus.key, None)
            lu.let_others_in(nexus)
        tell_fault(request, result)
        if result.background is not None:
            self._background.spawn(self._play_on(unit, request, result.background))
        return result

    async def _play(
        self, unit: ServedUnit, request: engine.Request, translation: Translation
    ) -> Result:
        executor: NvmeExecutor = unit.on_behalf(request.nexus.key)
        if request.command is not None and request.command.exclusive:
            executor = Draining(executor, self._registry.others(unit))
        changes = may_change(request.command)
        if changes:
            executor = Noticing(executor, self._registry.epoch)
        try:
            return await play(translation, executor, unit.report)
        finally:
            if changes:
                self._registry.epoch.advance()

    async def _play_on(
        self, unit: ServedUnit, request: engine.Request, translation: Translation
    ) -> None:
        try:
            tell_fault(request, await self._play(unit, request, translation))
        finally:
            await unit.refresh()
