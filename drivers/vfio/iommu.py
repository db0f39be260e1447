"""IOVAs of one container, and the memory that the device sees at them."""

from __future__ import annotations

import errno
import resource

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import DmaFlags, Request

PAGE = 4096
MORE_LOCKED_MEMORY = "set LimitMEMLOCK=infinity in the unit, or run: ulimit -l unlimited"
_FIRST_IOVA = 1 << 20  # nothing at 0, nor where legacy devices decode
# Where a kernel does not tell: what every IOMMU has, but for x86's interrupts.
_FALLBACK = [(_FIRST_IOVA, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]


class IovaAllocator:
    """Lends addresses from (first, last) ranges."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._free = [
            (max(first, _FIRST_IOVA), last + 1) for first, last in sorted(ranges or _FALLBACK)
        ]

    def take(self, length: int, alignment: int) -> int:
        """Return where `length` bytes fit, aligned; TransportError if nowhere."""
        for index, (start, end) in enumerate(self._free):
            iova = -(-start // alignment) * alignment
            if iova + length <= end:
                rest = [(start, iova), (iova + length, end)]
                self._free[index : index + 1] = [(low, high) for low, high in rest if low < high]
                return iova
        raise TransportError(f"no room for {length} bytes in the IOMMU's address space")

    def give_back(self, iova: int, length: int) -> None:
        """Take back what `take` returned."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self._free, (iova, iova + length)]):
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        self._free = merged


class Type1Iommu:
    """The IOMMU of a container. `addresses` are those of its device."""

    def __init__(self, container: int) -> None:
        self._container = container
        answer = abi.query(container, Request.IOMMU_GET_INFO, abi.IOMMU_INFO)
        info = abi.IOMMU_INFO.parse(answer)
        if info.flags & abi.IommuFlags.PAGE_SIZES and not info.iova_pgsizes & (2 * PAGE - 1):
            raise TransportError(f"the IOMMU has no pages of {PAGE} bytes or less")
        ranges: list[tuple[int, int]] = []
        if info.flags & abi.IommuFlags.CAPABILITIES:
            found = abi.capabilities(answer, info.cap_offset)
            ranges = abi.pairs(found.get(abi.IOVA_RANGES, b""))
        self.addresses = IovaAllocator(ranges)
        self._mapped: list[tuple[int, int, int]] = []  # address, IOVA, length

    def map(self, vaddr: int, length: int, alignment: int) -> int:
        """Let the device read and write whole pages of ours; return their IOVA."""
        iova = self.addresses.take(length, alignment)
        try:
            self._show(vaddr, iova, length)
        except TransportError:
            self.addresses.give_back(iova, length)
            raise
        self._mapped.append((vaddr, iova, length))
        return iova

    def move(self, container: int) -> None:
        """Let the device of another container see what that of this one saw, where it did."""
        self._container = container
        for mapping in self._mapped:
            self._show(*mapping)

    def _show(self, vaddr: int, iova: int, length: int) -> None:
        argument = abi.DMA_MAP.build(
            argsz=abi.DMA_MAP.size,
            flags=DmaFlags.READ | DmaFlags.WRITE,
            vaddr=vaddr,
            iova=iova,
            size=length,
        )
        try:
            abi.call(self._container, Request.IOMMU_MAP_DMA, bytearray(argument))
        except OSError as error:
            raise TransportError(_why(error, length)) from error


def _why(error: OSError, length: int) -> str:
    if error.errno == errno.ENOMEM:
        limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return (
            f"{length} bytes of DMA memory exceed the limit of locked memory, {limit >> 10} KiB; "
            f"{MORE_LOCKED_MEMORY}"
        )
    if error.errno == errno.ENOSPC:
        return "too many DMA mappings; raise the parameter dma_entry_limit of vfio_iommu_type1"
    return f"{length} bytes of DMA memory cannot be mapped: {error.strerror}"
