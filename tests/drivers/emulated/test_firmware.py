"""Firmware slots of the emulated controller, and what is downloaded into them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.emulated.capabilities.firmware import BUILT_IN
from scsi2nvme.drivers.emulated.firmware_image import Firmware, Needs, build, parse
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode as S
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin, identify, log_page

KIB = 1 << 10
REPLACE, BY_RESET, ACTIVATE, AT_ONCE = range(4)
NEW = Firmware("2.0")


def download(offset: int, data: bytes) -> NvmeCommand:
    opcode = AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD
    return admin(opcode, len(data) // 4 - 1, offset // 4, data_out=data)


def commit(slot: int, action: int) -> NvmeCommand:
    return admin(AdminOpcode.FIRMWARE_COMMIT, slot | action << 3)


def run(test: Any, **options: Any) -> None:
    """Run a coroutine function with a host of a controller of three slots."""

    async def body() -> None:
        host = Host(**{"firmware_slots": 3, **options}).enable()
        try:
            await test(host)
        finally:
            host.close()

    asyncio.run(body())


async def send(host: Host, firmware: Firmware, body: bytes = b"") -> None:
    image = build(firmware, body)
    for offset in range(0, len(image), 4 * KIB):
        await host.ok(download(offset, image[offset : offset + 4 * KIB]))


async def status(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command)).status


async def revisions(host: Host) -> tuple[int, int, list[str]]:
    log = await host.ok(log_page(0x03, 512))
    held = [log[at : at + 8].strip(b" \0").decode() for at in range(8, 64, 8)]
    return log[0] & 7, log[0] >> 4 & 7, held


async def fr(host: Host) -> str:
    return IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).text("fr")


def test_an_image_is_what_was_built() -> None:
    image = build(Firmware("2.0", Needs.SUBSYSTEM_RESET, 7), b"body!")
    assert parse(image) == Firmware("2.0", Needs.SUBSYSTEM_RESET, 7)
    assert len(image) % 4 == 0
    assert parse(image + bytes(4)) is not None  # padding
    for damaged in (image[:-4], image[:16], image[:36], bytes(4) + image[4:], image[:-1] + b"x"):
        assert parse(damaged) is None
    assert parse(build(NEW).replace(b"2.0     ", bytes(8))) is None


def test_a_plain_controller_has_one_slot_and_takes_nothing() -> None:
    async def test(host: Host) -> None:
        controller = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
        assert (controller.frmw, controller.oacs & 4, controller.oaes >> 9 & 1) == (3, 0, 0)
        assert await status(host, download(0, bytes(4096))) & 0x7FF == S.INVALID_OPCODE

    run(test, firmware_slots=1)


@pytest.mark.parametrize(("slot", "stored"), [(0, 2), (2, 2), (3, 3)])
def test_an_image_runs_at_once(slot: int, stored: int) -> None:
    async def test(host: Host) -> None:
        await send(host, NEW, bytes(10 * KIB))
        assert await status(host, commit(slot, AT_ONCE)) == 0
        active, following, held = await revisions(host)
        assert (active, following) == (stored, 0)
        assert held[0] == BUILT_IN.revision
        assert held[stored - 1] == "2.0"
        assert await fr(host) == "2.0"
        assert await status(host, commit(1, AT_ONCE)) == 0  # back
        assert await fr(host) == BUILT_IN.revision

    run(test)


@pytest.mark.parametrize("action", [BY_RESET, ACTIVATE])
def test_an_image_runs_after_a_reset(action: int) -> None:
    async def test(host: Host) -> None:
        await send(host, NEW)
        if action == ACTIVATE:
            assert await status(host, commit(2, REPLACE)) == 0
            assert (await revisions(host))[1] == 0
        assert await status(host, commit(2, action)) == 0
        assert (await revisions(host))[:2] == (1, 2)
        host.disable()
        host.enable()
        assert (await revisions(host))[:2] == (2, 0)
        assert await fr(host) == "2.0"

    run(test)


NEEDED = {
    Needs.CONTROLLER_RESET: S.FIRMWARE_NEEDS_CONTROLLER_RESET,
    Needs.SUBSYSTEM_RESET: S.FIRMWARE_NEEDS_SUBSYSTEM_RESET,
    Needs.CONVENTIONAL_RESET: S.FIRMWARE_NEEDS_CONVENTIONAL_RESET,
}


@pytest.mark.parametrize("needs", NEEDED)
def test_an_image_may_need_more(needs: Needs, tmp_path: Path) -> None:
    async def test(host: Host) -> None:
        await send(host, Firmware("2.0", needs))
        assert await status(host, commit(2, AT_ONCE)) & 0x7FF == NEEDED[needs]
        host.disable()
        host.enable()
        assert (await fr(host) == "2.0") == (needs == Needs.CONTROLLER_RESET)

    async def after_power_cycle(host: Host) -> None:
        assert await fr(host) == "2.0"
        assert await revisions(host) == (2, 0, [BUILT_IN.revision, "2.0", *[""] * 5])

    run(test, path=tmp_path / "disk")
    run(after_power_cycle, path=tmp_path / "disk")


def test_what_is_damaged_or_left_out_is_refused() -> None:
    async def test(host: Host) -> None:
        image = build(NEW, bytes(12 * KIB))
        damaged = image[:-4] + b"\x5a" * 4
        for pieces in ({0: damaged}, {0: image[: 4 * KIB], 8 * KIB: image[8 * KIB :]}, {}):
            for offset, data in pieces.items():
                await host.ok(download(offset, data))
            assert await status(host, commit(2, BY_RESET)) & 0x7FF == S.INVALID_FIRMWARE_IMAGE
        await host.ok(download(0, image))
        host.disable()  # which forgets the image
        host.enable()
        assert await status(host, commit(2, BY_RESET)) & 0x7FF == S.INVALID_FIRMWARE_IMAGE

    run(test)


def test_pieces_may_not_overlap_and_are_aligned() -> None:
    async def test(host: Host) -> None:
        await host.ok(download(0, bytes(8 * KIB)))
        for offset, refusal in ((4 * KIB, S.OVERLAPPING_RANGE), (2 * KIB, S.INVALID_FIELD)):
            assert await status(host, download(offset, bytes(4 * KIB))) & 0x7FF == refusal
        too_far = download(16 << 20, bytes(4 * KIB))
        assert await status(host, too_far) & 0x7FF == S.INVALID_FIRMWARE_IMAGE
        await send(host, NEW)  # from zero: another one
        assert await status(host, commit(2, AT_ONCE)) == 0

    run(test)


@pytest.mark.parametrize(
    ("slot", "action", "refusal"),
    [
        (1, BY_RESET, S.INVALID_FIRMWARE_SLOT),
        (4, AT_ONCE, S.INVALID_FIRMWARE_SLOT),
        (3, ACTIVATE, S.INVALID_FIRMWARE_SLOT),
        (2, 6, S.INVALID_FIELD),
    ],
)
def test_a_slot_or_action_that_there_is_not(slot: int, action: int, refusal: S) -> None:
    async def test(host: Host) -> None:
        await send(host, NEW)
        assert await status(host, commit(slot, action)) & 0x7FF == refusal
        assert await status(host, commit(2, AT_ONCE)) == 0  # the image is still there

    run(test)


@pytest.mark.parametrize(
    ("firmware", "refusal"),
    [
        (Firmware("2.0", Needs.PROHIBITED), S.FIRMWARE_ACTIVATION_PROHIBITED),
        (Firmware("2.0", pause=11), S.FIRMWARE_NEEDS_MAXIMUM_TIME),
    ],
)
def test_an_image_that_may_not_run_at_once(firmware: Firmware, refusal: S) -> None:
    async def test(host: Host) -> None:
        await send(host, firmware)
        assert await status(host, commit(2, AT_ONCE)) & 0x7FF == refusal
        assert await fr(host) == BUILT_IN.revision

    run(test)


def test_activation_pauses_and_tells_of_it() -> None:
    async def test(host: Host) -> None:
        await host.create_queue()
        await host.ok(admin(AdminOpcode.SET_FEATURES, 0x0B, 1 << 9))
        event = host.place(admin(AdminOpcode.ASYNC_EVENT_REQUEST))
        await send(host, Firmware("2.0", pause=1))
        committed = host.place(commit(2, AT_ONCE))
        told = await host.take()
        assert (told.cid, told.dw0) == (event, 2 | 1 << 8 | 3 << 16)
        assert host.csts.pp
        host.place(NvmeCommand(0x00, nsid=1), 1)
        assert not list(host.pairs[1].poll())
        assert (await host.take()).cid == committed
        assert not host.csts.pp
        assert (await host.take(1)).status == 0
        assert await fr(host) == "2.0"

    run(test)


def test_a_reset_ends_the_pause() -> None:
    async def test(host: Host) -> None:
        await send(host, Firmware("2.0", pause=10))
        host.place(commit(2, AT_ONCE))
        while not host.csts.pp:
            await asyncio.sleep(0)
        host.disable()
        assert not host.csts.pp
        host.enable()
        assert await fr(host) == "2.0"

    run(test)


@pytest.mark.parametrize(("fwug", "aligned"), [(0, 4 * KIB), (2, 8 * KIB), (0xFF, 4)])
def test_the_granularity_is_what_was_asked_for(fwug: int, aligned: int) -> None:
    async def test(host: Host) -> None:
        assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).fwug == fwug
        await host.ok(download(aligned, bytes(4)))
        if aligned > 4:
            assert await status(host, download(4, bytes(4))) & 0x7FF == S.INVALID_FIELD

    run(test, fwug=fwug)


def test_a_damaged_sidecar_is_told_in_one_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"

    async def test(host: Host) -> None:
        await send(host, NEW)
        await host.ok(commit(2, AT_ONCE))

    run(test, path=disk)
    sidecar = disk.with_name("disk.json")
    sidecar.write_text(sidecar.read_text().replace('"active": 2', '"active": "x"'))
    with pytest.raises(TransportError, match="firmware: active: is a string, not") as refused:
        Host(path=disk, firmware_slots=3)
    assert "\n" not in str(refused.value)
