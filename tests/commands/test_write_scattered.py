"""WRITE SCATTERED: every range is written, or, if one of them is wrong, none."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.vpd_pages.block_limits_extension import BLOCK_LIMITS_EXTENSION
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    INVALID_FIELD_IN_PARAMETER_LIST,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    FieldPointer,
    Sense,
    SenseCode,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_SCATTERED_RANGES, MAXIMUM_TRANSFER_BYTES
from tests.commands.vectors import block, scattered
from tests.support import Bench, code, make_bench, protected_bench, row

BLOCK, BLOCKS = 512, 4096
NAME = "WRITE SCATTERED (16)"


def numbered(*ranges: tuple[int, int], start: int = 1) -> bytes:
    total = sum(count for _, count in ranges)
    return b"".join(block(number % 256) for number in range(start, start + total))


def write(bench: Bench, *ranges: tuple[int, int], **fields: int) -> Result:
    """Write blocks that are full of 1, 2, 3 and so on."""
    offset = fields.get("logical_block_data_offset", 1)
    head = (bytes(32) + scattered(*ranges)).ljust(offset * BLOCK, b"\0")
    values = {
        "logical_block_data_offset": offset,
        "number_of_lba_range_descriptors": len(ranges),
        "buffer_transfer_length": sum(count for _, count in ranges),
        **fields,
    }
    size = (values["logical_block_data_offset"] + values["buffer_transfer_length"]) * BLOCK
    return bench.do(NAME, (head + numbered(*ranges)).ljust(size, b"\0")[:size], **values)


def refused(code: SenseCode, byte: int, bit: int = 7, *, in_cdb: bool = True) -> Result:
    pointer = FieldPointer(byte, bit, in_cdb=in_cdb)
    return Result(Status.CHECK_CONDITION, Sense(code, pointer=pointer))


def test_ranges_are_written() -> None:
    bench = make_bench(maximum_transfer_bytes=4096)
    ranges = (100, 3), (9, 0), (50, 20), (200, 1)
    assert write(bench, *ranges, logical_block_data_offset=2) == Result()
    assert bench.model.blocks(100, 3) == numbered((0, 3))
    assert bench.model.blocks(50, 20) == numbered((0, 20), start=4)
    assert bench.model.blocks(200) == block(24)
    assert [command.blocks for command in bench.model.executed] == [3, 8, 8, 4, 1]


def test_where_ranges_meet_the_last_one_holds() -> None:
    bench = make_bench()
    assert write(bench, (10, 4), (12, 4)) == Result()
    assert bench.model.blocks(10, 6) == block(1) + block(2) + numbered((0, 4), start=5)


@pytest.mark.parametrize(
    "fields",
    [
        {"number_of_lba_range_descriptors": 0},
        {"buffer_transfer_length": 0},
        {"buffer_transfer_length": 0, "logical_block_data_offset": 0},
    ],
)
def test_nothing_to_do(fields: dict[str, int]) -> None:
    bench = make_bench()
    assert write(bench, (5, 1), **fields) == Result()
    assert not bench.model.executed


@pytest.mark.parametrize(
    ("ranges", "fields", "expected"),
    [
        ([(5, 1)], {"logical_block_data_offset": 0}, refused(INVALID_FIELD_IN_CDB, 4)),
        ([(5, 1)] * 16, {}, refused(INVALID_FIELD_IN_CDB, 8)),
        (
            [(5, 0)] * (MAXIMUM_SCATTERED_RANGES + 1),
            {"logical_block_data_offset": 9, "buffer_transfer_length": 1},
            refused(INVALID_FIELD_IN_CDB, 8),
        ),
        (
            [(5, 1)],
            {"buffer_transfer_length": MAXIMUM_TRANSFER_BYTES // BLOCK},
            refused(INVALID_FIELD_IN_CDB, 10),
        ),
        (
            [(5, 1), (7, 2)],
            {"buffer_transfer_length": 2},
            refused(INVALID_FIELD_IN_PARAMETER_LIST, 64 + 8, in_cdb=False),
        ),
        (
            [(5, 1), (BLOCKS - 1, 2)],
            {},
            Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)),
        ),
        ([(5, 1)], {"wrprotect": 1}, refused(INVALID_FIELD_IN_CDB, 2)),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    ranges: list[tuple[int, int]], fields: dict[str, int], expected: Result
) -> None:
    bench = make_bench()
    assert write(bench, *ranges, **fields) == expected
    assert not bench.model.executed


def test_data_that_are_not_all_there() -> None:
    bench = make_bench()
    cdb = row(NAME).build(
        logical_block_data_offset=1, number_of_lba_range_descriptors=1, buffer_transfer_length=2
    )
    data = (bytes(32) + scattered((5, 2))).ljust(1024, b"\0")
    bench.nexus.tells_residual = True
    result = bench.run(cdb, data, expected=len(data))
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert not bench.model.executed


def test_its_blocks_are_those_of_its_list() -> None:
    """What must be alone on other blocks goes on beside it."""
    cdb = row(NAME).build(
        logical_block_data_offset=1, number_of_lba_range_descriptors=2, buffer_transfer_length=3
    )
    data = bytes(32) + scattered((7, 2), (2, 1), (9, 9))
    assert row(NAME).extents(cdb, data.ljust(2048, b"\0")) == (range(7, 9), range(2, 3))
    assert row(NAME).extents(cdb, data[:70]) == (range(7, 9),)
    assert row(NAME).extents(cdb[:9], data) == ()


def test_tuples_lie_behind_their_blocks() -> None:
    bench = protected_bench(1)
    size = BLOCK + 8
    fields = {"logical_block_data_offset": 1, "number_of_lba_range_descriptors": 2}
    tuples = [(b"\0\0\0\0" + lba.to_bytes(4, "big")) for lba in (7, 8, 2)]
    blocks = b"".join(block(0) + each for each in tuples)
    head = (bytes(32) + scattered((7, 2), (2, 1))).ljust(size, b"\0")
    result = bench.do(NAME, head + blocks, **fields, buffer_transfer_length=3, wrprotect=3)
    assert result == Result()
    assert [bench.model.tuples[lba] for lba in (7, 8, 2)] == tuples


def test_what_is_told() -> None:
    bench = make_bench()
    data = bench.do("INQUIRY", evpd=1, page_code=0xB7, allocation_length=255).data_in
    limits = BLOCK_LIMITS_EXTENSION.parse(data)
    assert len(data) == BLOCK_LIMITS_EXTENSION.size
    most = MAXIMUM_TRANSFER_BYTES // BLOCK - 1
    assert limits.maximum_scattered_ranges == MAXIMUM_SCATTERED_RANGES
    assert limits.maximum_scattered_range == limits.maximum_scattered_transfer == most
    assert write(bench, (0, 3), buffer_transfer_length=most) == Result()
