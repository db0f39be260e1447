"""What WRITE BUFFER keeps for READ BUFFER: a data buffer, and what each nexus wants echoed."""

from __future__ import annotations

DATA_BYTES = 64 << 10
ECHO_BYTES = 4096
BOUNDARY_EXPONENT = 2  # offsets in the data buffer are of dwords


class Buffers:
    """The buffers of one logical unit. None outlives a reset, an echo not even its nexus."""

    def __init__(self) -> None:
        self._data = bytearray()  # as far as it was written
        self._echoes: dict[str, bytes] = {}  # by nexus key

    def write(self, offset: int, data: bytes) -> None:
        """Put data into the data buffer, which they must fit."""
        end = offset + len(data)
        assert end <= DATA_BYTES, f"data buffer: {end} bytes"
        if len(self._data) < end:
            self._data.extend(bytes(end - len(self._data)))
        self._data[offset:end] = data

    def read(self, offset: int, length: int) -> bytes:
        """Return at most so many bytes of the data buffer; what was never written is zero."""
        end = min(offset + length, DATA_BYTES)
        return bytes(self._data[offset:end]).ljust(max(0, end - offset), b"\0")

    def keep_echo(self, nexus: str, data: bytes) -> None:
        """Keep what a nexus wants to read again."""
        self._echoes[nexus] = data

    def echo(self, nexus: str) -> bytes | None:
        """Return what the nexus wrote last, None if that was nothing."""
        return self._echoes.get(nexus)

    def forget(self, nexus: str) -> None:
        """A nexus has ended."""
        self._echoes.pop(nexus, None)

    def reset(self) -> None:
        """A logical unit reset."""
        self._data.clear()
        self._echoes.clear()
