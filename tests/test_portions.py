"""Commands that move their data in portions: what the engine makes of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.scsi.sense import (
    CAPACITY_DATA_HAS_CHANGED,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
)
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.block_device import Portion
from tests.support import Bench, code, make_bench, row

WHOLE = 40000  # blocks, more than are moved at once
SECOND = Portion(offset=1024, size=1024)
READ_ALL = row("READ (10)").build(lba=7, transfer_length=WHOLE)
WRITE_ALL = row("WRITE (10)").build(lba=7, transfer_length=WHOLE)


def make_large() -> Bench:
    return make_bench(blocks=WHOLE + 100)


def test_a_portion_is_all_that_is_moved() -> None:
    bench = make_large()
    data = b"\x01" * 512 + b"\x02" * 512
    written = bench.run(WRITE_ALL, data, expected=WHOLE * 512, portion=SECOND)
    assert written.status is Status.GOOD
    assert bench.model.blocks(8, 4) == bytes(512) + data + bytes(512)
    assert bench.run(READ_ALL, portion=SECOND).data_in == data
    assert code(bench.run(READ_ALL)) == INVALID_FIELD_IN_CDB  # all at once is too much


def test_a_portion_takes_no_attention_from_the_next_command() -> None:
    bench = make_large()
    bench.lu.establish_attention(CAPACITY_DATA_HAS_CHANGED)
    assert bench.run(READ_ALL, portion=SECOND).status is Status.GOOD
    first = replace(SECOND, offset=0)
    assert code(bench.run(READ_ALL, portion=first)) == CAPACITY_DATA_HAS_CHANGED


def test_what_holds_between_commands_holds_between_portions() -> None:
    bench = make_large()
    assert bench.do("RESERVE (10)", nexus=bench.other()).status is Status.GOOD
    result = bench.run(WRITE_ALL, bytes(1024), expected=WHOLE * 512, portion=SECOND)
    assert result.status is Status.RESERVATION_CONFLICT
    assert bench.model.executed == []


def test_where_blocks_have_another_length_a_command_does_not_go_on() -> None:
    bench = make_large()
    for offset in (0, 1024):
        whole = WHOLE * 4096
        portion = Portion(offset, 1024)
        result = bench.run(WRITE_ALL, bytes(1024), expected=whole, portion=portion, announced=whole)
        assert result.status is Status.BUSY
    assert bench.model.executed == []


@pytest.mark.parametrize("expected", [0, 1024, 1100, WHOLE * 512 - 1])
@pytest.mark.parametrize("tells_residual", [True, False])
def test_fewer_data_are_judged_with_the_first_portion(expected: int, tells_residual: bool) -> None:
    bench = make_large()
    bench.nexus.tells_residual = tells_residual
    size = min(expected, 1024)
    portion = Portion(0, size)
    result = bench.run(WRITE_ALL, bytes(size), expected=expected, portion=portion)
    whole = expected % 512 == 0
    assert (result.status is Status.GOOD) == (whole and tells_residual)
    if not whole:
        assert bench.model.executed == []


def test_a_portion_that_was_not_collected_is_not_good() -> None:
    bench = make_large()
    result = bench.run(WRITE_ALL, b"", expected=WHOLE * 512, portion=SECOND)
    assert code(result) == INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT
