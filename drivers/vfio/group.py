"""An IOMMU group in our hands: container, group and device descriptors."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import ExitStack
from pathlib import Path

from scsi2nvme.drivers.pci.sysfs import VFIO_DRIVER, PciFunction
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import Request
from scsi2nvme.kernel_module import VFIO_PCI, VFIO_TYPE1

IN_USE = "the device is in use by another process"
NO_TOKEN = (
    "it is opened with a VF token, which is missing or another: name the file that holds it, "
    "vf_token=FILE"
)
_TOKEN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_TOKEN_BYTES = 36
NO_REMAPPING = "the IOMMU does not remap interrupts, which the kernel insists on"


class VfioGroup:
    """The group of a PCI function, opened, with its IOMMU set up.

    `vf_token` is a secret: who drives a physical function by VFIO, and who its virtual ones, name
    the same. `container` and `device`, the function itself, which opening it has reset, are
    descriptors.
    TransportError says in one line what is missing, and what to do about it.
    """

    def __init__(self, function: PciFunction, *, noiommu: bool = False, vf_token: str = "") -> None:
        self._function = function
        check_binding(function, noiommu=noiommu)
        self._path = _group_path(function, noiommu)
        with ExitStack() as undo:
            self.container = open_node(function.system.dev / "vfio/vfio")
            undo.callback(os.close, self.container)
            self._check_container(abi.NOIOMMU_IOMMU if noiommu else abi.TYPE1V2_IOMMU)
            self.group = open_node(self._path)
            undo.callback(os.close, self.group)
            self._check_viable()
            self._set_iommu(abi.NOIOMMU_IOMMU if noiommu else abi.TYPE1V2_IOMMU)
            self.device = self._open_device(vf_token)
            undo.callback(os.close, self.device)
            self._undo = undo.pop_all()

    def _check_container(self, iommu: int) -> None:
        version = abi.call(self.container, Request.GET_API_VERSION)
        if version != abi.API_VERSION:
            raise TransportError(f"VFIO version {version}, {abi.API_VERSION} expected")
        if not abi.call(self.container, Request.CHECK_EXTENSION, iommu):
            raise TransportError(NO_MODE if iommu == abi.NOIOMMU_IOMMU else VFIO_TYPE1.missing)

    def _check_viable(self) -> None:
        answer = abi.query(self.group, Request.GROUP_GET_STATUS, abi.GROUP_STATUS)
        if not abi.GROUP_STATUS.parse(answer).flags & abi.GroupFlags.VIABLE:
            raise TransportError(f"{self._function.address}: {not_viable(self._function)}")

    def _set_iommu(self, iommu: int) -> None:
        argument = bytearray(self.container.to_bytes(4, sys.byteorder))
        try:
            abi.call(self.group, Request.GROUP_SET_CONTAINER, argument)
            abi.call(self.container, Request.SET_IOMMU, iommu)
        except OSError as error:
            if error.errno == errno.EPERM:
                reason = NO_REMAPPING
            elif error.errno == errno.EBUSY:
                reason = IN_USE
            else:
                reason = f"its IOMMU cannot be set up: {error.strerror}"
            raise TransportError(f"{self._function.address}: {reason}") from error

    def _open_device(self, vf_token: str) -> int:
        address = self._function.address
        try:
            name = f"{address} vf_token={vf_token}" if vf_token else address
            argument = bytearray(name.encode() + b"\0")
            return abi.call_patiently(self.group, Request.GROUP_GET_DEVICE_FD, argument)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise TransportError(f"{address}: {NO_TOKEN}") from error
            if error.errno == errno.EINVAL and vf_token:
                raise TransportError(f"{address}: {_TOKEN_UNWANTED}") from error
            raise TransportError(f"{address}: vfio-pci cannot open it: {error.strerror}") from error

    def close(self) -> None:
        """Give the device back; every mapping for it is gone."""
        self._undo.close()


def not_viable(function: PciFunction) -> str:
    """Say who else is in the way."""
    others = ", ".join(f"{other.address} (driver {other.driver})" for other in function.rivals())
    return (
        f"its IOMMU group {function.group} has devices that others use: "
        f"{others or 'unknown'}; bind these to {VFIO_DRIVER} too, or use another slot"
    )


def read_vf_token(path: str) -> str:
    """Return the token that a file holds; TransportError, which does not tell it."""
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
                raise TransportError(f"vf_token: {path}: others may read it: chmod 600 {path}")
            text = file.read(_TOKEN_BYTES + 2).decode("ascii", "replace").strip()
    except OSError as error:
        raise TransportError(f"vf_token: {path}: {error.strerror}") from error
    if not _TOKEN.fullmatch(text):
        raise TransportError(f"vf_token: {path} does not hold a UUID alone, as uuidgen prints one")
    return text


def check_binding(function: PciFunction, *, noiommu: bool = False) -> None:
    """Raise TransportError unless vfio-pci has the function, and it has an IOMMU."""
    address = function.address
    if noiommu and function.system.noiommu is None:
        raise TransportError(f"{address}: {NO_MODE}")
    if function.driver != VFIO_DRIVER:
        now = f"bound to {function.driver}" if function.driver else "bound to no driver"
        raise TransportError(f"{address} is {now}; run: scsi2nvme bind {address}")
    if not function.group and not noiommu:
        raise TransportError(f"{address}: {NO_IOMMU}")


_TOKEN_UNWANTED = (
    "it takes no VF token: only a physical function that vfio-pci has does, and its virtual ones; "
    "leave vf_token out"
)
NO_MODE = "this kernel has no mode without an IOMMU (CONFIG_VFIO_NOIOMMU), or vfio is not loaded"
NO_IOMMU = (
    "there is no IOMMU; enable VT-d or AMD-Vi in the firmware, and on Intel boot Linux "
    "with intel_iommu=on"
)


def _group_path(function: PciFunction, noiommu: bool) -> Path:
    directory = function.system.dev / "vfio"
    # Without an IOMMU the kernel makes up a group, and names its device so.
    path = directory / f"noiommu-{function.group}"
    if not noiommu:
        if path.exists():
            raise TransportError(f"{function.address}: {NO_IOMMU}; or do without: noiommu=on")
        return directory / function.group
    if not function.group or not path.exists():
        raise TransportError(
            f"{function.address} is not in no-IOMMU mode; if that is what you want, run: "
            "echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode, and bind it again"
        )
    return path


def open_node(path: Path) -> int:
    """Open a node of VFIO's; TransportError says what to do when that fails."""
    try:
        return os.open(path, os.O_RDWR)
    except OSError as error:
        raise TransportError(f"{path}: {_OPEN_ERRORS.get(error.errno or 0, error.strerror)}") from (
            error
        )


_OPEN_ERRORS = {
    **dict.fromkeys((errno.ENOENT, errno.ENODEV, errno.ENXIO), VFIO_PCI.missing),
    errno.EACCES: "no permission; run as root, or make your user the owner of this file",
    errno.EPERM: "no permission; the process needs CAP_SYS_RAWIO for this",
    errno.EBUSY: IN_USE,
}
