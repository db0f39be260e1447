"""NVMe-MI Send and Receive of the emulated controller. Spec: NVMe-MI 1.2 5.8, 5.9; SES-3."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin, identify, on_host

HEADER = 0x0804
SLOT = 8 + 4  # in the status page: behind that of all slots


def receive(page: int, length: int = 4096, header: int = HEADER) -> NvmeCommand:
    words = {"cdw12": page, "cdw13": length}
    return admin(AdminOpcode.NVME_MI_RECEIVE, header, 0x08, **words, data_in=max(length, 4))


def send(data: bytes, opcode: int = 0x09) -> NvmeCommand:
    return admin(AdminOpcode.NVME_MI_SEND, HEADER, opcode, cdw13=len(data), data_out=data)


async def said(host: Host, command: NvmeCommand) -> int:
    """Return what the response says."""
    completion = await host.execute(command)
    assert completion.status == 0
    return completion.dw0


@on_host(ses=True)
async def test_what_it_tells(host: Host) -> None:
    identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (identity.oacs >> 6 & 1, identity.nvmsr) == (1, 0b11)
    supported = await host.ok(receive(0x0D))
    assert supported[:8] == bytes.fromhex("0d000004 0102070d")
    configuration = await host.ok(receive(0x01))
    assert configuration[8:12] == bytes.fromhex("11 00 02 24")
    assert configuration[48:56] == bytes.fromhex("17 01 00 05 04 01 00 0c")
    assert configuration[56:73] == b"slotstemperatures"
    assert int.from_bytes(configuration[2:4], "big") == 73 - 4
    status = await host.ok(receive(0x02))
    assert status[:4] == bytes.fromhex("02000014")
    assert status[8:24] == bytes.fromhex("01000000 01000000 01000000 01003900")  # 37 degrees
    names = await host.ok(receive(0x07))
    assert names[8:31] == b"\0\0\0\x05slots\0\0\0\x06slot 0\0\0\0\x0c"
    assert (await host.ok(receive(0x02, 6)))[:6] == status[:6]


@on_host(ses=True)
async def test_the_lights_are_what_a_control_page_says(host: Host) -> None:
    page = bytearray((await host.ok(receive(0x02)))[:24])
    page[SLOT : SLOT + 4] = bytes.fromhex("80 00 02 20")
    assert await said(host, send(bytes(page))) == 0
    assert (await host.ok(receive(0x02)))[SLOT : SLOT + 4] == bytes.fromhex("01000220")
    page[SLOT : SLOT + 4] = bytes(4)  # not selected
    assert await said(host, send(bytes(page))) == 0
    assert (await host.ok(receive(0x02)))[SLOT : SLOT + 4] == bytes.fromhex("01000220")
    page[8:12] = bytes.fromhex("80 00 00 00")  # all slots
    assert await said(host, send(bytes(page))) == 0
    assert (await host.ok(receive(0x02)))[SLOT : SLOT + 4] == bytes.fromhex("01000000")


@on_host(ses=True)
async def test_what_there_is_not_is_said_in_the_response(host: Host) -> None:
    page = (await host.ok(receive(0x02)))[:24]
    assert await said(host, receive(0x05)) == 0x04
    assert await said(host, send(page, 0x06)) == 0x03
    assert await said(host, send(page[:20])) == 0x04
    assert await said(host, send(page[:7] + b"\1" + page[8:])) == 0x04  # another generation
    assert await said(host, send(b"\x07" + page[1:])) == 0x04


@pytest.mark.parametrize(
    "command",
    [receive(1, header=header) for header in (0x0800, 0x0004, 0x0884, 0x8804, 0x1004)]
    + [receive(1, 4097)],
)
def test_what_is_no_request_is_refused(command: NvmeCommand) -> None:
    @on_host(ses=True)
    async def refused(host: Host) -> None:
        assert (await host.execute(command)).status == StatusCode.INVALID_FIELD

    refused()


@on_host()
async def test_without_an_enclosure_there_are_no_such_commands(host: Host) -> None:
    identity = IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))
    assert (identity.oacs >> 6 & 1, identity.nvmsr) == (0, 0)
    for command in (receive(1), send(bytes(24))):
        assert (await host.execute(command)).status == StatusCode.INVALID_OPCODE
