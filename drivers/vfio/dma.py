"""DMA memory: one arena per allocation, huge pages where there are any."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from contextlib import suppress

from scsi2nvme.drivers.memory import PAGE, keep_private
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.transport import Region, address_of

HUGE_PAGE = 2 << 20
_MAP_HUGETLB, _MAP_HUGE_SHIFT = 0x40000, 26
_MAP_HUGE_2MB = 21 << _MAP_HUGE_SHIFT

# (vaddr, length, alignment) to the device's address, or TransportError.
Mapper = Callable[[int, int, int], int]


class DmaArenas:
    """Memory that the device may read and write, until it is unmapped or reset.

    `mapper` makes it known to the device.
    """

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self._arenas: list[mmap.mmap] = []

    def allocate(self, length: int) -> Region:
        """Return zeroed whole pages of at least `length` bytes."""
        arena, page = self._arena(length)
        keep_private(arena)
        vaddr = address_of(arena)
        try:
            iova = self._mapper(vaddr, len(arena), page)
        except TransportError:
            arena.close()
            raise
        self._arenas.append(arena)
        return Region(vaddr, iova, len(arena))

    def _arena(self, length: int) -> tuple[mmap.mmap, int]:
        """Return anonymous memory and the size of its pages."""
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        if length >= HUGE_PAGE:
            size = -(-length // HUGE_PAGE) * HUGE_PAGE
            with suppress(OSError):
                return mmap.mmap(-1, size, private | _MAP_HUGETLB | _MAP_HUGE_2MB), HUGE_PAGE
        size = -(-length // PAGE) * PAGE
        try:
            return mmap.mmap(-1, size, private), PAGE
        except OSError as error:
            raise TransportError(f"{size} bytes of memory: {error.strerror}") from error

    def close(self) -> None:
        """Give all of it back: no device may know it any more, no region be in use."""
        while self._arenas:
            self._arenas.pop().close()
