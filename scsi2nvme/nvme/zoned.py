"""The Zoned Namespace Command Set: structures, states, commands. Spec: ZNS Command Set 1.1b."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import NvmeCommand, Opcode

ZONED_COMMAND_SET = 2  # CSI
ZDES_UNIT = 64  # bytes
SET_DESCRIPTOR_EXTENSION = 0x10  # ZSA, of Zone Management Send alone
FLUSH_RANDOM_WRITE_AREA = 0x11  # the same

IDENTIFY_ZONED_NAMESPACE = Structure(
    "Identify Zoned Namespace",
    4096,
    (
        Field("zoc", 0, 0, 16, "bit 0 variable capacity, bit 1 excursions"),
        Field("ozcs", 2, 0, 16, "bit 0 Reads may cross zones"),
        Field("mar", 4, 0, 32, "active zones, 0's based; all ones: no limit"),
        Field("mor", 8, 0, 32, "open zones, 0's based; all ones: no limit"),
        Field("rrl", 12, 0, 32, "seconds"),
        Field("frl", 16, 0, 32, "seconds"),
        Field("lbafes", 2816, 0, 64 * 128, "LBA format extensions, 16 bytes each"),
    ),
    order="little",
    spec="ZNS Command Set 1.1b figure 48 (CNS 05h)",
)
LBA_FORMAT_EXTENSION = Structure(
    "LBA Format Extension",
    16,
    (
        Field("zsze", 0, 0, 64, "zone size in logical blocks"),
        Field("zdes", 8, 0, 8, "bytes of a descriptor extension, / 64"),
    ),
    order="little",
    spec="ZNS Command Set 1.1b figure 49",
)
IDENTIFY_ZONED_CONTROLLER = Structure(
    "Identify I/O Command Set specific Controller (ZNS)",
    4096,
    (Field("zasl", 0, 0, 8, "power of two in CAP.MPSMIN pages, 0: MDTS"),),
    order="little",
    spec="ZNS Command Set 1.1b figure 50 (CNS 06h)",
)
ZONE_REPORT_HEADER = Structure(
    "Report Zones data",
    64,
    (Field("nz", 0, 0, 64, "number of zones"),),
    order="little",
    spec="ZNS Command Set 1.1b figure 36",
)
ZONE = Structure(
    "Zone Descriptor",
    64,
    (
        Field("zt", 0, 0, 4, "zone type, 2: sequential write required"),
        Field("zs", 1, 4, 4, "zone state"),
        Field("zfc", 2, 0, 1, "finished by the controller"),
        Field("fzr", 2, 1, 1, "finish recommended"),
        Field("rzr", 2, 2, 1, "reset recommended"),
        Field("zdev", 2, 7, 1, "the descriptor extension is valid"),
        Field("zai", 3, 0, 8),
        Field("zcap", 8, 0, 64, "logical blocks"),
        Field("zslba", 16, 0, 64),
        Field("wp", 24, 0, 64, "write pointer"),
    ),
    order="little",
    spec="ZNS Command Set 1.1b figure 37",
)
SEQUENTIAL_WRITE_REQUIRED = 2  # ZT, and ZONE TYPE of ZBC
NO_LIMIT = 0xFFFFFFFF  # of MAR and MOR


CHANGED_ZONES_LOG = 0xBF
ZONES_CHANGED = 0xEF  # information of a notice
ZONE_NOTICES = 1 << 27  # of OAES, and of Feature 0Bh
CHANGED_ZONES = Structure(
    "Changed Zone List",
    4096,
    (
        Field("nrzid", 0, 0, 16, "zones; FFFFh: more than can be listed"),
        Field("zids", 8, 0, 64 * 511, "the first blocks of zones"),
    ),
    order="little",
    spec="ZNS Command Set 1.1b 4.1.4.2",
)


class ZoneState(IntEnum):
    """ZS, and ZONE CONDITION of ZBC, which numbers them alike."""

    EMPTY = 0x1
    IMPLICITLY_OPENED = 0x2
    EXPLICITLY_OPENED = 0x3
    CLOSED = 0x4
    READ_ONLY = 0xD
    FULL = 0xE
    OFFLINE = 0xF


class ZoneAction(IntEnum):
    """ZSA of Zone Management Send, and service actions of ZBC OUT, which are numbered alike."""

    CLOSE = 1
    FINISH = 2
    OPEN = 3
    RESET = 4
    OFFLINE = 5


# ZRASF of Zone Management Receive: which states are listed.
LIST_ALL, LIST_IMPLICITLY_OPENED, LIST_EXPLICITLY_OPENED, LIST_CLOSED = 0, 2, 3, 4
_PARTIAL = 1 << 16  # CDW13
_SELECT_ALL = 1 << 8  # CDW13


def report_zones(nsid: int, slba: int, zones: int, *, states: int = LIST_ALL) -> NvmeCommand:
    """Return a Zone Management Receive of at most so many descriptors, from a zone on.

    NZ counts those that were returned; without room for any, those that there are.
    """
    size = ZONE_REPORT_HEADER.size + zones * ZONE.size
    return NvmeCommand(
        Opcode.ZONE_MANAGEMENT_RECEIVE,
        nsid,
        cdw10=slba & 0xFFFFFFFF,
        cdw11=slba >> 32,
        cdw12=size // 4 - 1,
        cdw13=states << 8 | (_PARTIAL if zones else 0),
        data_in=size,
    )


def number_of(data: bytes) -> int:
    """Return NZ of what a Zone Management Receive has returned."""
    return ZONE_REPORT_HEADER.parse(data).nz


def zones_of(data: bytes) -> Iterator[Values]:
    """Yield the descriptors that a Zone Management Receive has returned."""
    room = len(data) // ZONE.size - 1
    for index in range(1, min(number_of(data), room) + 1):
        yield ZONE.parse(data[index * ZONE.size :])


def manage_zone(nsid: int, slba: int, action: ZoneAction, *, every: bool = False) -> NvmeCommand:
    """Return a Zone Management Send for the zone at `slba`, or for every one that it suits."""
    return NvmeCommand(
        Opcode.ZONE_MANAGEMENT_SEND,
        nsid,
        cdw10=slba & 0xFFFFFFFF,
        cdw11=slba >> 32,
        cdw13=action | (_SELECT_ALL if every else 0),
    )
