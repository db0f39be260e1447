"""CRC32C: the binding of csrc/crc32c.h. Callable from any thread."""

from __future__ import annotations

from scsi2nvme._dataplane import ffi, lib


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the CRC32C of `data`, continuing from `crc`."""
    buffer = ffi.from_buffer(data)
    return int(lib.s2n_crc32c(crc, buffer, len(buffer)))
