"""Hand an NVMe disk from the kernel's driver to vfio-pci, and back.

A disk that anybody uses is not handed over; one that only holds something is,
by force, once its serial number has been named.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from scsi2nvme.drivers.host import bound_disks
from scsi2nvme.drivers.host.bound_disks import Note
from scsi2nvme.drivers.host.disk_users import Disk, read_disk, users
from scsi2nvme.drivers.pci.sysfs import (
    NVME_DRIVER,
    VFIO_DRIVER,
    PciFunction,
    System,
    find_function,
    nvme_functions,
)
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.drivers.vfio.group import NO_IOMMU, not_viable

_CLEAR = "\n"


class BindingError(Exception):
    """The disk stays as it is. The message is for people."""


class HoldsDataError(BindingError):
    """Nobody uses the disk, but there is something on it; it can be taken by force."""


class Kernel:
    """What is done to the kernel, told to `report` line by line; only told if `dry_run`."""

    def __init__(self, report: Callable[[str], None], *, dry_run: bool) -> None:
        self.report = report
        self.dry_run = dry_run

    def write(self, path: Path, text: str) -> None:
        """Write an attribute in sysfs."""
        self.report(f"echo {text.strip()} > {path}")
        if not self.dry_run:
            path.write_text(text)

    def load(self, module: str) -> None:
        """Load a module."""
        self.run("modprobe", module)

    def run(self, *command: str) -> None:
        """Run a program."""
        self.report(" ".join(command))
        if self.dry_run:
            return
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise BindingError(f"{command[0]} is not installed") from error
        except subprocess.CalledProcessError as error:
            raise BindingError(f"{' '.join(command)}: {error.stderr.strip()}") from error

    def claim(self, device: Path) -> int:
        """Open a block device so that nobody can mount or assemble it meanwhile."""
        return os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)


def disks(system: System) -> list[Disk]:
    """Return every NVMe disk on the PCI bus."""
    return [read_disk(function) for function in nvme_functions(system)]


def await_udev() -> None:
    """Wait until udev has looked at what came just now, and lets go of it.

    Ten seconds at most: `users` names whoever has a disk open then.
    """
    if udevadm := shutil.which("udevadm"):
        command = [udevadm, "settle", "--timeout=10"]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def find(address: str, system: System) -> Disk:
    """Return the disk at a PCI address; BindingError if there is none."""
    try:
        return read_disk(find_function(address, system))
    except TransportError as error:
        raise BindingError(str(error)) from error


def refusals(disk: Disk, *, force: bool) -> list[str]:
    """Return why the disk must not be taken from the kernel: nothing, if it may be."""
    function = disk.function
    reasons = []
    if not function.group and not function.system.noiommu:
        reasons.append(NO_IOMMU)
    elif function.rivals():
        reasons.append(not_viable(function))
    if virtual := function.virtual_functions():
        reasons.append(
            f"it has virtual functions ({', '.join(virtual)}), which go with it: bind those "
            f"instead, or end them first: echo 0 > {function.path / 'sriov_numvfs'}"
        )
    if function.driver not in ("", NVME_DRIVER):
        reasons.append(f"it is bound to {function.driver}: unbind it from that first")
    return reasons + [use.what for use in users(disk) if use.live or not force]


def bind(disk: Disk, kernel: Kernel, *, serial: str = "", force: bool = False) -> None:
    """Bind a disk to vfio-pci. BindingError says why not; then it is as it was.

    `serial`: it must be this very disk's. `force` it though it holds something;
    what is in use cannot be forced.
    """
    function = disk.function
    if function.driver == VFIO_DRIVER:
        return
    if force and not serial:
        raise BindingError(f"{function.address}: forcing needs the disk's serial number")
    if serial and serial != disk.serial:
        actual = disk.serial or "unknown"
        raise BindingError(f"{function.address}: the serial number is {actual}, not {serial}")
    if reasons := refusals(disk, force=force):
        kind = BindingError if refusals(disk, force=True) else HoldsDataError
        raise kind(f"{function.address}: " + "; ".join(reasons))
    if not (function.system.pci / "drivers" / VFIO_DRIVER).exists():
        kernel.load(VFIO_DRIVER)
    with ExitStack() as claims:
        for name in disk.namespaces:
            try:
                claims.callback(os.close, kernel.claim(function.system.dev / name))
            except OSError as error:
                busy = error.errno == errno.EBUSY
                reason = "is in use by the kernel" if busy else error.strerror
                raise BindingError(f"{function.address}: {name} {reason}") from error
        try:
            _rebind(function, kernel, VFIO_DRIVER)
        except BindingError as error:
            try:
                _rebind(function, kernel, "")
            except BindingError as second:
                raise BindingError(f"{error}; nor can it be undone: {second}") from error
            raise
    _note(disk, kernel)


def unbind(disk: Disk, kernel: Kernel) -> None:
    """Give a disk back to the kernel's nvme driver. BindingError if it is in use."""
    function = disk.function
    if function.driver == NVME_DRIVER:
        return
    if function.driver not in ("", VFIO_DRIVER):
        raise BindingError(f"{function.address} is bound to {function.driver}, not {VFIO_DRIVER}")
    if using := users(disk):
        raise BindingError(f"{function.address} {using[0].what}")
    if not (function.system.pci / "drivers" / NVME_DRIVER).exists():
        kernel.load(NVME_DRIVER)
    _rebind(function, kernel, "")
    if not kernel.dry_run:
        bound_disks.forget(function)


def _note(disk: Disk, kernel: Kernel) -> None:
    """Note what vfio-pci will not tell."""
    if kernel.dry_run:
        return
    try:
        bound_disks.save(disk.function, Note(disk.model, disk.serial, disk.size_bytes))
    except OSError as error:
        kernel.report(f"{error.filename}: {error.strerror}: `list` will not know the disk's model")


def _rebind(function: PciFunction, kernel: Kernel, override: str) -> None:
    """Have the kernel choose a driver anew: `override`, or with "" the one that matches."""
    wanted = override or NVME_DRIVER
    try:
        kernel.write(function.path / "driver_override", override or _CLEAR)
        if function.driver:
            kernel.write(function.path / "driver/unbind", function.address)
        kernel.write(function.system.pci / "drivers_probe", function.address)
    except OSError as error:
        raise BindingError(f"{error.filename}: {error.strerror}") from error
    if not kernel.dry_run and function.driver != wanted:
        raise BindingError(
            f"{function.address}: {wanted} does not take it; the kernel's log may say why"
        )
