"""WRITE LONG (16), as far as it marks one block as unreadable."""

from __future__ import annotations

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.read_write import block_command, check_range
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit.reservations import Access


def write_long(task: Task) -> Translation:
    """Spec: SBC-3 5.42; NVM Command Set 1.0 3.2.7 (Write Uncorrectable)."""
    for name, needed in (("wr_uncor", 1), ("pblock", 0), ("byte_transfer_length", 0)):
        if task.cdb[name] != needed:
            raise task.invalid_field(name)
    check_range(task, task.cdb["lba"], 1)
    yield block_command(Opcode.WRITE_UNCORRECTABLE, task.lu, task.cdb["lba"], 1)
    return GOOD


COMMANDS = (
    Command(
        "WRITE LONG (16)",
        0x9F,
        16,
        "SBC-3 5.42",
        write_long,
        (
            Field("cor_dis", 1, 7, 1, "correction disabled: no effect"),
            Field("wr_uncor", 1, 6, 1, "mark the block as unreadable: must be one"),
            Field("pblock", 1, 5, 1, "of the physical block: must be zero"),
            Field("lba", 2, 0, 64),
            Field("byte_transfer_length", 12, 0, 16, "must be zero"),
        ),
        service_action=0x11,
        access=Access.WRITE,
        modifies_medium=True,
        supported=lambda lu: lu.facts.controller_bit("oncs", 1),
        nvme=("Write Uncorrectable",),
    ),
)
