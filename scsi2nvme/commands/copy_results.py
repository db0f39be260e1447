"""RECEIVE COPY: what copies can be asked for, and what has come of them. Spec: SPC-4 6.18 ff."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.copy_parameters import (
    DESCRIPTOR_CODES,
    MOST_CSCDS,
    MOST_DESCRIPTOR_BYTES,
    MOST_SEGMENT_BYTES,
    MOST_SEGMENTS,
)
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import CONCURRENT_COPIES, Operation
from scsi2nvme.unit.reservations import Access

OPERATING_PARAMETERS = Structure(
    "RECEIVE COPY OPERATING PARAMETERS parameter data",
    44,
    (
        Field("available_data", 0, 0, 32),
        Field("snlid", 4, 0, 1, "lists without identifier are supported"),
        Field("maximum_cscd_count", 8, 0, 16),
        Field("maximum_segment_count", 10, 0, 16),
        Field("maximum_descriptor_list_length", 12, 0, 32),
        Field("maximum_segment_length", 16, 0, 32, "bytes"),
        Field("maximum_inline_data_length", 20, 0, 32),
        Field("held_data_limit", 24, 0, 32),
        Field("maximum_stream_transfer", 28, 0, 32),
        Field("total_concurrent_copies", 34, 0, 16),
        Field("maximum_concurrent_copies", 36),
        Field("data_segment_granularity", 37, doc="log2 of bytes"),
        Field("inline_data_granularity", 38, doc="log2 of bytes"),
        Field("held_data_granularity", 39, doc="log2 of bytes"),
        Field("implemented_descriptor_list_length", 43),
    ),
    spec="SPC-4 6.20",
)
STATUS_LID1 = Structure(
    "RECEIVE COPY STATUS (LID1) parameter data",
    12,
    (
        Field("available_data", 0, 0, 32),
        Field("hdd", 4, 7, 1, "held data discarded"),
        Field("copy_command_status", 4, 0, 7),
        Field("segments_processed", 5, 0, 16),
        Field("transfer_count_units", 7),
        Field("transfer_count", 8, 0, 32),
    ),
    spec="SPC-4 6.23",
)
FAILURE_DETAILS = Structure(
    "RECEIVE COPY FAILURE DETAILS (LID1) parameter data",
    60,
    (
        Field("available_data", 0, 0, 32),
        Field("extended_copy_command_status", 56),
        Field("sense_data_length", 58, 0, 16),
    ),
    spec="SPC-4 6.19",
)

_IN_PROGRESS, _DONE, _DONE_WITH_ERRORS = 0x00, 0x01, 0x02
_KIB = 1  # TRANSFER COUNT UNITS; 0: bytes


def found(task: Task, *, long: bool) -> Operation:
    """Return the operation that LIST IDENTIFIER names, of the nexus's; CheckCondition: none."""
    operation = task.lu.copies.find(task.nexus, task.cdb.list_identifier, long=long)
    if operation is None:
        raise task.invalid_field("list_identifier")
    return operation


def operating_parameters(task: Task) -> Translation:
    """Spec: SPC-4 6.20."""
    yield from ()
    granularity = task.lu.block_bytes.bit_length() - 1
    size = OPERATING_PARAMETERS.size + len(DESCRIPTOR_CODES)
    data = OPERATING_PARAMETERS.build(
        available_data=size - 4,
        snlid=1,
        maximum_cscd_count=MOST_CSCDS,
        maximum_segment_count=MOST_SEGMENTS,
        maximum_descriptor_list_length=MOST_DESCRIPTOR_BYTES,
        maximum_segment_length=MOST_SEGMENT_BYTES,
        total_concurrent_copies=CONCURRENT_COPIES,
        maximum_concurrent_copies=CONCURRENT_COPIES,
        data_segment_granularity=granularity,
        implemented_descriptor_list_length=len(DESCRIPTOR_CODES),
    )
    return Result(data_in=data + DESCRIPTOR_CODES)


def copy_status(task: Task) -> Translation:
    """Tell of an operation; of one that has ended well nothing is kept then. Spec: SPC-4 6.23."""
    yield from ()
    operation = found(task, long=False)
    status = _IN_PROGRESS
    if not operation.running:
        status = _DONE if operation.status is Status.GOOD else _DONE_WITH_ERRORS
    if status == _DONE:
        task.lu.copies.forget(operation)
    in_bytes = operation.transferred < 1 << 32
    data = STATUS_LID1.build(
        available_data=STATUS_LID1.size - 4,
        hdd=1,
        copy_command_status=status,
        segments_processed=operation.segments,
        transfer_count_units=0 if in_bytes else _KIB,
        transfer_count=operation.transferred if in_bytes else operation.transferred >> 10,
    )
    return Result(data_in=data)


def failure_details(task: Task) -> Translation:
    """Tell how a copy has failed, once. Spec: SPC-4 6.19."""
    yield from ()
    operation = found(task, long=False)
    if operation.running:
        raise task.invalid_field("list_identifier")
    if operation.status is Status.GOOD:
        return Result(data_in=FAILURE_DETAILS.build())
    task.lu.copies.forget(operation)
    sense = b""
    if operation.sense is not None:
        sense = operation.sense.data(task.lu.mode.descriptor_sense)
    data = FAILURE_DETAILS.build(
        available_data=FAILURE_DETAILS.size + len(sense) - 4,
        extended_copy_command_status=operation.status,
        sense_data_length=len(sense),
    )
    return Result(data_in=data + sense)


def receive(
    name: str,
    service_action: int,
    spec: str,
    translate: Callable[[Task], Translation],
    identifier: Field | None,
) -> Command:
    """Return a row of 84h; `identifier` is where LIST IDENTIFIER stands, if it does.

    With a short one, or none of any effect, it tells of what the command itself has told as well.
    """
    allocation = Field("allocation_length", 10, 0, 32)
    return Command(
        name,
        0x84,
        16,
        spec,
        translate,
        (allocation,) if identifier is None else (identifier, allocation),
        service_action=service_action,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.WRITE,
        needs_ready=False,
        of_one_initiator=identifier is None or identifier.width > 8,
    )


SHORT = Field("list_identifier", 2)
LONG = Field("list_identifier", 2, 0, 32)
_UNUSED = Field("list_identifier", 2, 0, 8, "of no effect", ignored=True)

COMMANDS = (
    receive("RECEIVE COPY STATUS (LID1)", 0x00, "SPC-4 6.23", copy_status, SHORT),
    receive("RECEIVE COPY OPERATING PARAMETERS", 0x03, "SPC-4 6.20", operating_parameters, _UNUSED),
    receive("RECEIVE COPY FAILURE DETAILS (LID1)", 0x04, "SPC-4 6.19", failure_details, SHORT),
)
