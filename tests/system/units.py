"""Namespaces of the machine's controllers, as what the kernel's target makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.system.machine import CONTROLLERS, Namespace, Nvme

A, B = CONTROLLERS
NAA = "naa.5001405000000001"
IQN = "iqn.2026-11.org.example:disks"


@dataclass(frozen=True)
class Unit:
    """A namespace."""

    controller: Nvme
    nsid: int

    @property
    def namespace(self) -> Namespace:
        """Its format."""
        return self.controller.namespaces[self.nsid - 1]

    @property
    def name(self) -> str:
        """The backstore's name."""
        return f"{self.controller.name}{self.nsid}"

    def create(self) -> str:
        """Return targetcli's command that makes it a backstore, all of it."""
        config = f"{self.controller.address.replace(':', '_')}/{self.nsid}"
        size, block = self.namespace.size_bytes, self.namespace.block_bytes
        control = f"control=hw_block_size={block},max_data_area_mb=64"
        return (
            f"/backstores/user:nvme create name={self.name} size={size}B cfgstring={config} "
            f"{control}"
        )


UNITS = tuple(Unit(each, nsid) for each in CONTROLLERS for nsid in (1, 2))


def serve(controllers: Iterable[Nvme], *arguments: str) -> str:
    """Return a script that binds controllers to vfio-pci and starts the daemon on them."""
    addresses = [controller.address for controller in controllers]
    specs = [f"--controller pci:{address}" for address in addresses]
    return "\n".join(
        (
            "modprobe vfio-pci",
            *(f"scsi2nvme bind {address}" for address in addresses),
            " ".join(("start_daemon", *specs, *arguments)),
            "",
        )
    )


def give_back(controllers: Iterable[Nvme]) -> str:
    """Return a script that ends the daemon and gives the controllers back to the kernel."""
    unbind = (f"scsi2nvme unbind {controller.address}" for controller in controllers)
    return "\n".join(("clear_targets", "end_daemon", *unbind, ""))


def publish(units: Iterable[Unit], *, loopback: bool = False, portals: Iterable[str] = ()) -> str:
    """Return a script that has targetcli make units the LUNs 0, 1, … of targets.

    There is one for tcm_loop, NAA, and one for iSCSI, IQN, with the portals given as
    addresses.
    """
    return "\n".join(("targetcli_all <<END", *_commands(units, loopback, portals), "END", ""))


def _commands(units: Iterable[Unit], loopback: bool, portals: Iterable[str]) -> Iterator[str]:
    units, portals = tuple(units), tuple(portals)
    yield from (unit.create() for unit in units)
    if loopback:
        yield f"/loopback create {NAA}"
        yield from (
            f"/loopback/{NAA}/luns create /backstores/user:nvme/{unit.name}" for unit in units
        )
    if portals:
        group = f"/iscsi/{IQN}/tpg1"
        yield "set global auto_add_default_portal=false"
        yield f"/iscsi create {IQN}"
        yield f"{group} set attribute generate_node_acls=1 demo_mode_write_protect=0"
        yield from (f"{group}/portals create {portal} 3260" for portal in portals)
        yield from (f"{group}/luns create /backstores/user:nvme/{unit.name}" for unit in units)
