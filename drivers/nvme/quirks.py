"""Controllers that need to be treated differently, as rows.

Only what this driver acts on is listed, by PCI vendor and device identifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Flag, auto

from scsi2nvme.records import dataclass


class Quirk(Flag):
    """One deviation each, and what the driver does about it."""

    SLOW_DISABLE = auto()  # registers must be left alone for 2.3 s after CC.EN=0
    SLOW_RESET = auto()  # needs 250 ms after a function level reset
    NO_DESCRIPTORS = auto()  # Identify CNS 03h harms
    BOGUS_IDENTIFIERS = auto()  # NGUID, EUI64 and UUID are not unique
    NO_WRITE_ZEROES = auto()  # advertised, but slow or wrong
    SMALL_QUEUES = auto()  # MQES reads 0: 64 entries work
    QDEPTH_ONE = auto()  # only queues of two entries work, whatever MQES says
    NO_SHUTDOWN_STATUS = auto()  # CSTS.SHST never says complete


@dataclass(frozen=True, slots=True)
class Row:
    """Quirks of the devices of one vendor."""

    quirk: Quirk
    vendor: int
    devices: tuple[int, ...]


TABLE = (
    Row(Quirk.SLOW_DISABLE, 0x1BB1, (0x0100,)),
    Row(Quirk.SLOW_DISABLE, 0x1C58, (0x0003, 0x0023)),
    Row(Quirk.SLOW_DISABLE, 0x1C5F, (0x0540,)),
    Row(Quirk.SLOW_DISABLE | Quirk.SMALL_QUEUES, 0x144D, (0xA821, 0xA822)),
    Row(Quirk.QDEPTH_ONE, 0x106B, (0x2001,)),
    Row(Quirk.QDEPTH_ONE, 0x1217, (0x8760,)),
    Row(Quirk.SLOW_RESET, 0x8086, (0x0953, 0x0A54)),
    Row(Quirk.SLOW_RESET, 0x025E, (0xF1AC,)),
    Row(Quirk.NO_DESCRIPTORS, 0x126F, (0x2263,)),
    Row(Quirk.NO_DESCRIPTORS, 0x1BB1, (0x0100,)),
    Row(Quirk.NO_DESCRIPTORS, 0x1B4B, (0x1092,)),
    Row(Quirk.NO_DESCRIPTORS, 0x1C5F, (0x0555,)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x8086, (0x0A54, 0x5845)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x126F, (0x2262, 0x2263)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1987, (0x5012, 0x5016)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1CC1, (0x33F8, 0x5350)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x10EC, (0x5762, 0x5763, 0x5765)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1344, (0x6001,)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1C5C, (0x174A,)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x144D, (0xA802, 0xA80B)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1F40, (0x1202, 0x5236)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1E4B, (0x1001, 0x1002, 0x1202, 0x1602)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1DBE, (0x5216, 0x5236)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0xC0A9, (0x540A,)),
    Row(Quirk.BOGUS_IDENTIFIERS, 0x1D97, (0x1D97, 0x2263, 0x2269)),
    Row(Quirk.NO_WRITE_ZEROES, 0x8086, (0x5845, 0xF1A5)),
    Row(Quirk.NO_WRITE_ZEROES, 0x144D, (0xA809, 0xA80B, 0xA822)),
    Row(Quirk.NO_WRITE_ZEROES, 0x1987, (0x5019, 0x5021)),
    Row(Quirk.NO_WRITE_ZEROES, 0x1C5C, (0x1504, 0x1D59)),
    Row(Quirk.NO_WRITE_ZEROES, 0x15B7, (0x2001,)),
    Row(Quirk.NO_WRITE_ZEROES, 0x1D97, (0x2263,)),
    Row(Quirk.NO_WRITE_ZEROES, 0x1CC4, (0x6302, 0x6303)),
    Row(Quirk.NO_WRITE_ZEROES, 0x2646, (0x5016, 0x5018, 0x501A, 0x501B, 0x501E, 0x502F)),
    Row(Quirk.NO_SHUTDOWN_STATUS, 0x15AD, (0x07F0,)),
)


def quirks_of(pci_id: tuple[int, int], table: Iterable[Row] = TABLE) -> Quirk:
    """Return the quirks of a vendor and device identifier."""
    vendor, device = pci_id
    found = Quirk(0)
    for row in table:
        if row.vendor == vendor and device in row.devices:
            found |= row.quirk
    return found
