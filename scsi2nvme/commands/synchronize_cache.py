"""SYNCHRONIZE CACHE and PRE-FETCH."""

from __future__ import annotations

from contextlib import suppress

from scsi2nvme.command import Command, Hot, Task
from scsi2nvme.commands.immediate import in_background
from scsi2nvme.commands.provisioning import will_be_read
from scsi2nvme.commands.read_write import cdb_fields, check_range
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.scsi.result import GOOD, NvmeError, Translation
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access


def flush(lu: LogicalUnit) -> Translation:
    """Make everything written so far durable. Spec: NVMe Base 2.0 7.1."""
    if lu.volatile_write_cache:
        yield NvmeCommand(Opcode.FLUSH, nsid=lu.nsid)
    return GOOD


def synchronize_cache(task: Task) -> Translation:
    """Spec: SBC-3 5.26 and 5.27. Flush knows no ranges: all of the namespace is flushed."""
    # A count of zero means all blocks from the LBA on.
    check_range(task, task.cdb["lba"], task.cdb["number_of_blocks"])
    if task.cdb["immed"]:
        return in_background(task, flush(task.lu))
    return (yield from flush(task.lu))


def pre_fetch(task: Task) -> Translation:
    """Have the controller know that the blocks will be read, all of them: what it can be told.

    GOOD says that not all blocks are in a cache, CONDITION MET that they are, which no controller
    tells; nor does it matter what comes of a hint. Spec: SBC-3 5.8, 5.9.
    """
    lu, lba = task.lu, task.cdb["lba"]
    blocks = task.cdb["prefetch_length"] or lu.capacity_blocks - lba
    check_range(task, lba, task.cdb["prefetch_length"])
    if not blocks or not lu.hint_blocks:
        return GOOD
    hint = _hint(lu, lba, blocks)
    return in_background(task, hint) if task.cdb["immed"] else (yield from hint)


def _hint(lu: LogicalUnit, lba: int, blocks: int) -> Translation:
    with suppress(NvmeError):
        yield will_be_read(lu, lba, blocks)
    return GOOD


def _synchronize_cache(opcode: int, length: int, spec: str) -> Command:
    return Command(
        f"SYNCHRONIZE CACHE ({length})",
        opcode,
        length,
        spec,
        synchronize_cache,
        (
            *cdb_fields(length, count="number_of_blocks"),
            Field("sync_nv", 1, 2, 1, "obsolete", ignored=True),
            Field("immed", 1, 1, 1, "status before the operation ends"),
        ),
        length_field="number_of_blocks",
        access=Access.WRITE,
        hot=Hot.FLUSH,
        nvme=("Flush",),
        timeout_s=60,
    )


def _pre_fetch(opcode: int, length: int, spec: str) -> Command:
    return Command(
        f"PRE-FETCH ({length})",
        opcode,
        length,
        spec,
        pre_fetch,
        (
            *cdb_fields(length, count="prefetch_length"),
            Field("immed", 1, 1, 1, "status before the operation ends"),
        ),
        length_field="prefetch_length",
        access=Access.READ,
        hot=Hot.PRE_FETCH,
        nvme=("Dataset Management",),
    )


COMMANDS = (
    _synchronize_cache(0x35, 10, "SBC-3 5.26"),
    _synchronize_cache(0x91, 16, "SBC-3 5.27"),
    _pre_fetch(0x34, 10, "SBC-3 5.8"),
    _pre_fetch(0x90, 16, "SBC-3 5.9"),
)
