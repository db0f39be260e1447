"""Reservations of namespaces: what their commands carry, and their types.

Spec: NVMe Base 2.0c 7.2 to 7.5 (commands), 8.19, 5.16.1.24 (Reservation Notification log).
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure

RESERVATION_NOTIFICATION_LOG = 0x80
ONCS_RESERVATIONS = 1 << 5
CTRATT_HOST_ID_128 = 1
EXTENDED_DATA = 1  # CDW11 of Reservation Report: host identifiers of 128 bits
IGNORE_KEY = 1 << 3  # CDW10: IEKEY
PTPL_KEEP, PTPL_CLEAR, PTPL_SET = 0, 2 << 30, 3 << 30  # CDW10 of Reservation Register: CPTPL


class Register(IntEnum):
    """RREGA, CDW10 bits 2:0 of Reservation Register."""

    REGISTER = 0
    UNREGISTER = 1
    REPLACE = 2


class Acquire(IntEnum):
    """RACQA, CDW10 bits 2:0 of Reservation Acquire."""

    ACQUIRE = 0
    PREEMPT = 1
    PREEMPT_AND_ABORT = 2


class Release(IntEnum):
    """RRELA, CDW10 bits 2:0 of Reservation Release."""

    RELEASE = 0
    CLEAR = 1


class ReservationType(IntEnum):
    """RTYPE. Spec: NVMe Base 2.0c figure 400."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 2
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 3
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 4
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 5
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 6

    @property
    def all_registrants(self) -> bool:
        """Whether every registrant is a holder."""
        return self >= self.WRITE_EXCLUSIVE_ALL_REGISTRANTS

    @property
    def admits_registrants(self) -> bool:
        """Whether a registrant may do what the holder may."""
        return self >= self.WRITE_EXCLUSIVE_REGISTRANTS_ONLY

    @property
    def excludes_reads(self) -> bool:
        """Whether reading is restricted, too."""
        return self % 2 == 0


class Notice(IntEnum):
    """What an entry of the notification log tells."""

    EMPTY = 0
    REGISTRATION_PREEMPTED = 1
    RESERVATION_RELEASED = 2
    RESERVATION_PREEMPTED = 3


def _f(name: str, byte: int, last: int, doc: str = "") -> Field:
    return Field(name, byte, 0, 8 * (last - byte + 1), doc)


def _structure(name: str, size: int, fields: tuple[Field, ...], spec: str) -> Structure:
    return Structure(name, size, fields, order="little", spec=f"NVMe Base 2.0c {spec}")


REGISTER_DATA = _structure(
    "Reservation Register data", 16, (_f("crkey", 0, 7), _f("nrkey", 8, 15)), "7.3"
)
ACQUIRE_DATA = _structure(
    "Reservation Acquire data", 16, (_f("crkey", 0, 7), _f("prkey", 8, 15)), "7.2"
)
RELEASE_DATA = _structure("Reservation Release data", 8, (_f("crkey", 0, 7),), "7.4")
RESERVATION_STATUS = _structure(
    "Reservation Status",
    24,
    (
        _f("gen", 0, 3),
        _f("rtype", 4, 4),
        _f("regctl", 5, 6, "registered controllers that follow"),
        _f("ptpls", 9, 9, "persist through power loss"),
    ),
    "7.5",
)
EXTENDED_STATUS_BYTES = 64  # of it, where host identifiers have 128 bits
REGISTERED_CONTROLLER = _structure(
    "Registered Controller",
    24,
    (
        _f("cntlid", 0, 1),
        Field("holds", 2, 0, 1),
        _f("hostid", 8, 15),
        _f("rkey", 16, 23),
    ),
    "7.5",
)
REGISTERED_CONTROLLER_EXTENDED = _structure(
    "Registered Controller Extended",
    64,
    (
        _f("cntlid", 0, 1),
        Field("holds", 2, 0, 1),
        _f("rkey", 8, 15),
        _f("hostid", 16, 31),
    ),
    "7.5",
)
RESERVATION_NOTIFICATION = _structure(
    "Reservation Notification",
    64,
    (
        _f("lpc", 0, 7, "how many there were"),
        _f("type", 8, 8),
        _f("nalp", 9, 9, "how many more there are"),
        _f("nsid", 12, 15),
    ),
    "5.16.1.24",
)
