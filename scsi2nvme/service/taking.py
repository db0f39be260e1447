"""Has tokens made that stand for blocks as they are at one point in time.

While a token is made its blocks are nobody's: what was begun before has ended, and what comes later
finds the token, which it revokes. Of the hot path's commands those do that would change the blocks,
from before the first moment on: they are the engine's as long as there is the token.
"""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.moving import UnderWay
from scsi2nvme.service.pieces import CopyEnd
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.copies import Fault, Moved, Moving, Side, Taking
from scsi2nvme.unit.extents import merged
from scsi2nvme.unit.tokens import RodToken


def watch_blocks(unit: ServedUnit, blocks: Sequence[range]) -> None:
    """See `Rods`."""
    if not unit.closed:
        unit.plane_unit.watch(blocks)


class Taker:
    """Has tokens made of what is served."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def take(self, taking: Taking) -> Moving:
        """See `copies.Taker`."""
        return UnderWay(_Run(self._registry, taking))


class _Run:
    moved = 0

    def __init__(self, registry: Registry, taking: Taking) -> None:
        self._registry, self._taking = registry, taking
        source = taking.source
        self._source = CopyEnd(Side.SOURCE, taking.nexus, source, source.block_bytes)

    async def run(self) -> RodToken | Moved | None:
        """Return the token, None if there is no room for one; else what has refused it."""
        taking, lu = self._taking, self._source.lu
        unit = self._registry.units.get(lu)
        if unit is None:
            return Moved(0, Fault(Side.SOURCE, Result(Status.BUSY), reachable=False))
        async with (
            unit.lock.hold(exclusive=False, party=taking.nexus.key),
            unit.blocks.hold(taking.extents, alone=True),
        ):
            if (fault := self._source.fault(taking.extents)) is not None:
                return Moved(0, fault)
            token = taking.make()
            if token is not None:
                try:
                    await self._drain(unit)
                    return token
                except BaseException:
                    lu.rods.tokens.end(token, None)
                    raise
            return None

    async def _drain(self, unit: ServedUnit) -> None:
        """Wait until the hot path has ended what it had begun on the blocks.

        What comes later and changes them is the engine's, and so waits. What lies between them is
        nobody's concern: it is on the hot path, whatever an initiator wants tokens of.
        """
        for extent in merged(self._taking.extents):
            async with unit.drained_of(extent):
                pass
