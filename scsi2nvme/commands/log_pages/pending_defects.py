"""Log page 15h/01h: blocks that are known to be unreadable. Spec: SBC-4 6.4.8."""

from __future__ import annotations

from itertools import chain, islice

from scsi2nvme.commands.log_pages.page import (
    SMART,
    LogPage,
    Logs,
    Parameter,
    Unreadable,
    saturated,
    smart_log,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.lba_status import parsed
from scsi2nvme.unit.logical_unit import LogicalUnit

_MOST_DEFECTS = 1024  # that are listed
TRACKED = Unreadable("Get LBA Status", 255)
COUNT = Structure("Pending Defect count", 4, (Field("count", 0, 0, 32),), spec="SBC-4 6.4.8.2")
DEFECT = Structure(
    "Pending Defect",
    12,
    (
        Field("power_on_hours", 0, 0, 32, "by when it was known"),
        Field("lba", 4, 0, 64),
    ),
    spec="SBC-4 6.4.8.3",
)


def _pending_defects(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """NVMe does not tell since when blocks are unreadable: it is now that they are."""
    hours = saturated(smart_log(logs).power_on_hours, DEFECT, "power_on_hours")
    found, _ = parsed(logs[TRACKED], 0, lu.capacity_blocks, lu.facts.capacity_blocks)
    defects = [
        Parameter(code, DEFECT.build(power_on_hours=hours, lba=lba))
        for code, lba in enumerate(islice(chain.from_iterable(found), _MOST_DEFECTS), 1)
    ]
    return (Parameter(0x0000, COUNT.build(count=len(defects))), *defects)


PAGES = (
    LogPage(
        0x15,
        "Pending Defects",
        "SBC-4 6.4.8",
        _pending_defects,
        (SMART, TRACKED),
        subpage=0x01,
        supported=lambda lu: lu.tells_unreadable_blocks,
    ),
)
