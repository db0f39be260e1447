"""What is known of a disk while vfio-pci has it: noted when it was taken from the kernel."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from scsi2nvme import durable
from scsi2nvme.drivers.pci.sysfs import PciFunction
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json, table


@dataclass(frozen=True, slots=True)
class Note:
    """What only the disk itself can tell."""

    model: str = ""
    serial: str = ""
    size_bytes: int = 0

    def __post_init__(self) -> None:
        if self.size_bytes < 0:
            raise ValueError("size_bytes: is below zero")


def _path(function: PciFunction) -> Path:
    return function.system.run / "scsi2nvme/disks" / f"{function.address}.json"


def save(function: PciFunction, note: Note) -> None:
    """Note it, until the machine is switched off; OSError if that is impossible."""
    path = _path(function)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, json.dumps(asdict(note)).encode(), mode=0o644)


def forget(function: PciFunction) -> None:
    """The kernel has the disk again, and tells itself."""
    _path(function).unlink(missing_ok=True)


def load(function: PciFunction) -> Note:
    """Return what was noted; empty if another program bound it, or the note is damaged."""
    try:
        return table(parse_json(durable.read(_path(function))), Note)
    except (ValueError, OSError):
        return Note()
