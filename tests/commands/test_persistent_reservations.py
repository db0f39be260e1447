"""Persistent reservations beyond what their model knows: ports, limits, power cycles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.scsi.sense import I_T_NEXUS_LOSS_OCCURRED
from scsi2nvme.unit.logical_unit import MAXIMUM_ABSENT_NEXUSES, LogicalUnit, Nexus
from scsi2nvme.unit.persistent_reservation import MAXIMUM_REGISTRATIONS, ReservationType
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.store import MemoryStore
from tests.commands.reservations import (
    EA,
    EA_AR,
    EA_RO,
    GOOD,
    INVALID_PARAMETER,
    RELEASED,
    WE,
    WE_AR,
    access,
    attentions,
    move,
    nexus_key,
    out,
    read_keys,
    read_reservation,
    registered,
    reservation_bench,
    transport_ids,
)
from tests.support import make_facts, make_nexus


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


@pytest.mark.parametrize("kind", [WE_AR, EA_AR])
def test_the_reservation_of_all_registrants_has_no_key(kind: int) -> None:
    bench = reservation_bench()
    out(bench, "a", "REGISTER", 0, 7)
    assert out(bench, "a", "RESERVE", 7, kind=kind) == GOOD
    assert read_reservation(bench) == (0, kind)


def test_no_initiator_ports_may_be_specified() -> None:
    bench = reservation_bench()
    assert out(bench, "a", "REGISTER", 0, 7, extra=transport_ids(), spec_i_pt=1) == GOOD
    assert read_keys(bench) == (1, [7])


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
    assert LogicalUnit(make_facts(), store).reservations.lost


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
