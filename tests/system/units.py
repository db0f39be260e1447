"""Namespaces of the machine's controllers, as what the kernel's target makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.system.controllers import CONTROLLERS, Namespace, Nvme
from tests.system.machine import Machine

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
        # A small data area, so that all of them together leave room for zero copy.
        control = f"hw_block_size={block},max_data_area_mb=64"
        words = (f"name={self.name}", f"size={size}B", f"cfgstring={config}", f"control={control}")
        return " ".join(("/backstores/user:nvme create", *words))


UNITS = tuple(Unit(each, nsid) for each in CONTROLLERS for nsid in (1, 2))


def empty(controller: Nvme) -> str:
    """Return a script that empties a controller's disks, which the kernel has."""
    return "".join(
        f"""
        eventually 20 namespace {controller.address} {nsid}
        blkdiscard --force $(namespace {controller.address} {nsid})"""
        for nsid in range(1, len(controller.namespaces) + 1)
    )


def serve(controllers: Iterable[Nvme], *arguments: str) -> str:
    """Return a script that starts the daemon on controllers, their disks emptied before."""
    lines, specs = ["modprobe -a nvme vfio-pci"], []
    for controller in controllers:
        lines += [empty(controller), f"bind_vfio {controller.address}"]
        specs.append(f"--controller pci:{controller.address}")
    return "\n".join((*lines, " ".join(("start_daemon", *specs, *arguments)), ""))


def give_back(controllers: Iterable[Nvme]) -> str:
    """Return a script that ends the daemon and gives the controllers back to the kernel."""
    unbind = (f"unbind_vfio {controller.address}" for controller in controllers)
    return "\n".join(("clear_targets", "end_daemon", *unbind, ""))


@contextmanager
def given_back(machine: Machine, controllers: Iterable[Nvme]) -> Iterator[None]:
    """Give controllers back in the end, whatever happens meanwhile."""
    try:
        yield
    finally:
        if machine.alive:
            machine.run(give_back(controllers), timeout_s=100)


def publish(units: Iterable[Unit], *, loopback: bool = False, portals: Iterable[str] = ()) -> str:
    """Return a script that has targetcli make units the LUNs 0, 1, … of targets.

    There is one for tcm_loop, NAA, and one for iSCSI, IQN, with the portals given as
    addresses.
    """
    return "\n".join(("targetcli_all <<END", *_commands(units, loopback, portals), "END", ""))


def _commands(units: Iterable[Unit], loopback: bool, portals: Iterable[str]) -> Iterator[str]:
    units, portals = tuple(units), tuple(portals)
    if portals:
        # First, as it looks anew at all that there is.
        yield "set global auto_add_default_portal=false"
    yield from (unit.create() for unit in units)
    if loopback:
        yield f"/loopback create {NAA}"
        yield from (
            f"/loopback/{NAA}/luns create /backstores/user:nvme/{unit.name}" for unit in units
        )
    if portals:
        group = f"/iscsi/{IQN}/tpg1"
        yield f"/iscsi create {IQN}"
        yield f"{group} set attribute generate_node_acls=1 demo_mode_write_protect=0"
        yield from (f"{group}/portals create {portal} 3260" for portal in portals)
        yield from (f"{group}/luns create /backstores/user:nvme/{unit.name}" for unit in units)
