"""Log page 0Ch."""

from __future__ import annotations

from scsi2nvme.commands import thresholds
from scsi2nvme.commands.log_pages.page import (
    NAMESPACE,
    Linking,
    LogPage,
    Logs,
    Parameter,
    saturated,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.provisioning_thresholds import AVAILABLE, USED

RESOURCES = Structure(
    "LBA mapping resources",
    8,
    (
        Field("count", 0, 0, 32, "threshold sets"),
        Field("scope", 4, 0, 2, "01b: of the logical unit"),
    ),
    spec="SBC-3 6.3.4",
)
_OF_THE_UNIT = 0b01


def _block_provisioning(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    found = thresholds.resources(lu, IDENTIFY_NAMESPACE.parse(logs[NAMESPACE]))
    counts = {AVAILABLE: found.available, USED: found.used}
    return tuple(
        Parameter(
            code,
            RESOURCES.build(count=saturated(count, RESOURCES, "count"), scope=_OF_THE_UNIT),
            Linking.BINARY_LIST,
        )
        for code, count in counts.items()
    )


PAGES = (
    LogPage(
        0x0C,
        "Logical Block Provisioning",
        "SBC-3 6.3.4",
        _block_provisioning,
        (NAMESPACE,),
        supported=lambda lu: lu.facts.thin,
    ),
)
