"""Logical unit numbers as bytes. Spec: SAM-5 4.7."""

from __future__ import annotations

PERIPHERAL_MAXIMUM = 0xFF  # beyond it, flat space addressing


def lun_of(address: bytes) -> int | None:
    """Decode an 8-byte LUN, None if it is no single-level one. Spec: SAM-5 4.7."""
    method, value = address[0] >> 6, int.from_bytes(address[:2], "big") & 0x3FFF
    if any(address[2:]):
        return None
    if method == 0:  # peripheral device addressing: bus identifier must be zero
        return value if value <= PERIPHERAL_MAXIMUM else None
    if method == 1:  # flat space addressing
        return value
    return None


def lun_address(lun: int) -> bytes:
    """Encode a LUN, 8 bytes: peripheral device or flat space addressing. Spec: SAM-5 4.7.7."""
    address = lun if lun <= PERIPHERAL_MAXIMUM else 0x4000 | lun
    return address.to_bytes(2, "big") + bytes(6)
