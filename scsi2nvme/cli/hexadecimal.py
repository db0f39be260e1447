"""Bytes as people write them."""

from __future__ import annotations

import re

from scsi2nvme.cli.errors import UsageError


def bytes_of(text: str) -> bytes:
    """Return what is written in hexadecimal, as `28 00` or `0x28,0`; UsageError if nothing is."""
    words = (re.sub(r"^0[xX]|[hH]$", "", word) for word in re.split(r"[\s,:]+", text.strip()))
    try:
        return b"".join(bytes.fromhex(f"0{word}" if len(word) == 1 else word) for word in words)
    except ValueError:
        raise UsageError(f"{text}: not bytes in hexadecimal, two digits each") from None
