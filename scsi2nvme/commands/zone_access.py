"""What zones ask of commands that read or write blocks. Spec: ZBC-2 (write and read operations).

Where there are no zones nothing is asked. Of commands that change one zone the engine runs one
at a time, in the order in which they came (`zones_in_order`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace

from scsi2nvme.command import Task, Transfer
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.zoned import (
    LIST_IMPLICITLY_OPENED,
    ZoneAction,
    ZoneState,
    manage_zone,
    report_zones,
    zones_of,
)
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Translation
from scsi2nvme.scsi.sense import (
    ATTEMPT_TO_ACCESS_GAP_ZONE,
    READ_BOUNDARY_VIOLATION,
    WRITE_BOUNDARY_VIOLATION,
    Sense,
    SenseCode,
)
from scsi2nvme.unit.logical_unit import LogicalUnit

# How often a zone is closed that the controller has opened by itself, for one command: what
# other commands open meanwhile may take its place.
_ATTEMPTS = 3
# How a Write fails that was done before.
_BEHIND_IT = (StatusCode.ZONE_INVALID_WRITE, StatusCode.ZONE_IS_FULL)


def _check(lu: LogicalUnit, lba: int, blocks: int, violation: SenseCode, *, crosses: bool) -> None:
    zones = lu.zones
    if zones is None or not blocks:
        return
    at = lba - zones.start(lba)
    if at >= zones.capacity:
        raise CheckCondition(Sense(ATTEMPT_TO_ACCESS_GAP_ZONE))
    if at + blocks > zones.capacity and (zones.gaps or not crosses):
        raise CheckCondition(Sense(violation))


def check_reading(lu: LogicalUnit, lba: int, blocks: int) -> None:
    """Refuse to read blocks of a gap; what is in range otherwise can be read."""
    _check(lu, lba, blocks, READ_BOUNDARY_VIOLATION, crosses=True)


def check_writing(lu: LogicalUnit, lba: int, blocks: int) -> None:
    """Refuse to write beyond the zone in which it begins."""
    _check(lu, lba, blocks, WRITE_BOUNDARY_VIOLATION, crosses=False)


def check_read(task: Task, lba: int, blocks: int) -> None:
    """See `check_reading`."""
    check_reading(task.lu, lba, blocks)


def check_write(task: Task, lba: int, blocks: int) -> None:
    """Refuse to write beyond the zone in which it begins, or to move more than one command may.

    A portion of a WRITE cannot keep its zone for the next one.
    """
    moved = task.command.transfer is Transfer.BLOCKS
    if task.lu.zones is not None and moved and blocks > task.lu.maximum_transfer_blocks:
        raise task.invalid_field(task.command.length_field)
    check_writing(task.lu, lba, blocks)


def close_one(lu: LogicalUnit) -> Generator[NvmeCommand, Completion, bool]:
    """Close a zone that a write has opened, not the initiator; whether there was one."""
    listed = yield report_zones(lu.nsid, 0, 1, states=LIST_IMPLICITLY_OPENED)
    for zone in zones_of(listed.data):
        yield manage_zone(lu.nsid, zone.zslba, ZoneAction.CLOSE)
        return True
    return False


def with_room(lu: LogicalUnit, command: NvmeCommand) -> Translation:
    """Run what may open a zone. Those that writes have opened give way. Spec: ZBC-2 (resources)."""
    for _ in range(_ATTEMPTS):
        try:
            yield command
        except NvmeError as error:
            if error.completion.status != StatusCode.TOO_MANY_OPEN_ZONES:
                raise
        else:
            return GOOD
        if not (yield from close_one(lu)):
            break
    yield command
    return GOOD


def in_order(lu: LogicalUnit, commands: Iterable[NvmeCommand]) -> Translation:
    """Run commands that write one zone: each begins when the one before has ended well."""
    for command in commands:
        try:
            yield from with_room(lu, command)
        except NvmeError as error:
            if not (yield from _was_done(lu, command, error.completion)):
                raise
    return GOOD


def _was_done(
    lu: LogicalUnit, command: NvmeCommand, completion: Completion
) -> Generator[NvmeCommand, Completion, bool]:
    """Whether a Write that failed when a reset had it repeated was done before.

    Then the write pointer is behind it, and its blocks are its data.
    """
    zones, data, end = lu.zones, command.data_out, command.slba + command.blocks
    if command.memory is not None:
        data = bytes(command.memory.view())
    failed_for_it = completion.repeated and completion.status in _BEHIND_IT
    if zones is None or not failed_for_it or len(data) != command.blocks * lu.block_bytes:
        return False
    start = zones.start(command.slba)
    zone = next(zones_of((yield report_zones(lu.nsid, start, 1)).data), None)
    if zone is None or zone.zslba != start:
        return False
    full = zone.zs == ZoneState.FULL and end == start + zones.capacity
    if not full and zone.wp != end:
        return False
    prinfo, tag, application = lu.protection.words(Opcode.READ, command.slba)
    cdw12 = prinfo | command.blocks - 1
    read = replace(
        command,
        opcode=Opcode.READ,
        cdw12=cdw12,
        cdw14=tag,
        cdw15=application,
        data_out=b"",
        data_in=len(data),
        memory=None,
    )
    return (yield read).data == data


def zones_in_order(lu: LogicalUnit, cdb: Values) -> range | None:
    """Return the blocks of the zones that a command changes, None where that is not told.

    Such commands are to have these alone, in the order in which they came.
    """
    zones = lu.zones
    assert zones is not None
    if cdb.get("all"):
        return range(lu.capacity_blocks)
    if "zone_id" in cdb:
        return zones.of(cdb["zone_id"], max(cdb["zone_count"], 1) * zones.size)
    return zones.of(cdb["lba"], 1) if "lba" in cdb else None
