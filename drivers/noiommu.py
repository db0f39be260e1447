"""Physical addresses in place of an IOMMU's: the device can reach all memory.

Only huge pages serve, as the kernel neither moves nor swaps them.
"""

from __future__ import annotations

from pathlib import Path

from scsi2nvme.drivers.dma import HUGE_PAGE
from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.transport import TransportError

_ENTRY_BYTES = 8
_PRESENT = 1 << 63
_PFN = (1 << 55) - 1
_PAGEMAP = Path("/proc/self/pagemap")


def physical_address(
    vaddr: int, length: int, alignment: int = HUGE_PAGE, pagemap: Path = _PAGEMAP
) -> int:
    """Return the address of memory in one piece; TransportError if it is in several.

    `vaddr` and `length` are multiples of `alignment`, the size of its huge
    pages, each of which has been touched.
    """
    start = None
    with pagemap.open("rb", buffering=0) as file:
        for at in range(0, length, alignment):
            file.seek((vaddr + at) // PAGE * _ENTRY_BYTES)
            entry = int.from_bytes(file.read(_ENTRY_BYTES), "little")
            if not entry & _PRESENT or not entry & _PFN:
                raise TransportError("physical addresses are hidden: CAP_SYS_ADMIN is needed")
            address = (entry & _PFN) * PAGE
            if start is None:
                start = address
            if address != start + at:
                raise TransportError(
                    f"no {length >> 20} MiB of huge pages in one piece; reserve more at boot: "
                    "hugepages=64"
                )
    if start is None:
        raise ValueError("no memory has no address")
    return start
