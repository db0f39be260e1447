"""Power conditions of less than active: what each is called, where. Spec: SPC-4 5.11."""

from __future__ import annotations

from scsi2nvme.records import dataclass
from scsi2nvme.scsi.sense import (
    IDLE_B_CONDITION_ACTIVATED_BY_COMMAND,
    IDLE_B_CONDITION_ACTIVATED_BY_TIMER,
    IDLE_C_CONDITION_ACTIVATED_BY_COMMAND,
    IDLE_C_CONDITION_ACTIVATED_BY_TIMER,
    IDLE_CONDITION_ACTIVATED_BY_COMMAND,
    IDLE_CONDITION_ACTIVATED_BY_TIMER,
    STANDBY_CONDITION_ACTIVATED_BY_COMMAND,
    STANDBY_CONDITION_ACTIVATED_BY_TIMER,
    STANDBY_Y_CONDITION_ACTIVATED_BY_COMMAND,
    STANDBY_Y_CONDITION_ACTIVATED_BY_TIMER,
    SenseCode,
)

ACTIVE, IDLE, STANDBY = 0, 2, 3  # POWER CONDITION of START STOP UNIT; active: none of the others
ACTIVE_TRANSITIONS = 0x0001  # parameter code of log page 1Ah


@dataclass(frozen=True)
class RestingCondition:
    """One of them. `name` is that of its fields, `code` its parameter code in log page 1Ah."""

    name: str
    condition: int
    modifier: int
    code: int
    by_command: SenseCode
    by_timer: SenseCode


# In the order in which less power is taken.
CONDITIONS = (
    RestingCondition(
        *("idle_a", IDLE, 0, 0x0002),
        IDLE_CONDITION_ACTIVATED_BY_COMMAND,
        IDLE_CONDITION_ACTIVATED_BY_TIMER,
    ),
    RestingCondition(
        *("idle_b", IDLE, 1, 0x0003),
        IDLE_B_CONDITION_ACTIVATED_BY_COMMAND,
        IDLE_B_CONDITION_ACTIVATED_BY_TIMER,
    ),
    RestingCondition(
        *("idle_c", IDLE, 2, 0x0004),
        IDLE_C_CONDITION_ACTIVATED_BY_COMMAND,
        IDLE_C_CONDITION_ACTIVATED_BY_TIMER,
    ),
    RestingCondition(
        *("standby_y", STANDBY, 1, 0x0009),
        STANDBY_Y_CONDITION_ACTIVATED_BY_COMMAND,
        STANDBY_Y_CONDITION_ACTIVATED_BY_TIMER,
    ),
    RestingCondition(
        *("standby_z", STANDBY, 0, 0x0008),
        STANDBY_CONDITION_ACTIVATED_BY_COMMAND,
        STANDBY_CONDITION_ACTIVATED_BY_TIMER,
    ),
)
BY_NUMBERS = {(each.condition, each.modifier): each for each in CONDITIONS}


def depth(condition: RestingCondition | None) -> int:
    """Return how little power is taken, from 0: active."""
    return 0 if condition is None else 1 + CONDITIONS.index(condition)
