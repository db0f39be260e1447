"""The table of what is looked at, in the order in which it is to be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scsi2nvme.cli.verbs.check import (
    configured,
    daemon,
    disks,
    kernel,
    libraries,
    permissions,
    process,
)
from scsi2nvme.cli.verbs.check.finding import Finding, Level
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.kernel_module import ISCSI_TARGET, USER_BACKSTORE, VFIO_PCI, VFIO_TYPE1
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing: `look` yields what is found, where it is `needed` at all."""

    name: str
    look: Callable[[Situation], Iterator[Finding]]
    needed: Callable[[Situation], bool] = lambda situation: True

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield what is found; what may not be looked at is found to be so."""
        try:
            yield from self.look(situation)
        except PermissionError as error:
            what = f"it cannot be looked at: {error.filename or 'something'}: {error.strerror}"
            yield Finding(Level.WARNING, what, "sudo -i")


def _real_disks(situation: Situation) -> bool:
    return situation.real_disks


def _kernel_target(situation: Situation) -> bool:
    return situation.kernel_target


def _dbus(situation: Situation) -> bool:
    return situation.dbus


CHECKS = (
    Check("configuration", configured.file),
    Check("portal", configured.portals),
    Check(VFIO_PCI.name, kernel.module(VFIO_PCI), _real_disks),
    Check(VFIO_TYPE1.name, kernel.type1, _real_disks),
    Check("IOMMU", disks.iommu, _real_disks),
    Check("disks", disks.disks, _real_disks),
    Check("huge pages", process.huge_pages, lambda situation: situation.noiommu),
    Check(USER_BACKSTORE.name, kernel.module(USER_BACKSTORE), _kernel_target),
    Check(ISCSI_TARGET.name, kernel.module(ISCSI_TARGET), _kernel_target),
    Check("configfs", kernel.configfs, _kernel_target),
    Check("kernel's portals", kernel.portals, _kernel_target),
    Check("tcmu-runner", kernel.runner, _kernel_target),
    Check("rtslib", libraries.rtslib, _kernel_target),
    Check("targetcli", libraries.targetcli, _kernel_target),
    Check("dbus-fast", libraries.dbus_fast, _dbus),
    Check("D-Bus", libraries.bus, _dbus),
    Check("units", configured.units, _kernel_target),
    Check("locked memory", process.locked_memory, _real_disks),
    Check("open files", process.open_files),
    Check("state", process.state),
    Check("daemon", daemon.daemon),
    Check("health", daemon.health),
    Check("permissions", permissions.permissions),
)
