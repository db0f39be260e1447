"""Controllers of every kind, for the suite that runs over all of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.timing import Timing
from scsi2nvme.drivers.qemu.transport import QemuOptions, QemuTransport
from scsi2nvme.drivers.transport import Transport
from scsi2nvme.drivers.vfio.transport import VfioTransport
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode

MIB = 1 << 20
BLOCK = 4096
BLANK_BLOCKS = 128


@dataclass(frozen=True)
class Disk:
    """What a test wants of a controller."""

    namespaces: int = 1
    size_bytes: int = 16 * MIB
    block_bytes: int = 4096
    vectors: int = 5
    metadata_bytes: int | None = None  # None: no format of it need have any
    extended: bool = False
    protection_type: int = 0
    protection_first: bool = False
    zones: Mapping[str, int] | None = None  # size, capacity in bytes; max_open, max_active
    managed: bool = False  # namespaces can be attached and detached, and ours created and deleted


# What QEMU calls our settings.
_OUR_ZONES = {
    "zone_size": "zone_bytes",
    "zone_capacity": "zone_capacity_bytes",
    "max_open": "max_open_zones",
    "max_active": "max_active_zones",
}


def emulated(path: Path, disk: Disk) -> Transport:
    """Return our own controller."""
    settings: dict[str, object] = {}
    in_memory = disk.zones is not None or disk.metadata_bytes is not None
    if disk.zones is not None:
        settings = {_OUR_ZONES[name]: value for name, value in disk.zones.items()}
    if disk.metadata_bytes is not None:
        settings |= {
            "metadata_bytes": disk.metadata_bytes,
            "extended": disk.extended,
            "protection_type": disk.protection_type,
            "protection_first": disk.protection_first,
        }
    if disk.managed:
        settings["capacity"] = 2 * disk.namespaces * disk.size_bytes
    return EmulatedTransport(
        EmulatedOptions(
            path=None if in_memory else path,
            settings=settings,
            size_bytes=disk.size_bytes,
            block_bytes=disk.block_bytes,
            namespaces=disk.namespaces,
            vectors=disk.vectors,
        )
    )


def qemu(path: Path, disk: Disk) -> Transport:
    """Return QEMU's controller."""
    zoned: dict[str, object] = {}
    if disk.zones is not None:
        zoned = {"zoned": True} | {f"zoned.{name}": value for name, value in disk.zones.items()}
    return QemuTransport(
        QemuOptions(
            path=path,
            size_bytes=disk.size_bytes,
            block_bytes=disk.block_bytes,
            namespaces=disk.namespaces,
            vectors=disk.vectors,
            metadata_bytes=disk.metadata_bytes or 0,
            extended=disk.extended,
            protection_type=disk.protection_type,
            protection_first=disk.protection_first,
            namespace=zoned,
            subsystem=disk.managed,
        )
    )


# Where there are real disks: "NAMESPACESxBLOCK=ADDRESS" for each, of 16 MiB namespaces.
REAL_DISKS = dict(word.split("=") for word in os.environ.get("SCSI2NVME_TEST_DISKS", "").split())


def vfio(path: Path, disk: Disk) -> Transport:
    """Return the real disk of that shape."""
    return VfioTransport(REAL_DISKS[f"{disk.namespaces}x{disk.block_bytes}"], vectors=disk.vectors)


RIGS: dict[str, Callable[[Path, Disk], Transport]] = {"emulated": emulated, "qemu": qemu}
if REAL_DISKS:
    RIGS = {"vfio": vfio}


@dataclass
class Rig:
    """Makes controllers of one kind over one file."""

    kind: str
    path: Path
    transports: list[Transport] = field(default_factory=list)
    # Set by tests that misbehave on purpose.
    expects_guest_errors: bool = False

    def transport(self, disk: Disk | None = None) -> Transport:
        """Return a new transport; whoever opens a controller on it closes it."""
        transport = RIGS[self.kind](self.path, disk or Disk())
        self.transports.append(transport)
        return transport

    @asynccontextmanager
    async def controller(
        self, disk: Disk | None = None, **arguments: Any
    ) -> AsyncIterator[Controller]:
        """Open a controller and close it. `arguments` are those of `Controller.open`."""
        arguments.setdefault("timing", Timing(io_s=20.0, admin_s=20.0, watch_s=0.1))
        controller = await Controller.open(self.transport(disk), **arguments)
        try:
            yield controller
        finally:
            await controller.close()

    def check(self) -> None:
        """Hold against the driver what QEMU's model has found."""
        for transport in self.transports:
            if isinstance(transport, QemuTransport) and not self.expects_guest_errors:
                errors = transport.guest_errors()
                assert not errors, errors
        real = {one.name for one in self.transports if isinstance(one, VfioTransport)}
        for name in real:
            asyncio.run(blank(name.removeprefix("pci:")))


async def blank(address: str) -> None:
    """Leave a real disk as new for the test to come."""
    controller = await Controller.open(VfioTransport(address))
    for nsid, facts in controller.namespaces.items():
        for slba in range(0, facts.capacity_blocks, BLANK_BLOCKS):
            blocks = min(BLANK_BLOCKS, facts.capacity_blocks - slba)
            zeroes = NvmeCommand(Opcode.WRITE_ZEROES, nsid, slba, cdw12=blocks - 1)
            await good(controller, zeroes)
    await controller.close()


# ---- commands ----


def io(opcode: Opcode, slba: int, blocks: int, **arguments: Any) -> NvmeCommand:
    nsid = arguments.pop("nsid", 1)
    return NvmeCommand(opcode, nsid, slba & 0xFFFFFFFF, slba >> 32, cdw12=blocks - 1, **arguments)


def read(slba: int, blocks: int, block_bytes: int = BLOCK, **arguments: Any) -> NvmeCommand:
    return io(Opcode.READ, slba, blocks, data_in=blocks * block_bytes, **arguments)


def write(slba: int, data: bytes, block_bytes: int = BLOCK, **arguments: Any) -> NvmeCommand:
    return io(Opcode.WRITE, slba, len(data) // block_bytes, data_out=data, **arguments)


def compare(slba: int, data: bytes, block_bytes: int = BLOCK) -> NvmeCommand:
    return io(Opcode.COMPARE, slba, len(data) // block_bytes, data_out=data)


async def one(controller: Controller, command: NvmeCommand) -> Completion:
    (completion,) = await controller.execute(command)
    return completion


async def good(controller: Controller, command: NvmeCommand) -> bytes:
    completion = await one(controller, command)
    assert completion.status == 0, f"{command.name}: {completion.status:#05x}"
    return completion.data
