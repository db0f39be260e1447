"""Fills blocks with zeroes, piece by piece, as copies are made."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from scsi2nvme.commands.provisioning import zeroes
from scsi2nvme.commands.read_write import run as run_together
from scsi2nvme.commands.zone_access import in_order
from scsi2nvme.service import mover
from scsi2nvme.service.moving import UnderWay
from scsi2nvme.service.pieces import CopyEnd, Failed, LateError, Time, held, in_time
from scsi2nvme.service.places import Place
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.copies import Fill, Moved, Moving, Side

# At once; where there is no Write Zeroes, as much as a copy moves.
_FILL_BYTES = 32 << 20


def fill(by: mover.Mover, what: Fill) -> Moving:
    """See `copies.Filler`; it has a place of the copies', and rests as they do."""
    return UnderWay(_Run(by, what))


class _Run:
    def __init__(self, by: mover.Mover, what: Fill) -> None:
        self._mover, self._fill = by, what
        self._block = what.destination.block_bytes
        self._end = CopyEnd(Side.DESTINATION, what.nexus, what.destination, self._block)
        self._place = Place(by.places, what.nexus.key)
        self._time = Time(what.limit_s)
        self.moved = 0

    async def run(self) -> Moved:
        """Fill all of it, or up to what fails."""
        what = self._fill
        try:
            async with AsyncExitStack() as stack:
                async with in_time(self._time.left_s):
                    await stack.enter_async_context(self._place.shared())
                while self.moved < what.blocks and not self._time.over:
                    await self._next()
        except Failed as failed:
            return Moved(self.moved, failed.fault)
        except LateError:
            pass
        return Moved(self.moved, late=self.moved < what.blocks, seconds=self._time.seconds)

    async def _next(self) -> None:
        """Fill a piece, and let others have their share."""
        what, begun_s = self._fill, time.monotonic()
        unit = self._mover.served(self._end)
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
            async with in_time(self._time.left_s):
                await stack.enter_async_context(self._held(unit, extent))
            stack.enter_context(self._mover.under_way(what.nexus.key, unit))
            self._mover.served(self._end)
            self._end.check(lba, count)
            lu.rods.changed((range(lba, lba + count),))
            commands = zeroes(lu, lba, count)
            await self._end.play(
                unit, run_together(commands) if zones is None else in_order(lu, commands)
            )
        self.moved += count

    @asynccontextmanager
    async def _held(self, unit: ServedUnit, extent: range) -> AsyncIterator[None]:
        """Hold blocks for the body, without a place while that has to be waited for long."""
        hold = partial(held, unit, (extent,), alone=unit.lu.zones is not None)
        async with self._place.within(mover.PATIENCE_S, hold):
            await self._end.refresh(unit)
            yield
