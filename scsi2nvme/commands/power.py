"""Readiness and power: TEST UNIT READY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL."""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum
from typing import Any

from scsi2nvme.command import OBSOLETE_LUN, Command, Hot, Task
from scsi2nvme.commands.immediate import in_background
from scsi2nvme.fields import Field, Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Translation
from scsi2nvme.scsi.sense import (
    MEDIUM_REMOVAL_PREVENTED,
    NOT_READY_TO_READY_CHANGE,
    Sense,
    SenseCode,
)
from scsi2nvme.status_map import result_of
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.mode_pages.power_consumption import POWER_CONSUMPTION, most_powerful
from scsi2nvme.unit.power_conditions import ACTIVE, BY_NUMBERS, RestingCondition
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.reservations import Access

POWER_MANAGEMENT = 0x02  # FID


class PowerCondition(IntEnum):
    """POWER CONDITION of START STOP UNIT. Spec: SBC-3 5.25 table 84."""

    START_VALID = 0x0
    ACTIVE = 0x1
    IDLE = 0x2
    STANDBY = 0x3
    LU_CONTROL = 0x7
    FORCE_IDLE_0 = 0xA
    FORCE_STANDBY_0 = 0xB


# Whether the timers of mode page 1Ah run afterwards; others leave that as it is.
_TIMERS_RUN = {
    PowerCondition.START_VALID: True,
    PowerCondition.ACTIVE: False,
    PowerCondition.IDLE: False,
    PowerCondition.STANDBY: False,
    PowerCondition.LU_CONTROL: True,
}
_FORCED = {
    PowerCondition.FORCE_IDLE_0: PowerCondition.IDLE,
    PowerCondition.FORCE_STANDBY_0: PowerCondition.STANDBY,
}


def state_of(facts: NamespaceFacts, wanted: int, modifier: int) -> int:
    """Return the NVMe power state that a power condition is, by its numbers.

    Idle conditions are operational states, idle_c the deepest. Standby
    conditions are non-operational ones, standby_z the deepest; a controller
    without such takes its last state for them, as for stopped.
    """
    states, operational = range(facts.power_states), facts.operational_states
    resting = [state for state in states if state not in operational]
    if wanted == PowerCondition.IDLE:
        return operational[min(modifier + 1, len(operational) - 1)]
    if wanted == PowerCondition.STANDBY:
        deepest_first = resting[::-1] or [states[-1]]
        return deepest_first[min(modifier, len(deepest_first) - 1)]
    return 0


def power_state(lu: LogicalUnit) -> int:
    """Return the NVMe power state that the logical unit's condition asks for."""
    if lu.readiness is Readiness.STOPPED:
        return lu.facts.power_states - 1
    return state_of(lu.facts, lu.power_condition, lu.power_condition_modifier)


def power_limit(lu: LogicalUnit) -> int:
    """Return the NVMe power state of the most that it admits. Spec: SPC-4 7.5.14."""
    if not lu.facts.consumption_is_told:
        return 0
    return most_powerful(lu.mode.page(POWER_CONSUMPTION), lu.facts)


def resting_sense(lu: LogicalUnit) -> SenseCode | None:
    """Return what tells of a power condition other than active, None in that."""
    resting = lu.resting_condition
    if resting is None:
        return None
    return resting.by_timer if lu.rests_by_timer else resting.by_command


Conversation = Generator[NvmeCommand, Any, None]


def settle(lu: LogicalUnit, limit: int | None = None) -> Conversation:
    """Bring the controller into the deepest state that all its logical units admit.

    It takes no more than any logical unit admits by mode page 1Ah/01h, used or not; `limit` is
    that of this one, if not what its page says. With one state only there is nothing to choose,
    and some refuse to be asked.
    """
    if lu.facts.power_states == 1:
        return
    others = [power_limit(each) for each in lu.controller_units if each is not lu]
    own = power_limit(lu) if limit is None else limit
    state = max(min(power_state(each) for each in lu.siblings()), own, *others)
    yield NvmeCommand(AdminOpcode.SET_FEATURES, cdw10=POWER_MANAGEMENT, cdw11=state, admin=True)


def wake(lu: LogicalUnit) -> Conversation:
    """Return to the active power condition, as medium access asks. Spec: SPC-4 5.11.4."""
    lu.enter(ACTIVE)
    yield from settle(lu)


def rest(lu: LogicalUnit, condition: RestingCondition) -> Translation:
    """Enter a power condition because a timer expired, unless something else happens meanwhile.

    As for START STOP UNIT the cache is flushed before. Spec: SPC-4 5.11.8, SBC-3 4.18.
    """
    before = lu.resting_condition
    try:
        if lu.volatile_write_cache:
            yield NvmeCommand(Opcode.FLUSH, nsid=lu.nsid)
        if lu.readiness is Readiness.READY and lu.resting_condition is before:
            lu.enter(condition.condition, condition.modifier, by_timer=True)
            yield from settle(lu)
    except NvmeError as error:
        return result_of(error)
    return GOOD


def test_unit_ready(task: Task) -> Translation:
    """The engine has found the logical unit ready. Spec: SPC-4 6.47."""
    yield from ()
    return GOOD


def _check_changeable(lu: LogicalUnit) -> None:
    """Refuse to start or stop what is neither: formatting, or failed."""
    sense = lu.not_ready
    if sense is not None and lu.readiness is not Readiness.STOPPED:
        raise CheckCondition(sense)


def _check_loadable(lu: LogicalUnit) -> None:
    """The same, where the medium may have been ejected."""
    if lu.readiness is not Readiness.EJECTED:
        _check_changeable(lu)


def _stop(lu: LogicalUnit, before: Readiness, *, flushes: bool) -> Conversation:
    """Flush for a logical unit that has been stopped already; if that fails it is as `before`."""
    now, flushed = lu.readiness, False
    try:
        if flushes:
            yield NvmeCommand(Opcode.FLUSH, nsid=lu.nsid)
        flushed = True
    finally:
        if not flushed and lu.readiness is now:
            lu.readiness = before
            lu.on_change()


def _change(task: Task, wanted: PowerCondition, modifier: int, before: Readiness) -> Translation:
    """Flush before less power, then change the condition, then the controller's state."""
    lu, cdb = task.lu, task.cdb
    stops = wanted is PowerCondition.START_VALID and not cdb.start
    rests = wanted in (PowerCondition.IDLE, PowerCondition.STANDBY)
    flushes = not cdb.no_flush and lu.volatile_write_cache
    if stops:
        yield from _stop(lu, before, flushes=flushes)
    elif rests and flushes:
        yield NvmeCommand(Opcode.FLUSH, nsid=lu.nsid)
    _check_changeable(lu)  # the controller may have gone, or a format begun while one rests
    if lu.readiness is Readiness.STOPPED and not stops:
        lu.readiness = Readiness.READY
    if rests:
        lu.enter(wanted, modifier)
    else:
        lu.enter(ACTIVE)
    _let_timers_run(task)
    yield from settle(lu)
    return GOOD


def _let_timers_run(task: Task) -> None:
    """Have the timers run, or not, as who has asked wants it. Spec: SBC-3 5.25 table 84."""
    lu, asked = task.lu, PowerCondition(task.cdb.power_condition)
    lu.timers_run = _TIMERS_RUN.get(asked, lu.timers_run)
    lu.on_change()


def _load(lu: LogicalUnit, nexus: Nexus) -> None:
    """Have the medium back; all but who has asked for that are told. Spec: SBC-3 5.25."""
    if lu.readiness is Readiness.EJECTED:
        lu.establish_attention(NOT_READY_TO_READY_CHANGE, but=nexus)
    lu.readiness = Readiness.READY
    lu.enter(ACTIVE)


def _eject(lu: LogicalUnit, before: Readiness, *, flushes: bool) -> Translation:
    yield from _stop(lu, before, flushes=flushes)
    return GOOD


def _load_or_eject(task: Task) -> Translation:
    """Spec: SBC-3 5.25 (LOEJ), 5.10: while somebody prevents it the medium stays where it is."""
    lu, before = task.lu, task.lu.readiness
    _check_loadable(lu)
    if lu.prevented_by and bool(task.cdb.start) is (before is Readiness.EJECTED):
        raise CheckCondition(Sense(MEDIUM_REMOVAL_PREVENTED))
    if task.cdb.start:
        _load(lu, task.nexus)
        yield from settle(lu)
        return GOOD
    if before is Readiness.EJECTED:
        return GOOD
    lu.readiness = Readiness.EJECTED  # from now on, as a stop
    lu.on_change()
    ejection = _eject(lu, before, flushes=not task.cdb.no_flush and lu.volatile_write_cache)
    if task.cdb.immed:
        return in_background(task, ejection)
    return (yield from ejection)


def start_stop_unit(task: Task) -> Translation:
    """Spec: SBC-3 5.25; NVMe Base 2.0 5.27.1.2 (Power Management)."""
    lu = task.lu
    wanted, modifier = _wanted(task)
    if wanted is PowerCondition.START_VALID and task.cdb.loej:
        return (yield from _load_or_eject(task))
    _check_changeable(lu)
    if wanted is PowerCondition.LU_CONTROL:
        _let_timers_run(task)
        return GOOD
    before = lu.readiness
    if wanted is PowerCondition.START_VALID and not task.cdb.start:
        # From now on, even if the flush comes after the status: no write, and no format, gets
        # in between.
        lu.readiness = Readiness.STOPPED
        lu.on_change()
    change = _change(task, wanted, modifier, before)
    if task.cdb.immed:
        return in_background(task, change)
    return (yield from change)


def _wanted(task: Task) -> tuple[PowerCondition, int]:
    """Return the power condition that the CDB names, refusing what is none."""
    cdb = task.cdb
    try:
        wanted = PowerCondition(cdb.power_condition)
    except ValueError:
        raise task.invalid_field("power_condition") from None
    wanted = _FORCED.get(wanted, wanted)
    modifier: int = cdb.power_condition_modifier
    if modifier and (wanted, modifier) not in BY_NUMBERS:
        raise task.invalid_field("power_condition_modifier")
    if wanted is PowerCondition.START_VALID and cdb.loej and not task.lu.removable:
        raise task.invalid_field("loej")
    return wanted, modifier


def _only_starts(cdb: Values) -> bool:
    return cdb.power_condition == PowerCondition.START_VALID and bool(cdb.start)


def prevent_allow_medium_removal(task: Task) -> Translation:
    """Who asks to prevent it is remembered: while there is one nobody ejects. Spec: SBC-3 5.10."""
    yield from ()
    if task.cdb.prevent > 1:  # obsolete
        raise task.invalid_field("prevent")
    if task.cdb.prevent:
        task.lu.prevented_by.add(task.nexus.key)
    else:
        task.lu.prevented_by.discard(task.nexus.key)
    return GOOD


COMMANDS = (
    Command(
        "TEST UNIT READY",
        0x00,
        6,
        "SPC-4 6.47",
        test_unit_ready,
        (OBSOLETE_LUN,),
        asks_for_state=True,
        hot=Hot.READY,
    ),
    Command(
        "START STOP UNIT",
        0x1B,
        6,
        "SBC-3 5.25",
        start_stop_unit,
        (
            Field("immed", 1, 0, 1, "status before the change is complete"),
            Field("power_condition_modifier", 3, 0, 4),
            Field("power_condition", 4, 4, 4),
            Field("no_flush", 4, 2, 1),
            Field("loej", 4, 1, 1, "load or eject"),
            Field("start", 4, 0, 1),
        ),
        access=Access.WRITE,
        # No write may be acknowledged between the flush and the stop.
        exclusive=True,
        never_conflicts=_only_starts,
        while_reservations_lost=_only_starts,
        needs_ready=False,
        nvme=("Flush", "Set Features"),
    ),
    Command(
        "PREVENT ALLOW MEDIUM REMOVAL",
        0x1E,
        6,
        "SBC-3 5.10",
        prevent_allow_medium_removal,
        (Field("prevent", 4, 0, 2),),
        access=Access.WRITE,
        never_conflicts=lambda cdb: cdb.prevent == 0,
        needs_ready=False,
    ),
)
