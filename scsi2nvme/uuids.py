"""UUIDs, as 16 bytes. Spec: RFC 9562.

The standard library's `uuid` loads what tells machines apart by regular expressions, which took a
fortieth of the daemon's start.
"""

from __future__ import annotations

import hashlib
import os

BYTES = 16
_VARIANT = 0x80  # of RFC 9562


def _uuid(value: bytes, version: int) -> bytes:
    """Return bytes with the fields that say what kind of UUID it is. Spec: RFC 9562 4.1, 4.2."""
    made = bytearray(value[:BYTES])
    made[6] = made[6] & 0x0F | version << 4
    made[8] = made[8] & 0x3F | _VARIANT
    return bytes(made)


def random_uuid() -> bytes:
    """Return one that nobody else has. Spec: RFC 9562 5.4."""
    return _uuid(os.urandom(BYTES), 4)


def named_uuid(root: bytes, name: str) -> bytes:
    """Return that of a name below the UUID `root`: always the same. Spec: RFC 9562 5.5."""
    return _uuid(hashlib.sha1(root + name.encode(), usedforsecurity=False).digest(), 5)


def as_text(value: bytes) -> str:
    """Return a UUID as people write it. Spec: RFC 9562 4."""
    digits = value.hex()
    return "-".join(digits[at:to] for at, to in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
