"""Copy operations with a long list identifier: what has come of them, and the end of one.

Spec: SPC-4 6.3, 6.24, 6.26, 6.33.
"""

from __future__ import annotations

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.copy_results import LONG, found, receive
from scsi2nvme.commands.token_parameters import HEAD_BYTES
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import GOOD, Result, Translation
from scsi2nvme.unit.copies import Operation
from scsi2nvme.unit.reservations import Access

STATUS_LID4 = Structure(
    "RECEIVE COPY STATUS (LID4) parameter data",
    32,
    (
        Field("available_data", 0, 0, 32),
        Field("response_to_service_action", 4, 0, 5),
        Field("hdd", 5, 7, 1, "held data discarded"),
        Field("copy_operation_status", 5, 0, 7),
        Field("operation_counter", 6, 0, 16),
        Field("estimated_status_update_delay", 8, 0, 32, "milliseconds"),
        Field("completion_status", 12),
        Field("sense_data_field_length", 13),
        Field("sense_data_length", 14),
        Field("transfer_count_units", 15),
        Field("transfer_count", 16, 0, 64),
        Field("segments_processed", 24, 0, 16),
    ),
    spec="SPC-4 6.24",
)
TOKEN_DESCRIPTORS = Structure(
    "ROD token descriptors",
    4,
    (Field("length", 0, 0, 32),),
    spec="SPC-4 6.26",
)

ROD_TOKENS = Structure(
    "REPORT ALL ROD TOKENS parameter data",
    8,
    (Field("available_data", 0, 0, 32),),
    spec="SPC-4 6.33",
)

TOKEN_ACTIONS = (0x10, 0x11)  # POPULATE TOKEN, WRITE USING TOKEN
_BYTES, _BLOCKS = 0x00, 0xF1  # TRANSFER COUNT UNITS
_LATER_MS = 500


def _status(task: Task, operation: Operation, behind: int) -> bytes:
    """Return what is told of an operation, before `behind` more bytes."""
    sense = b""
    if operation.sense is not None:
        sense = operation.sense.data(task.lu.mode.descriptor_sense)
    of_tokens = operation.service_action in TOKEN_ACTIONS
    count = operation.transferred
    return (
        STATUS_LID4.build(
            available_data=STATUS_LID4.size + len(sense) + behind - 4,
            response_to_service_action=operation.service_action,
            hdd=1,
            copy_operation_status=operation.state,
            estimated_status_update_delay=_LATER_MS if operation.running else 0,
            completion_status=operation.status,
            sense_data_field_length=len(sense),
            sense_data_length=len(sense),
            transfer_count_units=_BLOCKS if of_tokens else _BYTES,
            transfer_count=count // task.lu.block_bytes if of_tokens else count,
            segments_processed=operation.segments,
        )
        + sense
    )


def receive_rod_token_information(task: Task) -> Translation:
    """Tell of an operation, and give the token that it has made. Spec: SPC-4 6.26.

    It is kept until its identifier is used again: who has got no answer may ask again.
    """
    yield from ()
    operation = found(task, long=True)
    token = b"" if operation.token is None else bytes(2) + operation.token.data
    tail = TOKEN_DESCRIPTORS.build(length=len(token)) + token
    return Result(data_in=_status(task, operation, len(tail)) + tail)


def copy_status(task: Task) -> Translation:
    """Tell of an operation. Spec: SPC-4 6.24."""
    yield from ()
    return Result(data_in=_status(task, found(task, long=True), 0))


def copy_operation_abort(task: Task) -> Translation:
    """Have an operation of the nexus's end soon; it does not wait for that. Spec: SPC-4 6.3.

    It may be one with a short identifier. One that has ended is none.
    """
    yield from ()
    copies, identifier = task.lu.copies, task.cdb.list_identifier
    every = [copies.find(task.nexus, identifier, long=long) for long in (True, False)]
    running = [each for each in every if each is not None and each.running]
    if not running:
        raise task.invalid_field("list_identifier")
    running[0].abort()
    return GOOD


def report_all_rod_tokens(task: Task) -> Translation:
    """Tell of the tokens of all logical units that the initiator sees. Spec: SPC-4 6.33.

    What is told of each is not enough to use it.
    """
    yield from ()
    seen = (task.lu, *task.nexus.luns.values())
    every = [each for each in task.lu.rods.tokens.all() if each.source.unit in seen]
    heads = b"".join(each.data[:HEAD_BYTES] for each in every)
    size = ROD_TOKENS.size + len(heads)
    return Result(data_in=ROD_TOKENS.build(available_data=size - 4) + heads)


COMMANDS = (
    Command(
        "COPY OPERATION ABORT",
        0x83,
        16,
        "SPC-4 6.3",
        copy_operation_abort,
        (LONG,),
        service_action=0x1C,
        access=Access.WRITE,
        needs_ready=False,
        of_one_initiator=True,
    ),
    receive("RECEIVE COPY STATUS (LID4)", 0x05, "SPC-4 6.24", copy_status, LONG),
    receive(
        *("RECEIVE ROD TOKEN INFORMATION", 0x07, "SPC-4 6.26"),
        receive_rod_token_information,
        LONG,
    ),
    receive("REPORT ALL ROD TOKENS", 0x08, "SPC-4 6.33", report_all_rod_tokens, None),
)
