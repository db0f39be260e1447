"""REPORT and SET IDENTIFYING INFORMATION."""

from __future__ import annotations

import pytest

from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    DEVICE_IDENTIFIER_CHANGED,
    INTERNAL_TARGET_FAILURE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    FieldPointer,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import DamagedState, MemoryStore, UnsavedState
from tests.model_controller import ModelController
from tests.support import Bench, code, make_bench, make_facts, make_nexus, refused_in_one_line

DEVICE, TEXT = 0x00, 0x02


def report(bench: Bench, kind: int) -> bytes:
    name = "REPORT IDENTIFYING INFORMATION"
    result = bench.do(name, information_type=kind, allocation_length=1024)
    assert result.status is Status.GOOD
    assert int.from_bytes(result.data_in[:4], "big") == len(result.data_in) - 4
    return result.data_in[4:]


def set_(bench: Bench, kind: int, value: bytes) -> Result:
    name = "SET IDENTIFYING INFORMATION"
    return bench.do(name, value, information_type=kind, parameter_list_length=len(value))


def started(store: MemoryStore) -> Bench:
    lu = LogicalUnit(make_facts(), store)
    return Bench(lu, ModelController(lu.facts), make_nexus("a", lu))


def test_nothing_was_set() -> None:
    bench = make_bench()
    assert (report(bench, DEVICE), report(bench, TEXT)) == (b"", b"")


@pytest.mark.parametrize(
    ("kind", "value"), [(DEVICE, bytes(64)), (TEXT, "Schränke, 3. Stock".encode()), (TEXT, b"\0")]
)
def test_it_outlives_a_restart_by_type(kind: int, value: bytes) -> None:
    store = MemoryStore()
    assert set_(started(store), kind, value).status is Status.GOOD
    bench = started(store)
    assert (report(bench, kind), report(bench, TEXT - kind)) == (value, b"")
    assert set_(bench, kind, b"").status is Status.GOOD  # nothing of it clears it
    assert report(started(store), kind) == b""


def test_others_are_told() -> None:
    bench = make_bench()
    other = bench.other()
    set_(bench, TEXT, b"desk")
    assert bench.lu.pending_attention(bench.nexus) is None
    attention = bench.lu.pending_attention(other)
    assert attention is not None
    assert attention.code == DEVICE_IDENTIFIER_CHANGED


@pytest.mark.parametrize(("kind", "most"), [(DEVICE, 64), (TEXT, 256)])
def test_what_is_too_long_is_refused(kind: int, most: int) -> None:
    bench = make_bench()
    assert set_(bench, kind, b"x" * most).status is Status.GOOD
    result = set_(bench, kind, b"y" * (most + 1))
    assert code(result) == INVALID_FIELD_IN_CDB
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(6, 7)
    assert report(bench, kind) == b"x" * most


def test_text_is_utf_8() -> None:
    bench = make_bench()
    result = set_(bench, TEXT, b"ab\xff")
    assert code(result) == INVALID_FIELD_IN_PARAMETER_LIST
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(2, in_cdb=False)
    assert set_(bench, DEVICE, b"ab\xff").status is Status.GOOD


@pytest.mark.parametrize("kind", [0x01, 0x03, 0x7E])
def test_other_types_are_refused(kind: int) -> None:
    bench = make_bench()
    for name in ("REPORT IDENTIFYING INFORMATION", "SET IDENTIFYING INFORMATION"):
        result = bench.do(name, information_type=kind)
        assert code(result) == INVALID_FIELD_IN_CDB
        assert result.sense is not None
        assert result.sense.pointer == FieldPointer(10, 7)
    assert code(set_(bench, 0x7F, b"")) == INVALID_FIELD_IN_CDB


def test_what_cannot_be_saved_is_not_set() -> None:
    class Full(MemoryStore):
        def save(self, key: str, value: object) -> None:
            raise UnsavedState("no space left")

    bench = started(Full())
    other = bench.other()
    assert code(set_(bench, TEXT, b"x")) == INTERNAL_TARGET_FAILURE
    assert report(bench, TEXT) == b""
    assert bench.lu.pending_attention(other) is None


@pytest.mark.parametrize("saved", [{"text": "zz"}, {"device": "00" * 65}, {"other": ""}])
def test_what_is_damaged_is_refused(saved: dict[str, str]) -> None:
    store = MemoryStore()
    store.save(f"identifying/{make_bench().lu.state_key}", saved)
    assert refused_in_one_line(lambda: started(store), DamagedState)
