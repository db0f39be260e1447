"""GET LBA STATUS: what is deallocated, or may be unreadable, as far as the controller tells."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from enum import IntEnum
from itertools import chain, islice
from typing import Any

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.sanitize_status import all_deallocated
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme import lba_status
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.lba_status import Action
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.result import CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

HEADER = Structure(
    "GET LBA STATUS parameter data header",
    8,
    (
        Field("parameter_data_length", 0, 0, 32),
        Field("completion_condition", 7, 1, 3, "000b: not indicated"),
        Field("rtp", 7, 0, 1, "REPORT TYPE was processed"),
    ),
    spec="SBC-3 5.4.2; SBC-4 (REPORT TYPE, RTP)",
)
DESCRIPTOR = Structure(
    "LBA status descriptor",
    16,
    (
        Field("lba", 0, 0, 64),
        Field("blocks", 8, 0, 32),
        Field("provisioning_status", 12, 0, 4, "0h: mapped or unknown, 1h: deallocated"),
        Field("additional_status", 13, doc="1h: may be unreadable"),
    ),
    spec="SBC-3 5.4.2.2; SBC-4 (ADDITIONAL STATUS)",
)
_MOST_DESCRIPTORS = 255  # these, with the header, are less than a page
_MOST_ASKED = 1024  # commands for lists of which nothing is wanted
_MOST_BLOCKS = DESCRIPTOR.by_name["blocks"].maximum


class ReportType(IntEnum):
    """REPORT TYPE: which blocks are wanted. Spec: SBC-4 5.6."""

    ALL = 0x00
    NOT_MAPPED = 0x01
    MAPPED = 0x02
    DEALLOCATED = 0x03
    ANCHORED = 0x04
    UNREADABLE = 0x10


class Provisioning(IntEnum):
    """PROVISIONING STATUS. Spec: SBC-3 5.4.2.2."""

    MAPPED_OR_UNKNOWN = 0x0
    DEALLOCATED = 0x1


_WANTED = {
    ReportType.ALL: frozenset(Provisioning),
    ReportType.NOT_MAPPED: frozenset({Provisioning.DEALLOCATED}),
    ReportType.MAPPED: frozenset({Provisioning.MAPPED_OR_UNKNOWN}),
    ReportType.DEALLOCATED: frozenset({Provisioning.DEALLOCATED}),
    ReportType.ANCHORED: frozenset[Provisioning](),
}


@dataclass(frozen=True)
class Extent:
    """Blocks that follow each other, and are alike."""

    blocks: range
    provisioning: Provisioning = Provisioning.MAPPED_OR_UNKNOWN
    unreadable: bool = False

    def descriptors(self) -> Iterator[bytes]:
        """Yield as many as it takes to tell of it."""
        for first in range(self.blocks.start, self.blocks.stop, _MOST_BLOCKS):
            yield DESCRIPTOR.build(
                lba=first,
                blocks=min(self.blocks.stop - first, _MOST_BLOCKS),
                provisioning_status=self.provisioning,
                additional_status=self.unreadable,
            )


Asking = Generator[NvmeCommand, Any, list[Extent]]


def _ask(
    lu: LogicalUnit, action: Action, lba: int, most: int
) -> Generator[NvmeCommand, Any, tuple[list[range], bool]]:
    completion = yield lba_status.get_lba_status(lu.nsid, action, lba, most)
    size = lu.facts.capacity_blocks
    return lba_status.parsed(completion.data, lba, lu.capacity_blocks, size)


def _unreadable(lu: LogicalUnit, lba: int, most: int) -> Asking:
    if not lu.tells_unreadable_blocks:
        return []
    found, _ = yield from _ask(lu, Action.TRACKED, lba, most)
    return [Extent(blocks, unreadable=True) for blocks in found]


def _between(found: Iterable[range], lba: int, end: int) -> Iterator[Extent]:
    """Yield blocks that are allocated, and those between, up to `end`."""
    for blocks in found:
        if blocks.start > lba:
            yield Extent(range(lba, blocks.start), Provisioning.DEALLOCATED)
        yield Extent(blocks)
        lba = blocks.stop
    if lba < end:
        yield Extent(range(lba, end), Provisioning.DEALLOCATED)


def _told(lu: LogicalUnit, lba: int, most: int, wanted: frozenset[Provisioning]) -> Asking:
    """Return extents that are wanted, from a block on: all to the end, or the first of them.

    Runs that follow each other may fill a list though nothing of it is wanted. That nothing is told
    would read as if there were nothing up to the end: so it is asked on from there, and the command
    fails where a controller tells so little at a time that there is no end of that.
    """
    end = lu.capacity_blocks
    for _ in range(_MOST_ASKED):
        found, whole = yield from _ask(lu, Action.ALLOCATED, lba, most)
        if whole or found:
            extents = list(_between(found, lba, end if whole else found[-1].stop))
        else:
            extents, whole = [Extent(range(lba, end))], True
        matching = [each for each in extents if each.provisioning in wanted]
        if matching or whole:
            return matching
        lba = found[-1].stop
    raise CheckCondition(Sense(INTERNAL_TARGET_FAILURE))


def _provisioned(lu: LogicalUnit, lba: int, most: int, wanted: frozenset[Provisioning]) -> Asking:
    """Return what is wanted from a block on, to the end or until there are enough extents."""
    if (yield from all_deallocated(lu)):
        kind = Provisioning.DEALLOCATED
    elif wanted and lu.tells_allocated_blocks:
        return (yield from _told(lu, lba, most, wanted))
    else:
        kind = Provisioning.MAPPED_OR_UNKNOWN
    return [Extent(range(lba, lu.capacity_blocks), kind)] if kind in wanted else []


def get_lba_status(task: Task) -> Translation:
    """Spec: SBC-3 5.4; SBC-4 (REPORT TYPE); NVM Command Set 1.1 4.2.1.

    Where the controller tells nothing there is one extent up to the end; that is deallocated while
    nothing was written since all was sanitized.
    """
    lu, lba = task.lu, task.cdb["lba"]
    if lba >= lu.capacity_blocks:
        raise CheckCondition(Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))
    try:
        kind = ReportType(task.cdb["report_type"])
    except ValueError:
        raise task.invalid_field("report_type") from None
    # Whatever the allocation length: that cuts off data, and does not change what is told of them.
    most = _MOST_DESCRIPTORS
    if kind == ReportType.UNREADABLE:
        extents = yield from _unreadable(lu, lba, most)
    else:
        extents = yield from _provisioned(lu, lba, most, _WANTED[kind])
    descriptors = chain.from_iterable(each.descriptors() for each in extents)
    body = b"".join(islice(descriptors, most))
    return Result(data_in=HEADER.build(parameter_data_length=4 + len(body), rtp=1) + body)


COMMANDS = (
    Command(
        "GET LBA STATUS (16)",
        0x9E,
        16,
        "SBC-3 5.4",
        get_lba_status,
        (
            Field("lba", 2, 0, 64),
            Field("allocation_length", 10, 0, 32),
            Field("report_type", 14),
        ),
        service_action=0x12,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        nvme=("Get LBA Status", "Get Log Page"),
        doc="PROVISIONING STATUS is told of controllers that tell which blocks are allocated (NVM "
        "Command Set 1.1). Of others it is 0h, mapped or unknown, after an UNMAP too; and 1h of "
        "all blocks from the end of a sanitize operation on until anything is written, if the "
        "controller tells that. REPORT TYPE 10h lists blocks that it knows to be unreadable.",
    ),
)
