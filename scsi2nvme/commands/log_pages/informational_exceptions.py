"""Log page 2Fh."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import SMART, LogPage, Logs, Parameter, celsius, smart_log
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

INFORMATIONAL_EXCEPTION = Structure(
    "Informational exceptions",
    4,
    (
        Field("asc", 0),
        Field("ascq", 1),
        Field("temperature", 2, doc="Celsius, FFh: unknown"),
        Field("threshold", 3, doc="vendor specific: the warning threshold, as disks do"),
    ),
    spec="SPC-4 7.3.8",
)


def _informational_exceptions(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    smart = smart_log(logs)
    code = lu.exceptions.told(smart.critical_warning)
    value = INFORMATIONAL_EXCEPTION.build(
        asc=code.asc if code else 0,
        ascq=code.ascq if code else 0,
        temperature=celsius(smart.temperature),
        threshold=celsius(lu.facts.controller.wctemp),
    )
    return (Parameter(0x0000, value),)


PAGES = (
    LogPage(
        0x2F,
        "Informational Exceptions",
        "SPC-4 7.3.8",
        _informational_exceptions,
        (SMART,),
    ),
)
