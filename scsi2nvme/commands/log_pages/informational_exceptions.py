"""Log page 2Fh, and what REQUEST SENSE tells of the controller's health."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import SMART, LogPage, Logs, Parameter, celsius, smart_log
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.scsi.sense import (
    INFORMATIONAL_CACHE_NOW_VOLATILE,
    INFORMATIONAL_HARDWARE_IMPENDING_FAILURE,
    INFORMATIONAL_SPARE_AREA_EXHAUSTION,
    INFORMATIONAL_TEMPERATURE_EXCEEDED,
    INFORMATIONAL_WRITE_PROTECTED,
    SenseCode,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.mode_pages.informational_exceptions import INFORMATIONAL_EXCEPTIONS_CONTROL

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

# Critical warning bits, the gravest first. Spec: NVMe Base 2.0 figure 208.
_CRITICAL_WARNINGS = (
    (1 << 3, INFORMATIONAL_WRITE_PROTECTED),
    (1 << 2, INFORMATIONAL_HARDWARE_IMPENDING_FAILURE),
    (1 << 0, INFORMATIONAL_SPARE_AREA_EXHAUSTION),
    (1 << 4, INFORMATIONAL_CACHE_NOW_VOLATILE),
    (1 << 1, INFORMATIONAL_TEMPERATURE_EXCEEDED),
)

_WARNING_ASC = 0x0B


def informational_exception(lu: LogicalUnit, smart: Values) -> SenseCode | None:
    """Return what the controller warns of, as far as mode page 1Ch lets it be told.

    Spec: SPC-4 7.5.11 (DEXCPT disables all, EWASC enables warnings).
    """
    mode = lu.mode
    if mode.field(INFORMATIONAL_EXCEPTIONS_CONTROL, "dexcpt"):
        return None
    warnings = mode.field(INFORMATIONAL_EXCEPTIONS_CONTROL, "ewasc")
    for bit, code in _CRITICAL_WARNINGS:
        if smart.critical_warning & bit and (warnings or code.asc != _WARNING_ASC):
            return code
    return None


def _informational_exceptions(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    smart = smart_log(logs)
    code = informational_exception(lu, smart)
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
