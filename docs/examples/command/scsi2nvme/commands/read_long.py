"""READ LONG (16), as far as a block and what corrects it are just the block."""

from __future__ import annotations

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.read_write import block_command, check_range
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.unit.reservations import Access


def read_long(task: Task) -> Translation:
    """Spec: SBC-3 5.17; NVM Command Set 1.0 3.2.4 (Read)."""
    lu, lba = task.lu, task.cdb["lba"]
    if not task.cdb["corrct"]:
        raise task.invalid_field("corrct")
    if task.cdb["byte_transfer_length"] != lu.block_bytes:
        raise task.invalid_field("byte_transfer_length")
    check_range(task, lba, 1)
    completion = yield block_command(Opcode.READ, lu, lba, 1, data_in=lu.block_bytes)
    return Result(data_in=completion.data)


COMMANDS = (
    Command(
        "READ LONG (16)",
        0x9E,
        16,
        "SBC-3 5.17",
        read_long,
        (
            Field("lba", 2, 0, 64),
            Field("byte_transfer_length", 12, 0, 16, "must be that of a block"),
            Field("corrct", 14, 0, 1, "corrected: must be one"),
        ),
        service_action=0x11,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="byte_transfer_length",
        access=Access.READ,
        nvme=("Read",),
    ),
)
