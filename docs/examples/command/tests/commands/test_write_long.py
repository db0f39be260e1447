"""WRITE LONG (16) marks a block, and does nothing else."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from tests.support import make_bench


def test_write_long_16_marks_one_block_as_unreadable() -> None:
    bench = make_bench()
    bench.model.io[Opcode.WRITE_UNCORRECTABLE] = lambda command: None
    assert bench.do("WRITE LONG (16)", wr_uncor=1, lba=7) == Result()
    assert [(c.opcode, c.slba, c.blocks) for c in bench.model.executed] == [
        (Opcode.WRITE_UNCORRECTABLE, 7, 1)
    ]


@pytest.mark.parametrize("fields", [{}, {"wr_uncor": 1, "pblock": 1}, {"wr_uncor": 1, "lba": 4096}])
def test_write_long_16_refuses_what_it_cannot_do(fields: dict[str, int]) -> None:
    bench = make_bench()
    assert bench.do("WRITE LONG (16)", **fields).sense is not None
    assert not bench.model.executed


def test_write_long_16_needs_the_controllers_command() -> None:
    assert make_bench(controller={"oncs": 0}).do("WRITE LONG (16)", wr_uncor=1).sense is not None
