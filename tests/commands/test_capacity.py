"""READ CAPACITY and GET LBA STATUS."""

from __future__ import annotations

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.commands import vpd_pages
from scsi2nvme.commands.capacity import CAPACITY_10, CAPACITY_16
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    MEDIUM_NOT_PRESENT,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, bench_of, make_bench


def refused_at(byte: int, bit: int) -> Result:
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    return Result(Status.CHECK_CONDITION, sense)


def huge(blocks: int) -> Bench:
    bench = make_bench()
    bench.model.change_namespace(nsze=blocks)
    bench.lu.facts = bench.model.facts
    return bench


@pytest.mark.parametrize("block_bytes", [512, 4096])
def test_last_lba_and_block_length(block_bytes: int) -> None:
    bench = make_bench(blocks=1000, block_bytes=block_bytes)
    short = CAPACITY_10.parse(bench.do("READ CAPACITY (10)").data_in)
    long = CAPACITY_16.parse(bench.do("READ CAPACITY (16)", allocation_length=32).data_in)
    assert (short.returned_lba, short.block_length) == (999, block_bytes)
    assert (long.returned_lba, long.block_length) == (999, block_bytes)


@pytest.mark.parametrize(
    ("blocks", "last"),
    [(0xFFFFFFFF, 0xFFFFFFFE), (1 << 32, 0xFFFFFFFF), ((1 << 32) + 1, 0xFFFFFFFF)],
)
def test_capacity_beyond_32_bits(blocks: int, last: int) -> None:
    bench = huge(blocks)
    assert CAPACITY_10.parse(bench.do("READ CAPACITY (10)").data_in).returned_lba == last
    long = bench.do("READ CAPACITY (16)", allocation_length=32).data_in
    assert CAPACITY_16.parse(long).returned_lba == blocks - 1


@pytest.mark.parametrize("length", [0, 1, 12, 31])
def test_allocation_length_truncates(length: int) -> None:
    bench = make_bench()
    whole = bench.do("READ CAPACITY (16)", allocation_length=0xFFFFFFFF).data_in
    assert len(whole) == 32
    assert bench.do("READ CAPACITY (16)", allocation_length=length).data_in == whole[:length]


@pytest.mark.parametrize(("name", "byte"), [("READ CAPACITY (10)", 2), ("READ CAPACITY (16)", 2)])
def test_an_lba_needs_pmi(name: str, byte: int) -> None:
    bench = make_bench()
    assert bench.do(name, lba=1) == refused_at(byte, 7)
    assert bench.do(name, lba=1, pmi=1).status is Status.GOOD


@pytest.mark.parametrize(
    ("oncs", "dlfeat", "lbpme", "lbprz"), [(0xFF, 1, 1, 1), (0xFF, 2, 1, 0), (0xFB, 1, 0, 0)]
)
def test_provisioning_bits(oncs: int, dlfeat: int, lbpme: int, lbprz: int) -> None:
    bench = make_bench(controller={"oncs": oncs}, namespace={"dlfeat": dlfeat})
    data = CAPACITY_16.parse(bench.do("READ CAPACITY (16)", allocation_length=32).data_in)
    assert (data.lbpme, data.lbprz, data.prot_en) == (lbpme, lbprz, 0)


@pytest.mark.parametrize(
    ("npwg", "awupf", "exponent"), [(7, 7, 3), (7, 0, 0), (7, 255, 3), (6, 255, 0), (7, 4, 2)]
)
def test_physical_blocks_are_not_torn(npwg: int, awupf: int, exponent: int) -> None:
    bench = make_bench(controller={"awupf": awupf}, namespace={"nsfeat": 0x10, "npwg": npwg})
    data = CAPACITY_16.parse(bench.do("READ CAPACITY (16)", allocation_length=32).data_in)
    assert data.lbppbe == exponent


def test_lba_status_is_one_extent_to_the_end() -> None:
    bench = make_bench(blocks=1000)
    data = bench.do("GET LBA STATUS (16)", lba=10, allocation_length=24).data_in
    assert data[:4] == (20).to_bytes(4, "big")
    assert data[8:16] == (10).to_bytes(8, "big")
    assert data[16:20] == (990).to_bytes(4, "big")
    assert data[20] & 0xF == 0


@pytest.mark.parametrize("lba", [0, 1, 513, 998, 999])
def test_lba_status_is_of_all_blocks_to_the_last(lba: int) -> None:
    data = make_bench(blocks=1000).do("GET LBA STATUS (16)", lba=lba, allocation_length=24).data_in
    assert int.from_bytes(data[16:20], "big") == 1000 - lba


def test_lba_status_extent_is_capped() -> None:
    data = huge(1 << 40).do("GET LBA STATUS (16)", lba=1, allocation_length=24).data_in
    assert data[16:20] == b"\xff" * 4


@pytest.mark.parametrize("kind", [1, 3, 4, 0x10])
def test_lba_status_knows_no_other_blocks(kind: int) -> None:
    bench = make_bench()
    data = bench.do("GET LBA STATUS (16)", report_type=kind, allocation_length=99).data_in
    assert len(data) == 8
    assert data[:4] == (4).to_bytes(4, "big")


@pytest.mark.parametrize("lba", [1000, 1001, 1 << 63, (1 << 64) - 1])
def test_lba_status_beyond_the_capacity(lba: int) -> None:
    bench = make_bench(blocks=1000)
    result = bench.do("GET LBA STATUS (16)", lba=lba, allocation_length=24)
    assert result == Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))


def test_lba_status_report_type_is_checked() -> None:
    assert make_bench().do("GET LBA STATUS (16)", report_type=5) == refused_at(14, 7)


@pytest.mark.parametrize(
    "command", [each for each in commands.COMMANDS if each.needs_ready], ids=lambda each: each.name
)
def test_a_namespace_without_blocks_is_no_medium(command: Command) -> None:
    bench = bench_of(command, blocks=0)
    cdb = command.build()
    result = bench.run(cdb, bytes(command.data_bytes(command.structure.parse(cdb), 512)))
    assert result == Result(Status.CHECK_CONDITION, Sense(MEDIUM_NOT_PRESENT))
    assert bench.lu.aside(bench.nexus)


def test_a_namespace_without_blocks_can_be_asked_about() -> None:
    bench = make_bench(blocks=0)
    for page in (each for each in vpd_pages.PAGES if each.supported(bench.lu)):
        told = bench.do("INQUIRY", evpd=1, page_code=page.code, allocation_length=255)
        assert told.status is Status.GOOD, page.name
    told = bench.do("MODE SENSE (10)", page_code=0x3F, llbaa=1, allocation_length=255)
    assert told.status is Status.GOOD
    assert told.data_in[8:24] == bytes.fromhex("0000000000000000 00000000 00000200")
