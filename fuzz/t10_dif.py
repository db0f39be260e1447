"""Protection information as an initiator makes it. Spec: SBC-3 4.22.3, 4.22.4 (the CRC)."""

from __future__ import annotations

_POLYNOMIAL = 0x8BB7


def _entry(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = crc << 1 ^ (_POLYNOMIAL if crc & 0x8000 else 0)
    return crc & 0xFFFF


_TABLE = [_entry(byte) for byte in range(256)]


def guard(data: bytes) -> int:
    """Return the LOGICAL BLOCK GUARD of a block's data."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _TABLE[crc >> 8 ^ byte]
    return crc


def protected(
    data: bytes, tag: int, *, block_bytes: int, step: int = 1, application: int = 0
) -> bytes:
    """Return blocks with a tuple behind each, the first of which has the reference tag `tag`."""
    whole = b""
    for n, at in enumerate(range(0, len(data), block_bytes)):
        block = data[at : at + block_bytes]
        reference = tag + step * n & 0xFFFFFFFF
        whole += block + guard(block).to_bytes(2, "big") + application.to_bytes(2, "big")
        whole += reference.to_bytes(4, "big")
    return whole
