"""Moves blocks between logical units, piece by piece, for third-party copies.

Where one namespace is both ends and its controller has a Copy of much at a time, that does it; else
a piece is read into memory of the controllers', and written from there: what two controllers share
is copied once, by one call. Each piece is treated as a READ and a WRITE of the initiator's: it
waits for what is alone on its blocks, meets reservations and write protection as they are then, and
is in order where there are zones. So others never wait for more than a piece, and nothing is held
between two.

`_AT_ONCE` pieces of a copy are under way, and `CONCURRENT_COPIES` copies, of one I_T nexus after
the other; none that waits for long for what is alone on its blocks, as a format is. While others
use the controllers, a copy rests between pieces for `_REST` times as long as one takes.

Nobody waits for one logical unit, or for one controller's memory, while he holds another's, but in
an order that all keep: two copies cannot wait for one another. Nor does anybody wait for blocks who
holds memory: what is alone on them wants memory, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, cast

from scsi2nvme.commands.read_write import block_command, split
from scsi2nvme.commands.zone_access import in_order
from scsi2nvme.executor import DataExecutor
from scsi2nvme.nvme.command import DataMemory, NvmeCommand, Opcode
from scsi2nvme.nvme.copying import CopyLimits, copy_command, copy_limits, ranges_of
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, NvmeError, Result, Translation, check_condition
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.moving import UnderWay
from scsi2nvme.service.pieces import CopyEnd, Failed, LateError, Time, both, in_time
from scsi2nvme.service.places import Place, Places
from scsi2nvme.service.registry import Registry
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.copies import CONCURRENT_COPIES, Fault, Move, Moved, Moving, Side
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus

PIECE_BYTES = 1 << 20
COPY_BYTES = 4 << 20  # that one Copy names: it ends soon, when nobody wants it any more
# One that may name less is slower, Copy by Copy, than what is read and written in large pieces:
# that was measured with QEMU's 64 KiB (`bench.copies`). A disk is not measured on the way: what
# others do meanwhile would decide.
_LEAST_COPY_BYTES = 128 << 10
_AT_ONCE = 2
PATIENCE_S = 0.25  # with what is alone on blocks: others copy meanwhile if that takes longer
# Two pieces at once, each of which is under way for a tenth of the time, leave the others 80 %.
_REST, _LONGEST_REST_S = 9, 0.5
# The controller cannot do it by itself, now or ever: do it without.
_NOT_BY_COPY = frozenset(
    {
        StatusCode.INVALID_OPCODE,
        StatusCode.INVALID_FIELD,
        StatusCode.COMMAND_SIZE_LIMIT_EXCEEDED,
    }
)

# What a Copy fails with that could not read.
_OF_THE_SOURCE = (StatusCode.UNRECOVERED_READ_ERROR, StatusCode.DEALLOCATED_OR_UNWRITTEN)

rest = asyncio.sleep  # until others have had their share


async def rest_after(seconds: float) -> None:
    """Let others have their share, after a piece that has taken so long."""
    await rest(min(_REST * seconds, _LONGEST_REST_S))


Piece = tuple[int, int]  # offset in the move, and blocks


class Mover:
    """Moves blocks between logical units that are served."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.places = Places(CONCURRENT_COPIES)
        self._pieces: dict[asyncio.Future[None], tuple[str, frozenset[ServedUnit]]] = {}

    def move(self, move: Move) -> Moving:
        """See `copies.Mover`."""
        return UnderWay(_Run(self, move))

    def served(self, end: CopyEnd) -> ServedUnit:
        """Return who serves one end, as long as the initiator can see it."""
        unit = self.registry.units.get(end.lu)
        if unit is None or end.lu not in cast(Nexus, end.nexus).luns.values():
            raise Failed(Fault(end.side, Result(Status.BUSY), reachable=False))
        return unit

    @contextmanager
    def under_way(self, nexus_key: str, *units: ServedUnit) -> Iterator[None]:
        """Have `ended` wait for the body: a piece that nothing refuses any more."""
        piece: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pieces[piece] = nexus_key, frozenset(units)
        try:
            yield
        finally:
            del self._pieces[piece]
            piece.set_result(None)

    async def ended(
        self, unit: ServedUnit, nexus_key: str | None = None, limit_s: float | None = None
    ) -> None:
        """Wait until what copies read or write of a logical unit now has ended.

        One nexus's, or all; for so many seconds at most. Their commands may be at another one.
        """
        pieces = [
            piece
            for piece, (key, units) in self._pieces.items()
            if unit in units and nexus_key in (None, key)
        ]
        if pieces:
            await asyncio.wait(pieces, timeout=limit_s)

    def others_commands(self, units: Iterable[ServedUnit]) -> int:
        """Return how many commands the hot path was given for the controllers of some units."""
        controllers = {unit.controller for unit in units}
        return sum(
            unit.plane_unit.statistics().begun
            for unit in self.registry.units.values()
            if unit.controller in controllers
        )


class _Run:
    """Takes piece by piece of a move, and has `_AT_ONCE` of them moved at the same time.

    Of blocks that are read and written as well one piece is moved at a time, and those first that
    would be overwritten.
    """

    def __init__(self, mover: Mover, move: Move) -> None:
        self._mover, self._move = mover, move
        self._block = move.source.block_bytes  # which LBAs and numbers of blocks are about
        self._source = CopyEnd(Side.SOURCE, move.nexus, move.source, self._block)
        self._destination = CopyEnd(Side.DESTINATION, move.nexus, move.destination, self._block)
        self._copies = True  # the controller has refused no Copy
        self._done: dict[int, int] = {}  # pieces, by offset
        self._fault: tuple[int, Fault] | None = None  # the first in the move
        self._backwards = move.overlaps and move.lba < move.to
        self._left = range(move.blocks)
        self._place = Place(mover.places, move.nexus.key)
        self._time = Time(move.limit_s)
        self._late = False

    @property
    def moved(self) -> int:
        """How many blocks were moved, from the first one on."""
        moved = 0
        while moved in self._done:
            moved += self._done[moved]
        return moved

    def _copy_limits(self) -> CopyLimits | None:
        """Return what one Copy may move now: the namespace may be formatted on the way."""
        move = self._move
        facts = move.source.facts
        plain = not (facts.zones or facts.protection_type or move.overlaps)
        within = self._copies and plain and move.source is move.destination
        limits = copy_limits(facts) if within else None
        return limits if limits and limits.blocks * self._block >= _LEAST_COPY_BYTES else None

    async def run(self) -> Moved:
        """Move all of it, or up to what fails."""
        move = self._move
        serial = move.overlaps or move.destination.zones is not None
        await _all_of(self._work() for _ in range(1 if serial else _AT_ONCE))
        if self._fault is not None:
            return Moved(self.moved, self._fault[1])
        if self.moved != move.blocks and not self._late:
            raise asyncio.CancelledError  # a controller's commands were, and nobody has asked
        return Moved(self.moved, late=self._late, seconds=self._time.seconds)

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            try:
                async with in_time(self._left_s):
                    await stack.enter_async_context(self._place.shared())
                await self._move_pieces()
            except LateError:
                self._late = True

    @property
    def _left_s(self) -> float | None:
        """How long is to be waited for what a piece needs."""
        return None if self._backwards and self._done else self._time.left_s

    async def _move_pieces(self) -> None:
        while self._fault is None and (piece := self._take()) is not None:
            begun_s, others = time.monotonic(), self._others()
            try:
                await self._move_piece(*piece)
            except Failed as failed:
                if self._fault is None or piece[0] < self._fault[0]:
                    self._fault = piece[0], failed.fault
                return
            self._done[piece[0]] = piece[1]
            if self._left and self._others() != others:
                await rest_after(time.monotonic() - begun_s)

    def _others(self) -> int:
        units = self._mover.registry.units
        served = (units.get(end.lu) for end in (self._source, self._destination))
        return self._mover.others_commands(unit for unit in served if unit is not None)

    def _take(self) -> Piece | None:
        """Take the next piece: within one zone at either end, where there are any."""
        left, move = self._left, self._move
        if not left or self._is_late():
            return None
        count = min(len(left), self._most())
        if self._backwards:
            self._left = left[:-count]
            return left[-count], count
        for lu, lba in ((move.source, move.lba), (move.destination, move.to)):
            if lu.zones is not None:
                at = lba + left[0]
                count = min(count, lu.zones.start(at) + lu.zones.size - at)
        self._left = left[count:]
        return left[0], count

    def _is_late(self) -> bool:
        """Whether there is no time for more; what begins at its end is of no use before all is."""
        self._late |= self._time.over and not self._backwards
        return self._late

    def _most(self) -> int:
        limits = self._copy_limits()
        if limits is None:
            return self._step
        return min(limits.blocks, max(1, COPY_BYTES // self._block))

    @property
    def _step(self) -> int:
        return max(1, PIECE_BYTES // self._block)

    # One piece

    async def _move_piece(self, offset: int, count: int) -> None:
        if self._copy_limits() is not None and await self._by_copy(offset, count):
            return
        for start in range(offset, offset + count, self._step):
            await self._relay(start, min(self._step, offset + count - start))

    @asynccontextmanager
    async def _held(self, offset: int, count: int) -> AsyncIterator[tuple[ServedUnit, ServedUnit]]:
        """Hold the blocks at both ends for the body, if they are there."""
        move = self._move
        source, destination = self._check(offset, count)
        blocks = source, move.lba + offset, destination, move.to + offset, count
        async with self._place.within(PATIENCE_S, lambda: both(*blocks)):
            for end in (self._source, self._destination):
                await end.refresh(self._mover.served(end))
            yield source, destination

    async def _relay(self, offset: int, count: int) -> None:
        """Read blocks and write them."""
        move, party = self._move, self._move.nexus.key
        size = count * self._block
        async with AsyncExitStack() as stack:
            memory: dict[DataExecutor, DataMemory] = {}
            async with in_time(self._left_s):
                units = await stack.enter_async_context(self._held(offset, count))
                lenders = {unit: unit.lender for unit in units}
                for lender in sorted(set(lenders.values()), key=id):
                    memory[lender] = await stack.enter_async_context(lender.borrow(size, party))
            source, destination = units
            inward, outward = (memory[lenders[unit]] for unit in units)
            stack.enter_context(self._mover.under_way(party, *units))
            self._check(offset, count)
            lba, to = move.lba + offset, move.to + offset
            by = destination.by_lender(party, lenders[destination])  # of the blocks that it has now
            reading = _commands(Opcode.READ, source.lu, lba, count, inward)
            writing = _commands(Opcode.WRITE, destination.lu, to, count, outward)
            from_source = source.by_lender(party, lenders[source])
            await self._source.play(source, _together(reading), from_source)
            self._check_source()
            if outward is not inward:
                outward.view()[:] = inward.view()
            zoned = destination.lu.zones is not None
            destination.lu.rods.changed((range(to, to + count),))
            translation = in_order(destination.lu, writing) if zoned else _together(writing)
            await self._destination.play(destination, translation, by)

    async def _by_copy(self, offset: int, count: int) -> bool:
        """Have the controller copy blocks; whether it can."""
        move = self._move
        async with AsyncExitStack() as stack:
            async with in_time(self._left_s):
                unit, _ = await stack.enter_async_context(self._held(offset, count))
            stack.enter_context(self._mover.under_way(move.nexus.key, unit))
            self._check(offset, count)
            limits = self._copy_limits()  # others may have found meanwhile that it cannot
            if limits is None or count > limits.blocks:
                return False
            ranges = ranges_of(move.lba + offset, count, limits.blocks_of_range)
            to = move.to + offset
            unit.lu.rods.changed((range(to, to + count),))
            try:
                command = copy_command(unit.lu.nsid, to, ranges)
                await self._destination.play(unit, self._copying(command))
            except _NotByCopyError:
                self._copies = False
                return False
            self._check_source()
        return True

    def _copying(self, command: NvmeCommand) -> Translation:
        """Have the controller copy; _NotByCopyError: it cannot, Failed: it could not read."""
        try:
            yield command
        except NvmeError as error:
            if error.completion.status in _NOT_BY_COPY:
                raise _NotByCopyError from error
            if error.completion.status in _OF_THE_SOURCE:
                raise Failed(Fault(Side.SOURCE, self._source.result_of(error))) from error
            raise
        return GOOD

    # What a command would meet

    def _check(self, offset: int, count: int) -> tuple[ServedUnit, ServedUnit]:
        """Return both ends; refuse what a READ or a WRITE of the same blocks would be refused."""
        self._check_source()
        units = self._mover.served(self._source), self._mover.served(self._destination)
        self._source.check(self._move.lba + offset, count)
        self._destination.check(self._move.to + offset, count)
        return units

    def _check_source(self) -> None:
        if (sense := self._move.refused()) is not None:
            raise Failed(Fault(Side.SOURCE, check_condition(sense)))


class _NotByCopyError(Exception):
    """The controller cannot copy blocks by itself."""


async def _all_of(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run what works together, until all has ended: also when it is cancelled, or some fails."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from several


def _commands(
    opcode: Opcode, lu: LogicalUnit, lba: int, count: int, memory: DataMemory
) -> list[NvmeCommand]:
    """Return the Reads or Writes of blocks from or to memory, protection information left to the
    controller."""
    commands, size, at = [], lu.block_bytes, 0
    for start, blocks in split(lu, lba, count):
        part = memory.slice(at, blocks * size)
        commands.append(block_command(opcode, lu, start, blocks, memory=part))
        at += blocks * size
    return commands


def _together(commands: Sequence[NvmeCommand]) -> Translation:
    yield tuple(commands)
    return GOOD
