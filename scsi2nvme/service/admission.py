"""Which of the engine's commands wait for others of their logical unit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AsyncExitStack, asynccontextmanager

from scsi2nvme.command import Command
from scsi2nvme.commands.zone_access import zones_in_order
from scsi2nvme.service.served_unit import ServedUnit
from scsi2nvme.unit.readiness import Readiness


def waits(unit: ServedUnit, command: Command) -> bool:
    """Whether a command waits for those that run alone, or is one itself.

    What only asks for the logical unit's state does not, nor does what the engine refuses at
    once: a format, a sanitize operation, or a stop may take long.
    """
    readiness, sanitizing = unit.lu.readiness, unit.lu.sanitizing
    if readiness is Readiness.FORMATTING or sanitizing.running:
        return False
    if sanitizing.sense is not None and not command.while_sanitizing:
        return False
    if command.needs_ready and readiness is not Readiness.READY:
        return False
    return command.exclusive or command.accesses_medium


def admitted(
    unit: ServedUnit, command: Command, cdb: bytes, data_out: bytes
) -> Callable[[], None] | None:
    """Take what a command needs of its logical unit; what gives it back, None if it waits."""
    if command.exclusive or ordered(unit, command, cdb) is not None:
        return None
    return unit.try_share(command.extents(cdb, data_out))


@asynccontextmanager
async def in_turn(
    unit: ServedUnit,
    command: Command,
    cdb: bytes,
    data_out: bytes,
    party: Hashable,
    wanted: Callable[[], bool] = lambda: True,
) -> AsyncIterator[bool]:
    """Hold, for the body, what a command that `waits` needs of its logical unit.

    Gives whether it is still `wanted`: who has it abort need not wait for what it has not begun.
    """
    async with AsyncExitStack() as stack:
        if command.exclusive and not command.names_blocks:
            await stack.enter_async_context(unit.alone(party))
            yield wanted()
            return
        zones = ordered(unit, command, cdb)
        extents = command.extents(cdb, data_out) if zones is None else (zones,)
        alone = command.exclusive or zones is not None
        await stack.enter_async_context(unit.lock.hold(exclusive=False, party=party))
        await stack.enter_async_context(unit.blocks.hold(extents, alone=alone))
        if command.exclusive and wanted():
            drained = unit.drained_of(extents[0]) if extents else unit.drained()
            await stack.enter_async_context(drained)
        elif zones is None and wanted():
            await stack.enter_async_context(unit.beside(extents))
        yield wanted()


def ordered(unit: ServedUnit, command: Command, cdb: bytes) -> range | None:
    """Return the blocks that a command has alone among the engine's, in its turn: zones' ones.

    Who has come first has them first: none of these takes them in passing. The hot path writes
    no zones, and so is not kept off.
    """
    zoned = unit.lu.zones is not None and command.modifies_medium and not command.exclusive
    if not zoned or len(cdb) < command.length:
        return None
    return zones_in_order(unit.lu, command.structure.parse(cdb))
