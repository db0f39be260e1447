"""The machine's NVMe disks and its IOMMU."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.drivers.host import binding
from scsi2nvme.drivers.host.disk_users import Disk, users
from scsi2nvme.drivers.pci.sysfs import NVME_DRIVER, VFIO_DRIVER
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio.group import NO_IOMMU, check_binding, not_viable


def iommu(situation: Situation) -> Iterator[Finding]:
    """Look whether devices are kept to what they are given."""
    groups = situation.system.sys / "kernel/iommu_groups"
    count = len(list(groups.iterdir())) if groups.is_dir() else 0
    if count:
        yield ok(f"{count} groups" if count > 1 else "1 group")
    elif situation.noiommu:
        yield Finding(Level.WARNING, "there is none: disks can reach all memory of the machine")
    else:
        yield Finding(Level.WRONG, NO_IOMMU)


def disks(situation: Situation) -> Iterator[Finding]:
    """Look who drives and who uses each disk; of those that are to be served, whether we can."""
    found = {disk.function.address: disk for disk in binding.disks(situation.system)}
    for address in situation.addresses:
        if address not in found:
            what = f"{address}: there is no such NVMe disk on the PCI bus"
            yield Finding(Level.WRONG, what, "scsi2nvme list")
    for address, disk in found.items():
        if address in situation.addresses:
            yield from _served(disk, noiommu=situation.noiommu)
        else:
            yield _other(disk)
    if not found and not situation.addresses:
        yield Finding(Level.WARNING, "there is no NVMe disk on the PCI bus", "scsi2nvme list")


def _served(disk: Disk, *, noiommu: bool) -> Iterator[Finding]:
    """Look at a disk that is to be served."""
    function = disk.function
    try:
        check_binding(function, noiommu=noiommu)
    except TransportError as error:
        reasons = "; ".join(use.what for use in users(disk))
        told = Finding.told(Level.WRONG, error)
        yield Finding(told.level, f"{told.what}; {reasons}" if reasons else told.what, told.mend)
        return
    if function.rivals():
        yield Finding(Level.WRONG, f"{function.address}: {not_viable(function)}")
    else:
        yield ok(f"{function.address} is bound to {VFIO_DRIVER}")


def _other(disk: Disk) -> Finding:
    """Return what there is to say of a disk that nobody wants to be served."""
    address, driver = disk.function.address, disk.function.driver
    if driver != NVME_DRIVER:
        return ok(f"{address} is bound to {driver or 'no driver'}")
    uses = users(disk)
    if uses:
        return ok(f"{address} is the kernel's: " + "; ".join(use.what for use in uses))
    if disk.function.rivals():
        return ok(f"{address} is the kernel's: {not_viable(disk.function)}")
    return Finding(
        Level.OK, f"{address} is the kernel's, and nobody uses it", f"scsi2nvme bind {address}"
    )
