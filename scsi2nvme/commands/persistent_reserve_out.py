"""PERSISTENT RESERVE OUT: its service actions and parameter lists. Spec: SPC-4 6.16."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands import transport_id
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.scsi.result import CheckCondition, Translation
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.unit.persistent_reservation import ReservationType
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.reservations import Access, parameter_error

PARAMETER_LIST = Structure(
    "PERSISTENT RESERVE OUT parameter list",
    24,
    (
        Field("key", 0, 0, 64),
        Field("service_action_key", 8, 0, 64),
        Field("spec_i_pt", 20, 3, 1, "TransportIDs follow"),
        Field("all_tg_pt", 20, 2, 1, "for every target port"),
        Field("aptpl", 20, 0, 1, "activate persist through power loss"),
    ),
    spec="SPC-4 6.16.3",
)

TRANSPORT_IDS_LENGTH = Structure(
    "TRANSPORTID PARAMETER DATA LENGTH", 4, (Field("length", 0, 0, 32),), spec="SPC-4 6.16.3"
)

MOVE_PARAMETER_LIST = Structure(
    "REGISTER AND MOVE parameter list",
    24,
    (
        Field("key", 0, 0, 64),
        Field("service_action_key", 8, 0, 64),
        Field("unreg", 17, 1, 1, "unregister the sender"),
        Field("aptpl", 17, 0, 1, "activate persist through power loss"),
        Field("relative_target_port", 18, 0, 16),
        Field("transport_id_length", 20, 0, 32),
    ),
    spec="SPC-4 6.16.4",
)


def _invalid_parameter(values: Values, name: str) -> CheckCondition:
    """Return the refusal of one field of the parameter list."""
    byte, bit = values.structure.by_name[name].highest_bit("big")
    pointer = FieldPointer(byte, bit, in_cdb=False)
    return CheckCondition(Sense(INVALID_FIELD_IN_PARAMETER_LIST, pointer=pointer))


def _parameters(task: Task, *, may_continue: bool = False) -> Values:
    """Decode the basic parameter list. Spec: SPC-4 6.16.2, 6.16.3.

    `may_continue`: the service action takes SPEC_I_PT.
    """
    if len(task.data_out) < PARAMETER_LIST.size:
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    values = PARAMETER_LIST.parse(task.data_out)
    if values.spec_i_pt and not may_continue:
        raise _invalid_parameter(values, "spec_i_pt")
    if not values.spec_i_pt and len(task.data_out) != PARAMETER_LIST.size:
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    return values


def _transport_ids(data: bytes) -> list[PortName]:
    """Decode the TransportIDs that stand behind a parameter list."""
    try:
        return transport_id.decode_list(data)
    except ValueError as error:
        raise parameter_error() from error


def _additional_initiators(task: Task, values: Values) -> list[PortName] | None:
    """Return the initiator ports of SPEC_I_PT, None without it."""
    if not values.spec_i_pt:
        return None
    rest = task.data_out[PARAMETER_LIST.size :]
    if len(rest) < TRANSPORT_IDS_LENGTH.size:
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    data = rest[TRANSPORT_IDS_LENGTH.size :]
    if TRANSPORT_IDS_LENGTH.parse(rest).length != len(data):
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    return _transport_ids(data)


def _register(task: Task, *, ignore_existing: bool) -> Translation:
    values = _parameters(task, may_continue=not ignore_existing)
    every = task.lu.target_ports_of(task.nexus) if values.all_tg_pt else [task.nexus.target]
    return (
        yield from task.lu.reservations.register(
            task.nexus,
            values.key,
            values.service_action_key,
            aptpl=bool(values.aptpl),
            ignore_existing=ignore_existing,
            targets=every,
            initiators=_additional_initiators(task, values),
        )
    )


def register(task: Task) -> Translation:
    """Spec: SPC-4 5.13.7."""
    return (yield from _register(task, ignore_existing=False))


def register_and_ignore_existing_key(task: Task) -> Translation:
    """Spec: SPC-4 5.13.7."""
    return (yield from _register(task, ignore_existing=True))


def _type(task: Task) -> ReservationType:
    """Return the CDB's TYPE, refusing what is no type and a SCOPE other than LU_SCOPE."""
    if task.cdb.scope:
        raise task.invalid_field("scope")
    try:
        kind = ReservationType(task.cdb.type)
    except ValueError:
        raise task.invalid_field("type") from None
    if not task.lu.reservations.offers(kind):
        raise task.invalid_field("type")
    return kind


def reserve(task: Task) -> Translation:
    """Spec: SPC-4 5.13.9."""
    kind, values = _type(task), _parameters(task)
    return (yield from task.lu.reservations.reserve(task.nexus, values.key, kind))


def release(task: Task) -> Translation:
    """Spec: SPC-4 5.13.11.2."""
    values = _parameters(task)
    cdb = task.cdb
    return (yield from task.lu.reservations.release(task.nexus, values.key, cdb.scope, cdb.type))


def clear(task: Task) -> Translation:
    """Spec: SPC-4 5.13.11.2.6."""
    values = _parameters(task)
    return (yield from task.lu.reservations.clear(task.nexus, values.key))


def _preempt(task: Task, *, abort: bool) -> Translation:
    kind, values = _type(task), _parameters(task)
    return (
        yield from task.lu.reservations.preempt(
            task.nexus, values.key, values.service_action_key, kind, abort=abort
        )
    )


def preempt(task: Task) -> Translation:
    """Spec: SPC-4 5.13.11.2.3."""
    return (yield from _preempt(task, abort=False))


def preempt_and_abort(task: Task) -> Translation:
    """Spec: SPC-4 5.13.11.3."""
    return (yield from _preempt(task, abort=True))


def register_and_move(task: Task) -> Translation:
    """Spec: SPC-4 5.13.8, 6.16.4."""
    if len(task.data_out) < MOVE_PARAMETER_LIST.size:
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    values = MOVE_PARAMETER_LIST.parse(task.data_out)
    data = task.data_out[MOVE_PARAMETER_LIST.size :]
    if values.transport_id_length != len(data):
        raise parameter_error(PARAMETER_LIST_LENGTH_ERROR)
    initiators = _transport_ids(data)
    if len(initiators) != 1 or not initiators[0].isid:  # one port, not a device
        raise parameter_error()
    for port in task.lu.target_ports_of(task.nexus):
        if port.relative_identifier == values.relative_target_port:
            target = port
            break
    else:
        raise _invalid_parameter(values, "relative_target_port")
    return (
        yield from task.lu.reservations.move(
            task.nexus,
            values.key,
            values.service_action_key,
            initiator=initiators[0],
            target=target,
            unregister=bool(values.unreg),
            aptpl=bool(values.aptpl),
        )
    )


def replace_lost_reservation(task: Task) -> Translation:
    """Spec: SPC-4 5.13.11.3, 6.16.3 table 216."""
    kind, values = _type(task), _parameters(task)
    if values.all_tg_pt:
        raise _invalid_parameter(values, "all_tg_pt")
    return (
        yield from task.lu.reservations.replace_lost(
            task.nexus, values.key, values.service_action_key, kind, aptpl=bool(values.aptpl)
        )
    )


def _in_turn(translate: Callable[[Task], Translation]) -> Callable[[Task], Translation]:
    """Return what runs a service action with the reservations as they are now, one at a time."""

    def run(task: Task) -> Translation:
        reservations = task.lu.reservations
        yield from reservations.enter()
        try:
            return (yield from translate(task))
        finally:
            reservations.leave()

    return run


def _row(
    name: str,
    action: int,
    translate: Callable[[Task], Translation],
    spec: str,
    *,
    typed: bool = False,
    replaces: bool = False,
) -> Command:
    """Return the row of a service action; `typed`: SCOPE and TYPE mean something to it.

    `replaces`: it is for reservations that are lost, which a disk's own never are.

    Spec: SPC-4 6.16.2 (the others ignore them).
    """
    return Command(
        f"PERSISTENT RESERVE OUT, {name}",
        0x5F,
        10,
        spec,
        _in_turn(translate),
        (
            Field("scope", 2, 4, 4, ignored=not typed),
            Field("type", 2, 0, 4, ignored=not typed),
            Field("parameter_list_length", 5, 0, 32),
        ),
        service_action=action,
        data=Data.OUT,
        transfer=Transfer.BYTES,
        length_field="parameter_list_length",
        access=Access.OWN,
        of_reservations=True,
        while_reservations_lost=lambda cdb: replaces,
        supported=lambda lu: not (replaces and lu.reservations.on_disk),
        needs_ready=False,
    )


COMMANDS = (
    _row("REGISTER", 0x00, register, "SPC-4 5.13.7"),
    _row("RESERVE", 0x01, reserve, "SPC-4 5.13.9", typed=True),
    _row("RELEASE", 0x02, release, "SPC-4 5.13.11.2", typed=True),
    _row("CLEAR", 0x03, clear, "SPC-4 5.13.11.2.6"),
    _row("PREEMPT", 0x04, preempt, "SPC-4 5.13.11.2.3", typed=True),
    _row("PREEMPT AND ABORT", 0x05, preempt_and_abort, "SPC-4 5.13.11.3", typed=True),
    _row(
        "REGISTER AND IGNORE EXISTING KEY",
        0x06,
        register_and_ignore_existing_key,
        "SPC-4 5.13.7",
    ),
    _row("REGISTER AND MOVE", 0x07, register_and_move, "SPC-4 5.13.8"),
    _row(
        *("REPLACE LOST RESERVATION", 0x08, replace_lost_reservation, "SPC-4 5.13.11.3"),
        typed=True,
        replaces=True,
    ),
)
