"""Task management functions and their service responses. Spec: SAM-5 7."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum, auto

from scsi2nvme.scsi.sense import Sense


class TaskManagement(Enum):
    """What an initiator may ask of a task manager. Spec: SAM-5 7.1."""

    ABORT_TASK = auto()
    ABORT_TASK_SET = auto()
    CLEAR_TASK_SET = auto()
    LOGICAL_UNIT_RESET = auto()
    I_T_NEXUS_RESET = auto()
    QUERY_TASK = auto()
    QUERY_TASK_SET = auto()
    QUERY_ASYNCHRONOUS_EVENT = auto()


class TaskManagementResponse(IntEnum):
    """How a function ended. Spec: SAM-5 7.1, table 46.

    SAM answers ABORT TASK with FUNCTION COMPLETE whether or not the task was
    there; iSCSI tells the two apart, hence TASK_DOES_NOT_EXIST.
    """

    FUNCTION_COMPLETE = auto()
    FUNCTION_SUCCEEDED = auto()
    FUNCTION_REJECTED = auto()
    INCORRECT_LOGICAL_UNIT_NUMBER = auto()
    SERVICE_DELIVERY_OR_TARGET_FAILURE = auto()
    TASK_DOES_NOT_EXIST = auto()


def asynchronous_event(pending: Sequence[Sense]) -> bytes:
    """Return QUERY ASYNCHRONOUS EVENT's additional response information, 3 bytes.

    `pending` are the unit attention conditions of the nexus, the oldest first;
    all zero: there is none. Spec: SAM-5 7.10.
    """
    if not pending:
        return bytes(3)
    depth = 1 if len(pending) == 1 else 2  # UADE DEPTH: one, or more than one
    code = pending[0].code
    return bytes([depth << 4 | code.key, code.asc, code.ascq])
