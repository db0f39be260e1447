"""WRITE LONG, as far as it marks blocks as unreadable.

Data with error correcting codes are nothing that NVMe moves: neither WRITE LONG with such nor
READ LONG is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.read_write import block_command, check_range, run
from scsi2nvme.fields import Field, Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import NO_PROTECTION
from scsi2nvme.scsi.result import Translation
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

_LARGEST_PHYSICAL_BLOCK = 1 << 15  # logical blocks: an exponent has four bits


def _marked(lu: LogicalUnit, lba: int, blocks: int) -> Iterator[NvmeCommand]:
    """Return the Write Uncorrectables of a range, each within WUSL."""
    most = lu.write_uncorrectable_blocks
    for start in range(lba, lba + blocks, most):
        count = min(most, lba + blocks - start)
        # It has no PRINFO.
        yield block_command(
            *(Opcode.WRITE_UNCORRECTABLE, lu, start, count), protection=NO_PROTECTION
        )


def write_long(task: Task) -> Translation:
    """Mark a block, with PBLOCK all of its physical block, until it is written again.

    COR_DIS is refused, as CRD_SUP of page 86h says: who reads the block is told of an unrecovered
    error, not of who wanted it. Spec: SBC-3 5.42, 5.43; NVM Command Set 1.0c 3.2.7.
    """
    lu, lba = task.lu, task.cdb["lba"]
    if not task.cdb["wr_uncor"]:
        raise task.invalid_field("wr_uncor")
    if task.cdb["cor_dis"]:
        raise task.invalid_field("cor_dis")
    check_range(task, lba, 1)
    blocks = 1 << lu.physical_block_exponent if task.cdb["pblock"] else 1
    first = lba - lba % blocks
    return (yield from run(_marked(lu, first, min(blocks, lu.capacity_blocks - first))))


def _blocks(cdb: Values, data: bytes) -> tuple[tuple[int, int], ...]:
    """Return the blocks that may be marked: with PBLOCK as many as a physical block can have."""
    size = _LARGEST_PHYSICAL_BLOCK if cdb["pblock"] else 1
    return ((cdb["lba"] - cdb["lba"] % size, size),)


def _row(opcode: int, length: int, spec: str, action: int | None, *places: Field) -> Command:
    return Command(
        f"WRITE LONG ({length})",
        opcode,
        length,
        spec,
        write_long,
        (
            Field("cor_dis", 1, 7, 1, "correction disabled: must be zero"),
            Field("wr_uncor", 1, 6, 1, "mark as unreadable: must be one"),
            Field("pblock", 1, 5, 1, "all of the physical block"),
            *places,
        ),
        service_action=action,
        access=Access.WRITE,
        modifies_medium=True,
        listed_blocks=_blocks,
        supported=lambda lu: bool(lu.write_uncorrectable_blocks),
        nvme=("Write Uncorrectable",),
    )


def _length(byte: int) -> Field:
    return Field("byte_transfer_length", byte, 0, 16, "no data are moved", ignored=True)


COMMANDS = (
    _row(0x3F, 10, "SBC-3 5.42", None, Field("lba", 2, 0, 32), _length(7)),
    _row(0x9F, 16, "SBC-3 5.43", 0x11, Field("lba", 2, 0, 64), _length(12)),
)
