"""What each piece of a copy needs at either end: the blocks, and that nothing refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from scsi2nvme.command import Command
from scsi2nvme.commands import COMMANDS, power
from scsi2nvme.scsi.result import (
    GOOD,
    RESERVATION_CONFLICT,
    CheckCondition,
    NvmeError,
    Result,
    Translation,
    check_condition,
)
from scsi2nvme.scsi.sense import SOFTWARE_WRITE_PROTECTED, WRITE_PROTECTED, Sense
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.copies import Fault
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus


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


def refusal(lu: LogicalUnit, nexus: Nexus, row: Command) -> Result | None:
    """Return how a READ or WRITE would end that the logical unit's state does not admit."""
    if lu.reservations.conflicts(nexus, row, row.structure.parse(row.build())):
        return RESERVATION_CONFLICT
    if (sense := lu.sanitizing.sense or lu.not_ready) is not None:
        return check_condition(sense)
    if row.modifies_medium and lu.write_protected:
        by_disk = lu.hardware_write_protected
        return check_condition(Sense(WRITE_PROTECTED if by_disk else SOFTWARE_WRITE_PROTECTED))
    return None


def refreshed(lu: LogicalUnit) -> Translation:
    """Learn what other hosts have reserved of a disk, which takes us all for one host."""
    try:
        yield from lu.reservations.refresh()
    except CheckCondition as error:
        return check_condition(error.sense)
    return GOOD


def awake(lu: LogicalUnit, translation: Translation) -> Translation:
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
