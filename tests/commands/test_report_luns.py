"""REPORT LUNS."""

from __future__ import annotations

import pytest

from scsi2nvme.scsi.lun import lun_address, lun_of
from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    INVALID_FIELD_IN_CDB,
    REPORTED_LUNS_DATA_HAS_CHANGED,
    FieldPointer,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, make_bench, make_lu


def listed(data: bytes) -> list[int | None]:
    """Return the LUNs of a REPORT LUNS list."""
    assert int.from_bytes(data[:4], "big") == len(data) - 8
    return [lun_of(data[n : n + 8]) for n in range(8, len(data), 8)]


def bench_of(*luns: int) -> Bench:
    """Return a bench whose nexus sees one logical unit at each of these LUNs."""
    bench = make_bench()
    bench.nexus.luns = {lun: bench.lu if lun == 0 else make_lu(nsid=lun + 1) for lun in luns}
    return bench


@pytest.mark.parametrize("lun", [0, 1, 255, 256, 257, 0x3FFF])
def test_addresses_return_to_luns(lun: int) -> None:
    assert lun_of(lun_address(lun)) == lun
    assert lun_address(lun)[0] >> 6 == (0 if lun < 256 else 1)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (0x00, [0, 3, 300]),
        (0x01, []),
        (0x02, [0, 3, 300]),
        (0x10, []),
        (0x11, [0, 3, 300]),
        (0x12, []),
    ],
)
def test_select_report(select: int, expected: list[int]) -> None:
    result = bench_of(300, 0, 3).do("REPORT LUNS", select_report=select, allocation_length=4096)
    assert listed(result.data_in) == expected


@pytest.mark.parametrize("select", [0x03, 0x0F, 0x13, 0xFF])
def test_other_selections_are_refused(select: int) -> None:
    result = bench_of(0).do("REPORT LUNS", select_report=select, allocation_length=4096)
    assert result.sense is not None
    assert result.sense.code == INVALID_FIELD_IN_CDB
    assert result.sense.pointer == FieldPointer(2, 7)


@pytest.mark.parametrize("length", [0, 4, 8, 16, 20])
def test_a_short_allocation_length_truncates(length: int) -> None:
    result = bench_of(0, 1).do("REPORT LUNS", allocation_length=length)
    whole = bytes.fromhex("00000010 00000000 0000000000000000 0001000000000000")
    assert result.status is Status.GOOD
    assert result.data_in == whole[:length]


@pytest.mark.parametrize("lun", [5, None])
def test_any_lun_answers(lun: int | None) -> None:
    bench = bench_of(3)
    cdb = bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0])
    from scsi2nvme import engine

    result = bench.model.play(engine.run(engine.select(bench.nexus, lun, cdb)))
    assert listed(result.data_in) == [3]


def test_it_answers_the_attention_that_asked_for_it() -> None:
    bench = bench_of(0)
    other = make_lu(nsid=2)
    other.attach(bench.nexus)
    bench.nexus.luns[1] = other
    for lu in (bench.lu, other):
        lu.unit_attentions[bench.nexus.key].clear()
        lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
        lu.establish_attention(REPORTED_LUNS_DATA_HAS_CHANGED)
    assert bench.do("REPORT LUNS", allocation_length=64).status is Status.GOOD
    for lu in (bench.lu, other):
        waiting = [sense.code for sense in lu.unit_attentions[bench.nexus.key]]
        assert waiting == [CAPACITY_DATA_HAS_CHANGED]
