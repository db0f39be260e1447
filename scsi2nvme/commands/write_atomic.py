"""WRITE ATOMIC: all blocks are written, or none, and nobody sees some of them."""

from __future__ import annotations

from dataclasses import replace

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.protection import protection_of
from scsi2nvme.commands.read_write import (
    DPO,
    FORCE_UNIT_ACCESS,
    FUA,
    block_command,
    check_long,
    check_range,
    group_field,
    long_fields,
    protect_field,
    supports_long_cdbs,
)
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit.reservations import Access


def _check_atomic(task: Task) -> None:
    """Refuse what the controller does not promise to write as a whole."""
    limits = task.lu.atomic_limits(task.tuple_bytes)
    if task.cdb["lba"] % limits.alignment:
        raise task.invalid_field("lba")
    # A boundary asks for less: the blocks between two of them as a whole.
    if task.cdb["atomic_boundary"] > limits.blocks:
        raise task.invalid_field("atomic_boundary")
    if task.cdb["transfer_length"] > limits.blocks:
        raise task.invalid_field("transfer_length")


def write_atomic(task: Task) -> Translation:
    """Spec: SBC-4 5.48 and 5.49; NVM Command Set 1.0c 2.1.4: one Write, which is never cut."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_long(task)
    protection = protection_of(task)
    check_range(task, lba, blocks)
    _check_atomic(task)
    if not blocks:
        return GOOD
    if protection.alike(lba, blocks) < blocks:  # which need not be checked: SBC-4 5.40.2
        protection = replace(protection, expected=())
    yield block_command(
        *(Opcode.WRITE, lu, lba, blocks),
        cdw12=FUA if task.cdb["fua"] else 0,
        data_out=task.data_out,
        protection=protection,
    )
    return GOOD


def _boundary_field(byte: int) -> Field:
    return Field("atomic_boundary", byte, 0, 16, "at most MAXIMUM ATOMIC BOUNDARY SIZE")


COMMANDS = (
    Command(
        "WRITE ATOMIC (16)",
        0x9C,
        16,
        "SBC-4 5.48",
        write_atomic,
        (
            protect_field("wrprotect"),
            DPO,
            FORCE_UNIT_ACCESS,
            Field("lba", 2, 0, 64),
            _boundary_field(10),
            Field("transfer_length", 12, 0, 16, "at most MAXIMUM ATOMIC TRANSFER LENGTH"),
            group_field(14),
        ),
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        whole=True,
        supported=lambda lu: lu.writes_atomically,
        hot=Hot.WRITE_ATOMIC,
        nvme=("Write",),
    ),
    Command(
        "WRITE ATOMIC (32)",
        0x7F,
        32,
        "SBC-4 5.49",
        write_atomic,
        (
            *long_fields(
                "wrprotect",
                "transfer_length",
                Field("dpo", 10, 4, 1, "disable page out"),
                Field("fua", 10, 3, 1, "force unit access"),
            ),
            _boundary_field(4),
        ),
        service_action=0x000F,
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        whole=True,
        supported=lambda lu: supports_long_cdbs(lu) and lu.writes_atomically,
        nvme=("Write",),
    ),
)
