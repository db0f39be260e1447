"""What each piece of a copy needs at either end: the blocks, and that nothing refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

from scsi2nvme.command import Command
from scsi2nvme.commands import COMMANDS, power
from scsi2nvme.commands.zone_access import check_reading, check_writing
from scsi2nvme.executor import NvmeExecutor, play
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import (
    GOOD,
    RESERVATION_CONFLICT,
    CheckCondition,
    NvmeError,
    Result,
    Translation,
    check_condition,
)
from scsi2nvme.scsi.sense import (
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    PERSISTENT_RESERVATION_INFORMATION_LOST,
    SOFTWARE_WRITE_PROTECTED,
    WRITE_PROTECTED,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.copies import Fault, Side
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import ITNexus


def _row(name: str) -> Command:
    return next(row for row in COMMANDS if row.name == name)


READ, WRITE = _row("READ (16)"), _row("WRITE (16)")


class Failed(Exception):
    """A piece was not moved."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault.result))
        self.fault = fault


class LateError(Exception):
    """There was no time to wait for what a piece needs."""


@asynccontextmanager
async def in_time(seconds: float | None) -> AsyncIterator[None]:
    """Wait for something in the body, for so long at most; None: however long. LateError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LateError from None


class Time:
    """How long something takes, of the seconds that it may; None: as long as it takes."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._begun_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._begun_s

    @property
    def left_s(self) -> float | None:
        """How long it may still take."""
        return None if self._limit_s is None else max(self._limit_s - self.seconds, 0.0)

    @property
    def over(self) -> bool:
        """Whether that has passed."""
        return self.left_s == 0


@dataclass(frozen=True, slots=True)
class CopyEnd:
    """One end of a copy: a logical unit whose blocks a nexus wants read or written.

    They have `block_bytes` each, in which LBAs and numbers of blocks are meant.
    """

    side: Side
    nexus: ITNexus
    device: BlockDevice
    block_bytes: int

    @property
    def lu(self) -> LogicalUnit:
        """The logical unit."""
        return cast(LogicalUnit, self.device)

    @property
    def row(self) -> Command:
        """The command as which a piece is treated here."""
        return READ if self.side is Side.SOURCE else WRITE

    def fault(self, extents: Sequence[range]) -> Fault | None:
        """Return why blocks are not to be had here (any more) as they are meant; None: they are.

        What zones ask besides depends on where a piece begins and ends: `check`.
        """
        lu = self.lu
        if (refused := _refusal(lu, cast(Nexus, self.nexus), self.row)) is not None:
            return Fault(self.side, refused)
        beyond = any(each.stop > lu.capacity_blocks for each in extents)
        if beyond or lu.block_bytes != self.block_bytes:
            gone = check_condition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
            return Fault(self.side, gone, in_range=False)
        return None

    def check(self, lba: int, count: int) -> None:
        """Refuse a piece that a READ or WRITE of the same blocks would be refused; Failed."""
        if (fault := self.fault((range(lba, lba + count),))) is not None:
            raise Failed(fault)
        check_zones = check_reading if self.side is Side.SOURCE else check_writing
        try:
            check_zones(self.lu, lba, count)
        except CheckCondition as told:
            raise Failed(Fault(self.side, check_condition(told.sense))) from told

    async def refresh(self, unit: ServedUnit) -> None:
        """Learn what other hosts have reserved; before memory is held, as that needs some."""
        cdb = self.row.structure.parse(self.row.build())
        if self.lu.reservations.must_refresh(self.nexus, self.row, cdb):
            await self.play(unit, _refreshed(self.lu))

    async def play(
        self, unit: ServedUnit, translation: Translation, by: NvmeExecutor | None = None
    ) -> None:
        """Run NVMe commands at this end, which `unit` serves; Failed as they fail."""
        if self.lu.power_condition:
            translation = _awake(self.lu, translation)
        try:
            result = await play(translation, by or unit.on_behalf(self.nexus.key))
        except NvmeError as error:
            result = self.result_of(error)
        if result.status is not Status.GOOD:
            raise Failed(Fault(self.side, result))

    def result_of(self, error: NvmeError) -> Result:
        """Return what an NVMe command's failure comes to here; it is counted."""
        self.lu.log.counters.record(error.command.opcode, error.completion.status)
        return result_of(error)


def _refusal(lu: LogicalUnit, nexus: Nexus, row: Command) -> Result | None:
    """Return how a READ or WRITE would end that the logical unit's state does not admit."""
    if lu.reservations.lost:
        return check_condition(Sense(PERSISTENT_RESERVATION_INFORMATION_LOST))
    if lu.reservations.conflicts(nexus, row, row.structure.parse(row.build())):
        return RESERVATION_CONFLICT
    if (sense := lu.sanitizing.sense or lu.not_ready) is not None:
        return check_condition(sense)
    if row.modifies_medium and lu.write_protected:
        by_disk = lu.hardware_write_protected
        return check_condition(Sense(WRITE_PROTECTED if by_disk else SOFTWARE_WRITE_PROTECTED))
    return None


def _refreshed(lu: LogicalUnit) -> Translation:
    """Learn what other hosts have reserved of a disk, which takes us all for one host."""
    try:
        yield from lu.reservations.refresh()
    except CheckCondition as error:
        return check_condition(error.sense)
    return GOOD


def _awake(lu: LogicalUnit, translation: Translation) -> Translation:
    """Enter the active power condition before, as medium access asks."""
    with suppress(NvmeError):  # I/O needs no power state: it fails itself, if it does
        yield from power.wake(lu)
    return (yield from translation)


@asynccontextmanager
async def both(
    source: ServedUnit, lba: int, destination: ServedUnit, to: int, count: int
) -> AsyncIterator[None]:
    """Hold the blocks at both ends for the body, beside whatever is not alone on them."""
    reads, writes = range(lba, lba + count), range(to, to + count)
    zones = destination.lu.zones
    if source is destination and zones is not None:
        async with held(destination, (reads, zones.of(to, count)), alone=True):
            yield
        return
    extent = writes if zones is None else zones.of(to, count)
    had_turn = False
    while True:
        async with held(destination, (extent,), alone=zones is not None):
            leave = source.try_share((reads,), had_turn=had_turn)
            if leave is not None:
                try:
                    yield
                finally:
                    leave()
                return
        async with held(source, (reads,), alone=False):
            had_turn = True


@asynccontextmanager
async def held(unit: ServedUnit, extents: Sequence[range], *, alone: bool) -> AsyncIterator[None]:
    """Hold blocks as the engine's commands do. What is alone so is in order, for zones."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(unit.lock.hold(exclusive=False))
        await stack.enter_async_context(unit.blocks.hold(extents, alone=alone))
        for extent in extents:
            await stack.enter_async_context(unit.beside((extent,)))
        yield
