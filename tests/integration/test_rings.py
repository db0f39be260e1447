"""Rings of the kernel's target, whose commands come as they like: every one is answered.

The kernel is played, the rest is real: reactors that sleep and look, devices that move between
them, the hot path with what is copied, commands that must be alone meanwhile.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import select
import socket
import struct
import threading
from pathlib import Path

import pytest

from scsi2nvme.native.plane import EventType, Plane
from scsi2nvme.native.tcmu import PlaneTcmu
from scsi2nvme.scsi.sense import POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
from scsi2nvme.service import PlaneDataPath, TaskService
from scsi2nvme.unit.logical_unit import Nexus
from scsi2nvme.unit.ports import PortName
from tests.model.ways import Bed
from tests.support import row

# As <linux/target_core_user.h> has it.
RING, ENTRY, ENTRIES, DATA, SLOT = 128, 144, 24, 4096, 256 << 10
RING_BYTES, MAP_BYTES = ENTRIES * ENTRY, DATA + ENTRIES * SLOT
AT_HEAD, AT_TAIL, COMMAND, OOOC_AND_READ_LEN = 12, 64, 1, 3
RINGS, COMMANDS, BLOCK = 3, 600, 512
LATE_S = 40.0
READ, WRITE = row("READ (10)"), row("WRITE (10)")
ALONE = (  # on the logical unit, or on their blocks; or in the engine at least
    (row("FORMAT UNIT").build(), 0),
    (row("START STOP UNIT").build(start=1), 0),
    (row("COMPARE AND WRITE").build(lba=5, number_of_blocks=1), 2 * BLOCK),
    (row("SYNCHRONIZE CACHE (10)").build(), 0),
    (row("TEST UNIT READY").build(), 0),
)


class PlayedKernel(threading.Thread):
    """Puts commands into a ring of its own, alone or several at a time, soon or after a pause."""

    def __init__(self, seed: int, blocks: int) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.failure = ""
        self.memory = os.memfd_create("ring")
        os.truncate(self.memory, MAP_BYTES)
        self._map = mmap.mmap(self.memory, MAP_BYTES)
        struct.pack_into("=HHII", self._map, 0, 2, OOOC_AND_READ_LEN, RING, RING_BYTES)
        self._doorbell, self.device = socket.socketpair()
        self._doorbell.setblocking(False)
        self.device.setblocking(False)
        self._random, self._blocks = random.Random(seed), blocks
        self._added = self._taken = 0  # ever

    def run(self) -> None:
        """Go on until all was answered, or one is late."""
        depth = 1
        while self.answered < COMMANDS and not self.failure:
            if not self._random.randrange(50):
                depth = self._random.choice((1, 1, 4, ENTRIES - 1))
            self._add(min(self._random.randint(1, depth), COMMANDS - self._added))
            self._await(self._random.random() < 0.5)

    def _add(self, count: int) -> None:
        for _ in range(min(count, ENTRIES - 1 - (self._added - self._taken))):
            number = self._added % ENTRIES
            at = RING + number * ENTRY
            cdb, length = self._command()
            entry = struct.pack("=IHxxI12xQ", ENTRY | COMMAND, number, length > 0, at + 128)
            data = struct.pack("=QQ", DATA + number * SLOT, length)
            self._map[at : at + ENTRY] = (entry.ljust(48, b"\0") + data).ljust(128, b"\0") + cdb
            self._added += 1
        struct.pack_into("=I", self._map, AT_HEAD, self._added % ENTRIES * ENTRY)
        _empty(self.device)
        self._doorbell.send(b"\1\0\0\0")

    def _command(self) -> tuple[bytes, int]:
        if not self._random.randrange(60):
            cdb, length = self._random.choice(ALONE)
        else:
            # A few large ones at a time are more than a round begins.
            count = self._random.randint(1, self._random.choice((8, 64, SLOT // BLOCK)))
            lba = self._random.randrange(self._blocks - count)
            kind = self._random.choice((READ, WRITE))
            cdb, length = kind.build(lba=lba, transfer_length=count), count * BLOCK
        return cdb.ljust(16, b"\0"), length

    def _await(self, all_of_them: bool) -> None:
        """Wait for an answer, or until none is owed."""
        while True:
            _empty(self._doorbell)
            (tail,) = struct.unpack_from("=I", self._map, AT_TAIL)
            came = (tail // ENTRY - self._taken) % ENTRIES
            self._taken += came
            self.answered += came
            if self._taken == self._added or (came and not all_of_them):
                return
            if not select.select([self._doorbell], [], [], LATE_S)[0]:
                self.failure = f"{self._added - self._taken} of {self._added} are not answered"
                return

    def close(self) -> None:
        self._doorbell.close()
        self.device.close()
        os.close(self.memory)


def _empty(bells: socket.socket) -> None:
    try:
        while bells.recv(4096):
            pass
    except BlockingIOError:
        return


class Device:
    """A ring that is served."""

    def __init__(self, number: int, bed: Bed, service: TaskService, plane: Plane) -> None:
        self.kernel = PlayedKernel(number, bed.lu.capacity_blocks)
        self._service = service
        self._nexus = Nexus(
            PortName(f"tcm-user.0.{number}"), PortName(""), {0: bed.lu}, tells_residual=False
        )
        self._ended = asyncio.Event()
        self._cookie = service.cookie(
            lambda event: self._ended.set() if event.type is EventType.CONN_CLOSED else None
        )
        self._plane_nexus = service.open_nexus(self._nexus)
        bed.lu.clear_attention(self._nexus, POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED)
        self.ring = PlaneTcmu(
            plane,
            self._plane_nexus,
            os.dup(self.kernel.device.fileno()),
            self.kernel.memory,
            MAP_BYTES,
            self._cookie,
        )

    async def close(self) -> None:
        """Leave in order, as when the daemon ends."""
        await self._service.drained(self.ring.drain)
        self.ring.disconnect()
        await self._ended.wait()
        self.ring.close()
        self._service.release(self._cookie)
        await self._service.close_nexus(self._nexus, self._plane_nexus, lost=False)
        self.kernel.close()


async def _serve_rings(bed: Bed, plane: Plane, service: TaskService) -> None:
    devices = [Device(number, bed, service, plane) for number in range(RINGS)]
    for device in devices:
        device.kernel.start()
    chance = random.Random(RINGS)
    while any(device.kernel.is_alive() for device in devices):
        async with asyncio.timeout(LATE_S):
            await service.drained(chance.choice(devices).ring.drain)
        await asyncio.sleep(chance.random() / 50)
    for device in devices:
        assert not device.kernel.failure
    async with asyncio.timeout(LATE_S):
        for device in devices:
            await device.close()


@pytest.mark.parametrize("poll_us", [0, 50])
def test_every_command_of_a_ring_is_answered(tmp_path: Path, poll_us: int) -> None:
    bed = Bed("emulated", tmp_path / "disk", threaded=False)
    plane = Plane([-1, -1], poll_us)
    service = TaskService(plane)
    _, native = service.add_controller(bed.controller.overdue, bed.controller.give_up)
    for index, queue in enumerate(bed.controller.io_queues):
        native.set_queue(index, queue.queue, queue.eventfd, queue.pool)
    bed.controller.attach(PlaneDataPath(service, native))

    async def work() -> None:
        service.add_unit(bed.lu, bed.controller, native)
        plane.start()
        service.start()
        try:
            await _serve_rings(bed, plane, service)
        finally:
            await service.stop()
            plane.stop()
            service.close()
            native.close()
            plane.close()

    try:
        bed.run(work())
    finally:
        bed.close()
