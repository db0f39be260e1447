"""Memory that a controller in another process shares with us."""

from __future__ import annotations

import mmap
import os

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.transport import Region, address_of

PAGE = 4096


def memory_file(name: str, contents: bytes = b"", size: int = 0) -> int:
    """Return a memfd of `size` bytes, or of `contents`; the caller closes it."""
    fd = os.memfd_create(name)
    if contents:
        os.pwrite(fd, contents, 0)
    os.truncate(fd, max(size, len(contents)))
    return fd


def keep_private(memory: mmap.mmap) -> None:
    """Keep a child from making the device's pages its own, and a core dump from holding data."""
    memory.madvise(mmap.MADV_DONTFORK)
    memory.madvise(mmap.MADV_DONTDUMP)


class SharedMemory:
    """A mapped memory file whose pages are handed out once, in order.

    The byte at file offset n has the controller's address n; `first` is the
    first that is handed out.
    """

    def __init__(self, size: int, first: int) -> None:
        self.fd = memory_file("scsi2nvme-dma", size=size)
        self.size = size
        self._next = first
        self._map = mmap.mmap(self.fd, size)
        keep_private(self._map)
        self._vaddr = address_of(self._map)

    def allocate(self, length: int) -> Region:
        """Return zeroed whole pages of at least `length` bytes; TransportError if none are left."""
        length = -(-length // PAGE) * PAGE
        if length > self.size - self._next:
            raise TransportError(
                f"{length} bytes of DMA memory wanted, {self.size - self._next} left"
            )
        region = Region(self._vaddr + self._next, self._next, length)
        self._next += length
        return region

    def close(self) -> None:
        """Unmap it: no region that was handed out may be used any more."""
        if self.fd >= 0:
            self._map.close()
            os.close(self.fd)
            self.fd = -1
