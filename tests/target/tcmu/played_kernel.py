"""A kernel with TCMU devices, and a front end that serves it.

Directories are its sysfs and configfs, a file in memory is the ring, a socket its
doorbell. The logical unit is write protected, so that all of its commands take the cold
path and a model of a controller can answer them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from scsi2nvme.native.plane import Plane, PlaneNexus
from scsi2nvme.native.tcmu import PlaneTcmu
from scsi2nvme.service import TaskService
from scsi2nvme.target.tcmu.bearing import NamespacesOf
from scsi2nvme.target.tcmu.device_config import ConfigError, DeviceConfig
from scsi2nvme.target.tcmu.front_end import TcmuFrontEnd
from scsi2nvme.target.tcmu.netlink import DeviceEvent, EventKind
from scsi2nvme.target.tcmu.uio import Kernel, UioDevice
from scsi2nvme.unit.logical_unit import LogicalUnit
from scsi2nvme.unit.store import MemoryStore
from tests.model_controller import ModelController, ModelExecutor
from tests.support import make_lu

RING, RING_BYTES, MAP_BYTES, DATA = 128, 4096 - 128, 65536, 4096
NAME = "tcm-user/0/disk0/nvme/0/1"
READ_CAPACITY = bytes([0x25]) + bytes(9)
TEST_UNIT_READY = bytes(6)


class Answers:
    """Netlink's answering half."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.late = False

    def done(self, event: DeviceEvent, status: int) -> None:
        self.statuses.append(status)
        if self.late:
            raise OSError(errno.ENODEV, "no such device")


class PlayedKernel(Kernel):
    """A kernel of files; every device has its own ring."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "sys", root / "dev")
        object.__setattr__(self, "rings", {})
        self.limit(2048)

    rings: dict[int, Ring]

    def add(self, number: int, name: str, **attributes: int) -> UioDevice:
        uio = self.sysfs / f"class/uio/uio{number}"
        (uio / "maps/map0").mkdir(parents=True)
        (uio / "name").write_text(name + "\n")
        (uio / "maps/map0/size").write_text(f"{MAP_BYTES:#018x}\n")
        device = self.device(number)
        assert device is not None
        for key, value in {"cmd_time_out": 30, "tmr_notification": 0, **attributes}.items():
            self._file(device, f"attrib/{key}").write_text(f"{value}\n")
        for key in ("block_dev", "reset_ring"):
            self._file(device, f"action/{key}").write_text("")
        self.reserve(device, "No SPC-3 Reservation holder")
        self.rings[number] = Ring()
        return device

    def rename(self, number: int, name: str) -> None:
        """Show a device as another configuration string has it."""
        (self.sysfs / f"class/uio/uio{number}/name").write_text(name + "\n")

    def reserve(self, device: UioDevice, told: str) -> None:
        """Set what tells of the persistent reservation and its type."""
        self._file(device, "pr/res_pr_type").write_text(f"{told}\n")

    def area(self, number: int, mib: int) -> None:
        """Make a device's mapping that of a ring with so much data."""
        path = self.sysfs / f"class/uio/uio{number}/maps/map0/size"
        path.write_text(f"{mib + 8 << 20:#018x}\n")

    def limit(self, mib: int) -> None:
        """Set what all data areas may take."""
        path = self._parameter("global_max_data_area_mb")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{mib}\n")

    def remove(self, number: int) -> None:
        shutil.rmtree(self.sysfs / f"class/uio/uio{number}")

    def _file(self, device: UioDevice, what: str) -> Path:
        path = self._configfs(device, what)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def unset(self, device: UioDevice, attribute: str) -> None:
        self._file(device, f"attrib/{attribute}").unlink()

    def said(self, device: UioDevice, what: str) -> str:
        return self._file(device, what).read_text().strip()

    def reset_ring(self, device: UioDevice) -> None:
        super().reset_ring(device)
        self.rings[device.number].reset()

    def open(self, device: UioDevice) -> int:
        return self.rings[device.number].open()


class Ring:
    """The kernel's side of a ring."""

    def __init__(self) -> None:
        self.memory = os.memfd_create("ring")
        os.truncate(self.memory, MAP_BYTES)
        os.pwrite(self.memory, struct.pack("=HHIIi", 2, 7, RING, RING_BYTES, 0), 0)
        self.head = 0
        self.doorbell: socket.socket | None = None
        self.opened = 0

    def open(self) -> int:
        if self.doorbell is not None:
            self.doorbell.close()
        self.doorbell, theirs = socket.socketpair()
        self.doorbell.setblocking(False)
        self.opened += 1
        return theirs.detach()

    def close(self) -> None:
        os.close(self.memory)
        if self.doorbell is not None:
            self.doorbell.close()

    def reset(self) -> None:
        self.head = 0
        os.pwrite(self.memory, bytes(4), 12)
        os.pwrite(self.memory, bytes(4), 64)

    def _u32(self, at: int) -> int:
        return int(struct.unpack("=I", os.pread(self.memory, 4, at))[0])

    async def tell_of_reset(self) -> None:
        """Tell of a LUN reset, and wait until that has been taken."""
        assert self.doorbell is not None
        entry = struct.pack("=IHBBBxxxI", 32 | 2, 0, 0, 0, 5, 0)
        os.pwrite(self.memory, entry.ljust(32, b"\0"), RING + self.head)
        self.head += 32
        os.pwrite(self.memory, struct.pack("=I", self.head), 12)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.doorbell, b"\1\0\0\0")
        assert await loop.sock_recv(self.doorbell, 4)

    async def command(self, cdb: bytes, data_in: int = 0) -> tuple[int, bytes, bytes]:
        """Run a command; returns its status, sense and data."""
        assert self.doorbell is not None
        at, length = RING + self.head, 144
        request = struct.pack(
            "=IHBBIIIxxxxQQQ", length | 1, 9, 0, 0, bool(data_in), 0, 0, at + 112, 0, 0
        )
        entry = request + struct.pack("=QQ", DATA, data_in)
        os.pwrite(self.memory, entry.ljust(112, b"\0") + cdb.ljust(32, b"\0"), at)
        self.head += length
        os.pwrite(self.memory, struct.pack("=I", self.head), 12)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.doorbell, b"\1\0\0\0")
        assert await loop.sock_recv(self.doorbell, 4)
        assert self._u32(64) == self.head
        sense = os.pread(self.memory, 96, at + 16)
        return os.pread(self.memory, 1, at + 8)[0], sense, os.pread(self.memory, data_in, DATA)


class Bench:
    """A front end for one logical unit, `0/1`."""

    def __init__(self, root: Path) -> None:
        self.kernel = PlayedKernel(root)
        self.answers = Answers()
        self.lu = make_lu()
        self.lu.read_only = True
        self.size = self.lu.facts.capacity_blocks * self.lu.block_bytes
        self.guest = False
        self.store = MemoryStore()
        self.present = True  # the namespace
        self.names = [DeviceConfig("0", 1)]  # that lead to it

    def find(self, config: DeviceConfig) -> LogicalUnit:
        if config not in self.names or not self.present:
            raise ConfigError("there is no such namespace")
        return self.lu

    def open_ring(
        self, nexus: PlaneNexus, lu: LogicalUnit, fd: int, length: int, cookie: int
    ) -> PlaneTcmu:
        memory = self.kernel.rings[3].memory
        return PlaneTcmu(self.plane, nexus, fd, memory, length, cookie)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TcmuFrontEnd]:
        self.plane = Plane([min(os.sched_getaffinity(0))])
        self.plane.start()
        service = TaskService(self.plane)
        service.start()
        _, controller = service.add_controller(self._overdue, self._overdue)
        self.service = service

        def serve(lu: LogicalUnit) -> None:
            service.add_unit(lu, ModelExecutor(ModelController(lu.facts)), controller)

        self.serve = serve
        self.serve(self.lu)
        front_end = TcmuFrontEnd(
            *(service, self.find, self.open_ring, self.kernel),
            guest=lambda: self.guest,
            namespaces=NamespacesOf(self.store),
        )
        try:
            yield front_end
            await front_end.stop()
        finally:
            await service.stop()
            self.plane.stop()
            service.close()
            controller.close()
            self.plane.close()

    async def _overdue(self, qid: int, cid: int, again: bool) -> None:
        raise AssertionError("there are no queues")

    def add(self, **attributes: int) -> UioDevice:
        usual = {"dev_size": self.size, "hw_block_size": self.lu.block_bytes}
        usual |= {"emulate_write_cache": 0, "nl_reply_supported": 1}
        return self.kernel.add(3, NAME, **(usual | attributes))

    def event(self, kind: EventKind, name: str = NAME, **changes: Any) -> DeviceEvent:
        return DeviceEvent(kind, name, 3, 77, **changes)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(limited())
