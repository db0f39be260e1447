"""A disk that has nothing which a disk need not have, over the portal."""

from __future__ import annotations

from pathlib import Path

from scsi2nvme.drivers.emulated.capabilities.lacking import NAMES
from tests.daemon import IQN, Daemon
from tests.iscsi_client import Initiator

BLOCK = 512
INVALID_OPCODE = (5, 0x20, 0x00)


def cdb(text: str) -> bytes:
    return bytes.fromhex(text)


def test_it_is_served_without(tmp_path: Path) -> None:
    disk = "emulated:memory,size=16M,thin=off," + ",".join(f"lacks={name}" for name in NAMES)
    old, new = b"\0" * BLOCK, b"\1" * BLOCK
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.command(0, bytes(6))
        compare_and_write = cdb("89 00 0000000000000005 000000 01 00 00")
        assert one.command(0, compare_and_write, data_out=old + new).status == 0
        assert one.command(0, compare_and_write, data_out=old + new).status == 2
        read = cdb("28 00 00000005 00 0001 00")
        assert one.command(0, read, data_in=BLOCK).data == new
        assert one.command(0, cdb("2F 02 00000005 00 0001 00"), data_out=new).status == 0
        assert one.command(0, cdb("2F 00 00000000 00 1000 00")).status == 0
        assert one.command(0, cdb("41 00 00000005 00 0002 00"), data_out=old).status == 0
        assert one.command(0, read, data_in=BLOCK).data == old
        for opcode in (0x04, 0x1D):  # FORMAT UNIT, and SEND DIAGNOSTIC, which tests something else
            asked = bytes([0xA3, 0x0C, 1, opcode]) + cdb("0000 00000100 00 00")
            supported = one.command(0, asked, data_in=256).data[1] & 7
            assert supported == (1 if opcode == 4 else 3)
        timestamp = one.command(0, cdb("A3 0F 00000000 0000000C 00 00"), data_in=12)
        assert timestamp.status == 2
