"""WRITE SCATTERED: several ranges of blocks by one command, as its data list them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.protection import (
    APPLICATION_TAG_MASK,
    EXPECTED_APPLICATION_TAG,
    EXPECTED_TAG,
    protection_of,
    protection_of_range,
)
from scsi2nvme.commands.read_write import (
    FUA,
    check_long,
    check_range,
    data_commands,
    group_field,
    run,
    supports_long_cdbs,
)
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import Protection
from scsi2nvme.scsi.result import GOOD, CheckCondition, Translation
from scsi2nvme.scsi.sense import INVALID_FIELD_IN_PARAMETER_LIST, FieldPointer, Sense
from scsi2nvme.unit.block_device import MAXIMUM_SCATTERED_RANGES, MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.reservations import Access

HEADER_BYTES = 32  # reserved
LBA_RANGE = Structure(
    "LBA range descriptor",
    32,
    (
        Field("lba", 0, 0, 64),
        Field("number_of_blocks", 8, 0, 32),
        # These of WRITE SCATTERED (32) only.
        Field(EXPECTED_TAG, 12, 0, 32),
        Field(EXPECTED_APPLICATION_TAG, 16, 0, 16),
        Field(APPLICATION_TAG_MASK, 18, 0, 16),
    ),
    spec="SBC-4 5.55.2",
)
_LONG = 32  # bytes of a CDB


class Range(NamedTuple):
    """Blocks that one descriptor names."""

    lba: int
    blocks: int
    reference_tag: int = 0
    application_tag: tuple[int, int] = (0, 0)  # and its mask

    def meets(self, other: Range) -> bool:
        """Whether both have blocks in common."""
        return self.lba < other.lba + other.blocks and other.lba < self.lba + self.blocks


def _ranges(cdb: Values, data: bytes) -> list[Range]:
    """Return the ranges of the data, unchecked, as far as they are there."""
    end = HEADER_BYTES + cdb["number_of_lba_range_descriptors"] * LBA_RANGE.size
    starts = range(HEADER_BYTES, min(end, len(data) - LBA_RANGE.size + 1), LBA_RANGE.size)
    descriptors = (LBA_RANGE.parse(data[at : at + LBA_RANGE.size]) for at in starts)
    return [
        Range(
            *(each.lba, each.number_of_blocks, each[EXPECTED_TAG]),
            (each[EXPECTED_APPLICATION_TAG], each[APPLICATION_TAG_MASK]),
        )
        for each in descriptors
    ]


def _extents(cdb: Values, data: bytes) -> list[tuple[int, int]]:
    return [(each.lba, each.blocks) for each in _ranges(cdb, data)]


def _protection(task: Task, each: Range) -> Protection:
    if task.command.length != _LONG:
        return protection_of(task)
    return protection_of_range(task, each.lba, each.reference_tag, each.application_tag)


def _check_lengths(task: Task) -> None:
    """Refuse a CDB whose numbers do not fit each other, or what page B7h tells."""
    cdb = task.cdb
    offset, count = cdb["logical_block_data_offset"], cdb["number_of_lba_range_descriptors"]
    if not offset:
        raise task.invalid_field("logical_block_data_offset")
    list_bytes = HEADER_BYTES + count * LBA_RANGE.size
    if count > MAXIMUM_SCATTERED_RANGES or list_bytes > offset * task.block_bytes:
        raise task.invalid_field("number_of_lba_range_descriptors")
    if task.command.data_bytes(cdb, task.block_bytes) > MAXIMUM_TRANSFER_BYTES:
        raise task.invalid_field("buffer_transfer_length")


def _check_ranges(task: Task, ranges: list[Range]) -> None:
    """Refuse all, before anything is written, if one is wrong."""
    left = task.cdb["buffer_transfer_length"]
    for number, each in enumerate(ranges):
        check_range(task, each.lba, each.blocks)
        left -= each.blocks
        if left < 0:
            at = HEADER_BYTES + number * LBA_RANGE.size
            byte = at + LBA_RANGE.by_name["number_of_blocks"].byte
            pointer = FieldPointer(byte, 7, in_cdb=False)
            raise CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def write_scattered(task: Task) -> Translation:
    """Write range after range, or side by side where none meets another.

    Spec: SBC-4 5.55, 5.56. Nothing is promised of all of them as a whole.
    """
    lu, cdb, size = task.lu, task.cdb, task.block_bytes
    check_long(task)
    _protection(task, Range(0, 0))  # what is wrong of it is so of all
    if not cdb["number_of_lba_range_descriptors"] or not cdb["buffer_transfer_length"]:
        return GOOD
    _check_lengths(task)
    ranges = _ranges(cdb, task.data_out)
    _check_ranges(task, ranges)
    cdw12 = FUA if cdb["fua"] else 0

    def commands() -> Iterator[Iterator[NvmeCommand]]:
        at = cdb["logical_block_data_offset"] * size
        for each in ranges:
            data = task.data_out[at : at + each.blocks * size]
            protection = _protection(task, each)
            yield data_commands(Opcode.WRITE, lu, each.lba, data, cdw12, protection)
            at += each.blocks * size

    if not _any_meet(ranges):
        return (yield from run(command for each in commands() for command in each))
    for each in commands():  # the last one holds
        yield from run(each)
    return GOOD


def _any_meet(ranges: list[Range]) -> bool:
    ordered = sorted(each for each in ranges if each.blocks)
    return any(one.meets(other) for one, other in pairwise(ordered))


COMMANDS = (
    Command(
        "WRITE SCATTERED (16)",
        0x9F,
        16,
        "SBC-4 5.55",
        write_scattered,
        (
            Field("wrprotect", 2, 5, 3, "protection information that is moved, and checked"),
            Field("dpo", 2, 4, 1, "disable page out"),
            Field("fua", 2, 3, 1, "force unit access"),
            Field("logical_block_data_offset", 4, 0, 16, "where the blocks begin, in blocks"),
            Field("number_of_lba_range_descriptors", 8, 0, 16),
            Field("buffer_transfer_length", 10, 0, 32, "the blocks that follow the list"),
            group_field(14),
        ),
        service_action=0x12,
        data=Data.OUT,
        transfer=Transfer.OFFSET_AND_BLOCKS,
        length_field="buffer_transfer_length",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        listed_blocks=_extents,
        supported=lambda lu: lu.writes_anywhere,
        nvme=("Write",),
    ),
    Command(
        "WRITE SCATTERED (32)",
        0x7F,
        _LONG,
        "SBC-4 5.56",
        write_scattered,
        (
            group_field(6),
            Field("additional_cdb_length", 7, doc="18h"),
            Field("wrprotect", 10, 5, 3, "protection information that is moved, and checked"),
            Field("dpo", 10, 4, 1, "disable page out"),
            Field("fua", 10, 3, 1, "force unit access"),
            Field("logical_block_data_offset", 12, 0, 16, "where the blocks begin, in blocks"),
            Field("number_of_lba_range_descriptors", 16, 0, 16),
            Field("buffer_transfer_length", 28, 0, 32, "the blocks that follow the list"),
        ),
        service_action=0x0011,
        data=Data.OUT,
        transfer=Transfer.OFFSET_AND_BLOCKS,
        length_field="buffer_transfer_length",
        protect_field="wrprotect",
        access=Access.WRITE,
        modifies_medium=True,
        listed_blocks=_extents,
        supported=lambda lu: lu.writes_anywhere and supports_long_cdbs(lu),
        nvme=("Write",),
        doc="As WRITE SCATTERED (16), but each range names the reference tag of its first block.",
    ),
)
