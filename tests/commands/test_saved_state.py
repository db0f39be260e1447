"""Saved mode pages and reservations that are damaged: refused, and in one line."""

from __future__ import annotations

import re

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.ports import PortName
from scsi2nvme.unit.store import DamagedState, MemoryStore
from tests.commands.reservations import (
    GOOD,
    INVALID_PARAMETER,
    LOST,
    out,
    outcome,
    reservation_bench,
    transport_ids,
)
from tests.support import Bench, make_facts, refused_in_one_line

TARGET = {"device": "iqn.2026-11.test:t", "isid": "", "portal_group_tag": 1}


def registration(*, key: object = 1, **port: object) -> dict[str, object]:
    """Return a registration as it is saved, with these differences in the initiator port."""
    return {"initiator": {**TARGET, "isid": "00" * 6, **port}, "target": TARGET, "key": key}


def kept(change: dict[str, object]) -> dict[str, object]:
    return {"aptpl": True, "type": None, "holder": "", "registrations": [], **change}


def started(kind: str, saved: dict[str, object]) -> Bench:
    """Start with what is saved under `kind`."""
    store = MemoryStore()
    store.save(f"{kind}{LogicalUnit(make_facts()).state_key}", saved)
    return reservation_bench(store)


def test_a_registration_as_it_is_saved_is_one() -> None:
    bench = started("reservations-", kept({"registrations": [registration()]}))
    assert len(bench.lu.reservations.state.registrations) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"registrations": [registration(key=10**30)]}, "key: is not 8 bytes"),
        ({"registrations": [registration(key=0)]}, "key: is not 8 bytes"),
        ({"registrations": [registration(key=-1)]}, "key: is not 8 bytes"),
        ({"registrations": [registration(key=True)]}, "key: is a boolean"),
        ({"registrations": [registration(key=1.0)]}, "key: is a float"),
        ({"registrations": [registration()] * 2}, "an I_T nexus is there twice"),
        ({"registrations": [registration(isid="00")]}, "isid: is not 6 bytes"),
        ({"registrations": [registration(device=[1])]}, "device: is an array"),
        ({"registrations": [registration(device="\ud800")]}, "device: is not UTF-8"),
        ({"registrations": [registration(device="x" * 447)]}, "device: is longer than"),
        ({"registrations": [registration(portal_group_tag=1 << 16)]}, "portal_group_tag"),
        (
            {"registrations": [registration(isid=f"{n:012x}") for n in range(257)]},
            "are more than 256",
        ),
        ({"aptpl": "yes"}, "aptpl: is a string, not a boolean"),
        ({"more": 1}, "more is unknown"),
    ],
)
def test_damaged_reservations_are_not_taken_for_none(change: dict[str, object], words: str) -> None:
    bench = started("reservations-", kept(change))
    assert re.search(words, bench.lu.reservations.lost)
    assert out(bench, "a", "REGISTER", 0, 1) == LOST


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"pages": 5}, "pages: is an integer"),
        ({"pages": {"8": 5}}, r"pages\.8: is an integer"),
        ({"pages": {"8": "xy"}}, "hexadecimal"),
        ({"page": {}}, "page is unknown"),
    ],
)
def test_damaged_mode_pages_are_not_taken_for_none(saved: dict[str, object], words: str) -> None:
    with pytest.raises(DamagedState, match=words):
        started("mode/", saved)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
PORT = {
    "device": st.text() | JSON,
    "isid": st.just("00" * 6) | JSON,
    "portal_group_tag": st.integers() | JSON,
}
RESERVATIONS = {
    "aptpl": st.just(True) | JSON,
    "type": st.none() | st.integers(0, 9) | JSON,
    "holder": JSON,
    "registrations": st.lists(
        st.fixed_dictionaries({}, optional={**PORT, "key": st.integers() | JSON}).map(
            lambda given: registration(**given)
        ),
        max_size=3,
    )
    | JSON,
}
FEW = hypothesis.settings(max_examples=60, deadline=None)


@FEW
@given(st.fixed_dictionaries({}, optional=RESERVATIONS) | st.dictionaries(st.text(), JSON))
def test_any_saved_reservations_are_used_or_refused_in_one_line(saved: dict[str, object]) -> None:
    """What is taken can be told, too."""
    bench = started("reservations-", saved)
    assert (bench.lu.reservations.lost or "line").isprintable()
    for action in ("READ KEYS", "READ RESERVATION", "READ FULL STATUS"):
        result = bench.do(f"PERSISTENT RESERVE IN, {action}", allocation_length=65535)
        assert outcome(result) == (LOST if bench.lu.reservations.lost else GOOD)


@FEW
@given(st.dictionaries(st.just("pages") | st.text(), st.dictionaries(st.text(), JSON) | JSON))
def test_any_saved_mode_pages_are_used_or_refused_in_one_line(saved: dict[str, object]) -> None:
    refused_in_one_line(lambda: started("mode/", saved), DamagedState)


@pytest.mark.parametrize("name", ["a\nb", "a b", "x" * 224, "a\x7f"])
def test_a_name_that_none_can_have_is_not_registered(name: str) -> None:
    """It could be saved, but not be told, nor read again."""
    bench = reservation_bench()
    extra = transport_ids(PortName(name, isid=b"abcdef"))
    assert out(bench, "a", "REGISTER", 0, 7, extra=extra, spec_i_pt=1) == INVALID_PARAMETER
    extra = transport_ids(PortName("iqn.2026-11.test:x", isid=b"abcdef"))
    assert out(bench, "a", "REGISTER", 0, 7, extra=extra, spec_i_pt=1) == GOOD


def test_an_isid_is_twelve_digits() -> None:
    bench = reservation_bench()
    whole = transport_ids(PortName("iqn.2026-11.test:x", isid=b"abcdef"))
    extra = whole.replace(b"0x616263646566", b"0x6162636465  ")
    assert len(extra) == len(whole)
    assert out(bench, "a", "REGISTER", 0, 7, extra=extra, spec_i_pt=1) == INVALID_PARAMETER
