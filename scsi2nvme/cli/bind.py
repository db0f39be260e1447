"""Disks of this machine: which there are, and who drives them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.inspect import Json, aligned
from scsi2nvme.drivers.host import binding, binding_unit
from scsi2nvme.drivers.host.disk_users import Disk, users
from scsi2nvme.drivers.pci.sysfs import VFIO_DRIVER, System, parse_address


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except binding.BindingError as error:
        raise OperationError(str(error)) from error


def _address(text: str) -> str:
    try:
        return parse_address(text.removeprefix("pci:"))
    except ValueError as error:
        raise UsageError(f"{text!r} {error}") from None


def disks(system: System) -> Json:
    """Return the NVMe disks on the PCI bus, with their drivers and users."""
    return {"Disks": [_shown(disk) for disk in binding.disks(system)]}


def complete(shown: Json) -> None:
    """Say of disks that vfio-pci has what the daemon's namespaces in `shown` tell of them."""
    for disk in shown["Disks"]:
        served = [row for row in shown["Devices"] if _is_on(row["DevicePath"], disk["Address"])]
        if served:
            disk["ModelNumber"] = served[0]["ModelNumber"]
            disk["SerialNumber"] = served[0]["SerialNumber"]
            disk["PhysicalSize"] = sum(row["PhysicalSize"] for row in served)


def _is_on(spec: str, address: str) -> bool:
    """Whether a SPEC names the disk at a PCI address."""
    transport, _, rest = spec.partition(":")
    return transport == "pci" and parse_address(rest.partition(",")[0]) == address


def _shown(disk: Disk) -> Json:
    function = disk.function
    return {
        "Address": function.address,
        "ModelNumber": disk.model,
        "SerialNumber": disk.serial,
        "PhysicalSize": disk.size_bytes,
        "Driver": function.driver,
        "IommuGroup": function.group,
        "NameSpaces": list(disk.namespaces),
        "Users": [use.what for use in users(disk)],
    }


def table(shown: Json) -> str:
    """Return `disks` for people: a line per disk, its users below it."""
    heads = ("Address", "Driver", "Serial", "Model", "Size", "Block devices")
    rows = [
        (
            disk["Address"],
            disk["Driver"] or "-",
            disk["SerialNumber"] or "-",
            disk["ModelNumber"] or "-",
            f"{disk['PhysicalSize'] / (1 << 30):.2f} GiB" if disk["PhysicalSize"] else "-",
            " ".join(disk["NameSpaces"]) or "-",
        )
        for disk in shown["Disks"]
    ]
    if not rows:
        return "There is no NVMe disk on the PCI bus."
    head, *aligned_rows = aligned([heads, *rows])
    lines = [head]
    for row, disk in zip(aligned_rows, shown["Disks"], strict=True):
        lines += [row, *(f"    {what}" for what in disk["Users"])]
    return "\n".join(lines)


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
        disk = binding.find(_address(address), system)
        known = disk.serial or serial
        if persist and not known:
            raise UsageError("--persist needs --serial SERIAL, as vfio-pci does not tell it")
        kernel = binding.Kernel(report, dry_run=dry_run)
        if disk.function.driver == VFIO_DRIVER:
            report(f"{disk.function.address} is bound to {VFIO_DRIVER} already")
        else:
            binding.bind(disk, kernel, serial=serial, force=force)
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
