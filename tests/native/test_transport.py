"""Regions of memory."""

from __future__ import annotations

import pytest

from scsi2nvme.native.transport import Region
from tests.native import PAGE


def test_a_region_is_the_memory_itself(memory: Region) -> None:
    memory.view()[:4] = b"abcd"
    part = memory.slice(2, 2)
    assert (part.vaddr, part.iova, part.length) == (memory.vaddr + 2, memory.iova + 2, 2)
    assert bytes(part.view()) == b"cd"
    part.view()[:] = b"xy"
    assert bytes(memory.view()[:4]) == b"abxy"
    assert memory.slice(16 * PAGE, 0).length == 0


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, 1), (0, -1), (0, 16 * PAGE + 1), (16 * PAGE, 1)]
)
def test_a_slice_stays_inside(memory: Region, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        memory.slice(offset, length)
