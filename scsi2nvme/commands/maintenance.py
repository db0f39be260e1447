"""What the logical unit can do: REPORT SUPPORTED OPERATION CODES and their like.

Spec: SPC-4 6.35, 6.36.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.scsi.task_management import TaskManagement
from scsi2nvme.unit.reservations import Access

MAINTENANCE_IN, MAINTENANCE_OUT = 0xA3, 0xA4

# REPORT SUPPORTED OPERATION CODES


class ReportingOptions(IntEnum):
    """Spec: SPC-4 6.35.1 table 302."""

    ALL = 0
    ONE_WITHOUT_SERVICE_ACTION = 1
    ONE_WITH_SERVICE_ACTION = 2
    ONE_EITHER_WAY = 3


class Support(IntEnum):
    """Spec: SPC-4 6.35.3 table 306."""

    NOT_SUPPORTED = 1
    BY_THE_STANDARD = 3


ALL_HEADER = Structure("All_commands parameter data", 4, (Field("length", 0, 0, 32),))
COMMAND_DESCRIPTOR = Structure(
    "Command descriptor",
    8,
    (
        Field("opcode", 0),
        Field("service_action", 2, 0, 16),
        Field("ctdp", 5, 1, 1, "command timeouts descriptor present"),
        Field("servactv", 5, 0, 1, "service action valid"),
        Field("cdb_length", 6, 0, 16),
    ),
    spec="SPC-4 6.35.2",
)
ONE_HEADER = Structure(
    "One_command parameter data",
    4,
    (
        Field("ctdp", 1, 7, 1, "command timeouts descriptor present"),
        Field("support", 1, 0, 3),
        Field("cdb_size", 2, 0, 16),
    ),
    spec="SPC-4 6.35.3",
)
TIMEOUTS = Structure(
    "Command timeouts descriptor",
    12,
    (
        Field("length", 0, 0, 16),
        Field("command_specific", 3),
        Field("nominal_s", 4, 0, 32, "0: not stated"),
        Field("recommended_s", 8, 0, 32),
    ),
    spec="SPC-4 6.35.4",
)


def _timeouts(row: Command) -> bytes:
    return TIMEOUTS.build(length=TIMEOUTS.size - 2, recommended_s=row.timeout_s)


def _all(task: Task, rows: tuple[Command, ...]) -> bytes:
    """Return a descriptor of every supported command."""
    data = b""
    for row in rows:
        if not row.offered(task.lu, task.nexus):
            continue
        data += COMMAND_DESCRIPTOR.build(
            opcode=row.opcode,
            service_action=row.service_action or 0,
            ctdp=task.cdb.rctd,
            servactv=int(row.service_action is not None),
            cdb_length=row.length,
        )
        if task.cdb.rctd:
            data += _timeouts(row)
    return ALL_HEADER.build(length=len(data)) + data


def _one(task: Task, row: Command | None) -> bytes:
    """Return the usage data of one command, None or one that is not supported."""
    if row is None or not row.offered(task.lu, task.nexus):
        return ONE_HEADER.build(support=Support.NOT_SUPPORTED)
    header = ONE_HEADER.build(
        ctdp=task.cdb.rctd, support=Support.BY_THE_STANDARD, cdb_size=row.length
    )
    return header + row.usage_by(task.lu) + (_timeouts(row) if task.cdb.rctd else b"")


def report_supported_operation_codes(task: Task) -> Translation:
    """Spec: SPC-4 6.35."""
    yield from ()
    cdb, table = task.cdb, task.table
    try:
        options = ReportingOptions(cdb.reporting_options)
    except ValueError:
        raise task.invalid_field("reporting_options") from None
    if options is ReportingOptions.ALL:
        return Result(data_in=_all(task, table.COMMANDS))
    rows = table.actions(cdb.requested_opcode)
    has_actions = table.service_action_field(cdb.requested_opcode) is not None
    if options is ReportingOptions.ONE_WITHOUT_SERVICE_ACTION and has_actions:
        raise task.invalid_field("requested_opcode")
    if options is ReportingOptions.ONE_WITH_SERVICE_ACTION and rows and not has_actions:
        raise task.invalid_field("requested_opcode")
    action: int | None = cdb.requested_service_action
    if not has_actions:
        meant = options is ReportingOptions.ONE_WITHOUT_SERVICE_ACTION or action == 0
        return Result(data_in=_one(task, rows.get(None) if meant else None))
    return Result(data_in=_one(task, rows.get(action)))


# REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS

_FUNCTION_BITS = {
    TaskManagement.ABORT_TASK: "ats",
    TaskManagement.ABORT_TASK_SET: "atss",
    TaskManagement.CLEAR_TASK_SET: "ctss",
    TaskManagement.LOGICAL_UNIT_RESET: "lurs",
    TaskManagement.QUERY_TASK: "qts",
    TaskManagement.QUERY_ASYNCHRONOUS_EVENT: "qaes",
    TaskManagement.QUERY_TASK_SET: "qtss",
    TaskManagement.I_T_NEXUS_RESET: "itnrs",
}
_FUNCTION_FIELDS = (
    Field("ats", 0, 7, 1, "ABORT TASK"),
    Field("atss", 0, 6, 1, "ABORT TASK SET"),
    Field("cacas", 0, 5, 1, "CLEAR ACA"),
    Field("ctss", 0, 4, 1, "CLEAR TASK SET"),
    Field("lurs", 0, 3, 1, "LOGICAL UNIT RESET"),
    Field("qts", 0, 2, 1, "QUERY TASK"),
    Field("qaes", 1, 2, 1, "QUERY ASYNCHRONOUS EVENT"),
    Field("qtss", 1, 1, 1, "QUERY TASK SET"),
    Field("itnrs", 1, 0, 1, "I_T NEXUS RESET"),
    Field("additional_length", 3),
)
FUNCTIONS_BASIC = Structure("Basic RSTMF parameter data", 4, _FUNCTION_FIELDS, spec="SPC-4 6.36.2")
FUNCTIONS_EXTENDED = Structure(
    "Extended RSTMF parameter data",
    16,
    (
        *_FUNCTION_FIELDS,
        Field("tmftmov", 4, 0, 1, "timeouts valid"),
        Field("long_timeout", 8, 0, 32, "100 ms"),
        Field("short_timeout", 12, 0, 32, "100 ms"),
    ),
    spec="SPC-4 6.36.3",
)
FUNCTION_TIMEOUT = 600  # 100 ms; the long timeout, which all functions use


def report_supported_task_management_functions(task: Task) -> Translation:
    """Tell what the transport of this nexus lets an initiator ask for. Spec: SPC-4 6.36."""
    yield from ()
    if task.cdb.allocation_length < FUNCTIONS_BASIC.size:
        raise task.invalid_field("allocation_length")
    supported = {_FUNCTION_BITS[function]: 1 for function in task.nexus.delivery.functions}
    if not task.cdb.repd:
        return Result(data_in=FUNCTIONS_BASIC.build(**supported))
    return Result(
        data_in=FUNCTIONS_EXTENDED.build(
            additional_length=FUNCTIONS_EXTENDED.size - FUNCTIONS_BASIC.size,
            tmftmov=1,
            long_timeout=FUNCTION_TIMEOUT,
            **supported,
        )
    )


_ALLOCATION = Field("allocation_length", 6, 0, 32)

COMMANDS = (
    Command(
        "REPORT SUPPORTED OPERATION CODES",
        MAINTENANCE_IN,
        12,
        "SPC-4 6.35",
        report_supported_operation_codes,
        (
            Field("rctd", 2, 7, 1, "return command timeouts"),
            Field("reporting_options", 2, 0, 3),
            Field("requested_opcode", 3),
            Field("requested_service_action", 4, 0, 16),
            _ALLOCATION,
        ),
        service_action=0x0C,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        while_sanitizing=True,
        kept=True,
    ),
    Command(
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        MAINTENANCE_IN,
        12,
        "SPC-4 6.36",
        report_supported_task_management_functions,
        (Field("repd", 2, 7, 1, "return extended parameter data"), _ALLOCATION),
        service_action=0x0D,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        access=Access.READ,
        needs_ready=False,
        while_sanitizing=True,
        kept=True,
    ),
)
