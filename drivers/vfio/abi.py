"""The kernel's VFIO interface: request numbers, structures, and how they are passed.

Spec: Linux include/uapi/linux/vfio.h, iommufd.h. Integers are of the machine's byte order.
"""

from __future__ import annotations

import errno
import fcntl
import sys
import time
from enum import IntEnum, IntFlag

from scsi2nvme.fields import ByteOrder, Field, Structure

API_VERSION = 0
TYPE1V2_IOMMU, NOIOMMU_IOMMU = 3, 8

_ORDER: ByteOrder = "little" if sys.byteorder == "little" else "big"
_FIRST_REQUEST = ord(";") << 8 | 100
_FIRST_IOMMUFD_REQUEST = ord(";") << 8 | 0x80
_ATTEMPTS, PAUSE_S = 20, 0.1
_MAXIMUM_BYTES = 1 << 20  # of an answer that keeps growing
_MAXIMUM_CAPABILITIES = 64  # in one answer: a list that loops ends too


class Request(IntEnum):
    """ioctl request numbers; the container's and the device's overlap from 12 on."""

    GET_API_VERSION = _FIRST_REQUEST
    CHECK_EXTENSION = _FIRST_REQUEST + 1
    SET_IOMMU = _FIRST_REQUEST + 2
    GROUP_GET_STATUS = _FIRST_REQUEST + 3
    GROUP_SET_CONTAINER = _FIRST_REQUEST + 4
    GROUP_GET_DEVICE_FD = _FIRST_REQUEST + 6
    DEVICE_GET_INFO = _FIRST_REQUEST + 7
    DEVICE_GET_REGION_INFO = _FIRST_REQUEST + 8
    DEVICE_GET_IRQ_INFO = _FIRST_REQUEST + 9
    DEVICE_SET_IRQS = _FIRST_REQUEST + 10
    DEVICE_RESET = _FIRST_REQUEST + 11
    IOMMU_GET_INFO = _FIRST_REQUEST + 12
    IOMMU_MAP_DMA = _FIRST_REQUEST + 13
    IOMMU_UNMAP_DMA = _FIRST_REQUEST + 14
    DEVICE_BIND_IOMMUFD = _FIRST_REQUEST + 18
    DEVICE_ATTACH_IOMMUFD_PT = _FIRST_REQUEST + 19


class IommufdRequest(IntEnum):
    """ioctl request numbers of IOMMUFD."""

    IOAS_ALLOC = _FIRST_IOMMUFD_REQUEST + 1
    VFIO_IOAS = _FIRST_IOMMUFD_REQUEST + 8


class RegionIndex(IntEnum):
    """Regions of a PCI device."""

    BAR0 = 0
    CONFIGURATION = 7


class IrqIndex(IntEnum):
    """Interrupts of a PCI device, and what the host has to tell of it."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERROR = 3
    REQUEST = 4


class GroupFlags(IntFlag):
    """Of GROUP_STATUS."""

    VIABLE = 1


class DeviceFlags(IntFlag):
    """Of DEVICE_INFO."""

    RESET = 1
    PCI = 2


class RegionFlags(IntFlag):
    """Of REGION_INFO."""

    MMAP = 4
    CAPABILITIES = 8


class IrqFlags(IntFlag):
    """Of IRQ_INFO."""

    EVENTFD = 1


class IrqSetFlags(IntFlag):
    """Of IRQ_SET."""

    DATA_NONE = 1
    DATA_EVENTFD = 4
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32


class IommuFlags(IntFlag):
    """Of IOMMU_INFO."""

    PAGE_SIZES = 1
    CAPABILITIES = 2


class DmaFlags(IntFlag):
    """Of DMA_MAP: what the device may do."""

    READ = 1
    WRITE = 2


class VfioIoas(IntEnum):
    """Of VFIO_IOAS: what to do with the address space that type 1 requests go to."""

    SET = 1


class RegionCapability(IntEnum):
    """Capabilities of REGION_INFO."""

    SPARSE_MMAP = 1
    MSIX_MAPPABLE = 3


IOVA_RANGES = 1  # a capability of IOMMU_INFO


def _structure(name: str, size: int, *fields: tuple[str, int, int]) -> Structure:
    """Build a structure; fields are (name, offset, bits)."""
    rows = tuple(Field(name, byte, width=width) for name, byte, width in fields)
    return Structure(name, size, rows, _ORDER, "linux/vfio.h")


_HEAD = (("argsz", 0, 32), ("flags", 4, 32))
GROUP_STATUS = _structure("vfio_group_status", 8, *_HEAD)
DEVICE_INFO = _structure(
    "vfio_device_info", 16, *_HEAD, ("num_regions", 8, 32), ("num_irqs", 12, 32)
)
REGION_INFO = _structure(
    "vfio_region_info",
    32,
    *_HEAD,
    ("index", 8, 32),
    ("cap_offset", 12, 32),
    ("size", 16, 64),
    ("offset", 24, 64),
)
IRQ_INFO = _structure("vfio_irq_info", 16, *_HEAD, ("index", 8, 32), ("count", 12, 32))
IRQ_SET = _structure(
    "vfio_irq_set", 20, *_HEAD, ("index", 8, 32), ("start", 12, 32), ("count", 16, 32)
)
IOMMU_INFO = _structure(
    "vfio_iommu_type1_info", 24, *_HEAD, ("iova_pgsizes", 8, 64), ("cap_offset", 16, 32)
)
DMA_MAP = _structure(
    "vfio_iommu_type1_dma_map", 32, *_HEAD, ("vaddr", 8, 64), ("iova", 16, 64), ("size", 24, 64)
)
BIND = _structure("vfio_device_bind_iommufd", 16, *_HEAD, ("iommufd", 8, 32), ("out_devid", 12, 32))
ATTACH = _structure("vfio_device_attach_iommufd_pt", 12, *_HEAD, ("pt_id", 8, 32))
IOAS_ALLOC = _structure(
    "iommu_ioas_alloc", 12, ("size", 0, 32), ("flags", 4, 32), ("out_ioas_id", 8, 32)
)
VFIO_IOAS = _structure("iommu_vfio_ioas", 12, ("size", 0, 32), ("ioas_id", 4, 32), ("op", 8, 16))
_CAPABILITY = _structure(
    "vfio_info_cap_header", 8, ("id", 0, 16), ("version", 2, 16), ("next", 4, 32)
)
_LIST = _structure("list in a capability", 8, ("count", 0, 32), ("reserved", 4, 32))
_PAIR = _structure("pair in a list", 16, ("first", 0, 64), ("second", 8, 64))
# What a descriptor takes in IRQ_SET.
EVENTFD = _structure("eventfd", 4, ("fd", 0, 32))


def call(fd: int, request: int, argument: int | bytearray = 0) -> int:
    """Make a request and return its value; OSError when it fails."""
    result: int = fcntl.ioctl(fd, request, argument)
    return result


def call_patiently(fd: int, request: int, argument: int | bytearray = 0) -> int:
    """Make a request, for a while again as long as somebody else resets the device (EAGAIN)."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return call(fd, request, argument)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
        time.sleep(PAUSE_S)
    return call(fd, request, argument)


def query(fd: int, request: int, structure: Structure, **values: int) -> bytes:
    """Return the whole answer to a request, however long its capabilities are."""
    size = structure.size
    while True:
        buffer = bytearray(size)
        structure.write(buffer, argsz=size, **values)
        call(fd, request, buffer)
        needed = structure.parse(buffer).argsz
        if needed <= size or needed > _MAXIMUM_BYTES:
            return bytes(buffer)
        size = needed


def capabilities(answer: bytes, first: int) -> dict[int, bytes]:
    """Return what follows the header of each capability, by its identifier."""
    found: dict[int, bytes] = {}
    offset = first
    for _ in range(_MAXIMUM_CAPABILITIES):
        if not 0 < offset <= len(answer) - _CAPABILITY.size:
            break
        header = _CAPABILITY.parse(answer[offset:])
        found[header.id] = answer[offset + _CAPABILITY.size :]
        offset = header.next
    return found


def pairs(capability: bytes) -> list[tuple[int, int]]:
    """Return the list that a capability holds: ranges of IOVAs, or areas to map."""
    if len(capability) < _LIST.size:
        return []
    count = min(_LIST.parse(capability).count, (len(capability) - _LIST.size) // _PAIR.size)
    rows = (_PAIR.parse(capability[_LIST.size + n * _PAIR.size :]) for n in range(count))
    return [(row.first, row.second) for row in rows]


def irq_set(index: int, eventfds: list[int]) -> bytearray:
    """Return the argument that has interrupts from number 0 on signal `eventfds`."""
    data = b"".join(EVENTFD.build(fd=fd) for fd in eventfds)
    return bytearray(
        IRQ_SET.build(
            argsz=IRQ_SET.size + len(data),
            flags=IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER,
            index=index,
            count=len(eventfds),
        )
        + data
    )


def irq_unmask(index: int) -> bytearray:
    """Return the argument that lets interrupt 0 of an index come again."""
    flags = IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_UNMASK
    return bytearray(IRQ_SET.build(argsz=IRQ_SET.size, flags=flags, index=index, count=1))
