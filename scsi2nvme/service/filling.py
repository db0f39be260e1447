"""Fills blocks with zeroes, piece by piece, as copies are made."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast

from scsi2nvme.commands.provisioning import zeroes
from scsi2nvme.commands.read_write import run as run_together
from scsi2nvme.commands.zone_access import check_writing, in_order
from scsi2nvme.executor import play
from scsi2nvme.scsi.result import CheckCondition, NvmeError, Translation, check_condition
from scsi2nvme.scsi.sense import LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE, Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.service import mover
from scsi2nvme.service.moving import UnderWay
from scsi2nvme.service.pieces import (
    WRITE,
    Failed,
    LateError,
    awake,
    held,
    in_time,
    refreshed,
    refusal,
)
from scsi2nvme.service.places import Place
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.copies import Fault, Fill, Moved, Moving, Side
from scsi2nvme.unit.logical_unit import Nexus

# At once; where there is no Write Zeroes, as much as a copy moves.
_FILL_BYTES = 32 << 20


def fill(by: mover.Mover, what: Fill) -> Moving:
    """See `copies.Filler`; it has a place of the copies', and rests as they do."""
    return UnderWay(_Run(by, what))


class _Run:
    def __init__(self, by: mover.Mover, what: Fill) -> None:
        self._mover, self._fill = by, what
        self._block = what.destination.block_bytes
        self._place = Place(by.places, what.nexus.key)
        self._begun_s = time.monotonic()
        self.moved = 0

    async def run(self) -> Moved:
        """Fill all of it, or up to what fails."""
        what = self._fill
        try:
            async with AsyncExitStack() as stack:
                async with in_time(self._left_s):
                    await stack.enter_async_context(self._place.shared())
                while self.moved < what.blocks and not self._is_late():
                    await self._next()
        except Failed as failed:
            return Moved(self.moved, failed.fault)
        except LateError:
            pass
        return Moved(self.moved, late=self.moved < what.blocks, seconds=self._seconds)

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._begun_s

    @property
    def _left_s(self) -> float | None:
        limit_s = self._fill.limit_s
        return None if limit_s is None else max(limit_s - self._seconds, 0.0)

    def _is_late(self) -> bool:
        return self._left_s == 0

    async def _next(self) -> None:
        """Fill a piece, and let others have their share."""
        what, begun_s = self._fill, time.monotonic()
        unit = self._mover.served(what.nexus, what.destination, Side.DESTINATION)
        others = self._mover.others_commands([unit])
        await self._fill_piece(unit)
        if self.moved < what.blocks and self._mover.others_commands([unit]) != others:
            await mover.rest_after(time.monotonic() - begun_s)

    async def _fill_piece(self, unit: ServedUnit) -> None:
        what, lu = self._fill, unit.lu
        size = _FILL_BYTES if lu.write_zeroes_blocks else mover.PIECE_BYTES
        lba, left = what.to + self.moved, what.blocks - self.moved
        count = min(left, max(1, size // self._block))
        zones = lu.zones
        if zones is not None:
            count = min(count, zones.start(lba) + zones.size - lba)
        extent = range(lba, lba + count) if zones is None else zones.of(lba, count)
        async with AsyncExitStack() as stack:
            async with in_time(self._left_s):
                await stack.enter_async_context(self._held(unit, extent))
            stack.enter_context(self._mover.under_way(what.nexus.key, unit))
            self._check(unit, lba, count)
            lu.rods.changed((range(lba, lba + count),))
            commands = zeroes(lu, lba, count)
            await self._play(
                unit, run_together(commands) if zones is None else in_order(lu, commands)
            )
        self.moved += count

    @asynccontextmanager
    async def _held(self, unit: ServedUnit, extent: range) -> AsyncIterator[None]:
        """Hold blocks for the body, without a place while that has to be waited for long."""
        hold = partial(held, unit, (extent,), alone=unit.lu.zones is not None)
        async with self._place.within(mover.PATIENCE_S, hold):
            cdb = WRITE.structure.parse(WRITE.build())
            if unit.lu.reservations.must_refresh(self._fill.nexus, WRITE, cdb):
                await self._play(unit, refreshed(unit.lu))
            yield

    def _check(self, unit: ServedUnit, lba: int, count: int) -> None:
        """Refuse what a WRITE of the same blocks would be refused."""
        lu, what = unit.lu, self._fill
        self._mover.served(what.nexus, what.destination, Side.DESTINATION)
        if (refused := refusal(lu, cast(Nexus, what.nexus), WRITE)) is not None:
            raise Failed(Fault(Side.DESTINATION, refused))
        if lba + count > lu.capacity_blocks or lu.block_bytes != self._block:
            beyond = check_condition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
            raise Failed(Fault(Side.DESTINATION, beyond, in_range=False))
        try:
            check_writing(lu, lba, count)
        except CheckCondition as told:
            raise Failed(Fault(Side.DESTINATION, check_condition(told.sense))) from told

    async def _play(self, unit: ServedUnit, translation: Translation) -> None:
        if unit.lu.power_condition:
            translation = awake(unit.lu, translation)
        try:
            result = await play(translation, unit.on_behalf(self._fill.nexus.key))
        except NvmeError as error:
            unit.lu.log.counters.record(error.command.opcode, error.completion.status)
            result = result_of(error)
        if result.status is not Status.GOOD:
            raise Failed(Fault(Side.DESTINATION, result))
