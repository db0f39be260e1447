"""Write and read much by one command each, as firmware reads a boot file:
`python3 -m tests.system.boot_file ADDRESS IQN BLOCKS…`. What is on the disk before is lost."""

from __future__ import annotations

import struct
import sys

from tests.iscsi_client import OPERATIONAL_KEYS, Initiator

BLOCK = 512
READ_10, WRITE_10 = 0x28, 0x2A
FULL_FEATURE = 0x87  # T, CSG 1, NSG 3
ALL_OTHERS = {
    "MaxConnections": "1",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "IFMarker": "No",
    "OFMarker": "No",
}


def cdb(opcode: int, blocks: int) -> bytes:
    """Return READ (10) or WRITE (10) from the first block on."""
    return struct.pack(">BxIxHx", opcode, 0, blocks)


def log_in(one: Initiator, iqn: str) -> None:
    """Log in as the kernel's target wants it: with every key that it has."""
    keys = OPERATIONAL_KEYS | ALL_OTHERS
    keys |= {"InitiatorName": one.name, "TargetName": iqn, "SessionType": "Normal"}
    pdu = one.login_step(keys, 1, 3, transit=True)
    if pdu.flags != FULL_FEATURE:
        pdu = one.login_step({}, 1, 3, transit=True)
    assert pdu.flags == FULL_FEATURE, pdu.pairs
    one.tsih = pdu.word16(14)


def main(address: str, iqn: str, *counts: str) -> None:
    """Say how many blocks went both ways, or fail."""
    with Initiator((address, 3260), timeout=60) as one:
        log_in(one, iqn)
        one.hear()
        for blocks in map(int, counts):
            data = b"".join(struct.pack(">Q", blocks << 32 | lba) * 64 for lba in range(blocks))
            written = one.command(0, cdb(WRITE_10, blocks), data_out=data)
            assert (written.status, written.overflow, written.underflow) == (0, 0, 0)
            read = one.command(0, cdb(READ_10, blocks), data_in=len(data))
            assert (read.status, read.overflow, read.underflow) == (0, 0, 0)
            assert read.data == data
            print(f"moved {blocks} blocks", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
