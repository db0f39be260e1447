"""UNMAP and WRITE SAME."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands.provisioning import UNMAP_BLOCK_DESCRIPTOR, UNMAP_HEADER
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    PARAMETER_LIST_LENGTH_ERROR,
    WRITE_PROTECTED,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from tests.model_controller import DEAC
from tests.support import Bench, make_bench, row

BLOCK = 512
BLOCKS = 4096
SAMES = ["WRITE SAME (10)", "WRITE SAME (16)"]


def failed(code: SenseCode, pointer: FieldPointer | None = None) -> Result:
    return Result(Status.CHECK_CONDITION, Sense(code, pointer=pointer))


def refused_at(byte: int, bit: int) -> Result:
    return failed(INVALID_FIELD_IN_CDB, FieldPointer(byte, bit))


OUT_OF_RANGE = failed(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)


def unmap_list(*ranges: tuple[int, int]) -> bytes:
    size = 16 * len(ranges)
    return UNMAP_HEADER.build(
        unmap_data_length=size + 6, unmap_block_descriptor_data_length=size
    ) + b"".join(
        UNMAP_BLOCK_DESCRIPTOR.build(lba=lba, number_of_blocks=count) for lba, count in ranges
    )


def unmap(bench: Bench, data: bytes) -> Result:
    return bench.do("UNMAP", data, parameter_list_length=len(data))


@pytest.fixture
def bench() -> Bench:
    return make_bench(blocks=BLOCKS, maximum_transfer_bytes=8 * BLOCK)


def test_unmap_deallocates_every_range(bench: Bench) -> None:
    assert unmap(bench, unmap_list((5, 10), (100, 1))) == Result()
    assert bench.model.deallocated == [(5, 10), (100, 1)]
    assert bench.model.opcodes() == [Opcode.DATASET_MANAGEMENT]


def test_unmap_of_nothing(bench: Bench) -> None:
    assert bench.do("UNMAP") == Result()
    assert unmap(bench, unmap_list()) == Result()
    assert unmap(bench, unmap_list((7, 0), (BLOCKS, 0))) == Result()
    assert not bench.model.executed


@pytest.mark.parametrize("length", range(1, 8))
def test_unmap_with_half_a_header(bench: Bench, length: int) -> None:
    assert unmap(bench, bytes(length)) == failed(PARAMETER_LIST_LENGTH_ERROR)


@pytest.mark.parametrize("cut", range(1, 16))
def test_unmap_ignores_an_incomplete_descriptor(bench: Bench, cut: int) -> None:
    assert unmap(bench, unmap_list((5, 10), (100, 1))[:-cut]) == Result()
    assert bench.model.deallocated == [(5, 10)]


def test_unmap_ignores_what_the_header_does_not_count(bench: Bench) -> None:
    data = (
        UNMAP_HEADER.build(unmap_block_descriptor_data_length=31) + unmap_list((1, 1), (2, 1))[8:]
    )
    assert unmap(bench, data) == Result()
    assert bench.model.deallocated == [(1, 1)]


def test_unmap_of_too_many_descriptors(bench: Bench) -> None:
    ranges = [(n, 1) for n in range(256)]
    assert unmap(bench, unmap_list(*ranges)) == Result()
    too_many = unmap_list(*ranges, (300, 1))
    pointer = FieldPointer(2, 7, in_cdb=False)
    assert unmap(bench, too_many) == failed(INVALID_FIELD_IN_PARAMETER_LIST, pointer)


@pytest.mark.parametrize(
    "wrong", [(BLOCKS, 1), (BLOCKS - 1, 2), (BLOCKS + 1, 0), ((1 << 64) - 1, 0xFFFFFFFF)]
)
def test_unmap_checks_all_ranges_first(bench: Bench, wrong: tuple[int, int]) -> None:
    assert unmap(bench, unmap_list((0, 5), wrong)) == OUT_OF_RANGE
    assert not bench.model.executed


def test_unmap_refuses_anchoring(bench: Bench) -> None:
    assert bench.do("UNMAP", anchor=1) == refused_at(1, 0)


def test_unmap_needs_dataset_management() -> None:
    bench = make_bench(controller={"oncs": 0xFB})
    assert unmap(bench, unmap_list((0, 1))) == failed(
        INVALID_COMMAND_OPERATION_CODE, FieldPointer(0)
    )


@given(
    ranges=st.lists(st.tuples(st.integers(0, 3900), st.integers(0, 100)), max_size=20),
    dmrl=st.sampled_from([0, 1, 3, 255]),
    dmrsl=st.sampled_from([0, 1, 7, 64]),
    dmsl=st.sampled_from([0, 7, 64, 500]),
)
def test_unmap_keeps_the_controllers_limits(
    ranges: list[tuple[int, int]], dmrl: int, dmrsl: int, dmsl: int
) -> None:
    bench = make_bench(nvm_controller={"dmrl": dmrl, "dmrsl": dmrsl, "dmsl": dmsl})
    assert unmap(bench, unmap_list(*ranges)) == Result()
    done = [lba + n for lba, count in bench.model.deallocated for n in range(count)]
    assert done == [lba + n for lba, count in ranges for n in range(count)]


@pytest.mark.parametrize(("last", "commands"), [(4, 1), (5, 2)])
def test_as_much_is_unmapped_at_a_time_as_may_be(last: int, commands: int) -> None:
    bench = make_bench(nvm_controller={"dmsl": 7})
    assert unmap(bench, unmap_list((0, 3), (10, last))) == Result()
    assert len(bench.model.executed) == commands


def test_write_protected_medium_is_not_unmapped(bench: Bench) -> None:
    bench.lu.read_only = True
    assert unmap(bench, unmap_list((0, 1))) == failed(WRITE_PROTECTED)


@pytest.mark.parametrize("name", SAMES)
def test_zeroes_become_write_zeroes(bench: Bench, name: str) -> None:
    bench.model.fill(0, b"\xff" * 50 * BLOCK)
    assert bench.do(name, bytes(BLOCK), lba=10, number_of_blocks=30) == Result()
    assert bench.model.blocks(9, 32) == b"\xff" * BLOCK + bytes(30 * BLOCK) + b"\xff" * BLOCK
    assert bench.model.opcodes() == [Opcode.WRITE_ZEROES]
    assert not bench.model.deallocated


@pytest.mark.parametrize("name", SAMES)
def test_unmap_bit_deallocates_zeroes(bench: Bench, name: str) -> None:
    assert bench.do(name, bytes(BLOCK), lba=10, number_of_blocks=30, unmap=1) == Result()
    assert bench.model.deallocated == [(10, 30)]


def test_unmap_bit_where_write_zeroes_cannot_deallocate() -> None:
    bench = make_bench(namespace={"dlfeat": 1})
    bench.model.fill(0, b"\xff" * 9 * BLOCK)
    assert bench.do("WRITE SAME (16)", bytes(BLOCK), number_of_blocks=9, unmap=1) == Result()
    assert bench.model.blocks(0, 9) == bytes(9 * BLOCK)
    assert not bench.model.executed[0].cdw12 & DEAC


@pytest.mark.parametrize("name", SAMES)
def test_a_pattern_is_written_even_with_the_unmap_bit(bench: Bench, name: str) -> None:
    block = bytes(range(256)) * 2
    assert bench.do(name, block, lba=3, number_of_blocks=20, unmap=1) == Result()
    assert bench.model.blocks(2, 22) == bytes(BLOCK) + block * 20 + bytes(BLOCK)
    assert set(bench.model.opcodes()) == {Opcode.WRITE}


def test_zeroes_are_written_where_there_is_no_write_zeroes() -> None:
    bench = make_bench(controller={"oncs": 0xF7})
    bench.model.fill(0, b"\xff" * 9 * BLOCK)
    assert bench.do("WRITE SAME (10)", bytes(BLOCK), number_of_blocks=9) == Result()
    assert bench.model.blocks(0, 9) == bytes(9 * BLOCK)


def test_no_data_out_buffer_means_zeroes(bench: Bench) -> None:
    bench.model.fill(0, b"\xff" * 9 * BLOCK)
    assert bench.do("WRITE SAME (16)", ndob=1, number_of_blocks=9) == Result()
    assert bench.model.blocks(0, 9) == bytes(9 * BLOCK)


@pytest.mark.parametrize(
    ("wzsl", "pieces"), [(0, [65535]), (1, [16] * 4095 + [15]), (12, [32768, 32767]), (14, [65535])]
)
def test_write_zeroes_is_split(wzsl: int, pieces: list[int]) -> None:
    bench = make_bench(blocks=70000, nvm_controller={"wzsl": wzsl})
    assert bench.do("WRITE SAME (16)", bytes(BLOCK), number_of_blocks=65535) == Result()
    assert [command.blocks for command in bench.model.executed] == pieces


@pytest.mark.parametrize("name", SAMES)
def test_write_same_refuses(bench: Bench, name: str) -> None:
    block = bytes(BLOCK)
    assert bench.do(name, block, number_of_blocks=1, anchor=1, unmap=1) == refused_at(1, 4)
    assert bench.do(name, block, number_of_blocks=1, wrprotect=1) == refused_at(1, 7)
    assert bench.do(name, block, lba=BLOCKS, number_of_blocks=1) == OUT_OF_RANGE
    assert bench.do(name, block, lba=BLOCKS - 1, number_of_blocks=2) == OUT_OF_RANGE
    assert not bench.model.executed


def test_write_same_beyond_its_maximum() -> None:
    bench = make_bench(blocks=0x10000)
    assert bench.lu.maximum_write_same_blocks == 0xFFFF
    result = bench.do("WRITE SAME (16)", bytes(BLOCK), number_of_blocks=0x10000)
    assert result == refused_at(10, 7)
    assert bench.model.executed == []


@pytest.mark.parametrize(("name", "count_byte"), [(SAMES[0], 7), (SAMES[1], 10)])
@pytest.mark.parametrize("unmap", [0, 1])
def test_write_same_of_zero_blocks_is_refused(
    bench: Bench, name: str, count_byte: int, unmap: int
) -> None:
    result = bench.do(name, bytes(BLOCK), lba=BLOCKS - 1, number_of_blocks=0, unmap=unmap)
    assert result == refused_at(count_byte, 7)
    assert bench.do(name, bytes(BLOCK), lba=BLOCKS + 1, number_of_blocks=0) == OUT_OF_RANGE


@pytest.mark.parametrize(("name", "count_byte"), [(SAMES[0], 7), (SAMES[1], 10)])
def test_write_same_of_zero_blocks_is_the_rest_without_provisioning(
    name: str, count_byte: int
) -> None:
    bench = make_bench(blocks=0x10008, controller={"oncs": 0xFB})
    pattern = bytes(range(256)) * (BLOCK // 256)
    assert bench.do(name, pattern, lba=0x10005, number_of_blocks=0) == Result()
    assert bench.model.blocks(0x10004, 4) == bytes(BLOCK) + 3 * pattern
    assert bench.do(name, pattern, lba=0x10008, number_of_blocks=0) == OUT_OF_RANGE
    assert bench.do(name, pattern, lba=8, number_of_blocks=0) == refused_at(count_byte, 7)


@pytest.mark.parametrize("name", SAMES)
@pytest.mark.parametrize("expected", [0, BLOCK - 1, 2 * BLOCK])
def test_write_same_takes_exactly_one_block(bench: Bench, name: str, expected: int) -> None:
    cdb = row(name).build(number_of_blocks=3)
    refused = failed(INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)
    assert bench.run(cdb, bytes(expected), expected=expected) == refused
    assert bench.run(cdb, bytes(BLOCK - 1), expected=BLOCK) == refused
    assert bench.model.executed == []


def test_write_same_without_data_out_buffer_takes_none(bench: Bench) -> None:
    cdb = row("WRITE SAME (16)").build(ndob=1, number_of_blocks=3)
    refused = failed(INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT)
    assert bench.run(cdb, bytes(BLOCK), expected=BLOCK) == refused
    assert bench.run(cdb, expected=0) == Result()


def test_write_same_takes_no_unmap_bit_without_provisioning() -> None:
    bench = make_bench(controller={"oncs": 0xFB})
    result = bench.do("WRITE SAME (16)", bytes(BLOCK), number_of_blocks=1, unmap=1)
    assert result == refused_at(1, 3)
