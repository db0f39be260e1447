"""REPORT and SET TIMESTAMP: the controller's clock, which is that of all its namespaces."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands.maintenance import MAINTENANCE_IN, MAINTENANCE_OUT
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import TIMESTAMP
from scsi2nvme.scsi.result import GOOD, CheckCondition, Result, Translation
from scsi2nvme.scsi.sense import PARAMETER_LIST_LENGTH_ERROR, TIMESTAMP_CHANGED, Sense
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.reservations import Access

TIMESTAMP_FEATURE = 0x0E  # FID

REPORTED = Structure(
    "REPORT TIMESTAMP parameter data",
    12,
    (
        Field("length", 0, 0, 16),
        Field("origin", 2, 0, 3),
        Field("milliseconds", 4, 0, 48, "since 1970, or since zero"),
    ),
    spec="SPC-4 6.38",
)
TO_SET = Structure(
    "SET TIMESTAMP parameter data",
    12,
    (Field("milliseconds", 4, 0, 48),),
    spec="SPC-4 6.46",
)


class Origin(IntEnum):
    """TIMESTAMP ORIGIN. Spec: SPC-4 5.2 table 44."""

    ZEROED = 0  # at power on, or by a hard reset
    SET_TIMESTAMP = 2
    OTHER = 3


def _origin(lu: LogicalUnit, set_by_host: bool) -> Origin:
    """Return who has set the clock: we, for an initiator, or another host, or none."""
    if not set_by_host:
        return Origin.ZEROED
    return Origin.SET_TIMESTAMP if lu.timestamp_set else Origin.OTHER


def report_timestamp(task: Task) -> Translation:
    """Spec: SPC-4 6.38; NVMe Base 2.0 5.27.1.11."""
    command = NvmeCommand(
        AdminOpcode.GET_FEATURES, cdw10=TIMESTAMP_FEATURE, data_in=TIMESTAMP.size, admin=True
    )
    completion = yield command
    found = TIMESTAMP.parse(completion.data)
    return Result(
        data_in=REPORTED.build(
            length=REPORTED.size - 2,
            origin=_origin(task.lu, bool(found.origin)),
            milliseconds=found.milliseconds,
        )
    )


def set_timestamp(task: Task) -> Translation:
    """Set the clock, and tell those of all namespaces. Spec: SPC-4 6.46; NVMe Base 2.0 5.27."""
    if not task.cdb.parameter_list_length:
        return GOOD
    if len(task.data_out) < TO_SET.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    milliseconds = TO_SET.parse(task.data_out).milliseconds
    yield NvmeCommand(
        AdminOpcode.SET_FEATURES,
        cdw10=TIMESTAMP_FEATURE,
        data_out=TIMESTAMP.build(milliseconds=milliseconds),
        admin=True,
    )
    for each in task.lu.siblings():
        each.establish_attention(TIMESTAMP_CHANGED, but=task.nexus)
    for each in {task.lu, *task.lu.controller_units}:
        each.timestamp_set = True
    return GOOD


def _has_timestamp(lu: LogicalUnit) -> bool:
    return lu.facts.timestamp


COMMANDS = (
    Command(
        "REPORT TIMESTAMP",
        MAINTENANCE_IN,
        12,
        "SPC-4 6.38",
        report_timestamp,
        (Field("allocation_length", 6, 0, 32),),
        service_action=0x0F,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        needs_ready=False,
        supported=_has_timestamp,
        shared=True,
        nvme=("Get Features",),
    ),
    Command(
        "SET TIMESTAMP",
        MAINTENANCE_OUT,
        12,
        "SPC-4 6.46",
        set_timestamp,
        (Field("parameter_list_length", 6, 0, 32),),
        service_action=0x0F,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
        supported=_has_timestamp,
        nvme=("Set Features",),
    ),
)
