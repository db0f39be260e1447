"""What is known of a disk while vfio-pci has it: noted when it was taken from the kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from scsi2nvme.drivers.pci.sysfs import PciFunction, read_text


class Note(NamedTuple):
    """What only the disk itself can tell."""

    model: str = ""
    serial: str = ""
    size_bytes: int = 0


def _path(function: PciFunction) -> Path:
    return function.system.run / "scsi2nvme/disks" / f"{function.address}.json"


def save(function: PciFunction, note: Note) -> None:
    """Note it, until the machine is switched off; OSError if that is impossible."""
    path = _path(function)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(note._asdict()))


def forget(function: PciFunction) -> None:
    """The kernel has the disk again, and tells itself."""
    _path(function).unlink(missing_ok=True)


def load(function: PciFunction) -> Note:
    """Return what was noted; empty if another program bound it, or the note is damaged."""
    try:
        return Note(**json.loads(read_text(_path(function)) or "{}"))
    except (ValueError, TypeError):
        return Note()
