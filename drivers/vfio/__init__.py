"""A real disk, through the kernel's VFIO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.scheme import (
    ENCLOSURE,
    FIRMWARE,
    HISTORY,
    HOST_MEMORY,
    PHYSICAL,
    READONLY,
    RESERVATIONS,
    SANITIZE,
    SECURE_FORMAT,
    SECURITY,
    Option,
    Scheme,
    parse_switch,
)
from scsi2nvme.drivers.vfio.kinds import KINDS

if TYPE_CHECKING:
    from scsi2nvme.drivers.transport import Transport

NOIOMMU = Option(
    "noiommu",
    "on|off",
    "pci only: work without an IOMMU, at the mercy of the device (default off)",
    parse_switch,
    90,
    "noiommu",
    subject="an IOMMU",
)


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"is not {', '.join(KINDS)}")
    return text


INTERRUPTS = Option(
    "interrupts",
    "|".join(KINDS),
    "pci only: the best kind of interrupts to use, where it is to be had, else the next one; off: "
    "poll (default msix)",
    _kind,
    92,
    "interrupts",
    subject="a choice of interrupts",
)


def _file(text: str) -> str:
    if not text:
        raise ValueError("names no file")
    return text


VF_TOKEN = Option(
    "vf_token",
    "FILE",
    "pci only: the file that holds the VF token (a UUID) of a physical function that vfio-pci has, "
    "for that and for its virtual functions",
    _file,
    93,
    "vf_token_file",
    subject="VF tokens",
)
# VFIO without an IOMMU, and the physical addresses that it takes then.
_UNPROTECTED = frozenset(("SYS_RAWIO", "SYS_ADMIN"))


def _address(path: str) -> str:
    from scsi2nvme.drivers.pci.sysfs import parse_address

    return parse_address(path)


def _check(path: str, options: Mapping[str, Any]) -> None:
    try:
        _address(path)
    except ValueError as error:
        raise ValueError(f"PATH: {path!r} {error}") from None


def _open(path: str, options: Mapping[str, Any]) -> Transport:
    from scsi2nvme.drivers.vfio.transport import VfioTransport

    return VfioTransport(path, **options)


TRANSPORT = Scheme(
    "pci",
    "a real disk, bound to vfio-pci; PATH is its PCI address, such as 0000:01:00.0",
    lambda: (
        *(PHYSICAL, READONLY, SANITIZE, SECURE_FORMAT, SECURITY),
        *(FIRMWARE, ENCLOSURE, HISTORY, RESERVATIONS, HOST_MEMORY),
        *(NOIOMMU, INTERRUPTS, VF_TOKEN),
    ),
    _open,
    _check,
    lasting_name=lambda path: path,
    place=_address,
    pci_address=_address,
    capabilities=lambda options: _UNPROTECTED if options.get(NOIOMMU.name) else frozenset(),
)
