"""WRITE ATOMIC: one Write or a refusal, by what the controller promises."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.vpd_pages.block_limits import BLOCK_LIMITS
from scsi2nvme.commands.vpd_pages.page import HEADER
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE,
    FieldPointer,
    Sense,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, code, make_bench, protected_bench

BLOCK = 512
BLOCKS = 4096
Fields = dict[str, int | bytes]


def write(bench: Bench, lba: int, blocks: int, **fields: int) -> Result:
    data = bytes(range(256)) * 2 * blocks
    return bench.do("WRITE ATOMIC (16)", data, lba=lba, transfer_length=blocks, **fields)


def refused(byte: int, bit: int = 7) -> Result:
    return Result(
        Status.CHECK_CONDITION, Sense(INVALID_FIELD_IN_CDB, pointer=FieldPointer(byte, bit))
    )


def told(bench: Bench) -> tuple[int, ...]:
    fields = {"evpd": 1, "page_code": 0xB0, "allocation_length": 64}
    data = bench.do("INQUIRY", **fields).data_in
    assert len(data) == BLOCK_LIMITS.size
    assert HEADER.parse(data).page_code == 0xB0
    limits = BLOCK_LIMITS.parse(data)
    return (
        limits.maximum_atomic_transfer,
        limits.atomic_alignment,
        limits.atomic_granularity,
        limits.maximum_atomic_with_boundary,
        limits.maximum_atomic_boundary,
    )


@pytest.mark.parametrize("noiob", [0, 4])
def test_it_is_one_write_whatever_is_fast(noiob: int) -> None:
    bench = make_bench(namespace={"noiob": noiob})
    assert write(bench, 3, 8, fua=1) == Result()
    (command,) = bench.model.executed
    assert (command.opcode, command.slba, command.blocks) == (Opcode.WRITE, 3, 8)
    assert command.cdw12 >> 30 & 1


def test_no_blocks_are_nothing_to_do() -> None:
    bench = make_bench()
    assert write(bench, BLOCKS, 0) == Result()
    assert not bench.model.executed


@pytest.mark.parametrize(("lba", "blocks"), [(BLOCKS, 1), (BLOCKS - 7, 8), (1 << 63, 512)])
def test_the_end_goes_before_limits(lba: int, blocks: int) -> None:
    assert code(write(make_bench(), lba, blocks)) == LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE


def test_more_than_is_promised_is_refused() -> None:
    bench = make_bench()
    assert write(bench, 0, 9) == refused(12)
    assert write(bench, 0, 8, atomic_boundary=9) == refused(10)
    assert write(bench, 0, 8, atomic_boundary=1) == Result()
    assert write(bench, 0, 8, wrprotect=1) == refused(1)
    assert len(bench.model.executed) == 1


@pytest.mark.parametrize("sent", [0, 100, 512, 1023])
def test_half_of_the_data_is_no_whole(sent: int) -> None:
    """WRITE would write the blocks that came."""
    bench = make_bench()
    bench.nexus.tells_residual = True
    cdb = bytes.fromhex("9C 00 0000000000000005 0000 0002 00 00")
    result = bench.run(cdb, bytes(sent), expected=sent)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
    assert not bench.model.executed


@pytest.mark.parametrize(
    ("controller", "namespace", "mdts", "most", "alignment"),
    [
        ({}, {}, 16384, 8, 1),
        ({"awupf": 255}, {}, 16384, 32, 1),  # no more than one command moves
        ({"awupf": 255, "awun": 15}, {}, 16384, 16, 1),  # nor than others see at once
        ({}, {"nsfeat": 2, "nawupf": 15, "nawun": 31}, 16384, 16, 1),
        ({}, {"nsfeat": 2, "nawupf": 15, "nawun": 3}, 16384, 4, 1),
        ({}, {"nsfeat": 0, "nawupf": 15, "nawun": 31}, 16384, 8, 1),  # not valid
        ({"awupf": 255}, {"nabspf": 15}, 16384, 16, 16),
        ({"awupf": 255}, {"nabsn": 15, "nabspf": 7}, 16384, 8, 8),
        ({"awupf": 255}, {"nabspf": 15, "nabo": 4}, 16384, 4, 4),
        ({"awupf": 5}, {"nabspf": 15}, 16384, 4, 4),  # 6 blocks would cross in the end
        ({"awupf": 5}, {"nabspf": 2}, 16384, 3, 3),
    ],
)
def test_what_is_told(
    controller: Fields, namespace: Fields, mdts: int, most: int, alignment: int
) -> None:
    bench = make_bench(controller=controller, namespace=namespace, maximum_transfer_bytes=mdts)
    assert told(bench) == (most, alignment, 1, most, most)
    assert write(bench, alignment, most) == Result()
    assert write(bench, 0, most + 1) == refused(12)
    if alignment > 1:
        assert write(bench, alignment + 1, 1) == refused(2)


@pytest.mark.parametrize(
    ("controller", "namespace"),
    [
        ({"awupf": 0}, {}),
        ({}, {"nabspf": 1, "nabo": 1}),
        ({}, {"nabsn": 2, "nabspf": 1}),  # boundaries of 3 and of 2 blocks
    ],
)
def test_where_nothing_is_promised_there_is_none(controller: Fields, namespace: Fields) -> None:
    bench = make_bench(controller=controller, namespace=namespace)
    assert told(bench) == (0, 0, 0, 0, 0)
    assert code(write(bench, 0, 1)) == INVALID_COMMAND_OPERATION_CODE


def test_tuples_make_commands_shorter() -> None:
    bench = protected_bench(1, controller={"awupf": 255})
    assert told(bench)[0] == 31
    sized = bench.run(
        bytes.fromhex("9C 20 0000000000000000 0000 001F 00 00"), bytes(31 * (BLOCK + 8))
    )
    assert sized == Result()
    assert len(bench.model.executed) == 1
