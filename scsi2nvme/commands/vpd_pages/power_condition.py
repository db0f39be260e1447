"""VPD page 8Ah."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands import power
from scsi2nvme.commands.vpd_pages.page import HEADER, VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.power_conditions import CONDITIONS

POWER_CONDITION = Structure(
    "Power Condition VPD page",
    18,
    (
        Field("standby_y", 4, 1, 1),
        Field("standby_z", 4, 0, 1),
        Field("idle_c", 5, 2, 1),
        Field("idle_b", 5, 1, 1),
        Field("idle_a", 5, 0, 1),
        Field("stopped_recovery_ms", 6, 0, 16, "0: not told"),
        Field("standby_z_recovery_ms", 8, 0, 16),
        Field("standby_y_recovery_ms", 10, 0, 16),
        Field("idle_a_recovery_ms", 12, 0, 16),
        Field("idle_b_recovery_ms", 14, 0, 16),
        Field("idle_c_recovery_ms", 16, 0, 16),
    ),
    spec="SPC-4 7.8.12",
)
_MOST_MS = 0xFFFF


def _recovery_ms(lu: LogicalUnit, state: int) -> int:
    """Return how long a power state keeps who comes while it is entered; 0: it is not told."""
    descriptor = lu.facts.power_state(state)
    return min(-(-(descriptor.enlat + descriptor.exlat) // 1000), _MOST_MS)


def power_condition(task: Task) -> bytes:
    """All conditions can be asked for; some may be one power state. Spec: SPC-4 7.8.12."""
    lu = task.lu
    values = {"stopped_recovery_ms": _recovery_ms(lu, lu.facts.power_states - 1)}
    for each in CONDITIONS:
        values[each.name] = 1
        state = power.state_of(lu.facts, each.condition, each.modifier)
        values[f"{each.name}_recovery_ms"] = _recovery_ms(lu, state)
    return POWER_CONDITION.build(**values)[HEADER.size :]


PAGES = (
    VpdPage(
        0x8A,
        "Power Condition",
        "SPC-4 7.8.12",
        power_condition,
        supported=lambda lu: lu.facts.power_states > 1,
    ),
)
