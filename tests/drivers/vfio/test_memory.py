"""What memory the device sees, and where."""

from __future__ import annotations

import asyncio
import errno
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio.abi import Request
from scsi2nvme.drivers.vfio.dma import HUGE_PAGE, DmaArenas
from scsi2nvme.drivers.vfio.iommu import IovaAllocator
from tests.drivers.machine import Machine
from tests.drivers.vfio.fake_vfio import (
    HIGH,
    LOW,
    FakeVfio,
)
from tests.drivers.vfio.rig import either_way, opened


def test_memory_is_mapped_where_the_iommu_decodes(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        sizes = [1, PAGE, 3 * PAGE + 1, HUGE_PAGE, 8 * HUGE_PAGE]
        regions = [transport.allocate(size) for size in sizes]
        for size, region in zip(sizes, regions, strict=True):
            assert region.length >= size
            assert kernel.mapped[region.iova] == (region.vaddr, region.length)
            ends = region.iova, region.iova + region.length - 1
            assert any(low <= ends[0] <= ends[1] <= high for low, high in (LOW, HIGH))
            assert not any(region.view())
            region.view()[-1] = 1


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOMEM, "limit of locked memory.*LimitMEMLOCK=infinity.*ulimit -l unlimited"),
        (errno.ENOSPC, "dma_entry_limit"),
        (errno.EFAULT, "cannot be mapped: Bad address"),
    ],
)
def test_memory_that_cannot_be_mapped_says_what_to_set(
    machine: Machine, kernel: FakeVfio, number: int, reason: str
) -> None:
    kernel.fails[Request.IOMMU_MAP_DMA] = [number]
    with closing(opened(machine)) as transport, pytest.raises(TransportError, match=reason):
        transport.allocate(PAGE)


@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 1 << 24)), max_size=5),
    st.lists(st.tuples(st.integers(1, 2000), st.sampled_from([1, 512])), max_size=20),
)
def test_addresses_are_handed_out_once_and_from_the_ranges(
    holes: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    ranges, start = [], 0
    for first, length in sorted(holes):
        if first > start:
            ranges.append((start, first - 1))
            start = first + length
    ranges.append((start, (1 << 31) - 1))
    allocator = IovaAllocator(ranges)
    taken: list[tuple[int, int]] = []
    for pages, alignment in wanted:
        length = pages * PAGE
        iova = allocator.take(length, alignment * PAGE)
        assert iova % (alignment * PAGE) == 0
        assert any(low <= iova and iova + length - 1 <= high for low, high in ranges)
        assert all(iova + length <= other or iova >= end for other, end in taken)
        taken.append((iova, iova + length))


def test_an_address_space_that_is_full_is_an_error() -> None:
    allocator = IovaAllocator([(0x100000, 0x101FFF)])
    assert allocator.take(PAGE, PAGE) == 0x100000
    with pytest.raises(TransportError, match="no room for 8192 bytes"):
        allocator.take(2 * PAGE, PAGE)
    assert allocator.take(PAGE, PAGE) == 0x101000


@given(order=st.permutations(range(6)))
def test_addresses_that_were_given_back_are_one_piece_again(order: list[int]) -> None:
    allocator = IovaAllocator([(0x100000, 0x105FFF)])
    taken = [allocator.take(PAGE, PAGE) for _ in range(6)]
    for index in order:
        allocator.give_back(taken[index], PAGE)
    assert allocator.take(6 * PAGE, PAGE) == 0x100000


@either_way
def test_a_window_has_addresses_while_it_is_open(machine: Machine, kernel: FakeVfio) -> None:
    transport = opened(machine)
    with closing(transport):
        first = transport.window(4 * PAGE)
        second = transport.window(4 * PAGE)
        assert first is not None
        assert second is not None
        taken = transport.allocate(PAGE).iova
        first.close()
        again = transport.window(4 * PAGE)
        assert again is not None
        # As if the first had never been.
        assert transport.allocate(PAGE).iova == taken + PAGE
        asyncio.run(transport.let_go())
        with pytest.raises(TransportError, match="gone"):
            transport.window(PAGE)
        second.close()
        again.close()


def test_arenas_that_cannot_be_mapped_are_given_back() -> None:
    def refuse(vaddr: int, length: int, alignment: int) -> int:
        raise TransportError("no")

    arenas = DmaArenas(refuse)
    with pytest.raises(TransportError, match="no"):
        arenas.allocate(PAGE)
    arenas.close()
