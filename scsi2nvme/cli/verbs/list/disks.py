"""The disks of this machine: which there are, and who drives and uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsi2nvme.cli.sizes import size
from scsi2nvme.cli.spec import parse
from scsi2nvme.cli.verbs.list.columns import aligned
from scsi2nvme.drivers.host import binding
from scsi2nvme.drivers.host.disk_users import Disk, users
from scsi2nvme.drivers.pci.sysfs import System

if TYPE_CHECKING:
    from scsi2nvme.cli.inspection import Json


def of_machine(system: System) -> Json:
    """Return the NVMe disks on the PCI bus, with their drivers and users."""
    return {"Disks": [_shown(disk) for disk in binding.disks(system)]}


def complete(shown: Json) -> None:
    """Say of disks that vfio-pci has what the daemon's namespaces in `shown` tell of them."""
    for disk in shown["Disks"]:
        address = disk["Address"]
        served = [row for row in shown["Devices"] if _address(row["DevicePath"]) == address]
        if served:
            disk["ModelNumber"] = served[0]["ModelNumber"]
            disk["SerialNumber"] = served[0]["SerialNumber"]
            disk["PhysicalSize"] = sum(row["PhysicalSize"] for row in served)


def _address(text: str) -> str:
    """Return the PCI address of the disk that a SPEC names, "" if it names none."""
    return parse(text).pci_address


def _shown(disk: Disk) -> Json:
    function = disk.function
    return {
        "Address": function.address,
        "ModelNumber": disk.model,
        "SerialNumber": disk.serial,
        "PhysicalSize": disk.size_bytes,
        "Driver": function.driver,
        "IommuGroup": function.group,
        "PhysicalFunction": function.physical_function,
        "NameSpaces": list(disk.namespaces),
        "Users": [use.what for use in users(disk)],
    }


def table(shown: Json) -> str:
    """Return `of_machine` for people: a line per disk, its users below it."""
    heads = ("Address", "Driver", "Serial", "Model", "Size", "Block devices")
    rows = [
        (
            disk["Address"],
            disk["Driver"] or "-",
            disk["SerialNumber"] or "-",
            disk["ModelNumber"] or "-",
            size(disk["PhysicalSize"]) if disk["PhysicalSize"] else "-",
            " ".join(disk["NameSpaces"]) or "-",
        )
        for disk in shown["Disks"]
    ]
    if not rows:
        return "There is no NVMe disk on the PCI bus."
    head, *aligned_rows = aligned([heads, *rows])
    lines = [head]
    for row, disk in zip(aligned_rows, shown["Disks"], strict=True):
        lines.append(row)
        if disk.get("PhysicalFunction"):
            lines.append(f"    is a virtual function of {disk['PhysicalFunction']}")
        lines += (f"    {what}" for what in disk["Users"])
    return "\n".join(lines)
