"""VERIFY and WRITE AND VERIFY, with every BYTCHK."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.read_write import (
    DPO,
    FUA,
    block_command,
    cdb_fields,
    check_length,
    check_protect,
    check_range,
    data_commands,
    in_batches,
    protect_field,
    read_commands,
    run,
)
from scsi2nvme.commands.zone_access import check_read
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.scsi.result import GOOD, CheckCondition, Translation
from scsi2nvme.scsi.sense import MISCOMPARE_DURING_VERIFY_OPERATION, Sense
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

_MEDIUM, _EVERY_BLOCK, _RESERVED, _ONE_BLOCK = range(4)  # BYTCHK


def _verify_commands(lu: LogicalUnit, lba: int, blocks: int) -> Iterator[NvmeCommand]:
    """Return the Verifies of a range, each within VSL, or MDTS where VSL is not stated."""
    while blocks:
        count = min(blocks, lu.verify_blocks)
        yield block_command(Opcode.VERIFY, lu, lba, count)
        lba += count
        blocks -= count


def _verify_medium(lu: LogicalUnit, lba: int, blocks: int) -> Translation:
    """Have the controller check the blocks, or read them to see that it can."""
    commands = _verify_commands if lu.verify_blocks else read_commands
    return (yield from run(commands(lu, lba, blocks)))


def _compare(lu: LogicalUnit, lba: int, data: bytes) -> Translation:
    """Compare the medium with `data`, in the controller if it can."""
    if lu.compares:
        # A Compare Failure is a miscompare by the status table.
        return (yield from run(data_commands(Opcode.COMPARE, lu, lba, data)))
    offset = 0
    for batch in in_batches(read_commands(lu, lba, len(data) // lu.block_bytes)):
        for completion in (yield batch):
            end = offset + len(completion.data)
            if completion.data != data[offset:end]:
                raise CheckCondition(Sense(MISCOMPARE_DURING_VERIFY_OPERATION))
            offset = end
    return GOOD


def _compare_each(lu: LogicalUnit, lba: int, blocks: int, block: bytes) -> Translation:
    """Compare every block of a range with the same one, a bounded piece at a time."""
    most = lu.maximum_transfer_blocks
    pattern = block * min(blocks, most)
    while blocks:
        count = min(blocks, most)
        yield from _compare(lu, lba, pattern[: count * lu.block_bytes])
        lba += count
        blocks -= count
    return GOOD


def verify(task: Task) -> Translation:
    """Spec: SBC-3 5.29 to 5.31; NVM Command Set 1.0 3.2.1 (Compare), 3.2.5 (Verify)."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    bytchk = task.cdb["bytchk"]
    check_protect(task, "vrprotect")
    if bytchk == _RESERVED:
        raise task.invalid_field("bytchk")
    check_range(task, lba, blocks)
    check_read(task, lba, blocks)
    if bytchk == _MEDIUM:
        return (yield from _verify_medium(lu, lba, blocks))
    if bytchk == _ONE_BLOCK:
        return (yield from _compare_each(lu, lba, blocks, task.data_out))
    check_length(task, blocks)
    return (yield from _compare(lu, lba, task.data_out))


def write_and_verify(task: Task) -> Translation:
    """Spec: SBC-3 5.37 to 5.39. What is verified is the medium, not a cache.

    What was written is not written again: others may have written since.
    """
    lu, lba, blocks = task.lu, task.cdb["lba"], task.command.blocks(task.cdb)
    check_protect(task, "wrprotect")
    if task.cdb["bytchk"] not in (_MEDIUM, _EVERY_BLOCK):
        raise task.invalid_field("bytchk")
    check_range(task, lba, blocks)
    check_length(task, blocks)
    if not task.phase:
        yield from run(data_commands(Opcode.WRITE, lu, lba, task.data_out, FUA))
    if task.cdb["bytchk"] == _EVERY_BLOCK:
        return (yield from _compare(lu, lba, task.data_out))
    return (yield from _verify_medium(lu, lba, blocks))


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
        access=Access.WRITE,
        modifies_medium=True,
        supported=lambda lu: lu.writes_anywhere,
        hot=Hot.WRITE_AND_VERIFY,
        nvme=("Write", "Verify", "Compare", "Read"),
        timeout_s=60,
    )


COMMANDS = (
    _verify(0x2F, 10, "SBC-3 5.29"),
    _verify(0xAF, 12, "SBC-3 5.30"),
    _verify(0x8F, 16, "SBC-3 5.31"),
    _write_and_verify(0x2E, 10, "SBC-3 5.37"),
    _write_and_verify(0xAE, 12, "SBC-3 5.38"),
    _write_and_verify(0x8E, 16, "SBC-3 5.39"),
)
