"""TCMU devices from the kernel's question to the last answer.

The kernel is played: directories are its sysfs and configfs, a file in memory is the
ring, a socket its doorbell. The logical unit is write protected, so that all of its
commands take the cold path and a model of a controller can answer them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from scsi2nvme.dataplane import Event, EventType, Plane, PlaneNexus, PlaneTcmu
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED
from scsi2nvme.service import TaskService
from scsi2nvme.target.tcmu.events import TcmuUnavailable, claim
from scsi2nvme.target.tcmu.front_end import ConfigError, DeviceConfig, TcmuFrontEnd, parse_config
from scsi2nvme.target.tcmu.netlink import DeviceEvent, EventKind
from scsi2nvme.target.tcmu.uio import Kernel, UioDevice, parse_name
from scsi2nvme.target.tcmu.zero_copy import ZeroCopy
from scsi2nvme.unit.logical_unit import LogicalUnit
from tests.model_controller import ModelController, ModelExecutor
from tests.support import make_lu

RING, RING_BYTES, MAP_BYTES, DATA = 128, 4096 - 128, 65536, 4096
NAME = "tcm-user/0/disk0/nvme/0/1"
READ_CAPACITY = bytes([0x25]) + bytes(9)
TEST_UNIT_READY = bytes(6)


@pytest.mark.parametrize(
    ("text", "controller", "nsid"),
    [
        ("nvme/0/1", "0", 1),
        ("nvme/0000_01_00.0/2", "0000_01_00.0", 2),
        ("nvme/12/4294967294", "12", 4294967294),
    ],
)
def test_configurations(text: str, controller: str, nsid: int) -> None:
    assert parse_config(text) == DeviceConfig(controller, nsid)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "handler nvme"),
        ("nvmes/0/1", "handler nvme"),
        ("NVME/0/1", "handler nvme"),
        ("nvme", "CONTROLLER/NSID"),
        ("nvme/", "CONTROLLER/NSID"),
        ("nvme/0", "CONTROLLER/NSID"),
        ("nvme//1", "CONTROLLER/NSID"),
        ("nvme/0/", "namespace ''"),
        ("nvme/0/0", "namespace '0'"),
        ("nvme/0/-1", "namespace '-1'"),
        ("nvme/0/1/2", "namespace '1/2'"),
        ("nvme/0/²", "namespace '²'"),
        ("nvme/0/4294967295", "namespace"),
        ("nvme/0000:01:00.0/1", "colon"),
        ("nvme/0/1,x", "comma"),
        ("nvme/" + "x" * 250 + "/1", "255"),
    ],
)
def test_bad_configurations_are_refused_with_a_reason(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse_config(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tcm-user/0/disk0/nvme/0/1", (0, "disk0", "nvme/0/1")),
        ("tcm-user/12/disk", (12, "disk", "")),
        ("tcm-user/x/disk", None),
        ("tcm-user/1", None),
        ("uio_pci_generic", None),
    ],
)
def test_names_of_devices(text: str, parts: tuple[int, str, str] | None) -> None:
    assert parse_name(text) == parts


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
        self.rings[number] = Ring()
        return device

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

    def find(self, config: DeviceConfig) -> LogicalUnit:
        if config != DeviceConfig("0", 1):
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
        service.add_unit(self.lu, ModelExecutor(ModelController(self.lu.facts)), controller)
        front_end = TcmuFrontEnd(
            service, self.find, self.open_ring, self.kernel, guest=lambda: self.guest
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

    async def _overdue(self, qid: int, cid: int) -> None:
        raise AssertionError("there are no queues")

    def add(self, **attributes: int) -> UioDevice:
        usual = {"dev_size": self.size, "hw_block_size": self.lu.block_bytes}
        usual |= {"emulate_write_cache": 0, "nl_reply_supported": 1}
        return self.kernel.add(3, NAME, **(usual | attributes))

    def event(self, kind: EventKind, name: str = NAME, **changes: Any) -> DeviceEvent:
        return DeviceEvent(kind, name, 3, 77, **changes)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for ring in bench.kernel.rings.values():
        ring.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await work

    asyncio.run(limited())


def test_a_device_is_added_served_and_removed(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            device = bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [0]
            ring = bench.kernel.rings[3]
            status, _, data = await ring.command(READ_CAPACITY, 8)
            assert status == 0  # no unit attention is in the way
            last, block = struct.unpack(">II", data)
            assert (last + 1) * block == bench.size
            assert (await ring.command(TEST_UNIT_READY))[0] == 0
            assert bench.kernel.said(device, "attrib/cmd_time_out") == "0"
            assert bench.kernel.said(device, "attrib/tmr_notification") == "1"
            # While it is being added it can be neither blocked nor reset.
            assert bench.kernel.said(device, "action/block_dev") == ""
            assert bench.kernel.said(device, "action/reset_ring") == ""
            await front_end.handle(bench.event(EventKind.REMOVED), bench.answers)
            assert bench.answers.statuses == [0, 0]
            assert not front_end.devices
            assert not bench.lu.nexuses

    run(work())


@pytest.mark.parametrize(
    ("attributes", "number"),
    [
        ({"dev_size": 1 << 60}, errno.EINVAL),
        ({"dev_size": 0}, errno.EINVAL),
        ({"dev_size": 513}, errno.EINVAL),
        ({"hw_block_size": 4096}, errno.EINVAL),
    ],
)
def test_what_does_not_fit_is_refused(
    bench: Bench, attributes: dict[str, int], number: int
) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add(**attributes)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [-number]
            assert not front_end.devices
            assert bench.kernel.rings[3].opened == 0

    run(work())


@pytest.mark.parametrize("waits", [1, 0, -1])
def test_beside_tcmu_runner_the_kernel_must_not_wait(
    bench: Bench, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    async def work() -> None:
        bench.guest = True
        async with bench.running() as front_end:
            bench.add(nl_reply_supported=waits)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [-errno.EOPNOTSUPP if waits > 0 else 0]
            assert bool(front_end.devices) == (waits <= 0)
            assert ("control=nl_reply_supported=-1" in caplog.text) == (waits > 0)

    run(work())


@pytest.mark.parametrize("left", ["nothing", "no configuration"])
def test_a_device_that_tcmu_runner_refused_first_is_gone(
    bench: Bench, caplog: pytest.LogCaptureFixture, left: str
) -> None:
    async def work() -> None:
        bench.guest = True
        async with bench.running() as front_end:
            if left == "no configuration":
                bench.kernel.unset(bench.add(), "nl_reply_supported")
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [-errno.EOPNOTSUPP]
            assert "control=nl_reply_supported=-1" in caplog.text

    run(work())


@pytest.mark.parametrize("waits", [1, -1])
def test_a_device_that_another_daemon_refused_is_let_go(
    bench: Bench, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    async def work() -> None:
        bench.answers.late = True
        async with bench.running() as front_end:
            bench.add(nl_reply_supported=waits)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bool(front_end.devices) == (waits < 0)
            assert ("another daemon refused it" in caplog.text) == (waits > 0)

    run(work())


def test_a_mailbox_of_another_version_is_refused(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            os.pwrite(bench.kernel.rings[3].memory, b"\1\0", 0)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [-errno.EPROTONOSUPPORT]
            assert not front_end.devices
            assert not bench.lu.nexuses
            assert bench.lu.limit is None

    run(work())


def test_a_namespace_is_one_device(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            again = bench.kernel.add(
                4, "tcm-user/0/disk1/nvme/0/1", dev_size=bench.size, hw_block_size=512
            )
            with pytest.raises(ConfigError, match="user_0/disk0") as caught:
                await front_end.add(again)
            assert caught.value.errno == errno.EBUSY

    run(work())


def test_devices_of_other_handlers_are_not_answered(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            for name in ("tcm-user/0/x/nvmes/0/1", "tcm-user/0/x/file/y", "tcm-user/0/x"):
                await front_end.handle(bench.event(EventKind.ADDED, name), bench.answers)
            assert bench.answers.statuses == []

    run(work())


def test_changes(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            for expected, change in (
                # What a restored configuration says again.
                (0, {"config": "nvme/0/1"}),
                (0, {"size": bench.size}),
                (0, {"write_cache": False}),
                (-errno.EINVAL, {"config": "nvme/0/2"}),
                (-errno.EINVAL, {"size": bench.size + 512}),
                (0, {"size": bench.size // 2}),
            ):
                await front_end.handle(bench.event(EventKind.RECONFIG, **change), bench.answers)
                assert bench.answers.statuses.pop() == expected, change
            status, sense, _ = await ring.command(TEST_UNIT_READY)
            assert (status, sense[2] & 0xF, sense[12], sense[13]) == (2, 6, 0x2A, 0x09)
            _, _, data = await ring.command(READ_CAPACITY, 8)
            assert (struct.unpack(">I", data[:4])[0] + 1) * 512 == bench.size // 2

    run(work())


def test_what_was_there_before_is_blocked_reset_and_served(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            device = bench.add()
            os.pwrite(bench.kernel.rings[3].memory, struct.pack("=I", 128), 12)
            await front_end.recover()
            assert bench.kernel.said(device, "action/reset_ring") == "1"
            assert bench.kernel.said(device, "action/block_dev") == "0"
            assert (await bench.kernel.rings[3].command(TEST_UNIT_READY))[0] == 0
            # Its news may come late.
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [0]
            assert bench.kernel.rings[3].opened == 1
        assert bench.kernel.said(device, "action/block_dev") == "1"

    run(work())


@pytest.mark.parametrize(
    "attributes", [{"hw_block_size": 4096}, {"dev_size": 1 << 60}, {"dev_size": 1 << 18}]
)
def test_a_namespace_that_changed_meanwhile_is_served_as_it_is(
    bench: Bench, attributes: dict[str, int]
) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add(**attributes)
            await front_end.recover()
            _, _, data = await bench.kernel.rings[3].command(READ_CAPACITY, 8)
            last, block = struct.unpack(">II", data)
            assert (last + 1) * block == min(bench.size, attributes.get("dev_size", bench.size))

    run(work())


def test_what_cannot_be_served_any_more_hangs_nobody(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            device = bench.kernel.add(
                3, "tcm-user/0/disk0/nvme/0/9", dev_size=bench.size, hw_block_size=512
            )
            await front_end.recover()
            assert not front_end.devices
            assert bench.kernel.said(device, "action/block_dev") == "1"
            assert bench.kernel.said(device, "action/reset_ring") == "1"

    run(work())


@pytest.mark.parametrize("nsid", [1, 9])
def test_what_another_process_serves_is_left_alone(bench: Bench, nsid: int) -> None:
    def busy(device: UioDevice) -> int:
        raise OSError(errno.EBUSY, "busy")

    async def work() -> None:
        async with bench.running() as front_end:
            device = bench.kernel.add(
                3, f"tcm-user/0/disk0/nvme/0/{nsid}", dev_size=bench.size, hw_block_size=512
            )
            object.__setattr__(bench.kernel, "open", busy)
            await front_end.recover()
            assert not front_end.devices
            assert bench.kernel.said(device, "action/block_dev") == ""
            assert bench.kernel.said(device, "action/reset_ring") == ""

    run(work())


def test_a_ring_that_was_reset_is_served_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scsi2nvme.target.tcmu.front_end.RETRY_SECONDS", 0.0)

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            await ring.command(TEST_UNIT_READY)
            ring.reset()
            device = front_end.devices[3]
            assert ring.doorbell is not None
            ring.doorbell.send(b"\1\0\0\0")
            await device.ended.wait()
            while ring.opened == 1 or device.ring is None:
                await asyncio.sleep(0)
            assert (await ring.command(TEST_UNIT_READY))[0] == 0

    run(work())


def test_a_ring_is_renewed_once_and_told_of_nothing(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            bench.lu.attend(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
            await front_end.renew([])
            assert ring.opened == 1
            await front_end.renew([bench.lu])
            assert ring.opened == 2
            status, sense, _ = await ring.command(TEST_UNIT_READY)
            assert (status, sense[12]) == (2, 0x29)
            assert (await ring.command(TEST_UNIT_READY))[0] == 0
        assert ring.opened == 2

    run(work())


def test_a_device_that_goes_without_a_word_is_forgotten(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            doorbell = bench.kernel.rings[3].doorbell
            assert doorbell is not None
            doorbell.close()
            while front_end.devices:
                await asyncio.sleep(0)
            assert not bench.lu.nexuses

    run(work())


# Zero copy


class RecordingRing:
    """A ring that could do without copying."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self.has_window = True

    def set_in_place(self, allowed: bool) -> None:
        self.said.append(allowed)


def judged(kernel: Kernel, *, wanted: bool = True) -> list[bool]:
    ring = RecordingRing()
    ZeroCopy(kernel, wanted=wanted).judge([cast("PlaneTcmu", ring)])
    return ring.said


@pytest.mark.parametrize(
    ("areas", "limit", "allowed"),
    [
        ((64,), 64, True),
        ((64, 64), 127, False),
        ((1024, 1024), 2048, True),
        ((1024, 64, 1024), 2048, False),
    ],
)
def test_data_stay_in_place_while_pages_do(
    bench: Bench, areas: tuple[int, ...], limit: int, allowed: bool
) -> None:
    bench.kernel.limit(limit)
    for number, area in enumerate(areas):
        bench.kernel.add(number, f"tcm-user/{number}/disk/file/x")
        bench.kernel.area(number, area)
    assert judged(bench.kernel) == [allowed]
    assert judged(bench.kernel, wanted=False) == []


def test_what_cannot_be_read_is_no_permission(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.add()
    bench.kernel._parameter("global_max_data_area_mb").unlink()
    assert judged(bench.kernel) == [False]
    assert "zero copy is off: how much memory the rings may take is unknown" in caplog.text


def test_other_devices_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("scsi2nvme.target.tcmu.front_end.GONE_SECONDS", 0.0)
    bench.kernel.limit(1024)
    ring = RecordingRing()
    monkeypatch.setattr(PlaneTcmu, "has_window", True)
    monkeypatch.setattr(PlaneTcmu, "set_in_place", lambda _, allowed: ring.set_in_place(allowed))
    other = "tcm-user/1/other/file/x"

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert ring.said == [True, True]
            bench.kernel.add(4, other)
            bench.kernel.area(4, 1025)
            event = DeviceEvent(EventKind.ADDED, other, 4, 78)
            await front_end.handle(event, bench.answers)
            assert ring.said[2:] == [False]
            bench.kernel.remove(4)
            await front_end.handle(replace(event, kind=EventKind.REMOVED), bench.answers)
            while len(ring.said) < 4:
                await asyncio.sleep(0)
            assert ring.said[2:] == [False, True]
            assert bench.answers.statuses == [0]  # none of the other's

    run(work())
    assert caplog.text.count("zero copy is off: the data areas of the kernel's 2 rings") == 1


def test_a_replaced_page_is_a_reason_to_look_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ring = RecordingRing()
    monkeypatch.setattr(PlaneTcmu, "has_window", True)
    monkeypatch.setattr(PlaneTcmu, "set_in_place", lambda _, allowed: ring.set_in_place(allowed))

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            bench.kernel.area(3, 2049)
            for number in (errno.ESTALE, errno.ENOSPC):
                told = Event(EventType.PAGES, number, 0, None, 0, False, 0, 0, 0, 0, b"", b"")
                front_end._ring_told(front_end.devices[3], told)
            assert ring.said[2:] == [False]
            assert front_end.devices[3].ring is not None

    run(work())
    assert "the kernel has replaced pages of its ring" in caplog.text
    assert "dma_entry_limit" in caplog.text


def test_one_scsi2nvme_serves_the_kernel(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    with pytest.raises(TcmuUnavailable, match="not loaded; run: modprobe target_core_user"):
        claim(kernel)
    parameter = tmp_path / "module/target_core_user/parameters/block_netlink"
    parameter.parent.mkdir(parents=True)
    parameter.write_text("0")
    let_go = claim(kernel)
    with pytest.raises(TcmuUnavailable, match="served by another scsi2nvme"):
        claim(kernel)
    let_go()
    claim(kernel)()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODEV, errno.EACCES])
def test_a_device_that_goes_while_it_is_looked_at_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The kernel answers so of one that it has just unregistered."""
    bench.add()

    def read_text(path: Path) -> str:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_text", read_text)
    if number == errno.EACCES:
        with pytest.raises(PermissionError):
            bench.kernel.device(3)
    else:
        assert bench.kernel.device(3) is None
