"""DMA memory of the emulated controller, and its Python side's access to it."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from contextlib import suppress

from scsi2nvme.drivers.memory import PAGE, keep_private
from scsi2nvme.native.transport import Region, address_of

# Not the virtual addresses: whoever mixes the two up is found out at once.
_FIRST_IOVA = 1 << 32
_HUGE_BYTES = 2 << 20


class UnmappedError(Exception):
    """An address that is no DMA memory."""


class DmaMemory:
    """Anonymous memory with addresses of its own; unmapped pages lie between regions."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []
        self._regions: list[Region] = []
        self._next = _FIRST_IOVA

    def allocate(self, length: int) -> Region:
        """Return zeroed whole pages of at least `length` bytes."""
        length = max(-(-length // PAGE), 1) * PAGE
        mapped = mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        keep_private(mapped)
        if length >= _HUGE_BYTES:
            with suppress(OSError):  # a kernel without huge pages
                mapped.madvise(mmap.MADV_HUGEPAGE)
        region = Region(address_of(mapped), self._next, length)
        self._next += length + PAGE
        self._maps.append(mapped)
        self._regions.append(region)
        return region

    def locate(self, iova: int, length: int) -> Region:
        """Return the memory at `iova`; UnmappedError unless all of it is there."""
        index = bisect_right(self._regions, iova, key=lambda region: region.iova) - 1
        if index >= 0:
            region = self._regions[index]
            if iova + length <= region.iova + region.length:
                return region.slice(iova - region.iova, length)
        raise UnmappedError(f"{length} bytes at {iova:#x} are no DMA memory")

    def read(self, iova: int, length: int) -> bytes:
        """Return what stands at `iova`."""
        return bytes(self.locate(iova, length).view())

    def write(self, iova: int, data: bytes) -> None:
        """Store `data` at `iova`."""
        self.locate(iova, len(data)).view()[:] = data

    def close(self) -> None:
        """Unmap everything: no region may be used any more."""
        self._regions.clear()
        while self._maps:
            self._maps.pop().close()
