"""Disks of this machine, taken from its kernel and given back.

The shell itself does so, as the verbs do: it takes root, of whom the daemon is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

from scsi2nvme.api.method import Method, doc
from scsi2nvme.cli.verbs.shell.kind import Command, Place
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class WhichDisk:
    """A disk of this machine."""

    address: str = field(metadata=doc("PCI address, such as 0000:01:00.0"))
    dry_run: bool = field(
        default=False, metadata=doc("check everything, say what would be done, stop")
    )


@dataclass(frozen=True, slots=True)
class NewDisk(WhichDisk):
    """And how it is taken."""

    serial: str = field(default="", metadata=doc("go on only if the disk's serial is this"))
    force: bool = field(
        default=False,
        metadata=doc("take a disk that holds data; needs serial. One in use is never taken"),
    )
    persist: bool = field(default=False, metadata=doc("do it at every boot as well"))


_BIND = Method("", "take an NVMe disk from the kernel, for `/controllers add`", NewDisk, list[str])
_UNBIND = Method("", "give a disk back to the kernel, now and at boot", WhichDisk, list[str])


def _bound(state_dir: Path, method: Method[Any, Any], new: NewDisk) -> list[str]:
    from scsi2nvme.cli.verbs.bind import binding
    from scsi2nvme.drivers.pci.sysfs import System

    binding.bind(
        new.address,
        serial=new.serial,
        force=new.force,
        persist=new.persist,
        dry_run=new.dry_run,
        system=System(),
        report=partial(_tell, new),
    )
    return []


def _unbound(state_dir: Path, method: Method[Any, Any], which: WhichDisk) -> list[str]:
    from scsi2nvme.cli.verbs.bind import binding
    from scsi2nvme.drivers.pci.sysfs import System

    report = partial(_tell, which)
    binding.unbind(which.address, dry_run=which.dry_run, system=System(), report=report)
    return []


def _tell(which: WhichDisk, step: str) -> None:
    """Tell of a step at once: what follows it may fail."""
    print(f"would do: {step}" if which.dry_run else step, flush=True)


def _addresses(place: Place) -> Iterable[str]:
    from scsi2nvme.drivers.host import binding
    from scsi2nvme.drivers.pci.sysfs import System

    return [disk.function.address for disk in binding.disks(System())]


COMMANDS = (
    Command("bind", _BIND, perform=_bound, values={"address": _addresses}),
    Command("unbind", _UNBIND, perform=_unbound, values={"address": _addresses}),
)
