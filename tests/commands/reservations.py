"""Reservations as initiators ask for them, and what they are told."""

from __future__ import annotations

from scsi2nvme.commands import transport_id
from scsi2nvme.commands.persistent_reserve_in import KEY, LIST_HEADER, RESERVATION
from scsi2nvme.commands.persistent_reserve_out import (
    MOVE_PARAMETER_LIST,
    PARAMETER_LIST,
    TRANSPORT_IDS_LENGTH,
)
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.store import MemoryStore
from tests.model_controller import ModelController
from tests.support import Bench, make_facts, make_nexus

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = 1, 3, 5, 6, 7, 8
TYPES = (WE, EA, WE_RO, EA_RO, WE_AR, EA_AR)
NAMES = ("a", "b", "c")
GOOD, CONFLICT = "good", "conflict"
INVALID_PARAMETER, INVALID_RELEASE = (5, 0x26, 0x00), (5, 0x26, 0x04)
LOST = (7, 0x44, 0x01)
PREEMPTED, RELEASED, UNREGISTERED = (6, 0x2A, 0x03), (6, 0x2A, 0x04), (6, 0x2A, 0x05)

Outcome = str | tuple[int, int, int]


def outcome(result: Result) -> Outcome:
    """Return how a command ended, in the model's words."""
    if result.status is Status.GOOD:
        return GOOD
    if result.status is Status.RESERVATION_CONFLICT:
        return CONFLICT
    assert result.sense is not None, result
    return (result.sense.code.key, result.sense.code.asc, result.sense.code.ascq)


def reservation_bench(store: MemoryStore | None = None) -> Bench:
    """Return a bench with the nexuses a, b and c."""
    facts = make_facts()
    lu = LogicalUnit(facts, store)
    bench = Bench(lu, ModelController(facts), make_nexus("a", lu))
    bench.others = {"a": bench.nexus}
    for name in NAMES:
        bench.other(name)
    return bench


def out(
    bench: Bench,
    name: str,
    action: str,
    key: int = 0,
    new_key: int = 0,
    *,
    kind: int = 0,
    scope: int = 0,
    extra: bytes = b"",
    **flags: int,
) -> Outcome:
    """Run PERSISTENT RESERVE OUT on the nexus of that name."""
    data = PARAMETER_LIST.build(key=key, service_action_key=new_key, **flags) + extra
    result = bench.do(
        f"PERSISTENT RESERVE OUT, {action}",
        data,
        nexus=bench.other(name),
        type=kind,
        scope=scope,
        parameter_list_length=len(data),
    )
    return outcome(result)


def move(
    bench: Bench,
    name: str,
    key: int,
    new_key: int,
    to: PortName,
    *,
    unreg: int = 0,
    aptpl: int = 0,
    relative_target_port: int = 1,
) -> Outcome:
    """Run REGISTER AND MOVE."""
    identifier = transport_id.encode(to)
    data = MOVE_PARAMETER_LIST.build(
        key=key,
        service_action_key=new_key,
        unreg=unreg,
        aptpl=aptpl,
        relative_target_port=relative_target_port,
        transport_id_length=len(identifier),
    )
    result = bench.do(
        "PERSISTENT RESERVE OUT, REGISTER AND MOVE",
        data + identifier,
        nexus=bench.other(name),
        parameter_list_length=len(data + identifier),
    )
    return outcome(result)


def attentions(bench: Bench, name: str) -> list[tuple[int, int, int]]:
    """Return the unit attentions that wait for a nexus."""
    queue = bench.lu.unit_attentions.get(bench.other(name).key, [])
    return [(sense.code.key, sense.code.asc, sense.code.ascq) for sense in queue]


def read_keys(bench: Bench, name: str = "a") -> tuple[int, list[int]]:
    """Return PRGENERATION and the registered keys."""
    result = bench.do(
        "PERSISTENT RESERVE IN, READ KEYS", nexus=bench.other(name), allocation_length=65535
    )
    assert result.status is Status.GOOD
    header = LIST_HEADER.parse(result.data_in)
    rest = result.data_in[LIST_HEADER.size :]
    assert header.additional_length == len(rest)
    return header.generation, [KEY.parse(rest[n : n + 8]).key for n in range(0, len(rest), 8)]


def read_reservation(bench: Bench, name: str = "a") -> tuple[int, int] | None:
    """Return the key and type of the reservation, None without one."""
    result = bench.do(
        "PERSISTENT RESERVE IN, READ RESERVATION",
        nexus=bench.other(name),
        allocation_length=65535,
    )
    assert result.status is Status.GOOD
    rest = result.data_in[LIST_HEADER.size :]
    assert LIST_HEADER.parse(result.data_in).additional_length == len(rest)
    if not rest:
        return None
    values = RESERVATION.parse(rest)
    assert values.scope == 0
    return values.key, values.type


def access(bench: Bench, name: str) -> tuple[bool, bool]:
    """Return whether a nexus may read and may write."""
    answers = [
        outcome(bench.do(f"{what} (10)", nexus=bench.other(name))) for what in ("READ", "WRITE")
    ]
    assert set(answers) <= {GOOD, CONFLICT}
    return answers[0] == GOOD, answers[1] == GOOD


def registered(bench: Bench) -> dict[str, int]:
    """Return the keys by nexus key."""
    registrations = bench.lu.reservations.state.registrations
    return {key: each.key for key, each in registrations.items()}


def transport_ids(*ports: PortName) -> bytes:
    """Return the additional parameter data of SPEC_I_PT."""
    data = b"".join(transport_id.encode(port) for port in ports)
    return TRANSPORT_IDS_LENGTH.build(length=len(data)) + data


def nexus_key(bench: Bench, initiator: PortName) -> str:
    """Return the key of an initiator port's nexus with the bench's target port."""
    return Nexus(initiator, bench.nexus.target).key
