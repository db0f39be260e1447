"""What transports have for the users of a controller: the binding of csrc/transport.h."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle
from scsi2nvme.records import dataclass


def address_of(memory: mmap.mmap) -> int:
    """Return where a mapping stands in our memory: it must stay as long as that is used."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))


MAXIMUM_REACTORS: int = lib.S2N_MAXIMUM_REACTORS  # that use one controller


@dataclass(frozen=True, slots=True)
class Region:
    """DMA memory: our address, the controller's address, and a length in bytes."""

    vaddr: int
    iova: int
    length: int

    def slice(self, offset: int, length: int) -> Region:
        """Return a part of it."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise ValueError(f"{offset}+{length} lies outside {self.length} bytes")
        return Region(self.vaddr + offset, self.iova + offset, length)

    def view(self) -> memoryview:
        """Return the memory itself, writable."""
        return memoryview(ffi.buffer(ffi.cast("uint8_t *", self.vaddr), self.length))

    @property
    def native(self) -> Any:
        """A structure that says the same, for the call to come."""
        return ffi.new(
            "s2n_region *",
            {
                "vaddr": ffi.cast("uint8_t *", self.vaddr),
                "iova": self.iova,
                "length": self.length,
            },
        )


class Port(Handle):
    """The doorbells of one controller: of so many `queue_pairs`, the admin queue's included.

    Its queue pairs are closed before it is.
    """

    def __init__(self, native: Any, queue_pairs: int = 1 << 16) -> None:
        super().__init__(lib.s2n_port_free, native, "port")
        self.queue_pairs = queue_pairs


class Window(Handle):
    """A range of a controller's addresses in which memory of others appears, page by page.

    Whoever it is given to closes it when it is empty. `released` is called then.
    """

    def __init__(self, native: Any, released: Callable[[], None]) -> None:
        super().__init__(lib.s2n_window_free, native, "window")
        self._released = released

    def close(self) -> None:
        """Free it; it is empty."""
        if not self.closed:
            super().close()
            self._released()
