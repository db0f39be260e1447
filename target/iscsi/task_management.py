"""iSCSI task management requests as SAM functions. Spec: RFC 7143 11.5, 11.6; RFC 7144 6."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum

from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass
from scsi2nvme.scsi.lun import lun_of
from scsi2nvme.scsi.task_management import (
    TaskManagement,
    TaskManagementResponse,
    asynchronous_event,
)
from scsi2nvme.unit.logical_unit import Nexus

QUERY_LEVEL = 2  # the iSCSIProtocolLevel that brings the functions of RFC 7144


class Function(IntEnum):
    """Spec: RFC 7143 11.5.1, RFC 7144 6.1."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8
    QUERY_TASK = 9
    QUERY_TASK_SET = 10
    I_T_NEXUS_RESET = 11
    QUERY_ASYNCHRONOUS_EVENT = 12


class Response(IntEnum):
    """Spec: RFC 7143 11.6.1, RFC 7144 6.2."""

    FUNCTION_COMPLETE = 0
    TASK_DOES_NOT_EXIST = 1
    LUN_DOES_NOT_EXIST = 2
    REASSIGNMENT_NOT_SUPPORTED = 4
    FUNCTION_NOT_SUPPORTED = 5
    AUTHORIZATION_FAILED = 6
    FUNCTION_SUCCEEDED = 7
    FUNCTION_REJECTED = 255


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. `additional` is the Additional Response Information."""

    response: Response
    additional: int = 0


# The functions that SAM has too. CLEAR ACA is not among them: NormACA is zero.
SAM_FUNCTIONS: Mapping[Function, TaskManagement] = {
    Function.ABORT_TASK: TaskManagement.ABORT_TASK,
    Function.ABORT_TASK_SET: TaskManagement.ABORT_TASK_SET,
    Function.CLEAR_TASK_SET: TaskManagement.CLEAR_TASK_SET,
    Function.LOGICAL_UNIT_RESET: TaskManagement.LOGICAL_UNIT_RESET,
    Function.QUERY_TASK: TaskManagement.QUERY_TASK,
    Function.QUERY_TASK_SET: TaskManagement.QUERY_TASK_SET,
    Function.I_T_NEXUS_RESET: TaskManagement.I_T_NEXUS_RESET,
    Function.QUERY_ASYNCHRONOUS_EVENT: TaskManagement.QUERY_ASYNCHRONOUS_EVENT,
}


def _is_of_level(function: Function, protocol_level: int) -> bool:
    return function < Function.QUERY_TASK or protocol_level >= QUERY_LEVEL


def functions(protocol_level: int) -> frozenset[TaskManagement]:
    """Return what an initiator may ask for in a session of that iSCSIProtocolLevel."""
    return frozenset(
        sam for iscsi, sam in SAM_FUNCTIONS.items() if _is_of_level(iscsi, protocol_level)
    )


RESPONSES: Mapping[TaskManagementResponse, Response] = {
    TaskManagementResponse.FUNCTION_COMPLETE: Response.FUNCTION_COMPLETE,
    TaskManagementResponse.FUNCTION_SUCCEEDED: Response.FUNCTION_SUCCEEDED,
    TaskManagementResponse.FUNCTION_REJECTED: Response.FUNCTION_REJECTED,
    TaskManagementResponse.INCORRECT_LOGICAL_UNIT_NUMBER: Response.LUN_DOES_NOT_EXIST,
    TaskManagementResponse.SERVICE_DELIVERY_OR_TARGET_FAILURE: Response.FUNCTION_REJECTED,
    TaskManagementResponse.TASK_DOES_NOT_EXIST: Response.TASK_DOES_NOT_EXIST,
}

_ENDS_TASKS = frozenset(
    {
        Function.ABORT_TASK,
        Function.ABORT_TASK_SET,
        Function.CLEAR_TASK_SET,
        Function.LOGICAL_UNIT_RESET,
    }
)


def ends_tasks(request: Values, nexus: Nexus) -> bool:
    """Whether a request ends the tasks that there are of a logical unit."""
    return request.function in _ENDS_TASKS and lun_of(request.bytes("lun")) in nexus.luns


# Runs one SAM function for the request's nexus: function, LUN, referenced task tag.
Run = Callable[[TaskManagement, int | None, int], Awaitable[TaskManagementResponse]]


async def perform(
    request: Values, nexus: Nexus, protocol_level: int, run: Run, *, cold_reset: bool = False
) -> Outcome:
    """Carry out one Task Management Function Request.

    A target reset is a reset of every logical unit that the initiator sees;
    what a cold reset does to connections is left to the caller. `cold_reset`
    says whether there may be one: access controls of SCSI do not keep an
    initiator from it, those of iSCSI have to. Spec: RFC 7143 11.5.1.
    """
    try:
        function = Function(request.function)
    except ValueError:
        return Outcome(Response.FUNCTION_NOT_SUPPORTED)
    if not _is_of_level(function, protocol_level):
        return Outcome(Response.FUNCTION_NOT_SUPPORTED)
    if function is Function.TASK_REASSIGN:
        return Outcome(Response.REASSIGNMENT_NOT_SUPPORTED)
    if function is Function.TARGET_COLD_RESET and not (cold_reset and nexus.luns):
        return Outcome(Response.AUTHORIZATION_FAILED)
    if function in (Function.TARGET_WARM_RESET, Function.TARGET_COLD_RESET):
        return await _reset_all(nexus, run)
    if function not in SAM_FUNCTIONS:
        return Outcome(Response.FUNCTION_NOT_SUPPORTED)
    lun = lun_of(request.bytes("lun"))
    if function is Function.I_T_NEXUS_RESET:
        lun = None
    elif lun is None or lun not in nexus.luns:
        return Outcome(Response.LUN_DOES_NOT_EXIST)
    answer = await run(SAM_FUNCTIONS[function], lun, request.referenced_task_tag)
    additional = 0
    if function is Function.QUERY_ASYNCHRONOUS_EVENT and lun is not None:
        pending = nexus.luns[lun].unit_attentions.get(nexus.key, ())
        additional = int.from_bytes(asynchronous_event(pending), "big")
    return Outcome(RESPONSES[answer], additional)


async def _reset_all(nexus: Nexus, run: Run) -> Outcome:
    # Side by side: one that takes its time does not add to that of others.
    resets = [run(TaskManagement.LOGICAL_UNIT_RESET, lun, 0) for lun in nexus.luns]
    for answer in await asyncio.gather(*resets):
        if answer is not TaskManagementResponse.FUNCTION_COMPLETE:
            return Outcome(RESPONSES[answer])
    return Outcome(Response.FUNCTION_COMPLETE)
