"""Log page 1Ah."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import LogPage, Logs, Parameter, saturated
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.counters import POWER_TRANSITIONS
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.power_conditions import ACTIVE_TRANSITIONS, CONDITIONS

TRANSITIONS = Structure(
    "Accumulated transitions", 4, (Field("count", 0, 0, 32),), spec="SPC-4 7.3.12"
)


def _transitions(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    codes = sorted((ACTIVE_TRANSITIONS, *(each.code for each in CONDITIONS)))
    counts = {code: lu.log.counters.value(POWER_TRANSITIONS, code) for code in codes}
    return tuple(
        Parameter(code, TRANSITIONS.build(count=saturated(count, TRANSITIONS, "count")))
        for code, count in counts.items()
    )


PAGES = (
    LogPage(
        POWER_TRANSITIONS,
        "Power Condition Transitions",
        "SPC-4 7.3.12",
        _transitions,
        keeps=True,
        supported=lambda lu: lu.facts.power_states > 1,
    ),
)
