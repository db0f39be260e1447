"""What was kept of persistent reservations is damaged: nobody is let through, until it is replaced.

Spec: SPC-4 5.13.5.3.2, 5.13.11.3.
"""

from __future__ import annotations

import pytest

from scsi2nvme.scsi.result import Result
from scsi2nvme.unit.disk_reservations import DiskReservations
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import MemoryStore, UnsavedState
from tests.commands.reservations import (
    CONFLICT,
    GOOD,
    INVALID_PARAMETER,
    INVALID_RELEASE,
    LOST,
    WE,
    WE_RO,
    out,
    outcome,
    read_keys,
    reservation_bench,
)
from tests.support import Bench, make_bench, make_facts

REPLACE = "REPLACE LOST RESERVATION"
ADMITTED: tuple[tuple[str, dict[str, int]], ...] = (
    *(("INQUIRY", {"allocation_length": 96}), ("LOG SENSE", {"allocation_length": 64})),
    *(("REPORT LUNS", {"allocation_length": 64}), ("REQUEST SENSE", {"allocation_length": 252})),
    ("REPORT TARGET PORT GROUPS", {"allocation_length": 64}),
    ("READ BUFFER (10), descriptor", {"allocation_length": 4}),
    ("WRITE BUFFER, echo", {}),
    ("START STOP UNIT", {"start": 1}),
)
REFUSED: tuple[tuple[str, dict[str, int]], ...] = (
    *(("TEST UNIT READY", {}), ("READ CAPACITY (10)", {}), ("START STOP UNIT", {})),
    *(("START STOP UNIT", {"start": 1, "power_condition": 1}), ("RESERVE (6)", {})),
    *(("READ (10)", {"transfer_length": 1}), ("READ (10)", {"transfer_length": 0})),
    *(("MODE SENSE (6)", {"page_code": 0x3F}), ("SYNCHRONIZE CACHE (10)", {})),
    *(("PERSISTENT RESERVE IN, READ KEYS", {}), ("REPORT SUPPORTED OPERATION CODES", {})),
)


class Store(MemoryStore):
    """One that can be full."""

    full = False

    def save(self, key: str, value: object) -> None:
        if self.full:
            raise UnsavedState("it is full")
        super().save(key, value)  # type: ignore[arg-type]


def key() -> str:
    return f"reservations-{LogicalUnit(make_facts()).state_key}"


def lost_bench() -> tuple[Bench, Store]:
    """Return a bench whose record makes no sense, with all attentions heard."""
    store = Store()
    store.save(key(), {"aptpl": True, "type": 2})
    bench = reservation_bench(store)
    bench.lu.unit_attentions = {each: [] for each in bench.lu.unit_attentions}
    return bench, store


def write(bench: Bench, name: str) -> Result:
    return bench.do("WRITE (10)", bytes(512), nexus=bench.other(name), transfer_length=1)


@pytest.mark.parametrize(("name", "fields"), ADMITTED)
def test_what_the_standard_lists_is_admitted(name: str, fields: dict[str, int]) -> None:
    bench, _ = lost_bench()
    assert outcome(bench.do(name, **fields)) == GOOD


@pytest.mark.parametrize(("name", "fields"), REFUSED)
def test_all_else_is_refused(name: str, fields: dict[str, int]) -> None:
    bench, _ = lost_bench()
    assert outcome(bench.do(name, **fields)) == LOST


def test_writes_are_refused_and_the_hot_path_is_kept_off() -> None:
    bench, _ = lost_bench()
    assert bench.lu.aside(bench.nexus)
    assert outcome(write(bench, "a")) == LOST
    bench.lu.reset(None)
    assert outcome(write(bench, "a")) == LOST  # whatever else happens
    for action in ("REGISTER", "RESERVE", "CLEAR", "PREEMPT", "REGISTER AND IGNORE EXISTING KEY"):
        assert out(bench, "a", action, 0, 1, kind=WE) == LOST


@pytest.mark.parametrize("aptpl", [0, 1])
def test_a_replacement_is_all_that_there_is(aptpl: int) -> None:
    bench, store = lost_bench()
    assert out(bench, "b", REPLACE, 0, 7, kind=WE_RO, aptpl=aptpl) == GOOD
    assert read_keys(bench) == (0, [7])
    assert outcome(write(bench, "b")) == GOOD
    assert outcome(write(bench, "a")) == CONFLICT
    assert not bench.lu.aside(bench.other("b"))
    again = reservation_bench(store)
    assert (again.lu.reservations.lost, read_keys(again)) == ("", (0, [7] if aptpl else []))
    assert out(bench, "b", REPLACE, 0, 8, kind=WE) == INVALID_RELEASE


@pytest.mark.parametrize(
    ("own", "new", "spec_i_pt", "all_tg_pt"),
    [(1, 7, 0, 0), (0, 0, 0, 0), (0, 7, 1, 0), (0, 7, 0, 1)],
)
def test_a_replacement_that_makes_no_sense_is_refused(
    own: int, new: int, spec_i_pt: int, all_tg_pt: int
) -> None:
    bench, _ = lost_bench()
    flags = {"spec_i_pt": spec_i_pt, "all_tg_pt": all_tg_pt}
    assert out(bench, "a", REPLACE, own, new, kind=WE, extra=b"", **flags) == INVALID_PARAMETER
    assert out(bench, "a", REPLACE, 0, 7, kind=2) == (5, 0x24, 0)
    assert outcome(write(bench, "a")) == LOST


def test_a_replacement_that_cannot_be_saved_replaces_nothing() -> None:
    bench, store = lost_bench()
    store.full = True
    assert out(bench, "a", REPLACE, 0, 7, kind=WE) == (4, 0x44, 0)
    assert outcome(write(bench, "a")) == LOST
    store.full = False
    assert out(bench, "a", REPLACE, 0, 7, kind=WE) == GOOD


def test_the_disks_own_are_never_lost() -> None:
    bench = make_bench()
    bench.lu.reservations = DiskReservations(bench.lu, bytes(8))
    data = bytes(24)
    result = bench.do(f"PERSISTENT RESERVE OUT, {REPLACE}", data, parameter_list_length=24, type=1)
    assert outcome(result) == (5, 0x24, 0)
