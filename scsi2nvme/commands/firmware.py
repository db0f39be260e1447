"""WRITE BUFFER's modes that download microcode: Firmware Image Download, Firmware Commit.

BUFFER ID is the firmware slot, zero where the controller is to choose. What was downloaded lies
in the controller, and is neither saved nor checked before Firmware Commit: an image whose
activation is deferred lasts until the next reset of the controller.

No mode says which piece of an image is the last. Where the last one activates it, that is the
first that is shorter than the image's first; an image without such a piece is activated as those
are whose activation is deferred.

Where the controller cannot activate an image at once it is reset for that, or if more than that
is needed, whoever does that has it run: a power cycle does.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from enum import IntEnum
from typing import Any

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.write_buffer import BUFFER_ID, BUFFER_OFFSET, IGNORED, LENGTH, row
from scsi2nvme.fields import Field
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_BYTES, IDENTIFY_CONTROLLER
from scsi2nvme.scsi.result import (
    GOOD,
    Asked,
    CheckCondition,
    ControllerReset,
    NvmeError,
    Progress,
    Result,
    Translation,
)
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    INQUIRY_DATA_HAS_CHANGED,
    INVALID_FIELD_IN_PARAMETER_LIST,
    MICROCODE_HAS_BEEN_CHANGED,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness

_OACS_FIRMWARE = 2
_FRMW_AT_ONCE = 1 << 4
_DWORD = 4
_UNIT_BYTES = 4096  # of FWUG
_PIECE_BYTES = 128 << 10  # of one Firmware Image Download, where granularity and MDTS allow it
_COMMIT_S = 300.0  # beyond MTFA
_CNS_CONTROLLER = 1
_REASON = "new firmware is to be activated"
_FORMAT_POLL_S = 1.0

Conversation = Generator[Asked, Any, Any]


class Action(IntEnum):
    """CA of Firmware Commit. Spec: NVMe Base 2.0 figure 181."""

    REPLACE = 0
    REPLACE_FOR_RESET = 1
    ACTIVATE_BY_RESET = 2
    ACTIVATE_AT_ONCE = 3


class Mode(IntEnum):
    """Modes of WRITE BUFFER. Spec: SPC-4 6.49."""

    WHOLE = 0x04
    WHOLE_SAVED = 0x05
    PIECES = 0x06
    PIECES_SAVED = 0x07
    SELECTED = 0x0D
    DEFERRED = 0x0E
    ACTIVATE = 0x0F


# The image is stored, and runs once more than a controller reset has been done.
_LATER = (
    StatusCode.FIRMWARE_NEEDS_CONVENTIONAL_RESET,
    StatusCode.FIRMWARE_NEEDS_SUBSYSTEM_RESET,
)
_BY_RESET = StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET


def offered(lu: LogicalUnit) -> bool:
    """Whether initiators may download firmware."""
    return lu.firmware_allowed and lu.facts.controller_bit("oacs", _OACS_FIRMWARE)


def slots(lu: LogicalUnit) -> int:
    """Return how many firmware slots there are."""
    return int(lu.facts.controller.frmw >> 1 & 7)


def _activates_at_once(lu: LogicalUnit) -> bool:
    return offered(lu) and bool(lu.facts.controller.frmw & _FRMW_AT_ONCE)


def granularity(lu: LogicalUnit) -> int:
    """Return what pieces of an image begin at multiples of. Spec: NVMe Base 2.0 figure 276 (FWUG).

    Where the controller does not tell it is a page, as hosts are used to take.
    """
    match lu.facts.controller.fwug:
        case 0:
            return _UNIT_BYTES
        case 0xFF:
            return _DWORD
        case units:
            return int(units) * _UNIT_BYTES


def _piece_bytes(lu: LogicalUnit) -> int:
    unit = granularity(lu)
    return max(min(lu.facts.maximum_transfer_bytes, _PIECE_BYTES) // unit * unit, unit)


def _check_kept(lu: LogicalUnit) -> None:
    """Refuse to go on with an image that a reset of the controller has made it forget."""
    if not lu.firmware.sender:
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))


def _download(lu: LogicalUnit, offset: int, data: bytes) -> Conversation:
    """Send a part of an image; what fails leaves nothing to go on with."""
    step = _piece_bytes(lu)
    done = False
    try:
        for at in range(0, len(data), step):
            _check_kept(lu)
            piece = data[at : at + step]
            yield NvmeCommand(
                AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD,
                cdw10=len(piece) // _DWORD - 1,
                cdw11=(offset + at) // _DWORD,
                data_out=piece,
                admin=True,
            )
        lu.firmware.add(len(data))
        done = True
    finally:
        if not done:
            lu.firmware.discard()


def _commit(task: Task, action: Action) -> Generator[Asked, Any, int]:
    """Store, or activate, what was downloaded; return the status, which may ask for a reset."""
    lu, slot = task.lu, task.lu.firmware.slot
    _check_kept(lu)
    command = NvmeCommand(
        AdminOpcode.FIRMWARE_COMMIT,
        cdw10=slot | action << 3,
        admin=True,
        timeout_s=_COMMIT_S + lu.facts.controller.mtfa / 10,
    )
    try:
        yield command
    except NvmeError as error:
        status = error.completion.status
        accepted = (*_LATER, _BY_RESET, StatusCode.FIRMWARE_NEEDS_MAXIMUM_TIME)
        if status not in accepted:
            lu.firmware.discard()
        if status == StatusCode.INVALID_FIRMWARE_SLOT:
            named = slot and "buffer_id" in task.command.structure.decoded
            if named:
                raise task.invalid_field("buffer_id") from error
            raise CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST)) from error
        if status not in accepted:
            raise
        return status
    return StatusCode.SUCCESS


def _store_and_activate(task: Task) -> Generator[Asked, Any, int]:
    """Commit the image, to run at once if that is possible; return what is still to be done."""
    lu = task.lu
    if _activates_at_once(lu):
        status = yield from _commit(task, Action.ACTIVATE_AT_ONCE)
        if status != StatusCode.FIRMWARE_NEEDS_MAXIMUM_TIME:
            return status
    status = yield from _commit(task, Action.REPLACE_FOR_RESET)
    return _BY_RESET if status == StatusCode.SUCCESS else status


def _activate(task: Task) -> Translation:
    """Have the controller run what was downloaded."""
    lu = task.lu
    for each in lu.controller_units or (lu,):
        # No reset may leave a disk half formatted.
        erased = each.readiness is Readiness.FORMATTING or each.sanitizing.sense is not None
        if erased and (sense := each.not_ready) is not None:
            raise CheckCondition(sense)
    status = yield from _store_and_activate(task)
    lu.firmware.discard()
    if status in _LATER:
        return GOOD
    if status == _BY_RESET:
        yield from _wait_for_formats(lu)
        yield ControllerReset(_REASON)
    yield from _tell(task)
    return GOOD


def _wait_for_formats(lu: LogicalUnit) -> Conversation:
    """Let formats end that have begun since, without an initiator: they take no regard of us."""
    while any(each.readiness is Readiness.FORMATTING for each in lu.controller_units or (lu,)):
        yield Progress(lu.progress or 0, _FORMAT_POLL_S)


def _tell(task: Task) -> Conversation:
    """Take up the firmware revision, and tell everybody but the sender. Spec: SPC-4 5.15."""
    lu = task.lu
    completion = yield NvmeCommand(
        AdminOpcode.IDENTIFY, cdw10=_CNS_CONTROLLER, data_in=IDENTIFY_BYTES, admin=True
    )
    revision = IDENTIFY_CONTROLLER.parse(completion.data).bytes("fr")
    for each in lu.controller_units or (lu,):
        each.establish_attention(MICROCODE_HAS_BEEN_CHANGED)
        before = each.facts_as_read.controller
        if before.bytes("fr") != revision:
            raw = bytearray(before.raw)
            IDENTIFY_CONTROLLER.write(raw, fr=revision)
            each.facts = replace(each.facts_as_read, controller=IDENTIFY_CONTROLLER.parse(raw))
            each.establish_attention(INQUIRY_DATA_HAS_CHANGED)
        # Whoever follows the controller may have told the sender as well.
        for code in (MICROCODE_HAS_BEEN_CHANGED, INQUIRY_DATA_HAS_CHANGED):
            each.clear_attention(task.nexus, code)


def _check_length(task: Task) -> None:
    length = task.cdb.parameter_list_length
    # Of what is longer than one command may be, no data were collected.
    if length % _DWORD or length > MAXIMUM_TRANSFER_BYTES:
        raise task.invalid_field("parameter_list_length")


def download_whole(task: Task) -> Translation:
    """Spec: SPC-4 6.49.4, 6.49.5; NVMe Base 2.0 5.12, 5.13."""
    download = task.lu.firmware
    _check_length(task)
    if download.busy:
        return Result(Status.BUSY)
    if not task.data_out:
        return GOOD
    download.begin(task.nexus.key, task.cdb.buffer_id, task.command.service_action or 0)
    with download.under_way():
        yield from _download(task.lu, 0, task.data_out)
        return (yield from _activate(task))


def _take_piece(task: Task, slot: int) -> Conversation:
    """Send a piece on to the controller, if it follows the others."""
    lu, offset, download = task.lu, task.cdb.buffer_offset, task.lu.firmware
    mode = task.command.service_action or 0
    if offset % granularity(lu):
        raise task.invalid_field("buffer_offset")
    sender = (task.nexus.key, slot, mode)
    if not offset:
        download.begin(*sender)
    elif (download.sender, download.slot, download.mode) != sender or offset != download.size:
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))
    yield from _download(lu, offset, task.data_out)


def download_piece(task: Task) -> Translation:
    """Spec: SPC-4 6.49.6, 6.49.7."""
    download = task.lu.firmware
    _check_length(task)
    if download.busy:
        return Result(Status.BUSY)
    if not task.data_out:
        return GOOD
    with download.under_way():
        yield from _take_piece(task, task.cdb.buffer_id)
        if len(task.data_out) < download.first:
            return (yield from _activate(task))
    return GOOD


def download_deferred(task: Task) -> Translation:
    """Spec: SPC-4 6.49.9, 6.49.10. Nothing but the command for it activates the image."""
    download, selected = task.lu.firmware, task.command.service_action == Mode.SELECTED
    _check_length(task)
    for event in ("po_act", "hr_act", "vse_act") if selected else ():
        if task.cdb[event]:
            raise task.invalid_field(event)
    if download.busy:
        return Result(Status.BUSY)
    if not task.data_out:
        return GOOD
    with download.under_way():
        yield from _take_piece(task, 0 if selected else task.cdb.buffer_id)
    return GOOD


def activate_deferred(task: Task) -> Translation:
    """Spec: SPC-4 6.49.11."""
    download = task.lu.firmware
    if download.busy:
        return Result(Status.BUSY)
    if not download.size:
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))
    with download.under_way():
        return (yield from _activate(task))


_NVME = ("Firmware Image Download", "Firmware Commit", "Identify")
_PLACE = (BUFFER_ID, BUFFER_OFFSET, LENGTH)
_WHOLE = (BUFFER_ID, Field("buffer_offset", 3, 0, 24, ignored=True), LENGTH)
_EVENTS = (
    Field("po_act", 1, 7, 1, "activate at power on: must be zero"),
    Field("hr_act", 1, 6, 1, "activate by a hard reset: must be zero"),
    Field("vse_act", 1, 5, 1, "activate by a vendor's event: must be zero"),
    Field("buffer_id", 2, ignored=True),
)
_TIMEOUT_S = 600


COMMANDS: tuple[Command, ...] = (
    row(
        Mode.WHOLE,
        "download and activate",
        "SPC-4 6.49.4",
        download_whole,
        _WHOLE,
        supported=_activates_at_once,
        nvme=_NVME,
        timeout_s=_TIMEOUT_S,
    ),
    row(
        Mode.WHOLE_SAVED,
        "download, save and activate",
        "SPC-4 6.49.5",
        download_whole,
        _WHOLE,
        supported=offered,
        nvme=_NVME,
        timeout_s=_TIMEOUT_S,
    ),
    row(
        Mode.PIECES,
        "download with offsets and activate",
        "SPC-4 6.49.6",
        download_piece,
        _PLACE,
        supported=_activates_at_once,
        nvme=_NVME,
        timeout_s=_TIMEOUT_S,
    ),
    row(
        Mode.PIECES_SAVED,
        "download with offsets, save and activate",
        "SPC-4 6.49.7",
        download_piece,
        _PLACE,
        supported=offered,
        nvme=_NVME,
        timeout_s=_TIMEOUT_S,
    ),
    row(
        Mode.SELECTED,
        "download with offsets, select events, save and defer",
        "SPC-4 6.49.9",
        download_deferred,
        (*_EVENTS, BUFFER_OFFSET, LENGTH),
        supported=offered,
        nvme=_NVME[:1],
    ),
    row(
        Mode.DEFERRED,
        "download with offsets, save and defer",
        "SPC-4 6.49.10",
        download_deferred,
        _PLACE,
        supported=offered,
        nvme=_NVME[:1],
    ),
    row(
        Mode.ACTIVATE,
        "activate deferred",
        "SPC-4 6.49.11",
        activate_deferred,
        (*IGNORED, Field("parameter_list_length", 6, 0, 24, ignored=True)),
        supported=offered,
        nvme=_NVME[1:],
        timeout_s=_TIMEOUT_S,
    ),
)
