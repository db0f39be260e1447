"""Huge pages at physical addresses, with pages that are not huge and a page map that is made up.

With real ones, and a disk that reaches them, it is tried by hand: docs/testing.md.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.memory import PAGE, memory_file
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio.dma import HUGE_PAGE
from scsi2nvme.drivers.vfio.noiommu import arrange, in_one_piece, physical_addresses

PRESENT = 1 << 63


def pagemap(path: Path, entries: dict[int, int]) -> Path:
    with path.open("wb") as file:
        for page, entry in entries.items():
            file.seek(8 * page)
            file.write(entry.to_bytes(8, "little"))
    return path


def addresses(path: Path, entries: dict[int, int]) -> list[int]:
    found = physical_addresses(512 * PAGE, 2 * HUGE_PAGE, HUGE_PAGE, pagemap(path, entries))
    return list(found)


def test_the_kernel_says_where_pages_are(tmp_path: Path) -> None:
    path = tmp_path / "pagemap"
    there = {512: PRESENT | 1024, 1024: PRESENT | 4096}
    assert addresses(path, there) == [1024 * PAGE, 4096 * PAGE]


@pytest.mark.parametrize("entries", [{512: PRESENT, 1024: PRESENT}, {512: 1024, 1024: 1536}])
def test_it_may_hide_that(tmp_path: Path, entries: dict[int, int]) -> None:
    with pytest.raises(TransportError, match="hidden: CAP_SYS_ADMIN"):
        addresses(tmp_path / "pagemap", entries)


@given(st.sets(st.integers(0, 40)).flatmap(lambda s: st.permutations(sorted(s))), st.integers(1, 6))
def test_pages_that_lie_side_by_side_are_found(numbers: list[int], count: int) -> None:
    order = in_one_piece([number * HUGE_PAGE for number in numbers], count)
    pieces = [first for first in numbers if {*range(first, first + count)} <= {*numbers}]
    if order is None:
        assert not pieces
    else:
        found = [numbers[index] for index in order]
        assert found == list(range(found[0], found[0] + count))


def test_pages_are_mapped_in_their_order_and_others_given_back() -> None:
    file = memory_file("pages", b"".join(bytes([letter]) * PAGE for letter in b"abcdef"))
    try:
        used = os.fstat(file).st_blocks
        arena, start = arrange(file, [4, 0, 2], PAGE)
        with closing(arena):
            assert ctypes.string_at(start, 3 * PAGE) == b"e" * PAGE + b"a" * PAGE + b"c" * PAGE
            ctypes.memset(start + PAGE, ord("A"), 1)
        assert os.pread(file, 2, 0) == b"Aa"
        assert os.pread(file, 1, PAGE) == b"\0"
        assert os.fstat(file).st_blocks == used // 2
    finally:
        os.close(file)
