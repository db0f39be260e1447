"""READ BUFFER's error history: the controller's telemetry, as current and saved internal status,
and its persistent event log.

The snapshot is the controller's own: a host-initiated telemetry log that is made when an initiator
asks for one, and read from there piece by piece. Whoever else has another one made meanwhile makes
this one of no use, which is told (COMMAND SEQUENCE ERROR). Of the persistent events, which a
controller lets one reader have at a time, the newest that fit `MOST_EVENT_BYTES` are kept here.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import Any

from scsi2nvme.command import Task
from scsi2nvme.commands.read_buffer import rows
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import BROADCAST_NSID, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.log_structures import (
    PERSISTENT_EVENT_HEADER,
    PERSISTENT_EVENT_LOG,
    TELEMETRY_CONTROLLER,
    TELEMETRY_HEADER,
    TELEMETRY_HOST,
)
from scsi2nvme.nvme.persistent_events import Action
from scsi2nvme.scsi.result import Asked, CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import (
    COMMAND_SEQUENCE_ERROR,
    ERROR_HISTORY_I_T_NEXUS_CLEARED,
    OPERATION_IN_PROGRESS,
    Sense,
)
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from scsi2nvme.unit.error_history import Retrieved
from scsi2nvme.unit.logical_unit import LogicalUnit

_LPA_OFFSETS, _LPA_TELEMETRY, _LPA_EVENTS = 1 << 2, 1 << 3, 1 << 4
_CREATE = 1  # LSP: the controller makes a new one
_BLOCK = 512
_HOST_GENERATION = 381  # of the host-initiated log
_PIECE_BYTES = 128 << 10
CURRENT, SAVED, EVENTS = 0x10, 0x11, 0x12  # our buffers
_LOGS = {CURRENT: TELEMETRY_HOST, SAVED: TELEMETRY_CONTROLLER}
_FORMATS = {CURRENT: 0x01, SAVED: 0x02, EVENTS: 0x00}
MOST_EVENT_BYTES = 1 << 20
_BY_THIS_COMMAND = 0b01  # EHS_SOURCE
_EARLIER = 0b10


class Buffer(IntEnum):
    """BUFFER ID. Spec: SPC-4 6.18.8.1."""

    DIRECTORY = 0x00
    NEW_DIRECTORY = 0x01
    TAKEN_DIRECTORY = 0x02
    NEW_TAKEN_DIRECTORY = 0x03
    CLEAR_NEXUS = 0xFE
    CLEAR = 0xFF


DIRECTORY = Structure(
    "Error history directory header",
    32,
    (
        Field("t10_vendor", 0, 0, 64),
        Field("version", 8),
        Field("ehs_retrieved", 9, 3, 2),
        Field("ehs_source", 9, 1, 2),
        Field("clr_sup", 9, 0, 1),
        Field("directory_length", 30, 0, 16),
    ),
    spec="SPC-4 6.18.8.2",
)
ENTRY = Structure(
    "Error history directory entry",
    8,
    (
        Field("buffer_id", 0),
        Field("buffer_format", 1, doc="00h vendor's, 01h current, 02h saved internal status"),
        Field("maximum_available_length", 4, 0, 32),
    ),
    spec="SPC-4 6.18.8.2",
)
STATUS_HEADER = Structure(
    "Internal status parameter data",
    512,
    (
        Field("company_id", 4, 0, 32),
        Field("set_one_length", 8, 0, 16, "last block of 512 bytes"),
        Field("set_two_length", 10, 0, 16),
        Field("set_three_length", 12, 0, 16),
        Field("set_four_length", 14, 0, 32),
        Field("new_saved_data", 382),
        Field("saved_data_generation", 383),
        Field("reason", 384, 0, 8 * 128),
    ),
    spec="SPC-5 6.20.9",
)

Conversation = Generator[Asked, Any, Any]


def offered(lu: LogicalUnit) -> bool:
    """Whether initiators may read the error history."""
    lpa = lu.facts.controller.lpa
    told = lpa & _LPA_OFFSETS and lpa & (_LPA_TELEMETRY | _LPA_EVENTS)
    return lu.history_allowed and bool(told)


def _read(lid: int, offset: int, size: int, lsp: int = 0) -> NvmeCommand:
    return get_log_page(lid, BROADCAST_NSID, size, offset=offset, lsp=lsp)


def _header(lid: int, lsp: int = 0) -> Generator[Asked, Any, Values]:
    completion = yield _read(lid, 0, _BLOCK, lsp)
    return TELEMETRY_HEADER.parse(completion.data)


def _length(header: Values) -> int:
    """Return how long a log is: areas 1 to 3, each of which contains the one before."""
    return (max(header.area1_last, header.area2_last, header.area3_last) + 1) * _BLOCK


def _make(lu: LogicalUnit) -> Conversation:
    """Have the controller make a snapshot, and see what it has saved itself."""
    history, lpa, lengths = lu.history, lu.facts.controller.lpa, {}
    if lpa & _LPA_TELEMETRY:
        header = yield from _header(TELEMETRY_HOST, _CREATE)
        saved = yield from _header(TELEMETRY_CONTROLLER)
        history.generation = header.raw[_HOST_GENERATION]
        lengths[CURRENT] = _length(header)
        if saved.available:
            lengths[SAVED] = _length(saved)
    if lpa & _LPA_EVENTS:
        history.events = yield from _read_events(lu)
        lengths[EVENTS] = len(history.events)
    history.lengths = {number: length for number, length in lengths.items() if length}
    history.retrieved = Retrieved.NO


def _read_events(lu: LogicalUnit) -> Generator[Asked, Any, bytes]:
    """Return the persistent event log; nothing while another reads it, or if it cannot be read.

    The context of one who was aborted half-way is released first.
    """
    size, histories = PERSISTENT_EVENT_HEADER.size, [each.history for each in lu.controller_units]
    ended = [each for each in (lu.history, *histories) if each.reading_ended]
    for each in ended:
        each.reading_ended = False
    try:
        if ended:
            yield from _release_events(lu)
        return (yield from _read_established(lu, size))
    except GeneratorExit:
        lu.history.reading_ended = True
        raise


def _release_events(lu: LogicalUnit) -> Conversation:
    """Release the context; whoever reads next tries that again if it fails."""
    try:
        yield _read(PERSISTENT_EVENT_LOG, 0, PERSISTENT_EVENT_HEADER.size, Action.RELEASE)
    except NvmeError:
        lu.history.reading_ended = True


def _read_established(lu: LogicalUnit, size: int) -> Generator[Asked, Any, bytes]:
    try:
        completion = yield _read(PERSISTENT_EVENT_LOG, 0, size, Action.ESTABLISH)
    except NvmeError:
        return b""
    data: bytes = completion.data
    end = min(PERSISTENT_EVENT_HEADER.parse(data).total_log_len, MOST_EVENT_BYTES) & ~3
    step = min(_PIECE_BYTES, lu.facts.maximum_transfer_bytes)
    try:
        for at in range(size, end, step):
            completion = yield _read(PERSISTENT_EVENT_LOG, at, min(step, end - at))
            data += completion.data
    except NvmeError:
        data = b""
    yield from _release_events(lu)
    return data


def _take(task: Task, wanted: Buffer) -> None:
    """Make the error history the nexus's own, if it may be."""
    history, key = task.lu.history, task.nexus.key
    takes = wanted in (Buffer.TAKEN_DIRECTORY, Buffer.NEW_TAKEN_DIRECTORY)
    if history.owner not in ("", key):
        if not takes:
            raise CheckCondition(Sense(OPERATION_IN_PROGRESS))
        task.lu.establish_attention(ERROR_HISTORY_I_T_NEXUS_CLEARED, only=history.owner)
    history.owner = key


def _directory(task: Task, wanted: Buffer) -> Translation:
    history, cdb = task.lu.history, task.cdb
    if cdb.mode_specific > 1:
        raise task.invalid_field("mode_specific")
    if cdb.buffer_offset:
        raise task.invalid_field("buffer_offset")
    _take(task, wanted)
    renews = wanted in (Buffer.NEW_DIRECTORY, Buffer.NEW_TAKEN_DIRECTORY)
    makes = renews or not history.lengths
    if makes:
        history.release()
        yield from _make(task.lu)
    entries = b"".join(
        ENTRY.build(
            buffer_id=number, buffer_format=_FORMATS[number], maximum_available_length=length
        )
        for number, length in sorted(history.lengths.items())
    )
    header = DIRECTORY.build(
        t10_vendor=b"NVMe    ",
        ehs_retrieved=history.retrieved,
        ehs_source=_BY_THIS_COMMAND if makes else _EARLIER,
        directory_length=len(entries),
    )
    return Result(data_in=header + entries)


def _translated(raw: bytes) -> bytes:
    """Return a telemetry log's first block as SPC has it."""
    header = TELEMETRY_HEADER.parse(raw)
    return STATUS_HEADER.build(
        company_id=header.ieee,
        set_one_length=header.area1_last,
        set_two_length=header.area2_last,
        set_three_length=header.area3_last,
        set_four_length=0,
        new_saved_data=header.available,
        saved_data_generation=header.generation,
        reason=raw[384:512],
    )


def _data(task: Task) -> Translation:
    """Return a part of the snapshot."""
    history, cdb = task.lu.history, task.cdb
    if history.owner not in ("", task.nexus.key):
        raise CheckCondition(Sense(OPERATION_IN_PROGRESS))
    length = history.lengths.get(cdb.buffer_id) if history.owner else None
    if length is None:
        raise task.invalid_field("buffer_id")
    if cdb.buffer_offset > length:
        raise task.invalid_field("buffer_offset")
    if cdb.buffer_id == EVENTS:
        return Result(data_in=history.events[cdb.buffer_offset :][:MAXIMUM_TRANSFER_BYTES])
    wanted = min(cdb.allocation_length, length - cdb.buffer_offset, MAXIMUM_TRANSFER_BYTES)
    start = cdb.buffer_offset // _BLOCK * _BLOCK
    end = -(-(cdb.buffer_offset + wanted) // _BLOCK) * _BLOCK
    step = min(_PIECE_BYTES, task.lu.facts.maximum_transfer_bytes)
    generation, data = history.generation, b""
    for at in range(start, end, step):
        completion = yield _read(_LOGS[cdb.buffer_id], at, min(step, end - at))
        data += completion.data
    if start == 0 and data:
        data = _translated(data[:_BLOCK]) + data[_BLOCK:]
    now = yield from _header(TELEMETRY_HOST)
    if cdb.buffer_id == CURRENT and now.raw[_HOST_GENERATION] != generation:
        if history.generation == generation:  # else it is that of another, who has taken over
            history.release()
        raise CheckCondition(Sense(COMMAND_SEQUENCE_ERROR))
    return Result(data_in=data[cdb.buffer_offset - start :][:wanted])


def error_history(task: Task) -> Translation:
    """Spec: SPC-4 6.18.8; NVMe Base 2.0 5.16.1.8, 5.16.1.9 (telemetry), 5.16.1.14 (events)."""
    number, history = task.cdb.buffer_id, task.lu.history
    if number <= Buffer.NEW_TAKEN_DIRECTORY:
        return (yield from _directory(task, Buffer(number)))
    if task.cdb.mode_specific:
        raise task.invalid_field("mode_specific")
    if number not in (Buffer.CLEAR_NEXUS, Buffer.CLEAR):
        return (yield from _data(task))
    if history.owner not in ("", task.nexus.key):
        raise CheckCondition(Sense(OPERATION_IN_PROGRESS))
    history.owner = ""
    history.retrieved = Retrieved.YES
    if number == Buffer.CLEAR:
        history.release()
    return Result()


COMMANDS = rows(
    0x1C,
    "error history",
    "SPC-4 6.18.8",
    error_history,
    ("buffer_id", "buffer_offset"),
    (Field("mode_specific", 1, 5, 3, "001b: internal status wanted"),),
    supported=offered,
    nvme=("Get Log Page",),
)
