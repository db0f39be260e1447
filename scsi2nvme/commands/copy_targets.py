"""Which logical unit a CSCD descriptor names, of those that the initiator can see.

Others are not to be reached by a copy: nobody may read by it what the initiator itself may not.
Spec: SPC-4 6.4.5.
"""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Task
from scsi2nvme.commands.copy_parameters import (
    CSCD,
    IDENTIFICATION_CSCD,
    LONGEST_NAME,
    OWN_UNIT,
    CopyList,
)
from scsi2nvme.commands.vpd_pages.designators import DESIGNATOR_HEADER, logical_unit_designators
from scsi2nvme.commands.vpd_pages.page import device_type
from scsi2nvme.fields import Values
from scsi2nvme.scsi.sense import (
    INCORRECT_COPY_TARGET_DEVICE_TYPE,
    UNREACHABLE_COPY_TARGET,
    SenseCode,
)
from scsi2nvme.unit.logical_unit import LogicalUnit


def designators(lu: LogicalUnit) -> Iterator[tuple[int, int, bytes]]:
    """Yield code set, type and value of what VPD page 83h says of a logical unit itself."""
    page = logical_unit_designators(lu)
    while page:
        header = DESIGNATOR_HEADER.parse(page)
        end = DESIGNATOR_HEADER.size + header.length
        yield header.code_set, header.designator_type, page[DESIGNATOR_HEADER.size : end]
        page = page[end:]


def identification(lu: LogicalUnit) -> bytes:
    """Return a CSCD descriptor that names a logical unit, by the first designator that has room."""
    code_set, kind, name = next(each for each in designators(lu) if len(each[2]) <= LONGEST_NAME)
    return CSCD.build(
        type_code=IDENTIFICATION_CSCD,
        peripheral_device_type=device_type(lu),
        code_set=code_set,
        designator_type=kind,
        designator_length=len(name),
        designator=name.ljust(LONGEST_NAME, b"\0"),
        disk_block_length=lu.block_bytes,
    )


def _named(task: Task, cscd: Values) -> LogicalUnit | None:
    """Return the one logical unit of the initiator's that has a designator, None: not one."""
    value = cscd.bytes("designator")[: cscd.designator_length]
    wanted = (cscd.code_set, cscd.designator_type, value)
    units = {*task.nexus.luns.values(), task.lu}
    found = [lu for lu in units if value and wanted in designators(lu)]
    return found[0] if len(found) == 1 else None


def target(task: Task, copy: CopyList, identifier: int) -> LogicalUnit | SenseCode:
    """Return the logical unit of a CSCD descriptor identifier, or why there is none to copy."""
    if identifier == OWN_UNIT:
        return task.lu
    if identifier >= len(copy.cscds) or copy.cscds[identifier].nul:
        return UNREACHABLE_COPY_TARGET
    cscd = copy.cscds[identifier]
    lu = _named(task, cscd)
    if lu is None:
        return UNREACHABLE_COPY_TARGET
    of_type = cscd.peripheral_device_type == device_type(lu)
    if not of_type or cscd.disk_block_length not in (0, lu.block_bytes):
        return INCORRECT_COPY_TARGET_DEVICE_TYPE
    return lu
