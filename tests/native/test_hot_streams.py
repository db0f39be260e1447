"""Which streams the hot path's writes are of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.native.hot import hot_translate
from tests.native.test_hot import PARAMETERS
from tests.support import row

STREAMS = 1 << 20  # DTYPE of CDW12


@pytest.mark.parametrize("name", ["WRITE (10)", "WRITE (12)", "WRITE (16)"])
@pytest.mark.parametrize(("group", "stream"), [(0, 0), (1, 1), (5, 5), (6, 0), (63, 0)])
def test_a_write_of_a_group_is_of_its_stream(name: str, group: int, stream: int) -> None:
    parameters = replace(PARAMETERS, grouped_streams=5, boundary_blocks=64)
    ops = hot_translate(parameters, row(name).build(lba=7, transfer_length=100, group=group))
    plain = hot_translate(parameters, row(name).build(lba=7, transfer_length=100))
    assert ops is not None
    assert plain is not None
    dtype = STREAMS if stream else 0
    assert [op.cdw12 & STREAMS for op in ops] == [dtype, dtype]
    assert [op.sqe[52:56] for op in ops] == [(stream << 16).to_bytes(4, "little")] * 2
    assert [op.sqe[:48] for op in ops] == [op.sqe[:48] for op in plain]
    assert (
        hot_translate(
            replace(parameters, grouped_streams=0),
            row(name).build(lba=7, transfer_length=100, group=group),
        )
        == plain
    )


def test_a_read_is_of_no_stream() -> None:
    parameters = replace(PARAMETERS, grouped_streams=5)
    cdb = row("READ (16)").build(lba=7, transfer_length=1, group=3)
    ops = hot_translate(parameters, cdb)
    assert ops is not None
    assert ops[0].sqe[48:] == bytes(16)
