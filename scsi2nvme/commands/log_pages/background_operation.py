"""Log page 15h/02h: whether a background operation is under way. Spec: SBC-4 6.4.3."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.commands.diagnostics import Start
from scsi2nvme.commands.log_pages.page import LogPage, Logs, Parameter
from scsi2nvme.commands.log_pages.self_test_results import SELF_TEST_LOG
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

STATUS = Structure(
    "Background Operation",
    4,
    (Field("bo_status", 0, doc="00h no indication, 02h an initiator's"),),
    spec="SBC-4 6.4.3.2",
)


class OperationStatus(IntEnum):
    """BO_STATUS: what a controller does by itself, NVMe does not tell. Spec: SBC-4 6.4.3.2."""

    NO_INDICATION = 0x00
    HOST_INITIATED = 0x02


def _background_operation(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    refreshing = logs[SELF_TEST_LOG][0] & 0xF == Start.REFRESH
    told = OperationStatus.HOST_INITIATED if refreshing else OperationStatus.NO_INDICATION
    return (Parameter(0x0000, STATUS.build(bo_status=told)),)


PAGES = (
    LogPage(
        0x15,
        "Background Operation",
        "SBC-4 6.4.3",
        _background_operation,
        (SELF_TEST_LOG,),
        subpage=0x02,
        supported=lambda lu: lu.facts.refreshes,
    ),
)
