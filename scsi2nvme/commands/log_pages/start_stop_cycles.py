"""Log page 0Eh."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import SMART, LogPage, Logs, Parameter, saturated, smart_log
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit

CYCLES = Structure(
    "Accumulated start-stop cycles", 4, (Field("cycles", 0, 0, 32),), spec="SPC-4 7.3.17"
)


def _start_stop(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    cycles = saturated(smart_log(logs).power_cycles, CYCLES, "cycles")
    return (Parameter(0x0004, CYCLES.build(cycles=cycles)),)


PAGES = (LogPage(0x0E, "Start-Stop Cycle Counter", "SPC-4 7.3.17", _start_stop, (SMART,)),)
