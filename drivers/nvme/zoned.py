"""How a zoned namespace is divided. Spec: ZNS Command Set 1.1b 4.1.5.1, 3.4.2."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.errors import StatusError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.namespace import Zones, format_index
from scsi2nvme.nvme.zoned import (
    IDENTIFY_ZONED_NAMESPACE,
    LBA_FORMAT_EXTENSION,
    NO_LIMIT,
    SEQUENTIAL_WRITE_REQUIRED,
    ZDES_UNIT,
    ZONED_COMMAND_SET,
    report_zones,
    zones_of,
)

_READS_CROSS = 1 << 0  # OZCS
_VARIABLE_CAPACITY = 1 << 0  # ZOC


class UnusableZonesError(Exception):
    """A zoned namespace that has no form in SCSI, or does not tell what it must."""


async def _succeed(
    execute: Callable[[NvmeCommand], Awaitable[Completion]], command: NvmeCommand
) -> bytes:
    completion = await execute(command)
    if completion.status:
        raise StatusError(command, completion)
    return completion.data


async def read_zones(
    execute: Callable[[NvmeCommand], Awaitable[Completion]], nsid: int, namespace: Values
) -> Zones:
    """Return the division of a namespace whose LBA format exists.

    UnusableZonesError says why it cannot be used; StatusError if it cannot be read.
    """
    command = admin.identify(admin.CNS_COMMAND_SET_NAMESPACE, nsid, csi=ZONED_COMMAND_SET)
    zoned = IDENTIFY_ZONED_NAMESPACE.parse(await _succeed(execute, command))
    if zoned.zoc & _VARIABLE_CAPACITY:
        raise UnusableZonesError("the capacity of its zones is variable (ZOC)")
    index = format_index(namespace)
    extensions = zoned.bytes("lbafes")
    extension = LBA_FORMAT_EXTENSION.parse(extensions[LBA_FORMAT_EXTENSION.size * index :])
    size = extension.zsze
    if not size or namespace.nsze % size:
        raise UnusableZonesError(f"it is no whole number of zones (NSZE, ZSZE {size:#x})")
    first = next(zones_of(await _succeed(execute, report_zones(nsid, 0, 1))), None)
    if first is None or first.zt != SEQUENTIAL_WRITE_REQUIRED or not 0 < first.zcap <= size:
        raise UnusableZonesError("its first zone cannot be (ZT, ZCAP)")
    least = min(zoned.mor, zoned.mar)
    most_open = None if least == NO_LIMIT else least + 1
    reads_cross = bool(zoned.ozcs & _READS_CROSS)
    return Zones(size, first.zcap, most_open, reads_cross, ZDES_UNIT * extension.zdes)
