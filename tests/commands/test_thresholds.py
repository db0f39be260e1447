"""Thin provisioning: what is in use, and who is told that little is left."""

from __future__ import annotations

import pytest

from scsi2nvme.commands import thresholds
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.scsi.result import GOOD, NvmeError
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    THIN_PROVISIONING_SOFT_THRESHOLD_REACHED,
)
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.mode_pages.provisioning_thresholds import PROVISIONING_THRESHOLDS
from tests.support import Bench, code, make_bench, make_lu

MIB_BLOCKS = 2048  # a threshold set
BLOCKS = 100 * MIB_BLOCKS


def thin_bench(nuse: int = 0) -> Bench:
    return make_bench(namespace={"nsfeat": 1, "ncap": BLOCKS, "nuse": nuse})


def counts(bench: Bench) -> dict[int, tuple[int, int]]:
    """Return count and scope of each parameter of log page 0Ch."""
    data = bench.do("LOG SENSE", pc=1, page_code=0x0C, allocation_length=255).data_in
    assert data[:4] == bytes([0x8C, 0, 0, len(data) - 4])
    found = {}
    for at in range(4, len(data), 12):
        value = data[at + 4 : at + 12]
        found[int.from_bytes(data[at : at + 2], "big")] = int.from_bytes(value[:4], "big"), value[4]
    return found


def select(bench: Bench, **fields: int) -> None:
    values = PROVISIONING_THRESHOLDS.defaults(bench.lu.facts)
    page = PROVISIONING_THRESHOLDS.with_header(
        PROVISIONING_THRESHOLDS.layout.build(**values, **fields), saveable=False
    )
    data = bytes(8) + page
    assert bench.do("MODE SELECT (10)", data, pf=1, parameter_list_length=len(data)) == GOOD


def told(bench: Bench, nexus: Nexus) -> bool:
    attention = bench.lu.take_attention(nexus)
    return attention is not None and attention.code == THIN_PROVISIONING_SOFT_THRESHOLD_REACHED


def look(bench: Bench, nuse: int) -> None:
    bench.model.change_namespace(nuse=nuse)
    assert bench.model.play(thresholds.check(bench.lu)) == GOOD


@pytest.mark.parametrize(
    ("nuse", "available", "used"),
    [
        (0, 100, 0),
        (1, 99, 1),
        (MIB_BLOCKS, 99, 1),
        (BLOCKS, 0, 100),
        (BLOCKS + 1, 0, 101),  # what a controller says
    ],
)
def test_what_is_in_use_is_asked_for(nuse: int, available: int, used: int) -> None:
    bench = thin_bench()
    bench.model.change_namespace(nuse=nuse)
    assert counts(bench) == {1: (available, 1), 2: (used, 1)}


def test_the_unit_of_thresholds_is_told() -> None:
    bench = thin_bench()
    page = bench.do("INQUIRY", evpd=1, page_code=0xB2, allocation_length=255).data_in
    assert 1 << page[4] == MIB_BLOCKS
    assert page[6] & 7 == 2  # thin
    large = make_lu(blocks=1 << 50, namespace={"nsfeat": 1})
    assert large.threshold_exponent == 51 - 32


def test_without_thin_provisioning_there_is_none_of_it() -> None:
    bench = make_bench()
    page = bench.do("INQUIRY", evpd=1, page_code=0xB2, allocation_length=255).data_in
    assert page[4] == 0
    refused = bench.do("LOG SENSE", pc=1, page_code=0x0C, allocation_length=255)
    assert code(refused) == INVALID_FIELD_IN_CDB
    refused = bench.do("MODE SENSE (10)", page_code=0x1C, subpage_code=2, allocation_length=255)
    assert code(refused) == INVALID_FIELD_IN_CDB
    data = bytes(8) + PROVISIONING_THRESHOLDS.with_header(bytes(32), saveable=False)
    refused = bench.do("MODE SELECT (10)", data, pf=1, parameter_list_length=len(data))
    assert code(refused) == INVALID_FIELD_IN_PARAMETER_LIST
    assert not thresholds.watched(bench.lu)


def test_less_left_is_told_once_until_there_was_more() -> None:
    bench = thin_bench()
    other = bench.other()
    assert not thresholds.watched(bench.lu)
    select(bench, available_enabled=1, available_count=10)
    bench.lu.take_attention(other)  # MODE PARAMETERS CHANGED
    assert thresholds.watched(bench.lu)
    look(bench, 89 * MIB_BLOCKS)
    assert not told(bench, bench.nexus)
    look(bench, 90 * MIB_BLOCKS)
    assert told(bench, bench.nexus)
    assert told(bench, other)
    look(bench, 95 * MIB_BLOCKS)
    assert not told(bench, bench.nexus)
    look(bench, 10 * MIB_BLOCKS)
    look(bench, 90 * MIB_BLOCKS)
    assert told(bench, bench.nexus)


def test_more_in_use_is_told_one_nexus_where_that_is_wanted() -> None:
    bench = thin_bench()
    other = bench.other()
    select(bench, situa=1, used_enabled=1, used_count=50)
    bench.lu.take_attention(other)
    look(bench, 49 * MIB_BLOCKS)
    assert not told(bench, bench.nexus)
    look(bench, 50 * MIB_BLOCKS)
    assert [told(bench, nexus) for nexus in (bench.nexus, other)] == [True, False]


def test_what_cannot_be_asked_changes_nothing() -> None:
    bench = thin_bench()
    select(bench, used_enabled=1, used_count=0)
    bench.model.faults[AdminOpcode.IDENTIFY] = [0x006]
    with pytest.raises(NvmeError):
        bench.model.play(thresholds.check(bench.lu))
    assert not told(bench, bench.nexus)
    look(bench, 0)
    assert told(bench, bench.nexus)
