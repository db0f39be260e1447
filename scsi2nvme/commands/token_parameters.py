"""Parameter lists of POPULATE TOKEN and WRITE USING TOKEN, and what a ROD token looks like.

Spec: SPC-4 5.17.6, SBC-3 5.17 and 5.42.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from scsi2nvme.commands.copy_parameters import wrong
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.scsi.result import CheckCondition
from scsi2nvme.scsi.sense import (
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    PARAMETER_LIST_LENGTH_ERROR,
    TOO_MANY_SEGMENT_DESCRIPTORS,
    Sense,
)
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.extents import meet
from scsi2nvme.unit.tokens import MOST_RANGES

TRANSFER_BYTES = 1 << 30  # that one token stands for, or one command writes, at most
OPTIMAL_BYTES = 64 << 20


class RodType(IntEnum):
    """Spec: SPC-4 table 112 (ROD types), SBC-3 4.28.4 (block device zero)."""

    ACCESS_UPON_REFERENCE = 0x00010000
    POINT_IN_TIME = 0x00800000
    CHANGE_VULNERABLE = 0x00800001
    ANY_POINT_IN_TIME = 0x0080FFFF
    ZERO = 0xFFFF0001


POPULATE_HEADER = Structure(
    "POPULATE TOKEN parameter list header",
    16,
    (
        Field("data_length", 0, 0, 16),
        Field("rtv", 2, 1, 1, "the ROD type is valid"),
        Field("immed", 2, 0, 1),
        Field("inactivity_timeout", 4, 0, 32, "seconds, 0: as is usual"),
        Field("rod_type", 8, 0, 32),
        Field("range_list_length", 14, 0, 16),
    ),
    spec="SBC-3 5.17.2",
)
WRITE_HEADER = Structure(
    "WRITE USING TOKEN parameter list header",
    536,
    (
        Field("data_length", 0, 0, 16),
        Field("del_tkn", 2, 1, 1, "the token is wanted no more"),
        Field("immed", 2, 0, 1),
        Field("offset_into_rod", 8, 0, 64, "blocks"),
        Field("rod_token", 16, 0, 4096),
        Field("range_list_length", 534, 0, 16),
    ),
    spec="SBC-3 5.42.2",
)
RANGE = Structure(
    "Block device range descriptor",
    16,
    (Field("lba", 0, 0, 64), Field("number_of_blocks", 8, 0, 32)),
    spec="SBC-3 5.17.3",
)
ROD_TOKEN = Structure(
    "ROD token",
    512,
    (
        Field("rod_type", 0, 0, 32),
        Field("length", 6, 0, 16, "01F8h"),
        Field("identifier", 8, 0, 64, "of the copy manager's"),
        Field("creator", 16, 0, 256, "CSCD descriptor of a logical unit"),
        Field("bytes_represented", 48, 0, 128),
        Field("block_length", 96, 0, 32),
        Field("p_type", 100, 1, 3),
        Field("prot_en", 100, 0, 1),
        Field("lbppbe", 101, 0, 4, "logical blocks per physical block, power of two"),
        Field("lbpme", 102, 7, 1, "logical block provisioning management"),
        Field("extended_data", 128, 0, 3072, "what nobody can guess"),
    ),
    spec="SPC-4 5.17.6.4, SBC-3 4.28.3",
)
TOKEN_LENGTH = 0x1F8  # ROD TOKEN LENGTH: what follows it
HEAD_BYTES = 96  # of a token, which tell nothing that must not be known


def created_types(lu: BlockDevice) -> tuple[RodType, ...]:
    """Return the types of tokens that can be made, the preferred first."""
    reference = RodType.ACCESS_UPON_REFERENCE
    return (reference,) if lu.shared else (RodType.CHANGE_VULNERABLE, reference)


def ranges_of(lu: BlockDevice, data: bytes, layout: Structure) -> tuple[range, ...]:
    """Return the blocks that a parameter list names, in its order; CheckCondition: at fault."""
    header = layout.parse(data)
    at = layout.by_name["range_list_length"].byte
    length = header.range_list_length
    if header.data_length < layout.size - 2 + RANGE.size:
        raise wrong(0, 7)
    end = layout.size + length
    if length < RANGE.size or length % RANGE.size or end > min(len(data), header.data_length + 2):
        raise wrong(at, 7)
    if length > MOST_RANGES * RANGE.size:
        raise wrong(at, 7, TOO_MANY_SEGMENT_DESCRIPTORS)
    extents: list[range] = []
    for start in range(layout.size, end, RANGE.size):
        values = RANGE.parse(data[start:])
        extent = range(values.lba, values.lba + values.number_of_blocks)
        if extent.stop > lu.capacity_blocks:
            raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
        if meet(extents, (extent,)):
            raise wrong(start, 7)
        extents.append(extent)
    if sum(map(len, extents)) > TRANSFER_BYTES // lu.block_bytes:
        raise wrong(at, 7)
    return tuple(each for each in extents if each)


def parsed(data: bytes, layout: Structure) -> Values:
    """Return the header of a parameter list; CheckCondition: it is not all there."""
    if len(data) < layout.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    return layout.parse(data)


def within(extents: Sequence[range], offset: int, blocks: int) -> list[tuple[int, int]]:
    """Return the (LBA, blocks) of data that lie in some extents one behind the other."""
    pieces: list[tuple[int, int]] = []
    for each in extents:
        count = min(len(each) - offset, blocks)
        if count > 0:
            pieces.append((each.start + offset, count))
            blocks -= count
        offset = max(offset - len(each), 0)
    return pieces
