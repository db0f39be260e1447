"""The rules of reservations, against a model of SPC-4 5.13 written apart from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.commands import transport_id
from scsi2nvme.commands.persistent_reserve_in import KEY, LIST_HEADER, RESERVATION
from scsi2nvme.commands.persistent_reserve_out import (
    MOVE_PARAMETER_LIST,
    PARAMETER_LIST,
    TRANSPORT_IDS_LENGTH,
)
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED, I_T_NEXUS_LOSS_OCCURRED
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import MAXIMUM_ABSENT_NEXUSES, LogicalUnit, Nexus
from scsi2nvme.unit.persistent_reservation import ReservationType
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.reservations import MAXIMUM_REGISTRATIONS, Access
from scsi2nvme.unit.store import MemoryStore
from tests.model_controller import ModelController
from tests.support import Bench, make_facts, make_nexus

WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = 1, 3, 5, 6, 7, 8
TYPES = (WE, EA, WE_RO, EA_RO, WE_AR, EA_AR)
NAMES = ("a", "b", "c")
GOOD, CONFLICT = "good", "conflict"
INVALID_PARAMETER, INVALID_RELEASE = (5, 0x26, 0x00), (5, 0x26, 0x04)
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


# The model: what SPC-4 5.13 says, in the plainest form, of nexuses named a, b, c.


@dataclass
class Model:
    """State and rules. Each rule returns the outcome and who is told what."""

    keys: dict[str, int] = field(default_factory=dict)
    kind: int = 0
    holder: str = ""
    generation: int = 0
    aptpl: bool = False
    legacy: str = ""
    told: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def holders(self) -> set[str]:
        """Who holds the reservation."""
        if self.kind in (WE_AR, EA_AR):
            return set(self.keys)
        return {self.holder} if self.kind else set()

    def drop(self, names: set[str]) -> None:
        """Remove registrations, and the reservation with its last holder."""
        held = bool(self.kind)
        for name in names:
            self.keys.pop(name, None)
        if held and not self.holders() & set(self.keys):
            self.kind, self.holder = 0, ""

    def tell(self, names: set[str], code: tuple[int, int, int], by: str) -> None:
        """Note a unit attention for others than the sender."""
        self.told.update(dict.fromkeys(names - {by}, code))

    def authenticates(self, name: str, key: int) -> bool:
        """Whether the nexus is registered with this key."""
        return name in self.keys and self.keys[name] == key

    def register(self, name: str, key: int, new: int, *, ignore: bool, aptpl: bool) -> Outcome:
        """REGISTER and REGISTER AND IGNORE EXISTING KEY."""
        if not ignore and self.keys.get(name, 0) != key:
            return CONFLICT
        self.generation += 1
        if new:
            self.keys[name] = new
            self.aptpl = aptpl
        elif name in self.keys:
            self.aptpl = aptpl
            held = name in self.holders()
            restricted = self.kind in (WE_RO, EA_RO)
            self.drop({name})
            if held and restricted:
                self.tell(set(self.keys), RELEASED, name)
        return GOOD

    def reserve(self, name: str, key: int, kind: int) -> Outcome:
        """RESERVE."""
        if not self.authenticates(name, key):
            return CONFLICT
        if self.kind:
            return GOOD if name in self.holders() and kind == self.kind else CONFLICT
        self.kind, self.holder = kind, name
        return GOOD

    def release(self, name: str, key: int, kind: int) -> Outcome:
        """RELEASE."""
        if not self.authenticates(name, key):
            return CONFLICT
        if name not in self.holders():
            return GOOD
        if kind != self.kind:
            return INVALID_RELEASE
        if self.kind not in (WE, EA):
            self.tell(set(self.keys), RELEASED, name)
        self.kind, self.holder = 0, ""
        return GOOD

    def clear(self, name: str, key: int) -> Outcome:
        """CLEAR."""
        if not self.authenticates(name, key):
            return CONFLICT
        self.generation += 1
        self.tell(set(self.keys), PREEMPTED, name)
        self.keys, self.kind, self.holder = {}, 0, ""
        return GOOD

    def preempt(self, name: str, key: int, victim: int, kind: int) -> tuple[Outcome, set[str]]:
        """PREEMPT; also returns whose tasks PREEMPT AND ABORT aborts."""
        if not self.authenticates(name, key):
            return CONFLICT, set()
        everyone = self.kind in (WE_AR, EA_AR)
        if victim == 0:
            if not everyone:
                return INVALID_PARAMETER, set()
            gone = set(self.keys) - {name}
            takes = True
        else:
            gone = {each for each, own in self.keys.items() if own == victim}
            if not gone:
                return CONFLICT, set()
            takes = not everyone and bool(self.kind) and self.keys[self.holder] == victim
            if takes:
                gone -= {name}
        self.generation += 1
        before = self.kind
        if takes:
            for each in gone:
                del self.keys[each]
            self.kind, self.holder = kind, name
            if before != kind:
                self.tell(set(self.keys), RELEASED, name)
        else:
            self.drop(gone)
        self.tell(gone, UNREGISTERED, name)
        return GOOD, gone - {name}

    def move(self, name: str, key: int, new: int, to: str, *, unreg: bool, aptpl: bool) -> Outcome:
        """REGISTER AND MOVE."""
        if not self.authenticates(name, key):
            return CONFLICT
        if self.kind not in (WE, EA, WE_RO, EA_RO) or self.holder != name:
            return CONFLICT
        if new == 0 or to == name:
            return INVALID_PARAMETER
        self.generation += 1
        self.keys[to] = new
        self.holder, self.aptpl = to, aptpl
        if unreg:
            del self.keys[name]
        return GOOD

    def compatible(self, name: str) -> Outcome | None:
        """What RESERVE and RELEASE answer while there are registrations."""
        if not self.keys:
            return None
        admitted = self.kind in (WE_RO, EA_RO, WE_AR, EA_AR) and name in self.keys
        return GOOD if name in self.holders() or admitted else CONFLICT

    def may(self, name: str) -> tuple[bool, bool]:
        """Whether a nexus may read and may write."""
        if self.legacy:
            return self.legacy == name, self.legacy == name
        if not self.kind or name in self.holders():
            return True, True
        if self.kind in (WE_RO, EA_RO) and name in self.keys:
            return True, True
        return self.kind in (WE, WE_RO, WE_AR), False


names = st.sampled_from(NAMES)
keys = st.sampled_from((1, 2, 3, 0))
kinds = st.sampled_from(TYPES)


def somebody_registered(machine: Reserving) -> bool:
    """Without this, most of what happens would be conflicts."""
    return bool(machine.model.keys)


class Reserving(RuleBasedStateMachine):
    """Three nexuses do as they please; the logical unit and the model must agree."""

    @initialize(registered=st.tuples(*[st.sampled_from((0, 1, 2, 3))] * 3), kind=kinds)
    def start(self, registered: tuple[int, int, int], kind: int) -> None:
        """Begin with some registrations, and the first registrant's reservation."""
        self.store = MemoryStore()
        self.model = Model()
        self.open()
        for name, key in zip(NAMES, registered, strict=True):
            out(self.bench, name, "REGISTER", 0, key, aptpl=1)
            self.model.register(name, 0, key, ignore=False, aptpl=True)
        for name, key in list(self.model.keys.items())[:1]:
            out(self.bench, name, "RESERVE", key, kind=kind)
            self.model.reserve(name, key, kind)

    def open(self) -> None:
        """Power the logical unit on."""
        self.bench = reservation_bench(self.store)
        self.aborted: list[str] = []
        self.bench.lu.reservations.abort_tasks = self.aborted.extend

    def agree(self, got: Outcome, expected: Outcome) -> None:
        """Compare an outcome, and who was told of it."""
        assert got == expected
        for name in NAMES:
            told = self.model.told.get(name)
            assert attentions(self.bench, name) == ([told] if told else []), name
        self.quiet()

    def quiet(self) -> None:
        """Everyone fetches his unit attentions."""
        self.model.told.clear()
        for queue in self.bench.lu.unit_attentions.values():
            queue.clear()

    @rule(name=names, new=keys, ignore=st.booleans(), aptpl=st.booleans(), data=st.data())
    def register(self, name: str, new: int, ignore: bool, aptpl: bool, data: st.DataObject) -> None:
        key = self.own_or_any(name, data)
        action = "REGISTER AND IGNORE EXISTING KEY" if ignore else "REGISTER"
        got = out(self.bench, name, action, key, new, aptpl=int(aptpl))
        if self.model.legacy:
            self.agree(got, CONFLICT)
        else:
            self.agree(got, self.model.register(name, key, new, ignore=ignore, aptpl=aptpl))

    @rule(name=names, kind=kinds, data=st.data())
    @precondition(somebody_registered)
    def reserve(self, name: str, kind: int, data: st.DataObject) -> None:
        key = self.own_or_any(name, data)
        got = out(self.bench, name, "RESERVE", key, kind=kind)
        self.agree(got, CONFLICT if self.model.legacy else self.model.reserve(name, key, kind))

    @rule(name=names, kind=kinds, data=st.data())
    @precondition(somebody_registered)
    def release(self, name: str, kind: int, data: st.DataObject) -> None:
        key = self.own_or_any(name, data)
        kind = data.draw(st.sampled_from((self.model.kind or kind, kind)))
        got = out(self.bench, name, "RELEASE", key, kind=kind)
        self.agree(got, CONFLICT if self.model.legacy else self.model.release(name, key, kind))

    @rule(name=names, data=st.data())
    @precondition(somebody_registered)
    def clear(self, name: str, data: st.DataObject) -> None:
        key = self.own_or_any(name, data)
        got = out(self.bench, name, "CLEAR", key)
        self.agree(got, CONFLICT if self.model.legacy else self.model.clear(name, key))

    @rule(name=names, victim=keys, kind=kinds, abort=st.booleans(), data=st.data())
    @precondition(somebody_registered)
    def preempt(self, name: str, victim: int, kind: int, abort: bool, data: st.DataObject) -> None:
        key = self.own_or_any(name, data)
        self.aborted.clear()
        action = "PREEMPT AND ABORT" if abort else "PREEMPT"
        got = out(self.bench, name, action, key, victim, kind=kind)
        if self.model.legacy:
            self.agree(got, CONFLICT)
            return
        expected, gone = self.model.preempt(name, key, victim, kind)
        expected_keys = sorted(self.bench.other(each).key for each in gone)
        assert self.aborted == (expected_keys if abort else [])
        self.agree(got, expected)

    @rule(name=names, new=keys, to=names, unreg=st.booleans(), aptpl=st.booleans(), data=st.data())
    @precondition(somebody_registered)
    def move(
        self, name: str, new: int, to: str, unreg: bool, aptpl: bool, data: st.DataObject
    ) -> None:
        key = self.own_or_any(name, data)
        got = move(
            self.bench,
            name,
            key,
            new,
            self.bench.other(to).initiator,
            unreg=int(unreg),
            aptpl=int(aptpl),
        )
        if self.model.legacy:
            self.agree(got, CONFLICT)
        else:
            self.agree(got, self.model.move(name, key, new, to, unreg=unreg, aptpl=aptpl))

    @rule(name=names, length=st.sampled_from((6, 10)), what=st.integers(0, 5))
    def disturb(self, name: str, length: int, what: int) -> None:
        """One rule, so that persistent reservations are most of what happens."""
        if what == 0:
            self.power_cycle()
        elif what == 1:
            self.lose_nexus(name)
        elif what == 2:
            self.reset()
        elif what == 3:
            self.release_unit(name, length)
        else:
            self.reserve_unit(name, length)

    @rule(length=st.sampled_from((6, 10)))
    @precondition(lambda self: self.model.legacy)
    def end_reserve(self, length: int) -> None:
        self.release_unit(self.model.legacy, length)

    def reserve_unit(self, name: str, length: int) -> None:
        got = outcome(self.bench.do(f"RESERVE ({length})", nexus=self.bench.other(name)))
        compatible = self.model.compatible(name)
        if compatible is not None:
            assert got == compatible
        elif self.model.legacy in ("", name):
            assert got == GOOD
            self.model.legacy = name
        else:
            assert got == CONFLICT

    def release_unit(self, name: str, length: int) -> None:
        got = outcome(self.bench.do(f"RELEASE ({length})", nexus=self.bench.other(name)))
        assert got == (self.model.compatible(name) or GOOD)
        if self.model.legacy == name:
            self.model.legacy = ""

    def lose_nexus(self, name: str) -> None:
        nexus = self.bench.other(name)
        self.bench.lu.detach(nexus, I_T_NEXUS_LOSS_OCCURRED)
        self.bench.lu.attach(nexus)
        assert attentions(self.bench, name) == [(6, 0x29, 0x07)]
        if self.model.legacy == name:
            self.model.legacy = ""
        self.quiet()

    def reset(self) -> None:
        self.bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
        self.model.legacy = ""
        self.quiet()

    def power_cycle(self) -> None:
        model = self.model
        self.open()
        model.generation, model.legacy = 0, ""
        if not model.aptpl:
            model.keys, model.kind, model.holder = {}, 0, ""

    def own_or_any(self, name: str, data: st.DataObject) -> int:
        """Return the nexus' own key more often than chance would."""
        own = self.model.keys.get(name, 0)
        key: int = data.draw(st.sampled_from((own,) * 6 + (0, 1, 2, 3)))
        return key

    @invariant()
    def same_state(self) -> None:
        """What PERSISTENT RESERVE IN tells, and who may do what, is as in the model."""
        model, bench = self.model, self.bench
        for name in NAMES:
            may_read, may_write = model.may(name)
            assert access(bench, name) == (may_read, may_write), name
            assert bench.lu.reservations.restricts(bench.other(name)) == (not may_write)
        if model.legacy:
            return
        generation, registered = read_keys(bench)
        assert generation == model.generation
        assert sorted(registered) == sorted(model.keys.values())
        if not model.kind:
            assert read_reservation(bench) is None
        else:
            shared = model.kind in (WE_AR, EA_AR)
            key = 0 if shared else model.keys[model.holder]
            assert read_reservation(bench) == (key, model.kind)


TestReserving = Reserving.TestCase
TestReserving.settings = settings(max_examples=150, stateful_step_count=25)


# Tables


@pytest.mark.parametrize(
    ("kind", "registrant", "stranger"),
    [
        (WE, (True, False), (True, False)),
        (EA, (False, False), (False, False)),
        (WE_RO, (True, True), (True, False)),
        (EA_RO, (True, True), (False, False)),
        (WE_AR, (True, True), (True, False)),
        (EA_AR, (True, True), (False, False)),
    ],
)
def test_who_may_read_and_write(
    kind: int, registrant: tuple[bool, bool], stranger: tuple[bool, bool]
) -> None:
    bench = reservation_bench()
    for name, key in (("a", 1), ("b", 2)):
        assert out(bench, name, "REGISTER", 0, key) == GOOD
    assert out(bench, "a", "RESERVE", 1, kind=kind) == GOOD
    assert access(bench, "a") == (True, True)
    assert access(bench, "b") == registrant
    assert access(bench, "c") == stranger


# SPC-4 table 66, SBC-3 table 13, and SPC-2 table 9 for the second column: which
# commands of others a reservation stops. READ: exclusive access stops them.
READ, WRITE, ALWAYS, OWN = Access.READ, Access.WRITE, Access.ALWAYS, Access.OWN
RESERVATION_TABLE: dict[str, tuple[Access, bool]] = {
    "COMPARE AND WRITE": (WRITE, False),
    "FORMAT UNIT": (WRITE, False),
    "GET LBA STATUS (16)": (READ, False),
    "INQUIRY": (ALWAYS, True),
    "LOG SELECT": (WRITE, False),
    "LOG SENSE": (ALWAYS, True),
    "MODE SELECT (6)": (WRITE, False),
    "MODE SELECT (10)": (WRITE, False),
    "MODE SENSE (6)": (READ, False),
    "MODE SENSE (10)": (READ, False),
    "ORWRITE (16)": (WRITE, False),
    "PERSISTENT RESERVE IN, READ KEYS": (ALWAYS, False),
    "PERSISTENT RESERVE IN, READ RESERVATION": (ALWAYS, False),
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": (ALWAYS, False),
    "PERSISTENT RESERVE IN, READ FULL STATUS": (ALWAYS, False),
    "PERSISTENT RESERVE OUT, REGISTER": (OWN, False),
    "PERSISTENT RESERVE OUT, RESERVE": (OWN, False),
    "PERSISTENT RESERVE OUT, RELEASE": (OWN, False),
    "PERSISTENT RESERVE OUT, CLEAR": (OWN, False),
    "PERSISTENT RESERVE OUT, PREEMPT": (OWN, False),
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT": (OWN, False),
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY": (OWN, False),
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE": (OWN, False),
    "PRE-FETCH (10)": (READ, False),
    "PRE-FETCH (16)": (READ, False),
    "PREVENT ALLOW MEDIUM REMOVAL": (WRITE, False),
    "READ (6)": (READ, False),
    "READ (10)": (READ, False),
    "READ (12)": (READ, False),
    "READ (16)": (READ, False),
    "READ BUFFER (10)": (READ, False),
    "READ CAPACITY (10)": (ALWAYS, True),
    "READ CAPACITY (16)": (ALWAYS, True),
    "READ DEFECT DATA (10)": (READ, False),
    "READ DEFECT DATA (12)": (READ, False),
    "RELEASE (6)": (OWN, True),
    "RELEASE (10)": (OWN, True),
    "REPORT LUNS": (ALWAYS, True),
    "REPORT SUPPORTED OPERATION CODES": (READ, False),
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": (READ, False),
    "REPORT TARGET PORT GROUPS": (ALWAYS, False),
    "REQUEST SENSE": (ALWAYS, True),
    "RESERVE (6)": (OWN, False),
    "RESERVE (10)": (OWN, False),
    "SEND DIAGNOSTIC": (WRITE, False),
    "START STOP UNIT": (WRITE, False),
    "SYNCHRONIZE CACHE (10)": (WRITE, False),
    "SYNCHRONIZE CACHE (16)": (WRITE, False),
    "TEST UNIT READY": (ALWAYS, False),
    "UNMAP": (WRITE, False),
    "VERIFY (10)": (READ, False),
    "VERIFY (12)": (READ, False),
    "VERIFY (16)": (READ, False),
    "WRITE (6)": (WRITE, False),
    "WRITE (10)": (WRITE, False),
    "WRITE (12)": (WRITE, False),
    "WRITE (16)": (WRITE, False),
    "WRITE AND VERIFY (10)": (WRITE, False),
    "WRITE AND VERIFY (12)": (WRITE, False),
    "WRITE AND VERIFY (16)": (WRITE, False),
    "WRITE BUFFER": (WRITE, False),
    "WRITE SAME (10)": (WRITE, False),
    "WRITE SAME (16)": (WRITE, False),
}


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_row_says_what_the_standards_say_of_reservations(
    command: Command,
) -> None:
    assert (command.access, command.legacy_reserve_allows) == RESERVATION_TABLE[command.name]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("name", "fields", "stopped"),
    [
        ("START STOP UNIT", {"start": 1}, False),
        ("START STOP UNIT", {"start": 0}, True),
        ("START STOP UNIT", {"start": 1, "power_condition": 1}, True),
        ("PREVENT ALLOW MEDIUM REMOVAL", {"prevent": 0}, False),
        ("PREVENT ALLOW MEDIUM REMOVAL", {"prevent": 1}, True),
    ],
)
def test_rows_whose_fields_decide(
    kind: int, name: str, fields: dict[str, int], stopped: bool
) -> None:
    bench = reservation_bench()
    out(bench, "a", "REGISTER", 0, 1)
    out(bench, "a", "RESERVE", 1, kind=kind)
    expected = CONFLICT if stopped else GOOD
    assert outcome(bench.do(name, nexus=bench.other("b"), **fields)) == expected
    assert outcome(bench.do(name, **fields)) == GOOD


def test_what_reserve_lets_others_do() -> None:
    bench = reservation_bench()
    assert outcome(bench.do("RESERVE (6)")) == GOOD
    conflicts = {
        command.name
        for command in commands.COMMANDS
        if bench.lu.reservations.conflicts(
            bench.other("b"), command, command.structure.parse(command.build())
        )
    }
    fields_allow = {"PREVENT ALLOW MEDIUM REMOVAL"}  # PREVENT=0
    present = {command.name for command in commands.COMMANDS}
    stopped = {name for name, (_, allowed) in RESERVATION_TABLE.items() if not allowed}
    assert conflicts == (stopped & present) - fields_allow
    assert outcome(bench.do("MODE SENSE (6)", nexus=bench.other("b"), page_code=0x3F)) == CONFLICT
    assert outcome(bench.do("START STOP UNIT", nexus=bench.other("b"), start=1)) == GOOD


@pytest.mark.parametrize(
    "command",
    [each for each in commands.COMMANDS if each.opcode in (0x5E, 0x5F)],
    ids=lambda command: command.name,
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_reserve_excludes_persistent_reservations_of_all(command: Command, name: str) -> None:
    bench = reservation_bench()
    bench.do("RESERVE (10)")
    assert outcome(bench.run(command.build(), nexus=bench.other(name))) == CONFLICT


@pytest.mark.parametrize("end", ["release", "logout", "loss", "reset"])
def test_what_ends_a_reserve(end: str) -> None:
    bench = reservation_bench()
    bench.do("RESERVE (6)")
    match end:
        case "release":
            bench.do("RELEASE (6)")
        case "logout":
            bench.lu.detach(bench.nexus)
        case "loss":
            bench.lu.detach(bench.nexus, I_T_NEXUS_LOSS_OCCURRED)
        case "reset":
            bench.other("b")
            bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
            bench.lu.take_attention(bench.other("b"))
    assert outcome(bench.do("TEST UNIT READY", nexus=bench.other("b"))) == GOOD


# What the model leaves out


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


def test_specified_initiator_ports_are_registered_too() -> None:
    bench = reservation_bench()
    absent = PortName("iqn.2004-01.test:absent", isid=b"absent")
    extra = transport_ids(bench.other("b").initiator, absent)
    assert out(bench, "a", "REGISTER", 0, 7, extra=extra, spec_i_pt=1) == GOOD
    assert registered(bench) == {
        bench.nexus.key: 7,
        bench.other("b").key: 7,
        nexus_key(bench, absent): 7,
    }
    assert read_keys(bench) == (1, [7, 7, 7])


def test_a_specified_device_means_its_known_ports() -> None:
    bench = reservation_bench()
    second = Nexus(PortName(bench.other("b").initiator.device, b"second"), bench.nexus.target)
    bench.lu.attach(second)
    extra = transport_ids(PortName(second.initiator.device))
    assert out(bench, "a", "REGISTER", 0, 7, extra=extra, spec_i_pt=1) == GOOD
    assert set(registered(bench)) == {bench.nexus.key, bench.other("b").key, second.key}


def test_specified_initiator_ports_are_all_or_none() -> None:
    bench = reservation_bench()
    out(bench, "b", "REGISTER", 0, 2)
    extra = transport_ids(bench.other("c").initiator, bench.other("b").initiator)
    answer = out(bench, "a", "REGISTER", 0, 1, extra=extra, spec_i_pt=1)
    assert answer == INVALID_PARAMETER
    assert read_keys(bench) == (1, [2])


def test_a_registered_nexus_may_not_specify_initiator_ports() -> None:
    bench = reservation_bench()
    out(bench, "a", "REGISTER", 0, 1)
    extra = transport_ids(bench.other("b").initiator)
    assert out(bench, "a", "REGISTER", 1, 2, extra=extra, spec_i_pt=1) == INVALID_PARAMETER
    assert read_keys(bench) == (1, [1])


def test_all_target_ports() -> None:
    bench = reservation_bench()
    other = PortName(bench.nexus.target.device, portal_group_tag=2)
    bench.lu.target_ports = (bench.nexus.target, other)
    assert out(bench, "a", "REGISTER", 0, 5, all_tg_pt=1) == GOOD
    second = Nexus(bench.nexus.initiator, other)
    assert registered(bench) == {bench.nexus.key: 5, second.key: 5}
    assert out(bench, "a", "RESERVE", 5, kind=WE) == GOOD
    assert not bench.lu.reservations.restricts(bench.nexus)
    assert bench.lu.reservations.restricts(second)  # registered, but not the holder
    assert out(bench, "a", "REGISTER", 5, 0, all_tg_pt=1) == GOOD
    assert registered(bench) == {}
    assert read_reservation(bench) is None


def test_there_is_an_end_to_registrations() -> None:
    bench = reservation_bench()
    ports = [
        PortName("iqn.2004-01.test:many", isid=n.to_bytes(6, "big"))
        for n in range(MAXIMUM_REGISTRATIONS)
    ]
    extra = transport_ids(*ports)
    answer = out(bench, "a", "REGISTER", 0, 1, extra=extra, spec_i_pt=1)
    assert answer == (5, 0x55, 0x04)
    assert read_keys(bench) == (0, [])
    assert out(bench, "a", "REGISTER", 0, 1, extra=transport_ids(*ports[1:]), spec_i_pt=1) == GOOD
    assert out(bench, "b", "REGISTER", 0, 1) == (5, 0x55, 0x04)


def test_move_to_an_initiator_that_is_not_there() -> None:
    bench = reservation_bench()
    absent = PortName("iqn.2004-01.test:absent", isid=b"absent")
    out(bench, "a", "REGISTER", 0, 1)
    out(bench, "a", "RESERVE", 1, kind=EA)
    assert move(bench, "a", 1, 9, absent, unreg=1) == GOOD
    assert registered(bench) == {nexus_key(bench, absent): 9}
    assert access(bench, "a") == (False, False)
    assert read_reservation(bench) == (9, EA)
    assert attentions(bench, "a") == []


def test_move_to_an_unknown_target_port() -> None:
    bench = reservation_bench()
    out(bench, "a", "REGISTER", 0, 1)
    out(bench, "a", "RESERVE", 1, kind=EA)
    to = bench.other("b").initiator
    assert move(bench, "a", 1, 9, to, relative_target_port=2) == INVALID_PARAMETER


def test_preempt_and_abort_ends_the_prevention_of_medium_removal() -> None:
    bench = reservation_bench()
    for name, key in (("a", 1), ("b", 2)):
        out(bench, name, "REGISTER", 0, key)
        bench.do("PREVENT ALLOW MEDIUM REMOVAL", nexus=bench.other(name), prevent=1)
    assert out(bench, "a", "PREEMPT AND ABORT", 1, 2, kind=WE) == GOOD
    assert bench.lu.prevented_by == {bench.nexus.key}


def test_the_generation_wraps() -> None:
    bench = reservation_bench()
    reservations = bench.lu.reservations
    reservations.state = replace(reservations.state, generation=0xFFFFFFFF)
    out(bench, "a", "REGISTER", 0, 1)
    assert read_keys(bench)[0] == 0


class FailingStore(MemoryStore):
    """A store whose disk is full."""

    def save(self, key: str, value: object) -> None:
        raise OSError("no space left")


def test_what_cannot_be_saved_does_not_happen() -> None:
    bench = reservation_bench(FailingStore())
    out(bench, "a", "REGISTER", 0, 1)
    with pytest.raises(OSError, match="no space"):
        out(bench, "b", "REGISTER", 0, 2, aptpl=1)
    assert read_keys(bench) == (1, [1])


def test_everything_returns_after_a_power_cycle() -> None:
    store = MemoryStore()
    bench = reservation_bench(store)
    out(bench, "a", "REGISTER", 0, 1, aptpl=1)
    out(bench, "b", "REGISTER", 0, 2, aptpl=1)
    out(bench, "b", "RESERVE", 2, kind=EA_RO)
    again = reservation_bench(store)
    assert registered(again) == registered(bench)
    assert again.lu.reservations.state.type is ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS_ONLY
    assert read_keys(again) == (0, [1, 2])
    assert out(again, "b", "RELEASE", 2, kind=EA_RO) == GOOD
    assert attentions(again, "a") == [RELEASED]


def test_persistence_ends_with_the_last_word_on_it() -> None:
    store = MemoryStore()
    bench = reservation_bench(store)
    out(bench, "a", "REGISTER", 0, 1, aptpl=1)
    out(bench, "b", "REGISTER", 0, 2, aptpl=0)
    assert read_keys(reservation_bench(store)) == (0, [])


@pytest.mark.parametrize(
    "change",
    [
        {"holder": "nobody", "type": 1},
        {"type": 2},
        {"registrations": [{"key": 1}]},
        {"registrations": None},
        {"type": 7},
    ],
)
def test_damaged_state_is_not_taken_for_none(change: dict[str, object]) -> None:
    store = MemoryStore()
    key = f"reservations-{LogicalUnit(make_facts()).identity}"
    store.save(key, {"aptpl": True, "type": None, "holder": "", "registrations": [], **change})
    with pytest.raises(ValueError, match="damaged"):
        LogicalUnit(make_facts(), store)


def test_attentions_of_ended_nexuses_do_not_pile_up() -> None:
    bench = reservation_bench()
    out(bench, "c", "REGISTER", 0, 3)
    bench.lu.detach(bench.other("c"), I_T_NEXUS_LOSS_OCCURRED)
    for n in range(2 * MAXIMUM_ABSENT_NEXUSES):
        bench.lu.detach(make_nexus(f"n{n}", bench.lu), I_T_NEXUS_LOSS_OCCURRED)
    assert len(bench.lu.unit_attentions) <= MAXIMUM_ABSENT_NEXUSES + 3
    assert attentions(bench, "c") == [(6, 0x29, 0x07)]  # a registrant is not forgotten
    returning = make_nexus("n0")
    bench.lu.attach(returning)
    assert [sense.code.ascq for sense in bench.lu.unit_attentions[returning.key]] == [0]


def test_attentions_of_nexuses_that_never_were_do_not_pile_up() -> None:
    bench = reservation_bench()
    for n in range(2 * MAXIMUM_ABSENT_NEXUSES):
        port = PortName("iqn.2004-01.test:ghost", isid=n.to_bytes(6, "big"))
        extra = transport_ids(port)
        assert out(bench, "a", "REGISTER", 0, 1, extra=extra, spec_i_pt=1) == GOOD
        assert out(bench, "a", "CLEAR", 1) == GOOD
    assert len(bench.lu.unit_attentions) <= MAXIMUM_ABSENT_NEXUSES + 3
