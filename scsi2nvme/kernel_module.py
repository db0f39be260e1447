"""The kernel's modules that the program needs, and what is said where one is missing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A module; `option` is what a kernel is configured with that has it."""

    name: str
    option: str

    @property
    def load(self) -> str:
        """The command that loads it."""
        return f"modprobe {self.name}"

    @property
    def missing(self) -> str:
        """What is said where it is missing."""
        return f"the module {self.name} is missing; run: {self.load}"


VFIO_PCI = KernelModule("vfio-pci", "CONFIG_VFIO_PCI")
VFIO_TYPE1 = KernelModule("vfio_iommu_type1", "CONFIG_VFIO_IOMMU_TYPE1")
USER_BACKSTORE = KernelModule("target_core_user", "CONFIG_TCM_USER2")
CONFIGFS = KernelModule("configfs", "CONFIG_CONFIGFS_FS")
ISCSI_TARGET = KernelModule("iscsi_target_mod", "CONFIG_ISCSI_TARGET")
