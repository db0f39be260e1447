"""Sizes, for people."""

from __future__ import annotations


def size(count: int) -> str:
    """Return so many bytes for people, in the largest unit of which there is one."""
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{amount:.2f} {unit}"
