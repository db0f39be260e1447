"""SEEK (6) and (10), which old programs send: there is no head that could be moved."""

from __future__ import annotations

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.read_write import check_range
from scsi2nvme.fields import Field
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit.reservations import Access


def seek(task: Task) -> Translation:
    """Check that there is such a block. Spec: SCSI-2 9.2 (SEEK)."""
    yield from ()
    check_range(task, task.cdb["lba"], 1)
    return GOOD


def _row(opcode: int, length: int, lba: Field) -> Command:
    return Command(
        f"SEEK ({length})",
        opcode,
        length,
        "SCSI-2 9.2",
        seek,
        (lba,),
        access=Access.READ,
        doc="Obsolete: nothing is moved.",
    )


COMMANDS = (
    _row(0x0B, 6, Field("lba", 1, 0, 21)),
    _row(0x2B, 10, Field("lba", 2, 0, 32)),
)
