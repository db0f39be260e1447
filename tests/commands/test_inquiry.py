"""INQUIRY: standard data, page selection, LUNs without a logical unit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.commands.inquiry import STANDARD_DATA
from scsi2nvme.commands.vpd_pages import PAGES
from scsi2nvme.commands.vpd_pages.page import firmware_revision
from scsi2nvme.fields import Values
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.delivery import ServiceDelivery
from tests.support import Bench, make_bench, row


def standard(bench: Bench) -> Values:
    result = bench.do("INQUIRY", allocation_length=0xFFFF)
    assert result.status is Status.GOOD
    assert len(result.data_in) == STANDARD_DATA.size
    return STANDARD_DATA.parse(result.data_in)


def refused(result: Result, byte: int, bit: int) -> bool:
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    return (result.status, result.sense) == (Status.CHECK_CONDITION, sense)


def test_standard_data_describes_the_disk() -> None:
    data = standard(make_bench(controller={"mn": b"ACME Fast SSD 2000 Pro".ljust(40)}))
    assert data.raw[:4] == bytes([0x00, 0x00, 0x06, 0x12])
    assert data.additional_length == 0x5B
    assert data.bytes("vendor") == b"NVMe    "
    assert data.bytes("product") == b"ACME Fast SSD 20"
    assert data.bytes("revision") == b"1.0 "
    assert (data.tpgs, data.protect, data.third_party_copy, data.cmdque) == (1, 0, 1, 1)
    claimed = [data[f"version_descriptor_{n}"] for n in range(1, 9)]
    assert claimed == [0x00A0, 0x0460, 0x04C0, 0x1F60, 0, 0, 0, 0]  # SAM-5, SPC-4, SBC-3, SNT


def test_a_transport_is_named_where_it_is_known() -> None:
    bench = make_bench()
    bench.nexus.delivery = ServiceDelivery(version_descriptor=0x0960)
    data = standard(bench)
    claimed = [data[f"version_descriptor_{n}"] for n in range(1, 9)]
    assert claimed == [0x00A0, 0x0960, 0x0460, 0x04C0, 0x1F60, 0, 0, 0]


@pytest.mark.parametrize(
    ("firmware", "expected"),
    [
        (b"1B2QGXA7", b"GXA7"),
        (b"  A  B  ", b"AB  "),
        (b"AB\0\xff12 3", b"B123"),
        (b"        ", b"    "),
        (b" !\x1f~ \x7f", b"!~  "),  # the first and the last that are graphic
    ],
)
def test_the_revision_is_the_end_of_the_firmware_revision(firmware: bytes, expected: bytes) -> None:
    assert firmware_revision(firmware) == expected


def test_unprintable_product_bytes_become_spaces() -> None:
    data = standard(make_bench(controller={"mn": b"A\0B\x7fC".ljust(40, b"\0")}))
    assert data.bytes("product") == b"A B C".ljust(16)


def test_several_target_ports_set_multip() -> None:
    bench = make_bench()
    assert standard(bench).multip == 0
    other = replace(bench.nexus.target, portal_group_tag=2)
    bench.lu.target_ports = (bench.nexus.target, other)
    assert standard(bench).multip == 1


def test_the_allocation_length_only_truncates() -> None:
    bench = make_bench()
    whole = bench.do("INQUIRY", allocation_length=255).data_in
    for length in (0, 1, 5, 36, 95, 96, 97):
        assert bench.do("INQUIRY", allocation_length=length).data_in == whole[:length]


def test_it_runs_despite_a_unit_attention_and_leaves_it() -> None:
    bench = make_bench()
    bench.lu.establish_attention(POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
    assert bench.do("INQUIRY", allocation_length=36).status is Status.GOOD
    assert bench.lu.pending_attention(bench.nexus) is not None


def test_a_page_code_without_evpd_is_refused() -> None:
    assert refused(make_bench().do("INQUIRY", page_code=0x80, allocation_length=36), 2, 7)


def test_an_unknown_page_is_refused() -> None:
    bench = make_bench()
    known = {page.code for page in PAGES}
    for code in set(range(256)) - known:
        assert refused(bench.do("INQUIRY", evpd=1, page_code=code, allocation_length=255), 2, 7)


def test_the_obsolete_cmddt_is_refused() -> None:
    assert refused(make_bench().run(bytes([0x12, 0x02, 0, 0, 36, 0])), 1, 1)


def test_a_lun_without_logical_unit_says_so() -> None:
    bench = make_bench()
    cdb = row("INQUIRY").build(allocation_length=255)
    result = bench.run(cdb, lun=7)
    assert result.status is Status.GOOD
    assert result.data_in[0] == 0x7F
    assert len(result.data_in) == result.data_in[4] + 5
    assert result.data_in[8:36] == b" " * 28  # vendor, product, revision


def test_a_lun_without_logical_unit_lists_one_page() -> None:
    bench = make_bench()
    build = row("INQUIRY").build
    listed = bench.run(build(evpd=1, allocation_length=255), lun=7)
    assert listed.data_in == bytes([0x7F, 0x00, 0x00, 0x01, 0x00])
    assert refused(bench.run(build(evpd=1, page_code=0x83, allocation_length=255), lun=7), 2, 7)
