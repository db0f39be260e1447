"""Controllers that lack what a controller need not have: nothing of it is there."""

from __future__ import annotations

import pytest

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.spec import parse
from scsi2nvme.drivers.emulated.capabilities import TABLES
from scsi2nvme.drivers.emulated.capabilities.lacking import NAMES
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER
from tests.drivers.emulated.host import Host, admin, block, get_feature, identify, session

BLOCK = 512
_SELF_TEST = admin(AdminOpcode.DEVICE_SELF_TEST, 1, nsid=1)
# Of each: what it is asked, and a bit of Identify Controller.
ASKED: dict[str, tuple[NvmeCommand, str, int]] = {
    "compare": (block(Opcode.COMPARE, 0, data_out=bytes(BLOCK)), "oncs", 1 << 0),
    "write-zeroes": (block(Opcode.WRITE_ZEROES, 0), "oncs", 1 << 3),
    "verify": (block(Opcode.VERIFY, 0), "oncs", 1 << 7),
    "timestamp": (get_feature(0x0E, data_in=8), "oncs", 1 << 6),
    "format": (admin(AdminOpcode.FORMAT_NVM, nsid=1), "oacs", 1 << 1),
    "self-test": (_SELF_TEST, "oacs", 1 << 4),
    "write-protection": (get_feature(0x84, nsid=1), "nwpc", 1 << 0),
}


async def controller_of(host: Host) -> Values:
    return IDENTIFY_CONTROLLER.parse(await host.ok(identify(1)))


async def status(host: Host, command: NvmeCommand) -> int:
    return (await host.execute(command, 0 if command.admin else 1)).status & 0x7FF


def test_each_has_a_name() -> None:
    assert sorted(NAMES) == sorted(one.lackable for one in TABLES.capabilities if one.lackable)
    assert sorted(NAMES) == sorted(ASKED)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_lacks_it_neither_does_nor_tells(name: str) -> None:
    command, field, bit = ASKED[name]

    async def steps(host: Host) -> None:
        await host.create_queue()
        told = await controller_of(host)
        assert not told[field] & bit
        feature = command.admin and command.opcode == AdminOpcode.GET_FEATURES
        refused = StatusCode.INVALID_FIELD if feature else StatusCode.INVALID_OPCODE
        assert await status(host, command) == refused
        if name == "compare":
            assert not told.fuses
        for other, (asked, where, its_bit) in ASKED.items():
            if other != name and other not in ("format", "self-test"):
                assert told[where] & its_bit
                assert await status(host, asked) == 0

    session(steps, block_bytes=BLOCK, lacks=(name,))


def test_a_format_and_a_sanitize_operation_need_no_self_test() -> None:
    async def steps(host: Host) -> None:
        assert await status(host, admin(AdminOpcode.FORMAT_NVM, nsid=1)) == 0
        assert await status(host, admin(AdminOpcode.SANITIZE, 2)) == 0

    session(steps, lacks=("self-test",), sanicap=2)


def test_a_persistent_event_log_needs_no_time() -> None:
    async def steps(host: Host) -> None:
        assert (await controller_of(host)).oncs

    session(steps, lacks=("timestamp",), event_log=True)


def test_what_nobody_can_lack_is_told() -> None:
    assert parse("emulated:memory,lacks=verify,lacks=format").options["lacks"] == (
        "verify",
        "format",
    )
    with pytest.raises(UsageError, match="known: compare, format"):
        parse("emulated:memory,lacks=identify")
