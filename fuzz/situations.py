"""The states in which a command may meet a logical unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hypothesis import assume
from hypothesis import strategies as st

from scsi2nvme.fuzz import strategies
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.scsi.sense import CAPACITY_DATA_HAS_CHANGED
from scsi2nvme.unit.logical_unit import LogicalUnit, Nexus
from scsi2nvme.unit.mode_pages.control import CONTROL
from scsi2nvme.unit.persistent_reservation import Registration, ReservationType, State
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.readiness import Readiness
from scsi2nvme.unit.routes import Route
from scsi2nvme.unit.sanitizing import Phase

_TARGET = PortName("iqn.2026-11.fuzz:target")
OWN_KEY, OTHER_KEY = 0xA, 0xB


def make_nexus(name: str, lu: LogicalUnit) -> Nexus:
    """Return a nexus that sees `lu` as LUN 0, nothing pending."""
    nexus = Nexus(PortName(f"iqn.2026-11.fuzz:{name}", name.encode().rjust(6, b"\0")), _TARGET)
    nexus.luns[0] = lu
    lu.attach(nexus)
    lu.unit_attentions[nexus.key].clear()
    return nexus


def make_unit(facts: NamespaceFacts) -> tuple[LogicalUnit, Nexus]:
    """Return a logical unit that is ready, with one nexus, nothing pending."""
    lu = LogicalUnit(facts)
    lu.security = True
    lu.may_be_sanitized = True
    lu.firmware_allowed = lu.history_allowed = True
    return lu, make_nexus("a", lu)


def able_unit(
    data: st.DataObject, able: Callable[[LogicalUnit], bool]
) -> tuple[LogicalUnit, Nexus]:
    """Return a logical unit, as `make_unit` does, that is able to do something, with one nexus.

    Where the namespace that is drawn is not, it gets what may be missing, rather than that others
    are drawn until one is by chance: what needs much would never be tried.
    """
    found = next(
        (each for each in _units(data.draw(strategies.namespaces())) if able(each[0])), None
    )
    assume(found is not None)
    assert found is not None
    return found


def _units(facts: NamespaceFacts) -> Iterator[tuple[LogicalUnit, Nexus]]:
    whole = strategies.with_all(facts)
    for each in (facts, strategies.with_zones(facts), strategies.with_tuples(facts, 2), whole):
        yield make_unit(each)
    lu, nexus = make_unit(facts)
    lu.routes.every = tuple(Route(group, facts, alive=lambda: True) for group in (1, 2))
    lu.routes.active = lu.routes.every[0]
    yield lu, nexus
    yield make_unit(strategies.with_tuples(whole, 2))


@dataclass(frozen=True)
class Situation:
    """A logical unit's state as plain values, so that it can be made again and again."""

    facts: NamespaceFacts
    readiness: Readiness = Readiness.READY
    progress: int | None = None
    power: tuple[int, int] = (0, 0)
    attention: bool = False
    read_only: bool = False
    self_test_running: bool = False
    control: tuple[str, ...] = ()  # bits of the Control mode page that are set
    sanitizing: Phase = Phase.NONE
    restricted: bool = False  # what failed to sanitize
    reserved_by_other: bool = False  # RESERVE
    registered: tuple[bool, bool] = (False, False)  # ours and the other nexus
    reservation: ReservationType | None = None  # held by the other nexus

    def make(self) -> tuple[LogicalUnit, Nexus]:
        """Return the logical unit, and a nexus that sees it as LUN 0."""
        lu, nexus = make_unit(self.facts)
        other = make_nexus("b", lu)
        lu.readiness, lu.progress = self.readiness, self.progress
        lu.power_condition, lu.power_condition_modifier = self.power
        lu.read_only, lu.self_test_running = self.read_only, self.self_test_running
        lu.sanitizing.phase, lu.sanitizing.restricted = self.sanitizing, self.restricted
        lu.mode.change(CONTROL, CONTROL.layout.build(**dict.fromkeys(self.control, 1)))
        if self.attention:
            lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
        keys = zip((nexus, other), (OWN_KEY, OTHER_KEY), self.registered, strict=True)
        registrations = [
            Registration(each.initiator, each.target, key) for each, key, there in keys if there
        ]
        lu.reservations.state = State(
            {each.nexus_key: each for each in registrations}, self.reservation, other.key
        )
        if self.reserved_by_other:
            lu.reservations.reserved_by = other.key
        return lu, nexus


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Return arbitrary situations; each trouble is rare, so that some get beyond it."""
    rarely = st.sampled_from((False, False, False, False, True))
    facts = draw(strategies.namespaces())
    if draw(st.booleans()):
        return Situation(facts)
    readiness = draw(st.sampled_from((Readiness.READY, Readiness.READY, *Readiness)))
    registered = draw(st.tuples(st.booleans(), st.booleans()))
    return Situation(
        facts,
        readiness=readiness,
        progress=draw(st.one_of(st.none(), st.integers(0, 65536))),
        power=draw(st.sampled_from(((0, 0), (0, 0), (2, 0), (2, 2), (3, 1)))),
        attention=draw(rarely),
        read_only=draw(rarely),
        self_test_running=draw(rarely),
        control=tuple(draw(st.lists(st.sampled_from(CONTROL.changeable), unique=True))),
        sanitizing=draw(st.sampled_from((*[Phase.NONE] * 4, *Phase))),
        restricted=draw(st.booleans()),
        reserved_by_other=not any(registered) and draw(rarely),
        registered=registered,
        reservation=draw(st.sampled_from(ReservationType)) if registered[1] else None,
    )
