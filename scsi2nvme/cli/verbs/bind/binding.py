"""A disk of this machine, taken from the kernel or given back."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.drivers.host import binding, binding_unit
from scsi2nvme.drivers.host.disk_users import Disk
from scsi2nvme.drivers.pci.sysfs import VFIO_DRIVER, System, parse_address


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except binding.BindingError as error:
        raise OperationError(str(error)) from error


def _by_force(disk: Disk, *, persist: bool) -> str:
    """Return how to take a disk that holds something."""
    if not disk.serial:
        return ""
    words = ["scsi2nvme", "bind", disk.function.address, "--force", "--serial", disk.serial]
    return "; if all of it may be lost: " + shlex.join([*words, *["--persist"] * persist])


def _address(text: str) -> str:
    try:
        return parse_address(text.removeprefix("pci:"))
    except ValueError as error:
        raise UsageError(f"{text!r} {error}") from None


def bind(
    address: str,
    *,
    serial: str,
    force: bool,
    persist: bool,
    dry_run: bool,
    system: System,
    report: Callable[[str], None],
) -> None:
    """Bind a disk to vfio-pci, with `persist` at every boot too.

    OperationError says why it is refused; `report` is told what is done.
    """
    if force and not serial:
        raise UsageError("--force needs --serial SERIAL: the disk's serial number, as `list` shows")
    with _one_line():
        binding.await_udev()
        disk = binding.find(_address(address), system)
        known = disk.serial or serial
        if persist and not known:
            raise UsageError("--persist needs --serial SERIAL, as vfio-pci does not tell it")
        kernel = binding.Kernel(report, dry_run=dry_run)
        if disk.function.driver == VFIO_DRIVER:
            report(f"{disk.function.address} is bound to {VFIO_DRIVER} already")
        else:
            try:
                binding.bind(disk, kernel, serial=serial, force=force)
            except binding.HoldsDataError as error:
                raise OperationError(f"{error}{_by_force(disk, persist=persist)}") from error
        if persist:
            command = [sys.executable, "-m", "scsi2nvme", "bind", disk.function.address]
            command += ["--serial", known, *(["--force"] if force else [])]
            binding_unit.persist(disk.function.address, known, command, system, kernel)


def unbind(address: str, *, dry_run: bool, system: System, report: Callable[[str], None]) -> None:
    """Give a disk back to the kernel, now and at every boot; OperationError if it is in use."""
    with _one_line():
        disk = binding.find(_address(address), system)
        kernel = binding.Kernel(report, dry_run=dry_run)
        binding_unit.forget(disk.function.address, system, kernel)
        binding.unbind(disk, kernel)
