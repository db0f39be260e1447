"""PERSISTENT RESERVE IN: registrations and reservations as parameter data. Spec: SPC-4 6.15."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.command import Command, Data, Task, Transfer
from scsi2nvme.commands import transport_id
from scsi2nvme.fields import Field, Structure
from scsi2nvme.scsi.result import Result, Translation
from scsi2nvme.unit.persistent_reservation import HostRegistration, ReservationType, State

LIST_HEADER = Structure(
    "PERSISTENT RESERVE IN parameter data header",
    8,
    (Field("generation", 0, 0, 32), Field("additional_length", 4, 0, 32)),
    spec="SPC-4 6.15.2",
)

KEY = Structure("Reservation key", 8, (Field("key", 0, 0, 64),), spec="SPC-4 6.15.2")

RESERVATION = Structure(
    "READ RESERVATION data",
    16,
    (Field("key", 0, 0, 64), Field("scope", 13, 4, 4), Field("type", 13, 0, 4)),
    spec="SPC-4 6.15.3",
)

CAPABILITIES = Structure(
    "REPORT CAPABILITIES data",
    8,
    (
        Field("length", 0, 0, 16),
        Field("rlr_c", 2, 7, 1, "REPLACE LOST RESERVATION capable"),
        Field("crh", 2, 4, 1, "compatible reservation handling"),
        Field("sip_c", 2, 3, 1, "SPEC_I_PT capable"),
        Field("atp_c", 2, 2, 1, "ALL_TG_PT capable"),
        Field("ptpl_c", 2, 0, 1, "persist through power loss capable"),
        Field("tmv", 3, 7, 1, "the type mask is valid"),
        Field("allow_commands", 3, 4, 3),
        Field("ptpl_a", 3, 0, 1, "persist through power loss activated"),
        Field("wr_ex_ar", 4, 7, 1),
        Field("ex_ac_ro", 4, 6, 1),
        Field("wr_ex_ro", 4, 5, 1),
        Field("ex_ac", 4, 3, 1),
        Field("wr_ex", 4, 1, 1),
        Field("ex_ac_ar", 5, 0, 1),
    ),
    spec="SPC-4 6.15.4",
)

FULL_STATUS = Structure(
    "READ FULL STATUS descriptor",
    24,
    (
        Field("key", 0, 0, 64),
        Field("all_tg_pt", 12, 1, 1),
        Field("r_holder", 12, 0, 1),
        Field("scope", 13, 4, 4),
        Field("type", 13, 0, 4),
        Field("relative_target_port", 18, 0, 16),
        Field("additional_length", 20, 0, 32),
    ),
    spec="SPC-4 6.15.5",
)


_MASKS = {
    "wr_ex_ar": ReservationType.WRITE_EXCLUSIVE_ALL_REGISTRANTS,
    "ex_ac_ro": ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY,
    "wr_ex_ro": ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY,
    "ex_ac": ReservationType.EXCLUSIVE_ACCESS,
    "wr_ex": ReservationType.WRITE_EXCLUSIVE,
    "ex_ac_ar": ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
}


def _listed(state: State, data: bytes) -> Result:
    """Return data with its header; the length counts all of it, whatever is transferred."""
    header = LIST_HEADER.build(generation=state.generation, additional_length=len(data))
    return Result(data_in=header + data)


def read_keys(task: Task) -> Translation:
    """Spec: SPC-4 6.15.2."""
    yield from task.lu.reservations.refresh()
    state = task.lu.reservations.state
    return _listed(
        state, b"".join(KEY.build(key=each.key) for each in state.registrations.values())
    )


def read_reservation(task: Task) -> Translation:
    """Spec: SPC-4 6.15.3."""
    yield from task.lu.reservations.refresh()
    state = task.lu.reservations.state
    if state.type is None:
        return _listed(state, b"")
    key = 0 if state.type.all_registrants else state.registrations[state.holder].key
    return _listed(state, RESERVATION.build(key=key, type=state.type))


def report_capabilities(task: Task) -> Translation:
    """Spec: SPC-4 6.15.4."""
    reservations = task.lu.reservations
    yield from reservations.refresh()
    return Result(
        data_in=CAPABILITIES.build(
            length=CAPABILITIES.size,
            rlr_c=int(not reservations.on_disk),
            crh=1,
            sip_c=1,
            atp_c=1,
            ptpl_c=int(reservations.may_persist),
            tmv=1,
            ptpl_a=int(reservations.state.aptpl),
            **{name: int(reservations.offers(kind)) for name, kind in _MASKS.items()},
        )
    )


def read_full_status(task: Task) -> Translation:
    """Spec: SPC-4 6.15.5."""
    yield from task.lu.reservations.refresh()
    state = task.lu.reservations.state
    data = b""
    for nexus_key, each in state.registrations.items():
        if isinstance(each, HostRegistration):
            continue  # of whose initiators nothing is known, a TransportID least of all
        identifier = transport_id.encode(each.initiator)
        holds = state.holds(nexus_key)
        data += FULL_STATUS.build(
            key=each.key,
            r_holder=int(holds),
            type=state.type if holds and state.type else 0,
            relative_target_port=each.target.relative_identifier,
            additional_length=len(identifier),
        )
        data += identifier
    return _listed(state, data)


def _row(name: str, action: int, translate: Callable[[Task], Translation], spec: str) -> Command:
    return Command(
        f"PERSISTENT RESERVE IN, {name}",
        0x5E,
        10,
        spec,
        translate,
        (Field("allocation_length", 7, 0, 16),),
        service_action=action,
        data=Data.IN,
        transfer=Transfer.BYTES,
        length_field="allocation_length",
        of_reservations=True,
        needs_ready=False,
        while_sanitizing=True,
        kept=True,
    )


COMMANDS = (
    _row("READ KEYS", 0x00, read_keys, "SPC-4 6.15.2"),
    _row("READ RESERVATION", 0x01, read_reservation, "SPC-4 6.15.3"),
    _row("REPORT CAPABILITIES", 0x02, report_capabilities, "SPC-4 6.15.4"),
    _row("READ FULL STATUS", 0x03, read_full_status, "SPC-4 6.15.5"),
)
