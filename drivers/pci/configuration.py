"""PCI configuration space of one function, over memory-mapped (ECAM) accesses.

Spec: PCI Local Bus 3.0 6, PCI Express Base 4.0 7.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.records import dataclass

COMMAND, CLASS_REVISION, BAR0, CAPABILITIES = 0x04, 0x08, 0x10, 0x34
COMMAND_MEMORY, COMMAND_MASTER, COMMAND_INTX_OFF = 0x2, 0x4, 0x400

CAP_MSIX, CAP_EXPRESS = 0x11, 0x10
_MSIX_ENABLE = 1 << 15
_MSIX_ENTRY_BYTES = 16
_FLR_CAPABLE, _FLR = 1 << 28, 1 << 15


class MemorySpace(Protocol):
    """Physical memory as a processor of that machine sees it."""

    def read_memory(self, address: int, width: int) -> int:
        """Read `width` bytes."""

    def write_memory(self, address: int, width: int, value: int) -> None:
        """Write `width` bytes."""


@dataclass(frozen=True, slots=True)
class MsixEntry:
    """Where a vector's message goes, and what it says."""

    address: int
    data: int


class ConfigurationSpace:
    """Function 0 of `device` on bus 0."""

    def __init__(self, memory: MemorySpace, ecam: int, device: int) -> None:
        self._memory = memory
        self._base = ecam + (device << 15)

    def read(self, offset: int, width: int) -> int:
        """Read `width` bytes of configuration space."""
        return self._memory.read_memory(self._base + offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write `width` bytes of configuration space."""
        self._memory.write_memory(self._base + offset, width, value)

    @property
    def identity(self) -> tuple[int, int]:
        """Vendor and device identifier."""
        return self.read(0, 2), self.read(2, 2)

    def set_bar(self, index: int, address: int) -> None:
        """Program a memory BAR; bit 2 says that it has an upper half."""
        offset = BAR0 + 4 * index
        is_64_bit = self.read(offset, 4) & 0x4
        self.write(offset, 4, address & 0xFFFFFFFF)
        if is_64_bit:
            self.write(offset + 4, 4, address >> 32)

    def enable(self) -> None:
        """Decode memory, master the bus, and never raise INTx."""
        self.write(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_OFF)

    def end_mastering(self) -> None:
        """Have the function reach no memory any more."""
        self.write(COMMAND, 2, COMMAND_MEMORY | COMMAND_INTX_OFF)

    def capability(self, identifier: int) -> int:
        """Return the offset of a capability."""
        offset = self.read(CAPABILITIES, 1) & ~3
        for _ in range(48):  # as many as fit: a list that loops ends too
            if offset == 0:
                break
            if self.read(offset, 1) == identifier:
                return offset
            offset = self.read(offset + 1, 1) & ~3
        raise TransportError(f"no PCI capability {identifier:#04x}")

    def enable_msix(self, bars: Mapping[int, int], entries: Sequence[MsixEntry]) -> None:
        """Fill the vector table from its first entry, and enable it."""
        capability = self.capability(CAP_MSIX)
        control = self.read(capability + 2, 2)
        if len(entries) > (control & 0x7FF) + 1:
            raise TransportError(f"{len(entries)} vectors wanted, {(control & 0x7FF) + 1} there")
        place = self.read(capability + 4, 4)
        table = bars[place & 7] + (place & ~7)
        for vector, entry in enumerate(entries):
            address = table + vector * _MSIX_ENTRY_BYTES
            words = (entry.address & 0xFFFFFFFF, entry.address >> 32, entry.data, 0)
            for index, word in enumerate(words):
                self._memory.write_memory(address + 4 * index, 4, word)
        self.write(capability + 2, 2, control | _MSIX_ENABLE)

    def function_level_reset(self) -> None:
        """Reset the function. What was configured is gone."""
        capability = self.capability(CAP_EXPRESS)
        if not self.read(capability + 4, 4) & _FLR_CAPABLE:
            raise TransportError("the function cannot be reset")
        control = self.read(capability + 8, 2)
        self.write(capability + 8, 2, control | _FLR)
