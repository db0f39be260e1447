"""Security Send and Security Receive of the emulated controller. Spec: TCG Core 2.01 3.3."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin, identify, on_host

COMID = 0x07FE
STACK_RESET = bytes.fromhex("07fe 0000 00000002")


def receive(protocol: int, specific: int, length: int = 512) -> NvmeCommand:
    cdw10 = protocol << 24 | specific << 8
    return admin(AdminOpcode.SECURITY_RECEIVE, cdw10, length, data_in=length)


def send(protocol: int, specific: int, data: bytes) -> NvmeCommand:
    cdw10 = protocol << 24 | specific << 8
    return admin(AdminOpcode.SECURITY_SEND, cdw10, len(data), data_out=data)


@on_host(tcg=True)
async def test_the_list_of_protocols(host: Host) -> None:
    assert IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oacs & 1
    data = await host.ok(receive(0x00, 0x0000))
    assert data[:11] == bytes(6) + b"\0\x03" + bytes([0x00, 0x01, 0x02])
    assert (await host.ok(receive(0x00, 0x0001)))[:4] == bytes(4)  # no certificate


@on_host(tcg=True)
async def test_level_0_discovery(host: Host) -> None:
    data = await host.ok(receive(0x01, 0x0001))
    length = int.from_bytes(data[:4], "big")
    assert (length, data[4:8]) == (60, bytes([0, 0, 0, 1]))
    assert data[48:64] == bytes.fromhex("0001 10 0c 01") + bytes(11)  # the TPer feature


@on_host(tcg=True)
async def test_the_reset_of_a_stack_is_answered_once(host: Host) -> None:
    assert (await host.ok(receive(0x02, COMID)))[:12] == bytes.fromhex(
        "07fe 0000 00000000 0000 0000"
    )
    await host.ok(send(0x02, COMID, STACK_RESET))
    answer = await host.ok(receive(0x02, COMID))
    assert answer[:16] == STACK_RESET + bytes.fromhex("0000 0004 00000000")
    assert (await host.ok(receive(0x02, COMID)))[4:8] == bytes(4)


@pytest.mark.parametrize(
    "command",
    [
        receive(0x00, 0x0002),
        receive(0x01, 0x0002),
        receive(0xEA, 0x0001),
        send(0x00, 0x0000, STACK_RESET),
        send(0x01, COMID, STACK_RESET),
        send(0x02, COMID, STACK_RESET[:7]),
        admin(AdminOpcode.SECURITY_RECEIVE, 1, 512, data_in=512),  # NSSF
        admin(AdminOpcode.SECURITY_RECEIVE, 0, 1 << 30, data_in=512),
    ],
)
def test_what_it_refuses(command: NvmeCommand) -> None:
    @on_host(tcg=True)
    async def check(host: Host) -> None:
        assert (await host.execute(command)).status == StatusCode.INVALID_FIELD

    check()


@on_host()
async def test_there_is_none_unless_it_is_wanted(host: Host) -> None:
    assert not IDENTIFY_CONTROLLER.parse(await host.ok(identify(1))).oacs & 1
    for command in (receive(0x00, 0x0000), send(0x02, COMID, STACK_RESET)):
        assert (await host.execute(command)).status == StatusCode.INVALID_OPCODE
