"""What a VPD page is: one row. Spec: SPC-4 7.8.1."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme.command import Task
from scsi2nvme.fields import Field, Structure
from scsi2nvme.records import dataclass
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.readiness import Readiness

# PERIPHERAL DEVICE TYPE, with qualifier 000b; and qualifier 001b.
DIRECT_ACCESS, HOST_MANAGED_ZONED = 0x00, 0x14
NOT_CONNECTED = 0x20
NO_LOGICAL_UNIT = 0x7F  # qualifier 011b, type 1Fh
VENDOR = b"NVMe    "  # T10 VENDOR IDENTIFICATION. Spec: SNTR 1.5 6.1.1.

HEADER = Structure(
    "VPD page header",
    4,
    (
        Field("peripheral", 0, 0, 8, "PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE"),
        Field("page_code", 1),
        Field("page_length", 2, 0, 16),
    ),
    spec="SPC-4 7.8.1",
)


@dataclass(frozen=True)
class VpdPage:
    """One row: `build` returns what follows the header."""

    code: int
    name: str
    spec: str
    build: Callable[[Task], bytes]
    supported: Callable[[LogicalUnit], bool] = lambda lu: True


def device_type(lu: LogicalUnit) -> int:
    """Return PERIPHERAL DEVICE TYPE. Spec: SPC-4 6.6.2, ZBC 5."""
    return DIRECT_ACCESS if lu.zones is None else HOST_MANAGED_ZONED


def peripheral(lu: LogicalUnit) -> int:
    """Return PERIPHERAL QUALIFIER and TYPE: one that is gone is not connected.

    Spec: SPC-4 6.6.2.
    """
    device = device_type(lu)
    return NOT_CONNECTED | device if lu.readiness is Readiness.FAILED else device


def with_header(device: int, code: int, body: bytes) -> bytes:
    """Return a page whole, of the device that PERIPHERAL QUALIFIER and TYPE `device` tell."""
    return HEADER.build(peripheral=device, page_code=code, page_length=len(body)) + body


_PRINTABLE = bytes(byte if 0x20 <= byte <= 0x7E else 0x20 for byte in range(256))


def printable(text: bytes) -> bytes:
    """Return an ASCII field with what is not graphic turned into spaces."""
    return text.translate(_PRINTABLE)


def firmware_revision(firmware: bytes) -> bytes:
    """Return the last four non-space characters of FR. Spec: SNTR 1.5 6.1.1."""
    graphic = bytes(byte for byte in firmware if 0x21 <= byte <= 0x7E)
    return graphic[-4:].ljust(4)
