"""VERIFY and WRITE AND VERIFY, with every BYTCHK."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.protection import check_equal, protection_of, repeated
from scsi2nvme.commands.read_write import (
    DPO,
    FUA,
    block_command,
    cdb_fields,
    check_length,
    check_long,
    check_range,
    data_commands,
    in_batches,
    long_fields,
    protect_field,
    read_commands,
    run,
    supports_long_cdbs,
)
from scsi2nvme.commands.zone_access import check_read
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import Protection
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

_MEDIUM, _EVERY_BLOCK, _RESERVED, _ONE_BLOCK = range(4)  # BYTCHK


def _verify_commands(
    lu: LogicalUnit, lba: int, blocks: int, protection: Protection
) -> Iterator[NvmeCommand]:
    """Return the Verifies of a range, each within VSL, or MDTS where VSL is not stated."""
    while blocks:
        count = protection.alike(lba, min(blocks, lu.verify_blocks))
        yield block_command(Opcode.VERIFY, lu, lba, count, protection=protection)
        lba += count
        blocks -= count


def _verify_medium(lu: LogicalUnit, lba: int, blocks: int, protection: Protection) -> Translation:
    """Have the controller check the blocks, or read them to see that it can."""
    if lu.verify_blocks:
        return (yield from run(_verify_commands(lu, lba, blocks, protection)))
    return (yield from run(read_commands(lu, lba, blocks, protection=protection)))


def _compare(lu: LogicalUnit, lba: int, data: bytes, protection: Protection) -> Translation:
    """Compare the medium with `data`, in the controller if it can."""
    if lu.compares:
        # A Compare Failure is a miscompare by the status table.
        return (yield from run(data_commands(Opcode.COMPARE, lu, lba, data)))
    size, offset = lu.block_bytes + protection.tuple_bytes, 0
    reads = read_commands(lu, lba, len(data) // size, protection=protection)
    for batch in in_batches(reads):
        for completion in (yield batch):
            end = offset + len(completion.data)
            check_equal(completion.data, data[offset:end], protection, size)
            offset = end
    return GOOD


def _compare_each(
    lu: LogicalUnit, lba: int, blocks: int, block: bytes, protection: Protection
) -> Translation:
    """Compare every block of a range with the same one, a bounded piece at a time."""
    first, most = lba, MAXIMUM_TRANSFER_BYTES // (lu.block_bytes + protection.tuple_bytes)
    while blocks:
        count = min(blocks, most)
        pattern = repeated(block, protection, lba, first, count)
        yield from _compare(lu, lba, pattern, protection)
        lba += count
        blocks -= count
    return GOOD


def verify(task: Task) -> Translation:
    """Spec: SBC-3 5.29 to 5.31; NVM Command Set 1.0 3.2.1 (Compare), 3.2.5 (Verify)."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    bytchk = task.cdb["bytchk"]
    check_long(task)
    protection = protection_of(task)
    if bytchk == _RESERVED:
        raise task.invalid_field("bytchk")
    check_range(task, lba, blocks)
    check_read(task, lba, blocks)
    if bytchk == _MEDIUM:
        return (yield from _verify_medium(lu, lba, blocks, protection))
    if bytchk == _ONE_BLOCK:
        return (yield from _compare_each(lu, lba, blocks, task.data_out, protection))
    check_length(task, blocks)
    return (yield from _compare(lu, lba, task.data_out, protection))


def write_and_verify(task: Task) -> Translation:
    """Spec: SBC-3 5.37 to 5.39. What is verified is the medium, not a cache.

    What was written is not written again: others may have written since.
    """
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_long(task)
    protection = protection_of(task)
    if task.cdb["bytchk"] not in (_MEDIUM, _EVERY_BLOCK):
        raise task.invalid_field("bytchk")
    check_range(task, lba, blocks)
    check_length(task, blocks)
    if not task.phase:
        yield from run(data_commands(Opcode.WRITE, lu, lba, task.data_out, FUA, protection))
    if task.cdb["bytchk"] == _EVERY_BLOCK:
        return (yield from _compare(lu, lba, task.data_out, protection))
    return (yield from _verify_medium(lu, lba, blocks, protection))


_BYTCHK = Field("bytchk", 1, 1, 2, "01b compare all, 11b compare each with one block")


def _verify(opcode: int, length: int, spec: str) -> Command:
    return Command(
        f"VERIFY ({length})",
        opcode,
        length,
        spec,
        verify,
        (protect_field("vrprotect"), *cdb_fields(length, "verification_length"), DPO, _BYTCHK),
        data=Data.OUT,
        transfer=Transfer.BYTCHK,
        length_field="verification_length",
        protect_field="vrprotect",
        access=Access.READ,
        hot=Hot.VERIFY,
        nvme=("Verify", "Compare", "Read"),
        timeout_s=60,
    )


def _write_and_verify(opcode: int, length: int, spec: str) -> Command:
    return Command(
        f"WRITE AND VERIFY ({length})",
        opcode,
        length,
        spec,
        write_and_verify,
        (protect_field("wrprotect"), *cdb_fields(length), DPO, _BYTCHK),
        data=Data.OUT,
        transfer=Transfer.BLOCKS,
        length_field="transfer_length",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        supported=lambda lu: lu.writes_anywhere,
        hot=Hot.WRITE_AND_VERIFY,
        nvme=("Write", "Verify", "Compare", "Read"),
        timeout_s=60,
    )


_LONG_FLAGS = (
    Field("dpo", 10, 4, 1, "disable page out"),
    Field("bytchk", 10, 1, 2, "01b compare all, 11b compare each with one block"),
)
_LONG_VERIFY = Command(
    "VERIFY (32)",
    0x7F,
    32,
    "SBC-3 5.32",
    verify,
    long_fields("vrprotect", "verification_length", *_LONG_FLAGS),
    service_action=0x000A,
    data=Data.OUT,
    transfer=Transfer.BYTCHK,
    length_field="verification_length",
    protect_field="vrprotect",
    access=Access.READ,
    supported=supports_long_cdbs,
    nvme=("Verify", "Read"),
    timeout_s=60,
)
_LONG_WRITE_AND_VERIFY = Command(
    "WRITE AND VERIFY (32)",
    0x7F,
    32,
    "SBC-3 5.40",
    write_and_verify,
    long_fields("wrprotect", "transfer_length", *_LONG_FLAGS),
    service_action=0x000C,
    data=Data.OUT,
    transfer=Transfer.BLOCKS,
    length_field="transfer_length",
    protect_field="wrprotect",
    access=Access.WRITE,
    modifies_medium=True,
    supported=supports_long_cdbs,
    nvme=("Write", "Verify", "Read"),
    timeout_s=60,
)

COMMANDS = (
    _verify(0x2F, 10, "SBC-3 5.29"),
    _verify(0xAF, 12, "SBC-3 5.30"),
    _verify(0x8F, 16, "SBC-3 5.31"),
    _write_and_verify(0x2E, 10, "SBC-3 5.37"),
    _write_and_verify(0xAE, 12, "SBC-3 5.38"),
    _write_and_verify(0x8E, 16, "SBC-3 5.39"),
    _LONG_VERIFY,
    _LONG_WRITE_AND_VERIFY,
)
