"""The light by which a disk is found among others: that of its slot, or of its enclosure.

Spec: PCIe 4.0 6.7.1.1.1 (attention indicator: blinking means "here"), 6.29 (NPEM).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from scsi2nvme.drivers.pci.sysfs import PciFunction, read_text
from scsi2nvme.records import dataclass

_OFF, _LIT, _BLINKING = "0", "1", "2"


@dataclass(frozen=True, slots=True)
class Light:
    """An attribute in sysfs, and what is written there to have it tell where the disk is."""

    path: Path
    on: str

    def set(self, lit: bool) -> None:
        """Have it lit, or not; OSError."""
        self.path.write_text(self.on if lit else _OFF)


def _slots(function: PciFunction) -> Iterator[Light]:
    """Yield the attention indicator of the slot that the device is in."""
    device = function.address.rpartition(".")[0]
    slots = function.system.pci / "slots"
    for slot in sorted(slots.iterdir()) if slots.is_dir() else ():
        if read_text(slot / "address") == device and (slot / "attention").exists():
            yield Light(slot / "attention", _BLINKING)


def _enclosures(function: PciFunction) -> Iterator[Light]:
    """Yield the locate indication of the disk, or of the port above it."""
    disk = function.path.resolve()
    for device in (disk, disk.parent):
        for path in sorted(device.glob("leds/*:enclosure:locate/brightness")):
            yield Light(path, _LIT)


def find(function: PciFunction) -> Light | None:
    """Return the light of a disk, None if the kernel knows of none."""
    return next(chain(_slots(function), _enclosures(function)), None)
