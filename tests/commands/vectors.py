"""Vectors: what every row of the command table is sent, and what comes of it, as bytes.

The logical unit has 4096 blocks of 512 bytes; each byte of block n is n, of the first
sixteen. Where a command is one of zones, there are four, of which 1000 blocks can be written.
`a` and `b` are its I_T nexuses. A row's vector is a story of a few steps: one
of them is its own command, and the story goes otherwise if that does nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scsi2nvme.scsi.status import Status


@dataclass(frozen=True)
class Step:
    """One command: its CDB and data out, and what must come of it.

    `nvme` are the NVMe commands that it becomes: opcode, NSID and the dwords that are not
    zero, all in hexadecimal, and the data that go out; `sense` is key, ASC and ASCQ.
    """

    cdb: str
    out: bytes = b""
    nvme: tuple[str, ...] = ()
    data: bytes = b""
    sense: tuple[int, int, int] | None = None
    status: Status = Status.GOOD
    nexus: str = "a"


def block(byte: int) -> bytes:
    """Return a logical block that is full of one byte."""
    return bytes([byte]) * 512


def scattered(*ranges: tuple[int, int], tags: tuple[int, ...] = ()) -> bytes:
    """Return the LBA range descriptors of some (LBA, blocks), with their reference tags."""
    return b"".join(
        struct.pack(">QII", *each, tag).ljust(32, b"\0")
        for each, tag in zip(ranges, tags or (0,) * len(ranges), strict=True)
    )


hexed = bytes.fromhex

LOG_81 = "admin 02 nsid=FFFFFFFF cdw10=7F8081"  # Sanitize Status
# LBA, expected initial reference tag, application tag and mask, of a 32-byte CDB.
_LONG = "0000000000000005 00000077 0000 0000"

REGISTERED_A = Step(
    "5F 00 0000 00 00000018 00", out=hexed("000000000000000000000000000000010000000000000000")
)
REGISTERED_B = Step(
    "5F 00 0000 00 00000018 00",
    out=hexed("000000000000000000000000000000020000000000000000"),
    nexus="b",
)
RESERVED_A = Step(
    "5F 01 01 0000 00000018 00", out=hexed("000000000000000100000000000000000000000000000000")
)

_SNAPSHOT = (
    "admin 02 nsid=FFFFFFFF cdw10=7F8107",
    "admin 02 nsid=FFFFFFFF cdw10=7F8008",
)
_DIRECTORY = hexed("4E564D6520202020 00 12" + "00" * 20 + "0010 1001000000000600 1102000000000400")
_DOWNLOADED = ("admin 11 nsid=0 cdw10=1 out=322e302020202020",)
_PAGE_DOWNLOADED = ("admin 11 nsid=0 cdw10=3FF out=" + "322e302020202020" * 512,)
_REST_DOWNLOADED = ("admin 11 nsid=0 cdw10=1 cdw11=400 out=322e302020202020",)
_COMMITTED, _COMMITTED_2 = (
    (f"admin 10 nsid=0 cdw10={action:X}", "admin 06 nsid=0 cdw10=1") for action in (0x18, 0x1A)
)
_NEW_INQUIRY = hexed("000006125b1800024e564d65202020204d6f64656c20436f6e74726f6c6c6572322e3020")

# The logical unit by its NAA designator, as ESXi names both ends; two blocks of it.
_CSCD = "E4000000 01030010 61234564151617181112131000000000 00000000 00000200"
_TWO_BLOCKS = "02000018 0000 0000 0000 0002 0000000000000001 0000000000000008"
_LIST_5 = hexed("05 00 0020 00000000 0000001C 00000000" + _CSCD + _TWO_BLOCKS)
_RANGE_OF_TWO = "0000000000000000 0100000000000000 0100 000000000000 0000000000000000"
_COPIED = Step(
    "83 00 0000000000000000 0000004C 00 00",
    out=_LIST_5,
    nvme=("19 nsid=1 cdw10=8 out=" + hexed(_RANGE_OF_TWO).hex(),),
)
# Its segment ends behind the last block.
_NOT_COPIED = Step(
    "83 00 0000000000000000 0000004C 00 00",
    out=_LIST_5[:-8] + hexed("0000000000000FFF"),
    sense=(0xA, 0x0D, 0x02),
)

# Of an application client.
_LEFT = b"backed up".ljust(252, b"\0")

# As Windows sends it: one range, the type of the token is for us to choose.
_POPULATED = Step(
    "83 10 00000000 00000007 00000020 00 00",
    out=hexed("001E 00 00 00000000 00000000 0000 0010 0000000000000001 00000002 00000000"),
)
_ZERO_TOKEN = hexed("FFFF0001 0000 01F8").ljust(512, b"\0")
_ZEROES = hexed("0226 00 0000000000 0000000000000000") + _ZERO_TOKEN
_FILLED = Step(
    "83 11 00000000 00000007 00000228 00 00",
    out=_ZEROES + hexed("000000000000 0010 0000000000000008 00000002 00000000"),
    nvme=("08 nsid=1 cdw10=8 cdw12=1",),
)

# The same with a long list identifier, of one block.
_LIST_LONG = hexed(
    "01 10 0020 00000000 00000000 00000000 FF000000 00000005" + "00" * 18 + "0020 001C 0000"
)
_ONE_BLOCK = "02000018 0000 0000 0000 0001 0000000000000001 0000000000000008"
_COPIED_LONG = Step(
    "83 01 0000000000000000 0000006C 00 00",
    out=_LIST_LONG + hexed(_CSCD + _ONE_BLOCK),
    nvme=("19 nsid=1 cdw10=8 out=" + "00" * 8 + "01" + "00" * 23,),
)

VECTORS: dict[str, tuple[Step, ...]] = {
    "TEST UNIT READY": (Step("00 00 00 00 00 00"),),
    "EXTENDED COPY (LID1)": (
        _COPIED,
        Step(
            "28 00 00000008 00 0002 00",
            nvme=("02 nsid=1 cdw10=8 cdw12=1",),
            data=block(1) + block(2),
        ),
    ),
    "EXTENDED COPY (LID4)": (_COPIED_LONG,),
    "RECEIVE COPY STATUS (LID4)": (
        _COPIED_LONG,
        Step(
            "84 05 00000005 00000000 00000400 00 00",
            data=hexed("0000001C 01 81 0000 00000000 00000000 0000000000000200 0001000000000000"),
        ),
        Step("84 05 00000006 00000000 00000400 00 00", sense=(0x5, 0x24, 0x00)),
    ),
    # What IMMED has left to the background.
    "COPY OPERATION ABORT": (
        Step("83 10" + _POPULATED.cdb[5:], out=b"\0\x1e\1" + _POPULATED.out[3:]),
        Step("83 1C 00000007 0000000000000000 00 00"),
        Step("83 1C 00000008 0000000000000000 00 00", sense=(0x5, 0x24, 0x00)),
    ),
    "REPORT ALL ROD TOKENS": (
        _POPULATED,
        Step(
            "84 08 0000000000000000 00000010 00 00",
            data=hexed("00000064 00000000 00800001 000001F8"),
        ),
    ),
    "RECEIVE COPY STATUS (LID1)": (
        _COPIED,
        Step("84 00 05 00000000000000 00000020 00 00", data=hexed("00000008 81 0001 00 00000400")),
        # It is told once.
        Step("84 00 05 00000000000000 00000020 00 00", sense=(0x5, 0x24, 0x00)),
    ),
    "RECEIVE COPY OPERATING PARAMETERS": (
        Step(
            "84 03 00 00000000000000 00000400 00 00",
            data=hexed(
                "0000002B 01000000 0010 0040 00001000 10000000 00000000 00000000 00000000"
                "0000 0004 04 09 00 00 000000 03 020AE4"
            ),
        ),
    ),
    "RECEIVE COPY FAILURE DETAILS (LID1)": (
        _NOT_COPIED,
        Step(
            "84 04 05 00000000000000 00000400 00 00",
            data=hexed("00000053" + "00" * 52 + "02 00 001B")
            + hexed("70000A00000000 13 00 12 0000 0D02 00000000 02 7205210000000000"),
        ),
    ),
    "POPULATE TOKEN": (
        _POPULATED,
        Step(
            "84 07 00000007 00000000 00000020 00 00",
            data=hexed(
                "00000222 10 81 0000 00000000 00 00 00 F1 0000000000000002 0000 000000000000"
            ),
        ),
    ),
    "WRITE USING TOKEN": (_FILLED,),
    "RECEIVE ROD TOKEN INFORMATION": (
        _FILLED,
        Step(
            "84 07 00000007 00000000 00000400 00 00",
            data=hexed(
                "00000020 11 81 0000 00000000 00 00 00 F1 0000000000000002 0000 000000000000"
                "00000000"
            ),
        ),
        Step("84 07 00000008 00000000 00000400 00 00", sense=(0x5, 0x24, 0x00)),
    ),
    "REQUEST SENSE": (
        Step(
            "03 00 00 00 12 00",
            nvme=("admin 02 nsid=FFFFFFFF cdw10=7F8002",),
            data=hexed("700000000000000a00000000000000000000"),
        ),
    ),
    "FORMAT UNIT": (
        Step(
            "04 00 00 00 00 00",
            nvme=(
                "admin 80 nsid=1",
                "admin 06 nsid=1",
            ),
        ),
    ),
    "SANITIZE, OVERWRITE": (
        Step(
            "48 21 0000000000 0008 00",
            out=hexed("8100000411223344"),
            nvme=("admin 84 nsid=0 cdw10=31B cdw11=44332211", LOG_81),
        ),
        Step(
            "28 00 00000005 00 0001 00",
            nvme=("02 nsid=1 cdw10=5",),
            data=hexed("11223344") * 128,
        ),
    ),
    "SANITIZE, BLOCK ERASE": (
        Step("48 02 0000000000 0000 00", nvme=("admin 84 nsid=0 cdw10=2", LOG_81)),
        Step("28 00 00000005 00 0001 00", nvme=("02 nsid=1 cdw10=5",), data=block(0)),
    ),
    "SANITIZE, CRYPTOGRAPHIC ERASE": (
        Step("48 03 0000000000 0000 00", nvme=("admin 84 nsid=0 cdw10=4", LOG_81)),
        Step("28 00 00000005 00 0001 00", nvme=("02 nsid=1 cdw10=5",), data=block(0)),
    ),
    "SANITIZE, EXIT FAILURE MODE": (
        Step(
            "48 23 0000000000 0000 00",
            nvme=("admin 84 nsid=0 cdw10=C", LOG_81),
            sense=(0x3, 0x31, 0x03),
        ),
        Step("00 00 00 00 00 00", sense=(0x3, 0x31, 0x03)),
        Step("48 1F 0000000000 0000 00", nvme=("admin 84 nsid=0 cdw10=1",)),
        Step("00 00 00 00 00 00"),
    ),
    "READ (6)": (
        Step(
            "08 00 00 05 02 00", nvme=("02 nsid=1 cdw10=5 cdw12=1",), data=block(0x05) + block(0x06)
        ),
    ),
    "WRITE (6)": (
        Step("0A 00 00 05 01 00", out=block(0xA5), nvme=("01 nsid=1 cdw10=5 out=A5*512",)),
    ),
    "INQUIRY": (
        Step(
            "12 00 00 00 24 00",
            data=hexed("000006125b1800024e564d65202020204d6f64656c20436f6e74726f6c6c6572312e3020"),
        ),
        Step("12 01 00 00 FF 00", data=hexed("0000000e0080838687888a8f92b0b1b2b7de")),
    ),
    "MODE SELECT (6)": (
        Step("15 10 00 00 10 00", out=hexed("00000000 0A0A2610 00400000 FFFF0258")),
        Step("1A 08 0A 00 FF 00", data=hexed("0f0010008a0a261000400000ffff0258")),
    ),
    "RESERVE (6)": (
        Step("16 00 00 00 00 00"),
        Step("00 00 00 00 00 00", status=Status.RESERVATION_CONFLICT, nexus="b"),
    ),
    "RELEASE (6)": (
        Step("16 00 00 00 00 00"),
        Step("17 00 00 00 00 00"),
        Step("00 00 00 00 00 00", nexus="b"),
    ),
    "MODE SENSE (6)": (
        Step(
            "1A 00 08 00 FF 00",
            nvme=(
                "admin 0A nsid=0 cdw10=306",
                "admin 0A nsid=0 cdw10=6",
            ),
            data=hexed("1f00100800001000000002008812040000000000000000000000000000000000"),
        ),
    ),
    "SEEK (6)": (
        Step("0B 00 03 E7 00 00"),
        Step("0B 1F FF FF 00 00", sense=(5, 0x21, 0)),
    ),
    "SEEK (10)": (
        Step("2B 00 00000000 000000 00"),
        Step("2B 00 FFFFFFFF 000000 00", sense=(5, 0x21, 0)),
    ),
    "START STOP UNIT": (
        Step(
            "1B 00 00 00 00 00",
            nvme=(
                "00 nsid=1",
                "admin 09 nsid=0 cdw10=2 cdw11=1",
            ),
        ),
        Step("00 00 00 00 00 00", sense=(2, 0x04, 0x02)),
        Step("1B 00 00 00 01 00", nvme=("admin 09 nsid=0 cdw10=2",)),
        Step("00 00 00 00 00 00"),
    ),
    "RECEIVE DIAGNOSTIC RESULTS": (
        Step("1C 01 00 00FF 00", data=hexed("000000020040")),
        Step("1D 10 00 000E 00", out=hexed("4000000A 03 00 0000000000000123")),
        Step("1C 00 00 00FF 00", data=hexed("4000000a03000000012300000000")),
    ),
    "SEND DIAGNOSTIC": (
        Step(
            "1D 04 00 00 00 00",
            nvme=(
                "admin 14 nsid=1 cdw10=1",
                "admin 02 nsid=1 cdw10=70006",
            ),
        ),
    ),
    "PREVENT ALLOW MEDIUM REMOVAL": (Step("1E 00 00 00 02 00", sense=(5, 0x24, 0x00)),),
    "READ CAPACITY (10)": (Step("25 00 00000000 0000 00 00", data=hexed("00000fff00000200")),),
    "READ (10)": (
        Step(
            "28 08 00000005 00 0001 00",
            nvme=("02 nsid=1 cdw10=5 cdw12=40000000",),
            data=block(0x05),
        ),
    ),
    "WRITE (10)": (
        Step(
            "2A 08 00000005 00 0001 00",
            out=block(0xA5),
            nvme=("01 nsid=1 cdw10=5 cdw12=40000000 out=A5*512",),
        ),
    ),
    "WRITE AND VERIFY (10)": (
        Step(
            "2E 02 00000005 00 0001 00",
            out=block(0xA5),
            nvme=(
                "01 nsid=1 cdw10=5 cdw12=40000000 out=A5*512",
                "05 nsid=1 cdw10=5 out=A5*512",
            ),
        ),
    ),
    "VERIFY (10)": (
        Step("2F 02 00000005 00 0001 00", out=block(5), nvme=("05 nsid=1 cdw10=5 out=05*512",)),
        Step("2F 00 00000005 00 0002 00", nvme=("0C nsid=1 cdw10=5 cdw12=1",)),
    ),
    "PRE-FETCH (10)": (Step("34 00 00001000 00 0001 00", sense=(5, 0x21, 0x00)),),
    "SYNCHRONIZE CACHE (10)": (Step("35 00 00000000 00 0000 00", nvme=("00 nsid=1",)),),
    "READ DEFECT DATA (10)": (Step("37 00 18 00000000 00FF 00", data=hexed("00180000")),),
    "WRITE SAME (10)": (
        Step("41 08 00000005 00 0003 00", out=block(0), nvme=("08 nsid=1 cdw10=5 cdw12=2000002",)),
    ),
    "UNMAP": (
        Step(
            "42 00 00000000 00 0018 00",
            out=hexed("0016 0010 00000000 0000000000000005 00000003 00000000"),
            nvme=("09 nsid=1 cdw11=4 out=00000000030000000500000000000000",),
        ),
    ),
    "LOG SELECT": (
        Step("4C 00 40 00 000000 0104 00", out=hexed("0F000100 000000FC") + _LEFT),
        Step("4D 00 4F 00 00 0000 0104 00", data=hexed("0F004000 000003FC") + _LEFT),
        Step("4C 02 42 00 000000 0000 00", nvme=("admin 02 nsid=FFFFFFFF cdw10=7F8002",)),
        Step(
            "4C 00 40 00 000000 0010 00",  # what can be reset only
            out=hexed("0200000C 00060008 0000000000000007"),
            nvme=("admin 02 nsid=FFFFFFFF cdw10=7F8002",),
            sense=(5, 0x26, 0x00),
        ),
    ),
    "LOG SENSE": (
        Step("4D 00 40 00 00 0000 00FF 00", data=hexed("0000000f0002030506070d0e0f101115191a2f")),
        Step(
            "4D 00 4D 00 00 0000 00FF 00",
            nvme=("admin 02 nsid=FFFFFFFF cdw10=7F8002",),
            data=hexed("8d00000c00000302001b000103020046"),
        ),
    ),
    "MODE SELECT (10)": (
        Step("55 10 0000000000 0014 00", out=hexed("0000000000000000 0A0A2610 00400000 FFFF0258")),
        Step("1A 08 0A 00 FF 00", data=hexed("0f0010008a0a261000400000ffff0258")),
    ),
    "RESERVE (10)": (
        Step("56 00 0000000000 0000 00"),
        Step("00 00 00 00 00 00", status=Status.RESERVATION_CONFLICT, nexus="b"),
    ),
    "RELEASE (10)": (
        Step("56 00 0000000000 0000 00"),
        Step("57 00 0000000000 0000 00"),
        Step("00 00 00 00 00 00", nexus="b"),
    ),
    "MODE SENSE (10)": (
        Step(
            "5A 10 08 00 000000 00FF 00",
            nvme=(
                "admin 0A nsid=0 cdw10=306",
                "admin 0A nsid=0 cdw10=6",
            ),
            data=hexed(
                "002a001001000010000000000000100000000000000002008812040000000000000000000000000000000000"
            ),
        ),
    ),
    "PERSISTENT RESERVE IN, READ KEYS": (
        REGISTERED_A,
        Step("5E 00 0000000000 00FF 00", data=hexed("00000001000000080000000000000001"), nexus="b"),
    ),
    "PERSISTENT RESERVE IN, READ RESERVATION": (
        REGISTERED_A,
        RESERVED_A,
        Step(
            "5E 01 0000000000 00FF 00",
            data=hexed("000000010000001000000000000000010000000000010000"),
            nexus="b",
        ),
    ),
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": (
        Step("5E 02 0000000000 00FF 00", data=hexed("00089d80ea010000")),
    ),
    "PERSISTENT RESERVE IN, READ FULL STATUS": (
        REGISTERED_A,
        Step(
            "5E 03 0000000000 00FF 00",
            data=hexed(
                "00000001000000400000000000000001000000000000000000000001000000284500002469716e2e323030342d30312e746573743a612c692c307830303030303030303030363100"
            ),
            nexus="b",
        ),
    ),
    "PERSISTENT RESERVE OUT, REGISTER": (
        REGISTERED_A,
        Step("5E 00 0000000000 00FF 00", data=hexed("00000001000000080000000000000001")),
    ),
    "PERSISTENT RESERVE OUT, RESERVE": (
        REGISTERED_A,
        RESERVED_A,
        Step(
            "2A 00 00000005 00 0001 00",
            out=block(0xA5),
            status=Status.RESERVATION_CONFLICT,
            nexus="b",
        ),
    ),
    "PERSISTENT RESERVE OUT, RELEASE": (
        REGISTERED_A,
        RESERVED_A,
        Step(
            "5F 02 01 0000 00000018 00",
            out=hexed("000000000000000100000000000000000000000000000000"),
        ),
        Step("5E 01 0000000000 00FF 00", data=hexed("0000000100000000")),
    ),
    "PERSISTENT RESERVE OUT, CLEAR": (
        REGISTERED_A,
        RESERVED_A,
        Step(
            "5F 03 00 0000 00000018 00",
            out=hexed("000000000000000100000000000000000000000000000000"),
        ),
        Step("5E 00 0000000000 00FF 00", data=hexed("0000000200000000")),
    ),
    "PERSISTENT RESERVE OUT, PREEMPT": (
        REGISTERED_A,
        REGISTERED_B,
        RESERVED_A,
        Step(
            "5F 04 03 0000 00000018 00",
            out=hexed("000000000000000200000000000000010000000000000000"),
            nexus="b",
        ),
        Step(
            "5E 01 0000000000 00FF 00",
            data=hexed("000000030000001000000000000000020000000000030000"),
            nexus="b",
        ),
    ),
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT": (
        REGISTERED_A,
        REGISTERED_B,
        RESERVED_A,
        Step(
            "5F 05 03 0000 00000018 00",
            out=hexed("000000000000000200000000000000010000000000000000"),
            nexus="b",
        ),
        Step(
            "5E 01 0000000000 00FF 00",
            data=hexed("000000030000001000000000000000020000000000030000"),
            nexus="b",
        ),
    ),
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY": (
        REGISTERED_A,
        Step(
            "5F 06 00 0000 00000018 00",
            out=hexed("000000000000000000000000000000020000000000000000"),
        ),
        Step("5E 00 0000000000 00FF 00", data=hexed("00000002000000080000000000000002")),
    ),
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE": (
        REGISTERED_A,
        RESERVED_A,
        Step(
            "5F 07 01 0000 00000040 00",
            out=hexed("0000000000000001 0000000000000003 00 00 0001 00000028 45000024")
            + b"iqn.2004-01.test:b,i,0x000000000062\0",
        ),
        Step(
            "5E 01 0000000000 00FF 00",
            data=hexed("000000020000001000000000000000030000000000010000"),
        ),
    ),
    "PERSISTENT RESERVE OUT, REPLACE LOST RESERVATION": (  # none is
        REGISTERED_A,
        Step(
            "5F 08 05 0000 00000018 00",
            out=hexed("000000000000000000000000000000030000000000000000"),
            sense=(0x5, 0x26, 0x04),
        ),
        Step("5E 00 0000000000 00FF 00", data=hexed("00000001000000080000000000000001")),
    ),
    "READ (16)": (
        Step(
            "88 00 0000000000000005 00000001 00 00", nvme=("02 nsid=1 cdw10=5",), data=block(0x05)
        ),
    ),
    "COMPARE AND WRITE": (
        Step(
            "89 00 0000000000000005 000000 01 00 00",
            out=block(5) + block(0xA5),
            nvme=(
                "05 nsid=1 cdw10=5 out=05*512",
                "01 nsid=1 cdw10=5 out=A5*512",
            ),
        ),
        Step(
            "89 00 0000000000000006 000000 01 00 00",
            out=block(5) + block(0xA5),
            nvme=(
                "05 nsid=1 cdw10=6 out=05*512",
                "01 nsid=1 cdw10=6 out=A5*512",
                "02 nsid=1 cdw10=6",
            ),
            sense=(14, 0x1D, 0x00),
        ),
    ),
    "WRITE (16)": (
        Step(
            "8A 00 0000000000000005 00000001 00 00",
            out=block(0xA5),
            nvme=("01 nsid=1 cdw10=5 out=A5*512",),
        ),
    ),
    "WRITE ATOMIC (16)": (
        Step(
            "9C 08 0000000000000005 0002 0002 00 00",
            out=block(0xA5) + block(0xA6),
            nvme=("01 nsid=1 cdw10=5 cdw12=40000001 out=" + "a5" * 512 + "a6" * 512,),
        ),
        Step(
            "9C 00 0000000000000005 0000 0009 00 00", out=block(0xA5) * 9, sense=(0x5, 0x24, 0x00)
        ),
    ),
    "WRITE ATOMIC (32)": (
        Step(
            f"7F00 0000 0002 0018 000F 00 00 {_LONG} 00000002",
            out=block(0xA5) * 2,
            nvme=("01 nsid=1 cdw10=5 cdw12=20000001 cdw14=77 out=A5*1024",),
        ),
    ),
    "WRITE LONG (10)": (
        Step("3F 40 00000005 00 0000 00", nvme=("04 nsid=1 cdw10=5",)),
        Step(
            "28 00 00000005 00 0001 00",
            nvme=("02 nsid=1 cdw10=5",),
            sense=(0x3, 0x11, 0x00),
        ),
    ),
    "WRITE LONG (16)": (
        Step("9F 51 0000000000000005 00000000 00 00", nvme=("04 nsid=1 cdw10=5",)),
        Step("2A 00 00000005 00 0001 00", out=block(0xA5), nvme=("01 nsid=1 cdw10=5 out=A5*512",)),
        Step("28 00 00000005 00 0001 00", nvme=("02 nsid=1 cdw10=5",), data=block(0xA5)),
    ),
    "WRITE SCATTERED (16)": (
        Step(
            "9F 12 08 00 0001 0000 0002 00000003 00 00",
            out=(bytes(32) + scattered((7, 2), (2, 1))).ljust(512, b"\0")
            + block(0xA5) * 2
            + block(0xA6),
            nvme=(
                "01 nsid=1 cdw10=7 cdw12=40000001 out=A5*1024",
                "01 nsid=1 cdw10=2 cdw12=40000000 out=A6*512",
            ),
        ),
        Step(
            "9F 12 00 00 0001 0000 0002 00000003 00 00",
            out=(bytes(32) + scattered((7, 2), (4096, 1))).ljust(2048, b"\0"),
            sense=(0x5, 0x21, 0x00),
        ),
    ),
    "WRITE SCATTERED (32)": (
        Step(
            "7F00 0000 0000 0018 0011 08 00 0001 0000 0002 0000 0000000000000000 00000003",
            out=(bytes(32) + scattered((7, 2), (2, 1), tags=(0x77, 0x99))).ljust(512, b"\0")
            + block(0xA5) * 2
            + block(0xA6),
            nvme=(
                "01 nsid=1 cdw10=7 cdw12=60000001 cdw14=77 out=A5*1024",
                "01 nsid=1 cdw10=2 cdw12=60000000 cdw14=99 out=A6*512",
            ),
        ),
    ),
    "STREAM CONTROL": (
        Step("9E 34 0000 0000 0000 0000 00000008 00 00", data=hexed("0700000000060000")),
        Step("9E 34 0000 0000 0000 0000 00000008 00 00", data=hexed("0700000000070000")),
        Step("9E 54 0000 0006 0000 0000 00000000 00 00", nvme=("admin 19 nsid=1 cdw11=60101",)),
        Step("9E 54 0000 0006 0000 0000 00000000 00 00", sense=(0x5, 0x2C, 0x0F)),
    ),
    "GET STREAM STATUS": (
        Step(
            "9E 16 0000 0004 0000 0000 000000FF 00 00",
            data=hexed("00000010 0000 0006 8000000404000000 8000000505000000"),
        ),
    ),
    "WRITE STREAM (16)": (
        Step(
            "9A 08 0000000000000005 0003 0002 00 00",
            out=block(0xA5) * 2,
            nvme=("01 nsid=1 cdw10=5 cdw12=40100001 cdw13=30000 out=A5*1024",),
        ),
        Step(
            "9A 00 0000000000000005 0007 0001 00 00",
            out=block(0xA5),
            sense=(0x5, 0x2C, 0x0F),
        ),
    ),
    "WRITE STREAM (32)": (
        Step(
            f"7F00 0000 0002 0018 0010 00 00 {_LONG} 00000002",
            out=block(0xA5) * 2,
            nvme=("01 nsid=1 cdw10=5 cdw12=20100001 cdw13=20000 cdw14=77 out=A5*1024",),
        ),
    ),
    "ORWRITE (16)": (
        Step(
            "8B 00 0000000000000005 00000001 00 00",
            out=block(0xA0),
            nvme=(
                "02 nsid=1 cdw10=5",
                "01 nsid=1 cdw10=5 out=A5*512",
            ),
        ),
        Step(
            "88 00 0000000000000005 00000001 00 00", nvme=("02 nsid=1 cdw10=5",), data=block(0xA5)
        ),
    ),
    "WRITE AND VERIFY (16)": (
        Step(
            "8E 00 0000000000000005 00000001 00 00",
            out=block(0xA5),
            nvme=(
                "01 nsid=1 cdw10=5 cdw12=40000000 out=A5*512",
                "0C nsid=1 cdw10=5",
            ),
        ),
    ),
    # Those of 32 bytes are of blocks with type 2 protection information.
    "READ (32)": (
        Step(
            f"7F00 0000 0000 0018 0009 00 00 {_LONG} 00000001",
            nvme=("02 nsid=1 cdw10=5 cdw12=34000000 cdw14=77",),
            data=block(0x05),
        ),
    ),
    "VERIFY (32)": (
        Step(
            f"7F00 0000 0000 0018 000A 00 00 {_LONG} 00000003",
            nvme=("0C nsid=1 cdw10=5 cdw12=14000002 cdw14=77",),
        ),
    ),
    "WRITE (32)": (
        Step(
            f"7F00 0000 0000 0018 000B 08 00 {_LONG} 00000001",
            out=block(0xA5),
            nvme=("01 nsid=1 cdw10=5 cdw12=60000000 cdw14=77 out=A5*512",),
        ),
    ),
    "WRITE AND VERIFY (32)": (
        Step(
            f"7F00 0000 0000 0018 000C 00 00 {_LONG} 00000001",
            out=block(0xA5),
            nvme=(
                "01 nsid=1 cdw10=5 cdw12=60000000 cdw14=77 out=A5*512",
                "0C nsid=1 cdw10=5 cdw12=14000000 cdw14=77",
            ),
        ),
    ),
    "WRITE SAME (32)": (
        Step(
            f"7F00 0000 0000 0018 000D 01 00 {_LONG} 00000003",
            nvme=("08 nsid=1 cdw10=5 cdw12=20000002 cdw14=77",),
        ),
    ),
    "VERIFY (16)": (
        Step(
            "8F 06 0000000000000005 00000002 00 00",
            out=block(5),
            nvme=("05 nsid=1 cdw10=5 cdw12=1 out=05*1024",),
            sense=(14, 0x1D, 0x00),
        ),
    ),
    "PRE-FETCH (16)": (Step("90 00 0000000000001000 00000001 00 00", sense=(5, 0x21, 0x00)),),
    "SYNCHRONIZE CACHE (16)": (Step("91 00 0000000000000000 00000000 00 00", nvme=("00 nsid=1",)),),
    "WRITE SAME (16)": (
        Step("93 09 0000000000000005 00000003 00 00", nvme=("08 nsid=1 cdw10=5 cdw12=2000002",)),
    ),
    "READ CAPACITY (16)": (
        Step(
            "9E 10 0000000000000000 00000020 00 00",
            data=hexed("0000000000000fff000002000000c00000000000000000000000000000000000"),
        ),
    ),
    "GET LBA STATUS (16)": (
        Step(
            "9E 12 0000000000000005 00000018 00 00",
            data=hexed("0000001400000001000000000000000500000ffb00000000"),
        ),
    ),
    "BACKGROUND CONTROL": (
        Step(
            "9E 15 40 00 00000000000000000000 00 00",
            nvme=("admin 02 nsid=1 cdw10=70006", "admin 14 nsid=1 cdw10=3"),
        ),
    ),
    "GET PHYSICAL ELEMENT STATUS": (
        Step(
            "9E 17 00000000 00000000 000000FF 00 00",
            nvme=("admin 02 nsid=FFFFFFFF cdw10=7F8002",),
            data=hexed("00000001 00000001").ljust(32, b"\0")
            + hexed("00000000 00000001 00000000 00000101 FFFFFFFFFFFFFFFF").ljust(32, b"\0"),
        ),
    ),
    "SECURITY PROTOCOL IN": (
        Step(
            "A2 00 0000 80 00 00000001 00 00",
            nvme=("admin 82 nsid=0 cdw11=200",),
            data=hexed("0000000000000001 00").ljust(512, b"\0"),
        ),
    ),
    "SECURITY PROTOCOL OUT": (
        Step(
            "B5 01 07FE 00 00 00000004 00 00",
            out=hexed("01020304"),
            nvme=("admin 81 nsid=0 cdw10=107FE00 cdw11=4 out=01020304",),
        ),
    ),
    "REPORT LUNS": (
        Step("A0 00 00 000000 00000010 00 00", data=hexed("00000008000000000000000000000000")),
    ),
    "REPORT IDENTIFYING INFORMATION": (
        Step("A3 05 00000000 000000FF FE 00", data=hexed("00000008 00000040 04000100")),
    ),
    "SET IDENTIFYING INFORMATION": (
        Step("A4 06 00000000 00000004 04 00", out=b"desk"),
        Step("A3 05 00000000 000000FF 04 00", data=hexed("00000004") + b"desk"),
    ),
    "REPORT TIMESTAMP": (
        Step(
            "A3 0F 00000000 000000FF 00 00",
            nvme=("admin 0A nsid=0 cdw10=E",),
            data=hexed("000a0000 000000000000 0000"),
        ),
    ),
    "SET TIMESTAMP": (
        Step(
            "A4 0F 00000000 0000000C 00 00",
            out=hexed("00000000 0198AABBCCDD 0000"),
            nvme=("admin 09 nsid=0 cdw10=E out=ddccbbaa98010000",),
        ),
        Step(
            "A3 0F 00000000 000000FF 00 00",
            nvme=("admin 0A nsid=0 cdw10=E",),
            data=hexed("000a0200 0198aabbccdd 0000"),
        ),
    ),
    "SET TARGET PORT GROUPS": (
        Step(
            "A4 0A 00000000 00000008 00 00",
            out=hexed("00000000 00000002"),
            nvme=("00 nsid=1",),
        ),
        Step(
            "A3 0A 00000000 000000FF 00 00",
            data=hexed("00000014 010b000100010001 00000001 000b000200010000"),
        ),
    ),
    "REPORT TARGET PORT GROUPS": (
        Step("A3 0A 00000000 000000FF 00 00", data=hexed("0000000c000900010000000100000001")),
    ),
    "REPORT SUPPORTED OPERATION CODES": (
        Step("A3 0C 01 28 0000 000000FF 00 00", data=hexed("0003000a28f8ffffffff00ffff04")),
    ),
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": (
        Step("A3 0D 00 000000 00000004 00 00", data=hexed("88000000")),
    ),
    "READ (12)": (
        Step("A8 00 00000005 00000001 00 00", nvme=("02 nsid=1 cdw10=5",), data=block(0x05)),
    ),
    "WRITE (12)": (
        Step(
            "AA 00 00000005 00000001 00 00", out=block(0xA5), nvme=("01 nsid=1 cdw10=5 out=A5*512",)
        ),
    ),
    "WRITE AND VERIFY (12)": (
        Step(
            "AE 00 00000005 00000001 00 00",
            out=block(0xA5),
            nvme=(
                "01 nsid=1 cdw10=5 cdw12=40000000 out=A5*512",
                "0C nsid=1 cdw10=5",
            ),
        ),
    ),
    "VERIFY (12)": (
        Step(
            "AF 02 00000005 00000001 00 00",
            out=block(6),
            nvme=("05 nsid=1 cdw10=5 out=06*512",),
            sense=(14, 0x1D, 0x00),
        ),
    ),
    "READ DEFECT DATA (12)": (
        Step("B7 18 00000000 000000FF 00 00", data=hexed("0018000000000000")),
    ),
    "WRITE BUFFER, data": (
        Step("3B 02 00 000008 000004 00", out=hexed("01020304")),
        Step("3C 02 00 000004 00000C 00", data=hexed("000000000102030400000000")),
    ),
    "WRITE BUFFER, echo": (
        Step("3B 0A 00 000000 000004 00", out=hexed("01020304")),
        Step("3B 0A 00 000000 000002 00", out=hexed("0506"), nexus="b"),
        Step("3C 0A 00 000000 0000FF 00", data=hexed("01020304")),
    ),
    "READ BUFFER (10), data": (
        Step("3B 02 00 00FFFC 000004 00", out=hexed("01020304")),
        Step("3C 02 00 00FFFC 0000FF 00", data=hexed("01020304")),
    ),
    "READ BUFFER (10), descriptor": (
        Step("3C 03 00 000000 0000FF 00", data=hexed("02010000")),
        Step("3C 03 02 000000 0000FF 00", data=hexed("0CFFFFFF")),
        Step("3C 03 08 000000 0000FF 00", data=bytes(4)),
    ),
    "READ BUFFER (10), echo": (
        Step("3C 0A 00 000000 0000FF 00", sense=(5, 0x2C, 0)),
        Step("3B 0A 00 000000 000004 00", out=hexed("01020304")),
        Step("3C 0A 00 000000 000003 00", data=hexed("010203")),
    ),
    "READ BUFFER (10), echo descriptor": (
        Step("3C 0B 00 000000 0000FF 00", data=hexed("01001000")),
    ),
    "READ BUFFER (16), data": (
        Step("3B 02 00 000008 000004 00", out=hexed("01020304")),
        Step("9B 02 0000000000000008 00000004 00 00", data=hexed("01020304")),
    ),
    "READ BUFFER (16), descriptor": (
        Step("9B 03 0000000000000000 000000FF 00 00", data=hexed("02010000")),
    ),
    "READ BUFFER (16), echo": (
        Step("3B 0A 00 000000 000004 00", out=hexed("01020304")),
        Step("9B 0A 0000000000000000 000000FF 00 00", data=hexed("01020304")),
    ),
    "READ BUFFER (16), echo descriptor": (
        Step("9B 0B 0000000000000000 000000FF 00 00", data=hexed("01001000")),
    ),
    "OPEN ZONE": (
        Step("94 03 0000000000000400 0000 0000 00 00", nvme=("79 nsid=1 cdw10=400 cdw13=3",)),
    ),
    "CLOSE ZONE": (
        Step(
            "8A 00 0000000000000400 00000001 00 00",
            out=block(0xA5),
            nvme=("01 nsid=1 cdw10=400 out=A5*512",),
        ),
        Step(
            "94 01 0000000000000400 0000 0000 00 00",
            nvme=(
                "7A nsid=1 cdw10=400 cdw12=1F cdw13=10000",
                "79 nsid=1 cdw10=400 cdw13=1",
            ),
        ),
    ),
    "FINISH ZONE": (
        Step("94 02 0000000000000400 0000 0000 00 00", nvme=("79 nsid=1 cdw10=400 cdw13=2",)),
        Step(
            "8A 00 0000000000000400 00000001 00 00",
            out=block(0xA5),
            nvme=("01 nsid=1 cdw10=400 out=A5*512",),
            sense=(5, 0x24, 0x00),
        ),
    ),
    "RESET WRITE POINTER": (
        Step("94 04 0000000000000000 0000 0000 01 00", nvme=("79 nsid=1 cdw13=104",)),
    ),
    "REPORT ZONES": (
        Step(
            "95 00 0000000000000C00 000000C0 80 00",
            nvme=("7A nsid=1 cdw10=C00 cdw12=1F cdw13=10000",),
            data=hexed(
                "00000080 00 000000 0000000000000FFF 0000000000000400"
                + "00" * 40
                + "02 10 000000000000 00000000000003E8 0000000000000C00 0000000000000C00"
                + "00" * 32
                + "05 00 000000000000 0000000000000018 0000000000000FE8 FFFFFFFFFFFFFFFF"
                + "00" * 32
            ),
        ),
    ),
    # The image is the revision that it is, and anything.
    "WRITE BUFFER, download and activate": (
        Step("3B 04 02 000000 000008 00", out=b"2.0     ", nvme=_DOWNLOADED + _COMMITTED_2),
        Step("12 00 00 00 24 00", nexus="b", data=_NEW_INQUIRY),
    ),
    "WRITE BUFFER, download, save and activate": (
        Step("00 00 00 00 00 00", nexus="b"),
        Step("3B 05 02 000000 000008 00", out=b"2.0     ", nvme=_DOWNLOADED + _COMMITTED_2),
        Step("00 00 00 00 00 00", nexus="b", sense=(6, 0x3F, 1)),
    ),
    "WRITE BUFFER, download with offsets and activate": (
        Step("3B 06 00 000000 001000 00", out=b"2.0     " * 512, nvme=_PAGE_DOWNLOADED),
        Step("3B 06 00 001000 000008 00", out=b"2.0     ", nvme=_REST_DOWNLOADED + _COMMITTED),
    ),
    "WRITE BUFFER, download with offsets, save and activate": (
        Step("3B 07 00 000000 001000 00", out=b"2.0     " * 512, nvme=_PAGE_DOWNLOADED),
        Step("3B 07 00 001000 000008 00", out=b"2.0     ", nvme=_REST_DOWNLOADED + _COMMITTED),
    ),
    "WRITE BUFFER, download with offsets, select events, save and defer": (
        Step("3B 0D 00 000000 000008 00", out=b"2.0     ", nvme=_DOWNLOADED),
        Step("3B 0F 00 000000 000000 00", nvme=_COMMITTED),
    ),
    "WRITE BUFFER, download with offsets, save and defer": (
        Step("3B 0E 02 000000 000008 00", out=b"2.0     ", nvme=_DOWNLOADED),
        Step("3B 0F 00 000000 000000 00", nvme=_COMMITTED_2),
    ),
    "WRITE BUFFER, activate deferred": (
        Step("3B 0F 00 000000 000000 00", sense=(5, 0x2C, 0)),
        Step("3B 0E 00 000000 000008 00", out=b"2.0     ", nvme=_DOWNLOADED),
        Step("3B 0F 00 000000 000000 00", nvme=_COMMITTED),
        Step("12 00 00 00 24 00", data=_NEW_INQUIRY),
    ),
    "READ BUFFER (10), error history": (
        Step("3C 1C 01 000000 0000FF 00", nvme=_SNAPSHOT, data=_DIRECTORY),
        Step(
            "3C 1C 10 000200 000004 00",
            nvme=(
                "admin 02 nsid=FFFFFFFF cdw10=7F8007 cdw12=200",
                "admin 02 nsid=FFFFFFFF cdw10=7F8007",
            ),
            data=hexed("00010203"),
        ),
        Step("3C 1C 00 000000 000004 00", nexus="b", sense=(5, 0, 0x16)),
    ),
    "READ BUFFER (16), error history": (
        Step("9B 3C 0000000000000000 000000FF 01 00", nvme=_SNAPSHOT, data=_DIRECTORY),
        Step("9B 1C 0000000000000000 000000FF FF 00"),
        Step("9B 1C 0000000000000000 000000FF 10 00", sense=(5, 0x24, 0)),
    ),
}
