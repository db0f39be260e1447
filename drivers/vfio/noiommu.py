"""Physical addresses in place of an IOMMU's: the device can reach all memory.

Only huge pages serve, as the kernel neither moves nor swaps them. It hands them out in any
order, so those that lie side by side are looked for, and mapped in their order.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from scsi2nvme.drivers.memory import PAGE, keep_private
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio.dma import HUGE_PAGE
from scsi2nvme.native.transport import Region

_ENTRY_BYTES = 8
_PRESENT = 1 << 63
_PFN = (1 << 55) - 1
_PAGEMAP = Path("/proc/self/pagemap")
RESERVE = "sysctl vm.nr_hugepages=256"
_HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
_MEMFD = os.MFD_CLOEXEC | os.MFD_HUGETLB | os.MFD_HUGE_2MB

_MAP_FIXED, _MAP_POPULATE = 0x10, 0x8000
_FALLOC_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)


def physical_addresses(
    vaddr: int, length: int, page: int = HUGE_PAGE, pagemap: Path = _PAGEMAP
) -> Iterator[int]:
    """Yield the address of each page of memory; TransportError if they are hidden from us.

    `vaddr` and `length` are multiples of `page`, the size of the pages, each of which has
    been touched.
    """
    with pagemap.open("rb", buffering=0) as file:
        for at in range(0, length, page):
            file.seek((vaddr + at) // PAGE * _ENTRY_BYTES)
            entry = int.from_bytes(file.read(_ENTRY_BYTES), "little")
            if not entry & _PRESENT or not entry & _PFN:
                raise TransportError("physical addresses are hidden: CAP_SYS_ADMIN is needed")
            yield (entry & _PFN) * PAGE


def in_one_piece(addresses: Sequence[int], count: int, page: int = HUGE_PAGE) -> list[int] | None:
    """Return which `count` of the pages at these addresses make up one piece, in its order."""
    order = sorted(range(len(addresses)), key=addresses.__getitem__)
    for first in range(len(order) - count + 1):
        run = order[first : first + count]
        if addresses[run[-1]] - addresses[run[0]] == (count - 1) * page:
            return run
    return None


def arrange(file: int, order: Sequence[int], page: int = HUGE_PAGE) -> tuple[mmap.mmap, int]:
    """Map pages of a memory file in this order; give its other pages back.

    Returns what is to be closed in the end, and where the first of them is.
    """
    pages = os.fstat(file).st_size // page
    arena = mmap.mmap(-1, (len(order) + 1) * page, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -(-ctypes.addressof(ctypes.c_char.from_buffer(arena)) // page) * page
    flags = mmap.MAP_SHARED | _MAP_FIXED | _MAP_POPULATE
    access = mmap.PROT_READ | mmap.PROT_WRITE
    for place, number in enumerate(order):
        at = start + place * page
        if _libc.mmap(at, page, access, flags, file, number * page) != at:
            raise _error("map")
    keep_private(arena)
    for number in set(range(pages)).difference(order):
        if _libc.fallocate(file, _FALLOC_KEEP_SIZE_PUNCH_HOLE, number * page, page):
            raise _error("give back")
    return arena, start


def _error(what: str) -> TransportError:
    return TransportError(f"huge pages: cannot {what}: {os.strerror(ctypes.get_errno())}")


class PhysicalMemory:
    """Huge pages that the device may read and write, until they are given back."""

    def __init__(self) -> None:
        self._arenas: list[mmap.mmap] = []

    def allocate(self, length: int) -> Region:
        """Return zeroed huge pages of at least `length` bytes, in one piece."""
        count = -(-length // HUGE_PAGE)
        with ExitStack() as undo:
            file = os.memfd_create("scsi2nvme-dma", _MEMFD)
            undo.callback(os.close, file)
            addresses = self._take_all(file, count)
            order = in_one_piece(addresses, count)
            if order is None:
                raise TransportError(
                    f"no {count * HUGE_PAGE >> 20} MiB of huge pages in one piece; reserve more, "
                    "best at boot: hugepages=256"
                )
            arena, start = arrange(file, order)
        self._arenas.append(arena)
        if list(physical_addresses(start, count * HUGE_PAGE)) != [addresses[n] for n in order]:
            raise TransportError("huge pages were moved meanwhile; try again")
        return Region(start, addresses[order[0]], count * HUGE_PAGE)

    def _take_all(self, file: int, wanted: int) -> list[int]:
        """Fill a memory file with all huge pages that are free; return their addresses."""
        try:
            free, reserved = (
                int((_HUGE_PAGES / f"{kind}_hugepages").read_text()) for kind in ("free", "resv")
            )
            size = max(free - reserved, wanted) * HUGE_PAGE
            os.truncate(file, size)
            mapped = mmap.mmap(file, size)
        except OSError as error:
            raise TransportError(
                f"{wanted * HUGE_PAGE >> 20} MiB of huge pages wanted; run: {RESERVE}"
            ) from error
        with closing(mapped):
            for at in range(0, size, HUGE_PAGE):
                mapped[at] = 0
            start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
            return list(physical_addresses(start, size))

    def close(self) -> None:
        """Give all of it back: no device may know it any more, no region be in use."""
        while self._arenas:
            self._arenas.pop().close()
