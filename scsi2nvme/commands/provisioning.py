"""UNMAP and WRITE SAME."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Command, Data, Hot, Task, Transfer
from scsi2nvme.commands.protection import protection_of, protection_without_data, repeated
from scsi2nvme.commands.read_write import (
    block_command,
    cdb_fields,
    check_long,
    check_range,
    group_field,
    long_fields,
    protect_field,
    run,
    split,
    supports_long_cdbs,
)
from scsi2nvme.commands.zone_access import check_write, in_order
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import Protection
from scsi2nvme.nvme.structures import DSM_RANGE
from scsi2nvme.scsi.result import GOOD, CheckCondition, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

UNMAP_HEADER = Structure(
    "UNMAP parameter list header",
    8,
    (
        Field("unmap_data_length", 0, 0, 16),
        Field("unmap_block_descriptor_data_length", 2, 0, 16),
    ),
    spec="SBC-3 5.28.2",
)
UNMAP_BLOCK_DESCRIPTOR = Structure(
    "UNMAP block descriptor",
    16,
    (Field("lba", 0, 0, 64), Field("number_of_blocks", 8, 0, 32)),
    spec="SBC-3 5.28.2",
)

_INTEGRAL_FOR_READ_ATTRIBUTE, _DEALLOCATE_ATTRIBUTE = 1 << 0, 1 << 2  # CDW11 of Dataset Management
_DEAC = 1 << 25  # CDW12 of Write Zeroes


def _descriptors(data: bytes) -> list[tuple[int, int]]:
    """Return the (LBA, blocks) of a parameter list, unchecked.

    A descriptor that is cut off, by either length, is ignored.
    """
    if len(data) < UNMAP_HEADER.size:
        return []
    stated = UNMAP_HEADER.parse(data).unmap_block_descriptor_data_length
    count = min(stated, len(data) - UNMAP_HEADER.size) // UNMAP_BLOCK_DESCRIPTOR.size
    starts = (UNMAP_HEADER.size + UNMAP_BLOCK_DESCRIPTOR.size * n for n in range(count))
    descriptors = [UNMAP_BLOCK_DESCRIPTOR.parse(data[start:]) for start in starts]
    return [(each.lba, each.number_of_blocks) for each in descriptors]


def _unmap_ranges(task: Task) -> list[tuple[int, int]]:
    """Return the (LBA, blocks) of the parameter list, all checked, empty ones left out."""
    data, lu = task.data_out, task.lu
    if len(data) < UNMAP_HEADER.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    ranges = _descriptors(data)
    total = sum(blocks for _, blocks in ranges)
    unlimited = lu.maximum_unmap_blocks == 0xFFFFFFFF
    too_many = len(ranges) > lu.maximum_unmap_descriptors
    if too_many or (total > lu.maximum_unmap_blocks and not unlimited):
        pointer = FieldPointer(2, 7, in_cdb=False)
        raise CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))
    for lba, blocks in ranges:
        check_range(task, lba, blocks)
    return [each for each in ranges if each[1]]


def _dataset_management(lu: LogicalUnit, ranges: list[tuple[int, int]]) -> Iterator[NvmeCommand]:
    """Return Dataset Managements that deallocate, within DMRL, DMRSL and DMSL."""
    limits = lu.unmap_limits
    collected: list[bytes] = []
    total = 0

    def command() -> NvmeCommand:
        return NvmeCommand(
            Opcode.DATASET_MANAGEMENT,
            nsid=lu.nsid,
            cdw10=len(collected) - 1,
            cdw11=_DEALLOCATE_ATTRIBUTE,
            data_out=b"".join(collected),
        )

    for lba, blocks in ranges:
        for start in range(lba, lba + blocks, limits.blocks_of_range):
            count = min(limits.blocks_of_range, lba + blocks - start)
            if len(collected) == limits.ranges or (collected and total + count > limits.blocks):
                yield command()
                collected, total = [], 0
            collected.append(DSM_RANGE.build(slba=start, nlb=count))
            total += count
    if collected:
        yield command()


def will_be_read(lu: LogicalUnit, lba: int, blocks: int) -> NvmeCommand:
    """Return the hint that blocks will be read as a whole, or as many as one range has.

    Spec: NVM Command Set 1.0 3.2.3.2 (Integral Dataset for Read).
    """
    count = min(blocks, lu.hint_blocks)
    return NvmeCommand(
        Opcode.DATASET_MANAGEMENT,
        nsid=lu.nsid,
        cdw11=_INTEGRAL_FOR_READ_ATTRIBUTE,
        data_out=DSM_RANGE.build(slba=lba, nlb=count),
    )


def unmap(task: Task) -> Translation:
    """Spec: SBC-3 5.28; NVM Command Set 1.0 3.2.3."""
    if task.cdb["anchor"]:
        raise task.invalid_field("anchor")
    if not task.cdb["parameter_list_length"]:
        return GOOD
    return (yield from run(_dataset_management(task.lu, _unmap_ranges(task))))


def _write_zeroes(
    lu: LogicalUnit, lba: int, blocks: int, cdw12: int, protection: Protection
) -> Iterator[NvmeCommand]:
    """Return the Write Zeroes of a range, each within WZSL."""
    most = lu.write_zeroes_blocks
    for start in range(lba, lba + blocks, most):
        count = min(most, lba + blocks - start)
        yield block_command(
            *(Opcode.WRITE_ZEROES, lu, start, count), cdw12=cdw12, protection=protection
        )


def _write_pattern(
    lu: LogicalUnit, lba: int, blocks: int, block: bytes, protection: Protection
) -> Iterator[NvmeCommand]:
    """Return the Writes that repeat one block over a range, with its tuple if there is one."""
    behind = protection.tuple_bytes
    whole = block * min(blocks, lu.nvme_blocks(behind))
    for start, count in split(lu, lba, blocks, protection):
        size = count * len(block)
        data = whole if size == len(whole) else whole[:size]
        if behind:
            data = repeated(block, protection, start, lba, count)
        yield block_command(Opcode.WRITE, lu, start, count, data_out=data, protection=protection)


def zeroes(lu: LogicalUnit, lba: int, blocks: int) -> Iterator[NvmeCommand]:
    """Return what has a range read as zeroes, its protection information left to the controller."""
    protection = lu.protection
    if lu.write_zeroes_blocks:
        return _write_zeroes(lu, lba, blocks, 0, protection)
    return _write_pattern(lu, lba, blocks, bytes(lu.block_bytes), protection)


def write_same(task: Task) -> Translation:
    """Spec: SBC-3 5.43 and 5.44; NVM Command Set 1.0 3.2.8 (Write Zeroes)."""
    lu, lba, blocks = task.lu, task.cdb["lba"], task.cdb["number_of_blocks"]
    check_long(task)
    protection = protection_of(task)
    if task.cdb["anchor"]:
        raise task.invalid_field("anchor")
    if task.cdb["unmap"] and not lu.provisioned:
        raise task.invalid_field("unmap")
    if not blocks and not lu.write_same_non_zero:
        check_range(task, lba, 1)
        blocks = lu.capacity_blocks - lba
    check_range(task, lba, blocks)
    if not blocks or blocks > lu.maximum_write_same_blocks:
        raise task.invalid_field("number_of_blocks")
    check_write(task, lba, blocks)
    block = task.data_out
    if not block:  # nothing is sent with NDOB: the controller makes the tuples as well
        block, protection = bytes(lu.block_bytes), protection_without_data(task)
    if any(block) or protection.tuple_bytes or not lu.write_zeroes_blocks:
        commands = _write_pattern(lu, lba, blocks, block, protection)
    else:
        cdw12 = _DEAC if task.cdb["unmap"] and lu.write_zeroes_deallocates else 0
        commands = _write_zeroes(lu, lba, blocks, cdw12, protection)
    return (yield from (run(commands) if lu.zones is None else in_order(lu, commands)))


_WRITE_SAME_FLAGS = (
    protect_field("wrprotect"),
    Field("anchor", 1, 4, 1, "not supported: must be zero"),
    Field("unmap", 1, 3, 1, "blocks may be unmapped if they then read as zeroes"),
)


def _write_same(opcode: int, length: int, spec: str) -> Command:
    ndob = (Field("ndob", 1, 0, 1, "no data-out buffer: zeroes"),) if length > 10 else ()
    return Command(
        f"WRITE SAME ({length})",
        opcode,
        length,
        spec,
        write_same,
        (*_WRITE_SAME_FLAGS, *ndob, *cdb_fields(length, "number_of_blocks")),
        data=Data.OUT,
        transfer=Transfer.ONE_BLOCK_UNLESS_NDOB if ndob else Transfer.ONE_BLOCK,
        length_field="number_of_blocks",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        hot=Hot.WRITE_SAME,
        nvme=("Write Zeroes", "Write"),
        timeout_s=120,
    )


COMMANDS = (
    Command(
        "UNMAP",
        0x42,
        10,
        "SBC-3 5.28",
        unmap,
        (
            Field("anchor", 1, 0, 1, "not supported: must be zero"),
            group_field(6),
            Field("parameter_list_length", 7, 0, 16),
        ),
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        modifies_medium=True,
        listed_blocks=lambda cdb, data: _descriptors(data),
        supported=lambda lu: lu.provisioned,
        hot=Hot.UNMAP,
        nvme=("Dataset Management",),
        timeout_s=120,
    ),
    _write_same(0x41, 10, "SBC-3 5.43"),
    _write_same(0x93, 16, "SBC-3 5.44"),
    Command(
        "WRITE SAME (32)",
        0x7F,
        32,
        "SBC-3 5.45",
        write_same,
        long_fields(
            "wrprotect",
            "number_of_blocks",
            Field("anchor", 10, 4, 1, "not supported: must be zero"),
            Field("unmap", 10, 3, 1, "blocks may be unmapped if they then read as zeroes"),
            Field("ndob", 10, 0, 1, "no data-out buffer: zeroes"),
        ),
        service_action=0x000D,
        data=Data.OUT,
        transfer=Transfer.ONE_BLOCK_UNLESS_NDOB,
        length_field="number_of_blocks",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        supported=supports_long_cdbs,
        nvme=("Write Zeroes", "Write"),
        timeout_s=120,
    ),
)
