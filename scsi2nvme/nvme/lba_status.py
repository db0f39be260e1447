"""Get LBA Status: which blocks are allocated, or may be unreadable.

Spec: NVM Command Set 1.0c 4.2.1; 1.1 4.2.1 (allocated blocks).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand

OACS_LBA_STATUS = 9  # bit of OACS
AOCS_ALLOCATED = 1 << 0  # of the I/O command set specific Identify Controller


class Action(IntEnum):
    """ATYPE: which blocks are told of."""

    ALLOCATED = 0x02
    SCAN = 0x10  # what is known to be unreadable, and what is found to be
    TRACKED = 0x11  # what is known to be unreadable


class Completion(IntEnum):
    """CMPC: why a list ends."""

    NOT_TOLD = 0
    FULL = 1
    DONE = 2  # all blocks that were named have been looked at


HEADER = Structure(
    "LBA Status Descriptor List Header",
    8,
    (Field("nlsd", 0, 0, 32, "descriptors that follow"), Field("cmpc", 4)),
    order="little",
    spec="NVM Command Set 1.0c figure 115",
)
DESCRIPTOR = Structure(
    "LBA Status Descriptor Entry",
    16,
    (
        Field("dslba", 0, 0, 64),
        Field("nlb", 8, 0, 32, "0's based"),
        Field("unreadable", 13, 0, 1, "a read may end with Unrecovered Read Error"),
        Field("written_so", 13, 1, 1, "by Write Uncorrectable"),
    ),
    order="little",
    spec="NVM Command Set 1.0c figure 116",
)


def get_lba_status(nsid: int, action: Action, lba: int, descriptors: int) -> NvmeCommand:
    """Return the command that asks from a block to the end, for so many descriptors at most."""
    size = HEADER.size + descriptors * DESCRIPTOR.size
    return NvmeCommand(
        AdminOpcode.GET_LBA_STATUS,
        nsid=nsid,
        cdw10=lba & 0xFFFFFFFF,
        cdw11=lba >> 32,
        cdw12=size // 4 - 1,
        cdw13=action << 24,
        data_in=size,
        admin=True,
    )


def parsed(data: bytes, lba: int, end: int, size: int) -> tuple[list[range], bool]:
    """Return the blocks that a list tells of, from `lba` to before `end`, and whether it is whole.

    They ascend: what a controller says out of order, or of blocks behind the namespace's `size`,
    ends the list. What goes on behind `end` is cut there, and makes it whole.
    """
    header = HEADER.parse(data[: HEADER.size])
    found: list[range] = []
    entries = min(len(data), HEADER.size + DESCRIPTOR.size * header.nlsd)
    for at in range(HEADER.size, entries, DESCRIPTOR.size):
        entry = DESCRIPTOR.parse(data[at : at + DESCRIPTOR.size])
        blocks = range(entry.dslba, entry.dslba + entry.nlb + 1)
        if blocks.start < lba or blocks.stop > size:
            return found, False
        if blocks.start < end:
            found.append(range(blocks.start, min(blocks.stop, end)))
        if blocks.stop >= end:
            return found, True
        lba = blocks.stop
    return found, header.cmpc == Completion.DONE and header.nlsd == len(found)


def build(found: Iterator[tuple[range, int]], most: int) -> bytes:
    """Return a list of at most so many ranges, each with what byte 13 says of it."""
    entries, completion = b"", Completion.DONE
    count = 0
    for blocks, status in found:
        if count == most:
            completion = Completion.FULL
            break
        values = {"unreadable": status & 1, "written_so": status >> 1}
        entries += DESCRIPTOR.build(dslba=blocks.start, nlb=len(blocks) - 1, **values)
        count += 1
    return HEADER.build(nlsd=count, cmpc=completion) + entries
