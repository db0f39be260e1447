"""TCMU devices from the kernel's question to the last answer."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED
from scsi2nvme.scsi.status import Status
from scsi2nvme.target.tcmu.device_config import ConfigError, DeviceConfig, parse_config
from scsi2nvme.target.tcmu.events import TcmuUnavailable, claim
from scsi2nvme.target.tcmu.netlink import EventKind
from scsi2nvme.target.tcmu.uio import Kernel, UioDevice, parse_name
from scsi2nvme.unit.readiness import Readiness
from tests.support import row
from tests.target.tcmu.played_kernel import READ_CAPACITY, TEST_UNIT_READY, Bench, run
from tests.waiting import eventually

PREVENT_REMOVAL = row("PREVENT ALLOW MEDIUM REMOVAL").build(prevent=1)
SYNCHRONIZE_CACHE = row("SYNCHRONIZE CACHE (10)").build()


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


def test_what_the_kernel_keeps_to_itself_is_not_claimed(bench: Bench) -> None:
    """No fabric is named, no task attribute but SIMPLE, and no function that it refuses."""

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            inquiry, functions = row("INQUIRY"), row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS")
            _, _, data = await ring.command(inquiry.build(allocation_length=96), 96)
            assert struct.unpack(">8H", data[58:74]) == (0xA0, 0x460, 0x4C0, 0x1F60, 0, 0, 0, 0)
            cdb = inquiry.build(evpd=1, page_code=0x86, allocation_length=64)
            _, _, data = await ring.command(cdb, 64)
            assert data[5] == 0x01
            _, _, data = await ring.command(functions.build(allocation_length=4), 4)
            assert data == bytes.fromhex("88000000")

    run(work())


def test_a_reset_by_the_kernel_is_one_of_the_logical_unit(bench: Bench) -> None:
    """The unit is active again; of the reset itself the kernel has told its initiators."""

    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            stop = bytes([0x1B, 0, 0, 0, 0, 0])
            assert (await ring.command(stop))[0] == 0
            assert (await ring.command(TEST_UNIT_READY))[0] == 2
            await ring.tell_of_reset()
            assert (await ring.command(TEST_UNIT_READY))[0] == 0
            assert bench.lu.readiness is Readiness.READY

    run(work())


@pytest.mark.parametrize("bytes_there", [0, 512, 1000])
def test_a_write_whose_data_are_not_all_there_is_refused(bench: Bench, bytes_there: int) -> None:
    async def work() -> None:
        bench.lu.read_only = False
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            cdb = row("WRITE (10)").build(transfer_length=2)
            status, sense, _ = await bench.kernel.rings[3].command(cdb, bytes_there)
            assert status == Status.CHECK_CONDITION
            assert (sense[2] & 0xF, sense[12], sense[13]) == (5, 0x0E, 0x03)

    run(work())


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("No SPC-3 Reservation holder", Status.GOOD),
        ("SPC-3 Reservation Type: Write Exclusive Access", Status.RESERVATION_CONFLICT),
        (
            "SPC-3 Reservation Type: Write Exclusive Access, Registrants Only",
            Status.RESERVATION_CONFLICT,
        ),
        (
            "SPC-3 Reservation Type: Write Exclusive Access, All Registrants",
            Status.RESERVATION_CONFLICT,
        ),
        ("SPC-3 Reservation Type: Exclusive Access, Registrants Only", Status.GOOD),
        ("what no kernel has said yet", Status.RESERVATION_CONFLICT),
    ],
)
def test_whom_a_reservation_of_the_kernel_excludes_changes_nothing(
    bench: Bench, told: str, status: Status
) -> None:
    """What sends no data passes the kernel under Write Exclusive, whoever sends it."""

    async def work() -> None:
        async with bench.running() as front_end:
            device = bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            bench.kernel.reserve(device, told)
            assert (await ring.command(PREVENT_REMOVAL))[0] == status
            assert (await ring.command(TEST_UNIT_READY))[0] == Status.GOOD
            assert (await ring.command(SYNCHRONIZE_CACHE))[0] == Status.GOOD
            await front_end.handle(bench.event(EventKind.REMOVED), bench.answers)

    run(work())


def test_where_no_size_is_given_it_is_the_namespace_s(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add(dev_size=0)
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            assert bench.answers.statuses == [0]
            _, _, data = await bench.kernel.rings[3].command(READ_CAPACITY, 8)
            assert (struct.unpack(">I", data[:4])[0] + 1) * 512 == bench.size

    run(work())


@pytest.mark.parametrize(
    ("attributes", "number"),
    [
        ({"dev_size": 1 << 60}, errno.EINVAL),
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
            with pytest.raises(ConfigError, match="its namespace is that of user_0/disk0"):
                front_end.check("nvme/0/1")  # as targetcli asks before it creates a device
            await front_end.remove(3)
            assert front_end.check("nvme/0/1") is bench.lu

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
                (0, {"size": 0}),
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
    "attributes",
    [{"hw_block_size": 4096}, {"dev_size": 1 << 60}, {"dev_size": 1 << 18}, {"dev_size": 0}],
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
            assert (last + 1) * block == min(bench.size, attributes.get("dev_size") or bench.size)

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
            await eventually(
                lambda: ring.opened > 1 and device.ring is not None, "the ring is opened again"
            )
            assert (await ring.command(TEST_UNIT_READY))[0] == 0

    run(work())


def test_a_ring_is_renewed_once_and_told_of_nothing(bench: Bench) -> None:
    async def work() -> None:
        async with bench.running() as front_end:
            bench.add()
            await front_end.handle(bench.event(EventKind.ADDED), bench.answers)
            ring = bench.kernel.rings[3]
            bench.lu.establish_attention(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
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
            await eventually(lambda: not front_end.devices, "the device is forgotten")
            assert not bench.lu.nexuses

    run(work())


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
