"""Copies that go on behind their status, and are never begun."""

from __future__ import annotations

from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.copies import MOST_BEHIND
from tests.commands.test_extended_copy import copy_long, cscd, parameters, segment, status_long
from tests.support import make_bench


def test_a_copy_that_nobody_begins() -> None:
    """Its command was aborted after it had left the copy to the background, which it never was."""
    bench = make_bench()
    values = {"immed": 1, "list_identifier": 5}
    data = parameters([cscd(bench.lu)], [segment(3, 40, 1)], long=True, **values)
    for _ in range(2 * MOST_BEHIND):
        assert copy_long(bench, data).status is Status.GOOD
        assert status_long(bench, 5).copy_operation_status == 0x60
    assert bench.model.executed == []
