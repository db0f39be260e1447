"""Log page 0Dh."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import SMART, LogPage, Logs, Parameter, celsius, smart_log
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

TEMPERATURE = Structure(
    "Temperature", 2, (Field("temperature", 1, doc="Celsius, FFh: unknown"),), spec="SPC-4 7.3.21"
)


def _temperature(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    """Spec: SPC-4 7.3.21; the reference is the warning threshold."""
    degrees = celsius(smart_log(logs).temperature), celsius(lu.facts.controller.wctemp)
    return tuple(
        Parameter(code, TEMPERATURE.build(temperature=value)) for code, value in enumerate(degrees)
    )


PAGES = (LogPage(0x0D, "Temperature", "SPC-4 7.3.21", _temperature, (SMART,)),)
