"""The rules of reservations, against a model of SPC-4 5.13 written apart from them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED, I_T_NEXUS_LOSS_OCCURRED
from scsi2nvme.unit.store import MemoryStore
from tests.commands.reservations import (
    CONFLICT,
    EA,
    EA_AR,
    EA_RO,
    GOOD,
    INVALID_PARAMETER,
    INVALID_RELEASE,
    NAMES,
    PREEMPTED,
    RELEASED,
    TYPES,
    UNREGISTERED,
    WE,
    WE_AR,
    WE_RO,
    Outcome,
    access,
    attentions,
    move,
    out,
    outcome,
    read_keys,
    read_reservation,
    reservation_bench,
)

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
