"""Get LBA Status, on request: which blocks are known to be unreadable, and, of a disk on a file,
which are allocated.

Unreadable are those that Write Uncorrectable has made so, and those that a fault has. None is found
only by looking for it. Spec: NVM Command Set 1.0c 4.2.1.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from scsi2nvme.drivers.emulated.capabilities.faults import FAULT
from scsi2nvme.drivers.emulated.capability import AdminCommand, Capability, Controller, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.model import MAXIMUM_TRANSFER_BYTES, CommandFailed, invalid_field
from scsi2nvme.drivers.scheme import Option, parse_switch
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, Opcode
from scsi2nvme.nvme.lba_status import DESCRIPTOR, HEADER, OACS_LBA_STATUS, Action, build
from scsi2nvme.nvme.status import StatusCode

_UNREADABLE, _WRITTEN_SO = 1 << 0, 1 << 1  # byte 13 of a descriptor
_ANY_OPCODE = 0xFF
_MOST_BLOCKS = 1 << 32  # of a descriptor

LBA_STATUS = Option(
    "lba-status",
    "on|off",
    "emulated only: tell which blocks are unreadable and, of a disk on a file, which are "
    "allocated (Get LBA Status; default off)",
    parse_switch,
    66,
    "lba_status",
    subject="a choice",
)
Told = Iterator[tuple[range, int]]


def _marked(controller: Controller, nsid: int, lba: int, end: int) -> Told:
    while (run := controller.model.emulator.marked(nsid, lba)) is not None:
        first, blocks = run
        if first >= end:
            return
        lba = first + blocks
        yield range(first, min(lba, end)), _UNREADABLE | _WRITTEN_SO


def _faulty(controller: Controller, nsid: int, lba: int, end: int) -> Told:
    """Blocks that cannot be read because a fault was asked for, and that for good."""
    for fault in sorted(
        controller.settings[FAULT.keyword], key=lambda fault: fault.get("lba_first", 0)
    ):
        unreadable = fault.get("status") == StatusCode.UNRECOVERED_READ_ERROR
        reads = fault["opcode"] in (Opcode.READ, _ANY_OPCODE)
        lasts = not {"count", "after", "admin"} & fault.keys()
        if not (unreadable and reads and lasts and fault.get("nsid", nsid) == nsid):
            continue
        first, last = fault.get("lba_first", 0), fault.get("lba_last", end - 1)
        if blocks := range(max(first, lba), min(last + 1, end)):
            yield blocks, _UNREADABLE


def _unreadable(controller: Controller, nsid: int, lba: int, end: int) -> Told:
    """Merge both, in ascending order; what is told of already is not told of again."""
    told = heapq.merge(
        _marked(controller, nsid, lba, end),
        _faulty(controller, nsid, lba, end),
        key=lambda each: each[0].start,
    )
    for blocks, status in told:
        if rest := range(max(blocks.start, lba), blocks.stop):
            lba = rest.stop
            yield rest, status


def _allocated(controller: Controller, state: NamespaceState, lba: int, end: int) -> Told:
    model, size = controller.model, state.block_bytes
    offset = model.image.offset(state.nsid)
    for begin, stop in model.image.pieces(offset + lba * size, (end - lba) * size):
        first, behind = (begin - offset) // size, -(-(stop - offset) // size)
        yield range(max(first, lba), min(behind, end)), 0


def _pieces(told: Told) -> Told:
    """Divide what is more than one descriptor can tell of."""
    for blocks, status in told:
        for first in range(blocks.start, blocks.stop, _MOST_BLOCKS):
            yield range(first, min(first + _MOST_BLOCKS, blocks.stop)), status


def _get_lba_status(controller: Controller, command: Values) -> int:
    state = controller.model.namespace(command.nsid)
    lba, blocks = command.cdw10 | command.cdw11 << 32, controller.model.blocks(state)
    length = command.cdw13 & 0xFFFF
    end = min(lba + length, blocks) if length else blocks
    size = 4 * (command.cdw12 + 1)
    if lba >= blocks:
        raise CommandFailed(StatusCode.LBA_OUT_OF_RANGE, 40)
    if size < HEADER.size:
        raise invalid_field(48)
    action = command.cdw13 >> 24
    if action in (Action.SCAN, Action.TRACKED):
        told = _unreadable(controller, state.nsid, lba, end)
    elif action == Action.ALLOCATED and controller.model.image.path is not None:
        told = _allocated(controller, state, lba, end)
    else:
        raise invalid_field(55)
    size = min(size, MAXIMUM_TRANSFER_BYTES)
    data = build(_pieces(told), (size - HEADER.size) // DESCRIPTOR.size)
    controller.to_host(command, data.ljust(size, b"\0"))
    return 0


def _controller(controller: Controller) -> Fields:
    return {"oacs": 1 << OACS_LBA_STATUS}


CAPABILITY = Capability(
    "Get LBA Status",
    commands=(AdminCommand(AdminOpcode.GET_LBA_STATUS, _get_lba_status),),
    controller=_controller,
    options=(LBA_STATUS,),
    settings={LBA_STATUS.keyword: False},
    offered=lambda settings: bool(settings[LBA_STATUS.keyword]),
)
