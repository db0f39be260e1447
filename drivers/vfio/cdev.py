"""A device by itself, without its group, and an IOMMU descriptor: VFIO's newer interface.

Spec: Linux Documentation/driver-api/vfio.rst (IOMMUFD and vfio_iommu_type1),
Documentation/userspace-api/iommufd.rst.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from scsi2nvme.drivers.pci.sysfs import PciFunction
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import IommufdRequest, Request, VfioIoas
from scsi2nvme.drivers.vfio.group import (
    IN_USE,
    NO_REMAPPING,
    NO_TOKEN,
    check_binding,
    not_viable,
    open_node,
)

_REASONS = {
    errno.EPERM: NO_REMAPPING,
    errno.EBUSY: IN_USE,
    errno.EINVAL: IN_USE,
    errno.EACCES: NO_TOKEN,
}


def cdev_path(function: PciFunction) -> Path | None:
    """Return the device's own node; None if this kernel lacks it, or IOMMUFD."""
    names = function.path / "vfio-dev"
    if not (function.system.dev / "iommu").exists() or not names.is_dir():
        return None
    nodes = function.system.dev / "vfio/devices"
    return next((nodes / entry.name for entry in names.iterdir()), None)


class VfioCdev:
    """The device's own node, opened, with an address space of the IOMMU's to itself.

    `device` is its descriptor, which opening it has reset; `container` is one that takes what
    a container with a type 1 IOMMU takes, for that address space.
    TransportError says in one line what is missing, and what to do about it.
    """

    def __init__(self, function: PciFunction, path: Path) -> None:
        self._function = function
        check_binding(function)
        with ExitStack() as undo:
            self.container = open_node(function.system.dev / "iommu")
            undo.callback(os.close, self.container)
            self.device = open_node(path)
            undo.callback(os.close, self.device)
            try:
                self._bind()
                self._attach()
            except OSError as error:
                reason = f"its IOMMU cannot be set up: {error.strerror}"
                raise TransportError(f"{function.address}: {reason}") from error
            self._undo = undo.pop_all()

    def _bind(self) -> None:
        argument = bytearray(abi.BIND.build(argsz=abi.BIND.size, iommufd=self.container))
        try:
            abi.call_patiently(self.device, Request.DEVICE_BIND_IOMMUFD, argument)
        except OSError as error:
            if self._function.rivals():
                raise TransportError(
                    f"{self._function.address}: {not_viable(self._function)}"
                ) from error
            if error.errno in _REASONS:
                reason = _REASONS[error.errno]
                raise TransportError(f"{self._function.address}: {reason}") from error
            raise

    def _attach(self) -> None:
        answer = bytearray(abi.IOAS_ALLOC.build(size=abi.IOAS_ALLOC.size))
        abi.call(self.container, IommufdRequest.IOAS_ALLOC, answer)
        ioas = abi.IOAS_ALLOC.parse(answer).out_ioas_id
        chosen = abi.VFIO_IOAS.build(size=abi.VFIO_IOAS.size, ioas_id=ioas, op=VfioIoas.SET)
        abi.call(self.container, IommufdRequest.VFIO_IOAS, bytearray(chosen))
        abi.query(self.device, Request.DEVICE_ATTACH_IOMMUFD_PT, abi.ATTACH, pt_id=ioas)

    def close(self) -> None:
        """Give the device back; every mapping for it is gone."""
        self._undo.close()
