"""PCI functions as the kernel shows them in sysfs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.records import dataclass

NVME_CLASS = 0x010802
VFIO_DRIVER, NVME_DRIVER = "vfio-pci", "nvme"

_ADDRESS = r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])"


def parse_address(text: str) -> str:
    """Return a PCI address in full, `0000:01:00.0`; ValueError if it is none."""
    match = re.fullmatch(_ADDRESS, text.lower())
    if match is None:
        raise ValueError("is not a PCI address such as 0000:01:00.0")
    domain, bus, device, function = match.groups()
    return f"{domain or '0000'}:{bus}:{device}.{function}"


@dataclass(frozen=True, slots=True)
class System:
    """Where the kernel shows and takes things: a test has its own."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    etc: Path = Path("/etc")
    run: Path = Path("/run")

    @property
    def pci(self) -> Path:
        """The PCI bus."""
        return self.sys / "bus/pci"

    @property
    def noiommu(self) -> bool | None:
        """Whether the kernel has been told that VFIO may do without an IOMMU; None: it cannot."""
        switch = self.sys / "module/vfio/parameters/enable_unsafe_noiommu_mode"
        return read_text(switch) == "Y" if switch.exists() else None


def read_text(path: Path) -> str:
    """Return an attribute without white space around it; "" if there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def link_name(path: Path) -> str:
    """Return the name of what a link points at; "" if there is none, or it may not be read."""
    try:
        return path.readlink().name
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One function of a PCI device."""

    system: System
    address: str

    @property
    def path(self) -> Path:
        """Its directory."""
        return self.system.pci / "devices" / self.address

    def _number(self, attribute: str) -> int:
        text = read_text(self.path / attribute)
        return int(text, 16) if text else 0

    @property
    def class_code(self) -> int:
        """Base class, subclass and programming interface."""
        return self._number("class")

    @property
    def identity(self) -> tuple[int, int]:
        """Vendor and device identifier."""
        return self._number("vendor"), self._number("device")

    @property
    def driver(self) -> str:
        """The driver that is bound to it, or ""."""
        return link_name(self.path / "driver")

    @property
    def group(self) -> str:
        """The number of its IOMMU group, or "" without an IOMMU."""
        return link_name(self.path / "iommu_group")

    @property
    def physical_function(self) -> str:
        """The address of the function that it is a virtual one of (SR-IOV), "" if it is none."""
        return link_name(self.path / "physfn")

    def virtual_functions(self) -> list[str]:
        """Return the addresses of its virtual functions."""
        return sorted(link_name(link) for link in self.path.glob("virtfn*"))

    def group_members(self) -> list[PciFunction]:
        """Return the other functions of its IOMMU group."""
        members = self.path / "iommu_group/devices"
        names = sorted(entry.name for entry in members.iterdir()) if self.group else []
        return [PciFunction(self.system, name) for name in names if name != self.address]

    def rivals(self) -> list[PciFunction]:
        """Return the functions of its group whose drivers keep it from being viable."""
        return [one for one in self.group_members() if one.driver not in _HARMLESS]


# These do no DMA of their own, or yield to user space themselves.
_HARMLESS = ("", VFIO_DRIVER, "pcieport", "pci-stub")


def find_function(address: str, system: System) -> PciFunction:
    """Return the NVMe controller at an address; TransportError if it is none."""
    try:
        function = PciFunction(system, parse_address(address))
    except ValueError as error:
        raise TransportError(f"{address!r} {error}") from None
    if not function.path.exists():
        raise TransportError(f"there is no PCI device {function.address}; see: scsi2nvme list")
    if function.class_code != NVME_CLASS:
        raise TransportError(
            f"{function.address} is no NVMe controller (class {function.class_code:06x}h)"
        )
    return function


def nvme_functions(system: System) -> Iterator[PciFunction]:
    """Yield every NVMe controller on the PCI bus, by address."""
    devices = system.pci / "devices"
    for path in sorted(devices.iterdir()) if devices.is_dir() else ():
        function = PciFunction(system, path.name)
        if function.class_code == NVME_CLASS:
            yield function
