"""What follows from the Sanitize Status log alone."""

from __future__ import annotations

import pytest

from scsi2nvme.commands.sanitize_status import pick_up
from scsi2nvme.nvme.command import Opcode
from scsi2nvme.scsi.result import Result
from tests.support import make_bench


@pytest.mark.parametrize("state", [0, 1, 2])
def test_blocks_are_read_to_tell_failures_apart_alone(state: int) -> None:
    bench = make_bench(blocks=64)
    bench.model.sanitize_log(state=state)
    assert bench.model.play(pick_up(bench.lu)) == Result()
    assert bench.model.executed
    assert not [one for one in bench.model.executed if isinstance(one.opcode, Opcode)]
