"""REPORT and SET TIMESTAMP."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    PARAMETER_LIST_LENGTH_ERROR,
    TIMESTAMP_CHANGED,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, code, make_bench, make_lu, make_nexus

WHEN = 0x0198AABBCCDD
NO_CLOCK = {"oncs": 0xFF & ~(1 << 6)}


def set_(bench: Bench, data: bytes) -> Result:
    return bench.do("SET TIMESTAMP", data, parameter_list_length=len(data))


def parameter_list(milliseconds: int) -> bytes:
    return bytes(4) + milliseconds.to_bytes(6, "big") + bytes(2)


def report(bench: Bench) -> tuple[int, int]:
    """Return origin and milliseconds."""
    data = bench.do("REPORT TIMESTAMP", allocation_length=255).data_in
    assert (len(data), data[:2]) == (12, b"\0\x0a")
    return data[2], int.from_bytes(data[4:10], "big")


def test_who_has_set_it() -> None:
    bench = make_bench()
    assert report(bench) == (0, 0)
    bench.model.timestamp = WHEN.to_bytes(6, "little") + bytes([1 << 1, 0])  # by another host
    assert report(bench) == (3, WHEN)
    assert set_(bench, parameter_list(WHEN + 1)).status is Status.GOOD
    assert report(bench) == (2, WHEN + 1)
    bench.model.timestamp = bytes(8)  # a reset that nobody could repeat it after
    assert report(bench) == (0, 0)


def test_those_of_every_namespace_are_told() -> None:
    bench = make_bench()
    other, sibling = bench.other(), make_lu(nsid=2)
    of_sibling = make_nexus("c", sibling)
    bench.lu.controller_units = sibling.controller_units = [bench.lu, sibling]
    assert set_(bench, parameter_list(WHEN)).status is Status.GOOD
    assert bench.lu.pending_attention(bench.nexus) is None
    for lu, nexus in ((bench.lu, other), (sibling, of_sibling)):
        attention = lu.pending_attention(nexus)
        assert attention is not None
        assert attention.code == TIMESTAMP_CHANGED
    assert sibling.timestamp_set


@pytest.mark.parametrize("length", range(1, 12))
def test_a_list_that_is_cut_is_refused(length: int) -> None:
    bench = make_bench()
    assert code(set_(bench, parameter_list(WHEN)[:length])) == PARAMETER_LIST_LENGTH_ERROR
    assert not bench.model.executed


def test_an_empty_list_changes_nothing() -> None:
    bench = make_bench()
    other = bench.other()
    assert set_(bench, b"").status is Status.GOOD
    assert not bench.model.executed
    assert bench.lu.pending_attention(other) is None


def test_what_the_controller_refuses_is_not_told() -> None:
    bench = make_bench()
    other = bench.other()
    bench.model.faults[AdminOpcode.SET_FEATURES] = [0x002]
    assert set_(bench, parameter_list(WHEN)).status is Status.CHECK_CONDITION
    assert bench.lu.pending_attention(other) is None
    assert not bench.lu.timestamp_set


def test_without_a_clock() -> None:
    bench = make_bench(controller=NO_CLOCK)
    assert code(bench.do("REPORT TIMESTAMP")) == INVALID_FIELD_IN_CDB  # others of the opcode are
    assert code(set_(bench, parameter_list(WHEN))) in (
        INVALID_COMMAND_OPERATION_CODE,
        INVALID_FIELD_IN_CDB,
    )


@pytest.mark.parametrize(("controller", "bits"), [({}, 0b110), (NO_CLOCK, 0)])
def test_the_control_extension_page_tells(controller: dict[str, int], bits: int) -> None:
    bench = make_bench(controller=controller)
    sensed = bench.do(
        "MODE SENSE (10)", dbd=1, page_code=0x0A, subpage_code=0x01, allocation_length=255
    )
    assert sensed.data_in[8 + 4] == bits
