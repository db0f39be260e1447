"""WRITE LONG marks blocks as unreadable; READ LONG is not there."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.vpd_pages.extended_inquiry import EXTENDED_INQUIRY
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    UNRECOVERED_READ_ERROR,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, code, make_bench, row

BLOCKS = 4096
NAMES = ["WRITE LONG (10)", "WRITE LONG (16)"]
PHYSICAL = {"nsfeat": 0x10, "npwg": 7}


def refused(bit: int) -> Result:
    return Result(Status.CHECK_CONDITION, Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(1, bit)))


def marked(bench: Bench) -> list[tuple[int, int]]:
    assert set(bench.model.opcodes()) == {Opcode.WRITE_UNCORRECTABLE}
    return [(each.slba, each.blocks) for each in bench.model.executed]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_marked_is_read_when_it_was_written(name: str) -> None:
    bench = make_bench()
    assert bench.do(name, lba=7, wr_uncor=1, byte_transfer_length=520) == Result()
    for check in ("READ (10)", "VERIFY (10)"):
        length = "transfer_length" if check == "READ (10)" else "verification_length"
        result = bench.do(check, lba=7, **{length: 1})
        assert code(result) == UNRECOVERED_READ_ERROR
        assert result.sense is not None
        assert result.sense.information == 7
    assert bench.do("READ (10)", lba=8, transfer_length=1).status is Status.GOOD
    assert bench.do("WRITE (10)", bytes(512), lba=7, transfer_length=1) == Result()
    assert bench.do("READ (10)", lba=7, transfer_length=1).data_in == bytes(512)


@pytest.mark.parametrize("name", NAMES)
def test_all_of_a_physical_block(name: str) -> None:
    bench = make_bench(namespace=PHYSICAL)
    assert bench.do(name, lba=13, wr_uncor=1, pblock=1) == Result()
    assert marked(bench) == [(8, 8)]
    odd = make_bench(namespace=PHYSICAL, blocks=14)
    assert odd.do(name, lba=13, wr_uncor=1, pblock=1) == Result()
    assert marked(odd) == [(8, 6)]


def test_no_more_at_once_than_the_controller_takes() -> None:
    bench = make_bench(namespace={"nsfeat": 0x10, "npwg": 31}, nvm_controller={"wusl": 1})
    bench.lu.maximum_physical_block_bytes = 1 << 16
    bench.model.change_controller(awupf=31)
    bench.lu.facts = bench.model.facts
    assert bench.do("WRITE LONG (16)", lba=33, wr_uncor=1, pblock=1) == Result()
    assert marked(bench) == [(32, 16), (48, 16)]


@pytest.mark.parametrize("name", NAMES)
def test_what_nvme_cannot_do_is_refused(name: str) -> None:
    bench = make_bench()
    assert bench.do(name, lba=7) == refused(6)
    assert bench.do(name, lba=7, wr_uncor=1, cor_dis=1) == refused(7)
    result = bench.do(name, lba=BLOCKS, wr_uncor=1)
    assert code(result) == LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE
    assert not bench.model.executed


@pytest.mark.parametrize("there", [False, True])
def test_it_is_told_where_the_controller_has_it(there: bool) -> None:
    bench = make_bench(controller={"oncs": 0xFF if there else 0xFD})
    data = bench.do("INQUIRY", evpd=1, page_code=0x86, allocation_length=64).data_in
    told = EXTENDED_INQUIRY.parse(data)
    assert (told.wu_sup, told.crd_sup) == (there, 0)
    if not there:
        assert code(bench.do(NAMES[0], wr_uncor=1)) == INVALID_COMMAND_OPERATION_CODE


def test_its_blocks_are_those_of_any_physical_block() -> None:
    one = row(NAMES[1])
    assert one.extents(one.build(lba=0x12345, wr_uncor=1), b"") == (range(0x12345, 0x12346),)
    all_of_it = one.extents(one.build(lba=0x12345, wr_uncor=1, pblock=1), b"")
    assert all_of_it == (range(0x10000, 0x18000),)


@pytest.mark.parametrize(
    ("cdb", "expected", "pointer"),
    [
        ("3E 00 00000005 00 0200 00", INVALID_COMMAND_OPERATION_CODE, FieldPointer(0)),
        ("9E 11 0000000000000005 0000 0200 00 00", INVALID_FIELD_IN_CDB, FieldPointer(1, 4)),
    ],
)
def test_read_long_is_not_there(cdb: str, expected: object, pointer: FieldPointer) -> None:
    result = make_bench().run(bytes.fromhex(cdb))
    assert code(result) == expected
    assert result.sense is not None
    assert result.sense.pointer == pointer
