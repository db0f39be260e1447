"""REPORT TARGET PORT GROUPS, SET TARGET PORT GROUPS: by which ports a logical unit is best reached.

Where several controllers of one disk are served, each has a target port group. Commands go by one
of them, whose group is active/optimized, whatever port they come by: which one that is, initiators
may set, and it changes by itself where a controller is lost, or tells of another state (ANA).

Spec: SPC-4 5.15.2, 6.37, 6.45.
"""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.command import Command, Data, Task, Transfer, always
from scsi2nvme.commands.maintenance import MAINTENANCE_IN, MAINTENANCE_OUT
from scsi2nvme.commands.synchronize_cache import flush
from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.ana import CAPABILITIES, AnaState, has_ana
from scsi2nvme.scsi.result import GOOD, CheckCondition, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    SET_TARGET_PORT_GROUPS_COMMAND_FAILED,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.reservations import Access
from scsi2nvme.unit.routes import ACCESS, AccessChange, AccessState, Route

GROUPS_HEADER = Structure("RTPG length only header", 4, (Field("length", 0, 0, 32),))
GROUPS_EXTENDED_HEADER = Structure(
    "RTPG extended header",
    8,
    (
        Field("length", 0, 0, 32),
        Field("format_type", 4, 4, 3),
        Field("implicit_transition_time_s", 5),
    ),
    spec="SPC-4 6.37",
)
GROUP = Structure(
    "Target port group descriptor",
    8,
    (
        Field("pref", 0, 7, 1),
        Field("access_state", 0, 0, 4),
        Field("t_sup", 1, 7, 1, "transitioning supported"),
        Field("u_sup", 1, 3, 1, "unavailable supported"),
        Field("an_sup", 1, 1, 1, "active/non-optimized supported"),
        Field("ao_sup", 1, 0, 1, "active/optimized supported"),
        Field("target_port_group", 2, 0, 16),
        Field("status_code", 5),
        Field("port_count", 7),
    ),
    spec="SPC-4 6.37",
)
GROUP_PORT = Structure(
    "Target port descriptor", 4, (Field("relative_target_port", 2, 0, 16),), spec="SPC-4 6.37"
)


def access_state(lu: LogicalUnit, group: int) -> AccessState:
    """Return the state of a target port group.

    Commands that come by a port of another controller than that which is in use go by that one.
    What no controller has is of a target whose LUNs are chosen one by one: it is as good as any.
    """
    failed = lu.readiness is Readiness.FAILED
    state = AccessState.UNAVAILABLE if failed else ACCESS[lu.facts.ana_state]
    active = lu.routes.active
    others = {route.group for route in lu.routes.every if route is not active}
    if active is None or group not in others or state is not AccessState.ACTIVE_OPTIMIZED:
        return state
    return AccessState.ACTIVE_NON_OPTIMIZED


def _states(task: Task) -> dict[int, AccessState]:
    lu = task.lu
    groups = {port.target_port_group for port in lu.target_ports_of(task.nexus)}
    groups |= {route.group for route in lu.routes.every}
    return {group: access_state(lu, group) for group in sorted(groups)}


def _may_be(lu: LogicalUnit, state: AnaState) -> bool:
    """Whether a controller may report an ANA state."""
    controller = lu.facts.controller
    return has_ana(controller) and bool(controller.anacap & CAPABILITIES[state])


def _group(task: Task, number: int, state: AccessState) -> bytes:
    lu = task.lu
    ports = lu.target_ports_of(task.nexus)
    numbers = sorted({p.relative_identifier for p in ports if p.target_port_group == number})
    change = lu.routes.change
    if not lu.routes.several and state is not AccessState.ACTIVE_OPTIMIZED:
        change = AccessChange.IMPLICIT
    group = GROUP.build(
        access_state=state,
        t_sup=_may_be(lu, AnaState.CHANGE),
        u_sup=1,
        an_sup=lu.routes.several or _may_be(lu, AnaState.NON_OPTIMIZED),
        ao_sup=1,
        target_port_group=number,
        status_code=change,
        port_count=len(numbers),
    )
    return group + b"".join(GROUP_PORT.build(relative_target_port=each) for each in numbers)


def report_target_port_groups(task: Task) -> Translation:
    """Spec: SPC-4 6.37, 5.15.2.4."""
    yield from ()
    if task.cdb.parameter_data_format > 1:
        raise task.invalid_field("parameter_data_format")
    groups = b"".join(_group(task, *each) for each in _states(task).items())
    if not task.cdb.parameter_data_format:
        return Result(data_in=GROUPS_HEADER.build(length=len(groups)) + groups)
    length = GROUPS_EXTENDED_HEADER.size - GROUPS_HEADER.size + len(groups)
    transition_s = task.lu.facts.controller.anatt if _may_be(task.lu, AnaState.CHANGE) else 0
    header = GROUPS_EXTENDED_HEADER.build(
        length=length, format_type=1, implicit_transition_time_s=transition_s
    )
    return Result(data_in=header + groups)


# SET TARGET PORT GROUPS

TO_SET_HEADER = Structure("STPG parameter list header", 4, (), spec="SPC-4 6.45")
TO_SET = Structure(
    "Set target port group descriptor",
    4,
    (Field("access_state", 0, 0, 4), Field("target_port_group", 2, 0, 16)),
    spec="SPC-4 6.45",
)


def _wrong(at: int, bit: int | None = None) -> CheckCondition:
    pointer = FieldPointer(at, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _wanted(task: Task) -> Iterator[tuple[int, AccessState, Route]]:
    """Yield what a descriptor, at which byte, wants a group's state to be."""
    routes = {route.group: route for route in task.lu.routes.every}
    settable = (AccessState.ACTIVE_OPTIMIZED, AccessState.ACTIVE_NON_OPTIMIZED)
    for at in range(TO_SET_HEADER.size, len(task.data_out), TO_SET.size):
        values = TO_SET.parse(task.data_out[at : at + TO_SET.size])
        if values.access_state not in settable:
            raise _wrong(at, 3)
        if (route := routes.get(values.target_port_group)) is None:
            raise _wrong(at + 2)
        yield at, AccessState(values.access_state), route


def _to_activate(task: Task) -> Route | None:
    """Return the route whose group is to be active/optimized, None where nothing is to change.

    One of them is at any time: where that one is to be non-optimized, another becomes it.
    """
    routes, chosen, left = task.lu.routes, None, set(task.lu.routes.every)
    for at, state, route in _wanted(task):
        if state is AccessState.ACTIVE_NON_OPTIMIZED:
            left.discard(route)
        elif chosen in (None, route):
            chosen = route
        else:
            raise _wrong(at, 3)
    if chosen is None and routes.active not in left:
        chosen = min(left, key=lambda route: (route.rank, route.group), default=None)
        if chosen is None:
            raise _wrong(TO_SET_HEADER.size, 3)
    return None if chosen is routes.active else chosen


def set_target_port_groups(task: Task) -> Translation:
    """Have commands go by the controller of another group. Spec: SPC-4 6.45, 5.15.2.7.

    What its predecessor has cached is flushed: Flush is of what the same controller has written.
    """
    if not task.cdb.parameter_list_length:
        return GOOD
    length = len(task.data_out) - TO_SET_HEADER.size
    if length < 0 or length % TO_SET.size:
        raise CheckCondition(Sense(PARAMETER_LIST_LENGTH_ERROR))
    chosen, routes = _to_activate(task), task.lu.routes
    if chosen is None:
        return GOOD
    active = routes.active
    if not chosen.leads or (active is not None and active.leads and active.rank < chosen.rank):
        raise CheckCondition(Sense(SET_TARGET_PORT_GROUPS_COMMAND_FAILED))
    try:
        yield from flush(task.lu)
    except NvmeError as error:
        raise CheckCondition(Sense(SET_TARGET_PORT_GROUPS_COMMAND_FAILED)) from error
    if not chosen.leads:  # any more
        raise CheckCondition(Sense(SET_TARGET_PORT_GROUPS_COMMAND_FAILED))
    routes.activate(chosen, task.nexus)
    return GOOD


COMMANDS = (
    Command(
        "REPORT TARGET PORT GROUPS",
        MAINTENANCE_IN,
        12,
        "SPC-4 6.37",
        report_target_port_groups,
        (
            Field("parameter_data_format", 1, 5, 3, "0: length only, 1: extended"),
            Field("allocation_length", 6, 0, 32),
        ),
        service_action=0x0A,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        needs_ready=False,
        while_sanitizing=True,
        while_reservations_lost=always,
        answered_when_failed=True,
        kept=True,
    ),
    Command(
        "SET TARGET PORT GROUPS",
        MAINTENANCE_OUT,
        12,
        "SPC-4 6.45",
        set_target_port_groups,
        (Field("parameter_list_length", 6, 0, 32),),
        service_action=0x0A,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.WRITE,
        needs_ready=False,
        exclusive=True,
        supported=lambda lu: lu.routes.several,
        nvme=("Flush",),
        timeout_s=60,
        doc="Where two controllers of one disk are served.",
    ),
)
