"""What the hot path's Reads and Writes say of how their blocks are used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scsi2nvme.native.hot import hot_translate
from tests.native.test_hot import PARAMETERS
from tests.support import row

READS, WRITES = bytes(range(64)), bytes(range(64, 128))
HINTED = replace(PARAMETERS, read_hints=READS, write_hints=WRITES)
DSM, DSPEC = 52, 54  # where they stand in an entry


@pytest.mark.parametrize("length", [10, 12, 16])
@pytest.mark.parametrize("group", [0, 1, 5, 6, 63])
def test_a_group_says_what_is_said_of_it(length: int, group: int) -> None:
    parameters = replace(HINTED, grouped_streams=5, boundary_blocks=64)
    for name, said in (("READ", READS), ("WRITE", WRITES)):
        cdb = row(f"{name} ({length})").build(lba=7, transfer_length=100, group=group)
        ops = hot_translate(parameters, cdb)
        plain = hot_translate(replace(parameters, read_hints=b"", write_hints=b""), cdb)
        assert ops is not None
        assert plain is not None
        assert [op.sqe[DSM] for op in ops] == [said[group]] * 2
        assert [op.sqe[DSM] for op in plain] == [0, 0]
        assert [op.sqe[DSPEC:] for op in ops] == [op.sqe[DSPEC:] for op in plain]
        assert [op.sqe[:DSM] for op in ops] == [op.sqe[:DSM] for op in plain]


def test_a_command_without_a_group_says_nothing() -> None:
    cdb = row("READ (6)").build(lba=7, transfer_length=1)
    ops = hot_translate(replace(HINTED, read_hints=b"\1" * 64), cdb)
    assert ops is not None
    assert ops[0].sqe[48:] == bytes(16)
