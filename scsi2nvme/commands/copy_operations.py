"""Copy operations with a long list identifier: what has come of them, and the end of one.

Spec: SPC-4 6.3, 6.24, 6.26, 6.33.
"""

from __future__ import annotations

from scsi2nvme.command import Command, Task
from scsi2nvme.commands.copy_results import LONG, found, receive
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.unit.copies import Operation

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


COMMANDS: tuple[Command, ...] = (
    receive(
        *("RECEIVE ROD TOKEN INFORMATION", 0x07, "SPC-4 6.26"),
        receive_rod_token_information,
        LONG,
    ),
)
