"""READ and WRITE: ranges, limits, splits, protection fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.commands.read_write import FUA, in_batches, split
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import MAXIMUM_TRANSFER_BYTES
from tests.support import Bench, make_bench, make_lu, row

BLOCK = 512
READS = ["READ (6)", "READ (10)", "READ (12)", "READ (16)"]
WRITES = ["WRITE (6)", "WRITE (10)", "WRITE (12)", "WRITE (16)"]
OUT_OF_RANGE = Result(Status.CHECK_CONDITION, Sense(LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE))


@pytest.fixture
def bench() -> Bench:
    return make_bench(blocks=4096, maximum_transfer_bytes=8 * BLOCK)


def pattern(blocks: int) -> bytes:
    return b"".join(bytes([n & 0xFF, n >> 8]) * (BLOCK // 2) for n in range(1, blocks + 1))


@pytest.mark.parametrize("name", READS)
def test_read_returns_the_blocks(bench: Bench, name: str) -> None:
    bench.model.fill(100, pattern(20))
    assert bench.do(name, lba=100, transfer_length=20) == Result(data_in=pattern(20))
    assert bench.model.opcodes() == [Opcode.READ] * 3  # 8 + 8 + 4 blocks


@pytest.mark.parametrize("name", WRITES)
def test_write_stores_the_blocks(bench: Bench, name: str) -> None:
    assert bench.do(name, pattern(20), lba=7, transfer_length=20) == Result()
    assert bench.model.blocks(6, 22) == bytes(BLOCK) + pattern(20) + bytes(BLOCK)


def test_zero_length_means_256_blocks_in_six_byte_commands(bench: Bench) -> None:
    assert len(bench.do("READ (6)").data_in) == 256 * BLOCK
    assert bench.do("WRITE (6)", pattern(256), lba=5) == Result()
    assert bench.model.blocks(5, 256) == pattern(256)


@pytest.mark.parametrize("name", READS[1:] + WRITES[1:])
def test_zero_length_does_nothing_up_to_the_end(bench: Bench, name: str) -> None:
    assert bench.do(name, lba=4096) == Result()
    assert bench.do(name, lba=4097) == OUT_OF_RANGE
    assert not bench.model.executed


@pytest.mark.parametrize(
    ("lba", "blocks"), [(4096, 1), (4095, 2), (0, 4097), (0xFFFFFFFF, 1), ((1 << 64) - 1, 2)]
)
def test_beyond_the_capacity(bench: Bench, lba: int, blocks: int) -> None:
    assert bench.do("READ (16)", lba=lba, transfer_length=blocks) == OUT_OF_RANGE
    data = bytes(blocks * BLOCK)
    assert bench.do("WRITE (16)", data, lba=lba, transfer_length=blocks) == OUT_OF_RANGE
    assert not bench.model.executed


@pytest.mark.parametrize("name", ["READ (12)", "WRITE (16)"])
def test_more_than_the_maximum_transfer_length(name: str) -> None:
    bench = make_bench(blocks=20000)
    blocks = bench.lu.maximum_transfer_blocks + 1
    result = bench.do(name, bytes(blocks * BLOCK), lba=0, transfer_length=blocks)
    byte, bit = row(name).structure.by_name["transfer_length"].highest_bit("big")
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    assert result == Result(Status.CHECK_CONDITION, sense)


@pytest.mark.parametrize("protect", range(1, 8))
@pytest.mark.parametrize(
    ("name", "field"), [("READ (10)", "rdprotect"), ("WRITE (10)", "wrprotect")]
)
def test_protection_fields_are_refused(bench: Bench, name: str, field: str, protect: int) -> None:
    result = bench.do(name, bytes(BLOCK), transfer_length=1, **{field: protect})
    sense = Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(1, 7))
    assert result == Result(Status.CHECK_CONDITION, sense)


@pytest.mark.parametrize("name", READS[1:] + WRITES[1:])
def test_fua_reaches_every_piece(bench: Bench, name: str) -> None:
    data = bytes(20 * BLOCK) if name in WRITES else b""
    assert bench.do(name, data, transfer_length=20, fua=1, dpo=1).status is Status.GOOD
    assert all(command.cdw12 & FUA for command in bench.model.executed)
    bench.model.executed.clear()
    bench.do(name, data, transfer_length=20)
    assert not any(command.cdw12 & FUA for command in bench.model.executed)


@given(
    lba=st.integers(0, 1 << 40),
    blocks=st.integers(0, 3000),
    maximum=st.sampled_from([1, 7, 8, 256]),
    boundary=st.sampled_from([0, 1, 8, 100, 256]),
)
def test_split_covers_the_range_within_every_limit(
    lba: int, blocks: int, maximum: int, boundary: int
) -> None:
    lu = make_lu(maximum_transfer_bytes=maximum * BLOCK, namespace={"noiob": boundary})
    at = lba
    for start, count in split(lu, lba, blocks):
        assert start == at
        assert 0 < count <= maximum
        if boundary:
            assert start // boundary == (start + count - 1) // boundary
        at += count
    assert at == lba + blocks


def test_one_nvme_command_names_at_most_65536_blocks() -> None:
    lu = make_lu(maximum_transfer_bytes=1 << 30)
    assert [count for _, count in split(lu, 0, 70000)] == [65536, 4464]


@given(st.lists(st.integers(0, MAXIMUM_TRANSFER_BYTES + 1), max_size=100))
def test_batches_keep_order_and_are_bounded(sizes: list[int]) -> None:
    commands = [NvmeCommand(Opcode.READ, cdw10=n, data_in=size) for n, size in enumerate(sizes)]
    batches = list(in_batches(commands))
    assert [command for batch in batches for command in batch] == commands
    for batch in batches:
        assert 0 < len(batch) <= 32
        moved = sum(command.data_in for command in batch)
        assert len(batch) == 1 or moved <= MAXIMUM_TRANSFER_BYTES


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([MAXIMUM_TRANSFER_BYTES // 2] * 4 + [1], [2, 2, 1]),
        ([MAXIMUM_TRANSFER_BYTES, 1, MAXIMUM_TRANSFER_BYTES - 1, 0, 1], [1, 3, 1]),
        ([512] * 65, [32, 32, 1]),
        ([MAXIMUM_TRANSFER_BYTES + 1] * 2, [1, 1]),
    ],
)
def test_batches_are_as_large_as_they_may_be(sizes: list[int], batches: list[int]) -> None:
    commands = [NvmeCommand(Opcode.READ, data_in=size) for size in sizes]
    assert [len(batch) for batch in in_batches(commands)] == batches
