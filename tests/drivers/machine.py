"""A machine with NVMe disks, as files in a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from scsi2nvme.drivers.host.binding import Kernel
from scsi2nvme.drivers.host.disk_users import Disk, read_disk
from scsi2nvme.drivers.pci.sysfs import PciFunction, System

ADDRESS, NEIGHBOUR = "0000:01:00.0", "0000:01:00.1"
MIB = 1 << 20


class Machine:
    """Sysfs, proc, dev and etc, with one disk bound to nvme: nvme0n1 of 4 MiB, serial S1."""

    def __init__(self, root: Path) -> None:
        self.system = System(*(root / name for name in ("sys", "proc", "dev", "etc", "run")))
        for path in (self.system.dev / "vfio", self.system.etc, self.system.run):
            path.mkdir(parents=True)
        for driver in ("nvme", "vfio-pci"):
            (self.system.pci / "drivers" / driver).mkdir(parents=True)
        self.function = self.add_function(ADDRESS, "nvme", 0x010802)
        self.controller = self.function.path / "nvme/nvme0"
        put(self.controller / "model", "Model of disk   ")
        put(self.controller / "serial", "S1                  ")
        self.add_namespace("nvme0n1")
        put(self.system.proc / "swaps", "Filename Type Size Used Priority\n")
        self.add_process(1, "init")

    def add_function(self, address: str, driver: str, class_code: int) -> PciFunction:
        """Add a PCI function in IOMMU group 7."""
        function = PciFunction(self.system, address)
        put(function.path / "class", f"0x{class_code:06x}")
        put(function.path / "vendor", "0x1b36")
        put(function.path / "device", "0x0010")
        put(function.path / "driver_override", "(null)")
        group = self.system.sys / "kernel/iommu_groups/7"
        (group / "devices" / address).mkdir(parents=True)
        (function.path / "iommu_group").symlink_to(group)
        if driver:
            self.set_driver(function, driver)
        return function

    def set_driver(self, function: PciFunction, driver: str) -> None:
        """Bind a function to a driver, or with "" to none."""
        (function.path / "driver").unlink(missing_ok=True)
        if driver:
            target = self.system.pci / "drivers" / driver
            target.mkdir(exist_ok=True)
            (function.path / "driver").symlink_to(target)

    def add_namespace(self, name: str, shown: str = "") -> Path:
        """Add a namespace; `shown` is its name below the controller, if another."""
        (self.controller / (shown or name)).mkdir(parents=True)
        return self.add_block(name, "259:0")

    def add_block(self, name: str, number: str, parent: str = "") -> Path:
        """Add a block device, or a partition of `parent`."""
        blocks = self.system.sys / "class/block"
        put(blocks / name / "dev", number)
        put(blocks / name / "size", str(4 * MIB // 512))
        (blocks / name / "holders").mkdir()
        if parent:
            put(blocks / parent / name / "partition", "1")
        with (self.system.dev / name).open("wb") as file:
            file.truncate(4 * MIB)
        return blocks / name

    def add_holder(self, held: str, holder: str, **dm: str) -> None:
        """Put a block device on top of another."""
        block = self.add_block(holder, "254:3")
        (self.system.sys / "class/block" / held / "holders" / holder).mkdir()
        for name, value in dm.items():
            put(block / "dm" / name, value)

    def add_process(self, number: int, name: str, mounts: str = "", opened: str = "") -> None:
        """Add a process with a mount namespace of its own."""
        process = self.system.proc / str(number)
        put(process / "comm", name)
        put(process / "mountinfo", mounts)
        (process / "ns").mkdir()
        (process / "ns/mnt").symlink_to(f"mnt:[{number}]")
        (process / "fd").mkdir()
        if opened:
            (process / "fd/3").symlink_to(opened)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write to a block device; from its end if the offset is negative."""
        with (self.system.dev / name).open("r+b") as file:
            file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
            file.write(data)

    def disk(self) -> Disk:
        """Return the disk as it is now."""
        return read_disk(self.function)


def put(path: Path, text: str) -> None:
    """Write a file where no directory may be yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class FakeKernel(Kernel):
    """Does to a `Machine` what the kernel does when sysfs is written.

    `refuses`: drivers that do not take the device. `busy`: nobody may claim it.
    """

    def __init__(
        self, machine: Machine, report: Callable[[str], None], *, dry_run: bool = False
    ) -> None:
        super().__init__(report, dry_run=dry_run)
        self.machine = machine
        self.refuses: tuple[str, ...] = ()
        self.busy: OSError | None = None
        self.claimed: list[Path] = []

    def write(self, path: Path, text: str) -> None:
        if not self.dry_run and path.name in ("unbind", "drivers_probe"):
            assert text == ADDRESS
            put(path, "")
        super().write(path, text)
        if self.dry_run:
            return
        function = self.machine.function
        if path.name == "unbind":
            self.machine.set_driver(function, "")
        if path.name == "drivers_probe":
            driver = (function.path / "driver_override").read_text().strip() or "nvme"
            self.machine.set_driver(function, "" if driver in self.refuses else driver)

    def run(self, *command: str) -> None:
        self.report(" ".join(command))
        if command[0] == "modprobe" and not self.dry_run:
            (self.machine.system.pci / "drivers" / command[1]).mkdir()

    def claim(self, device: Path) -> int:
        if self.busy is not None:
            raise self.busy
        self.claimed.append(device)
        return os.open(device, os.O_RDONLY)
