"""PDUs of iSCSI as an initiator writes and reads them, spelled out with `struct`; RFC 7143, 11.

They share no code with the target, so that a wrong table on the other side shows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

NOP_OUT, SCSI_COMMAND, TASK_MANAGEMENT, LOGIN, TEXT, DATA_OUT, LOGOUT = range(7)
SNACK = 0x10
NOP_IN, SCSI_RESPONSE, TASK_MANAGEMENT_RESPONSE, LOGIN_RESPONSE = 0x20, 0x21, 0x22, 0x23
TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = 0x24, 0x25, 0x26
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
RESERVED_TAG = 0xFFFFFFFF
IMMEDIATE = 0x40
FINAL = 0x80
SIMPLE = 1


@cache
def _crc_tables() -> tuple[list[int], list[int]]:
    """Return what the first and the last half of a word make of a CRC."""
    one = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        one.append(byte)
    two = [
        one[(one[half & 0xFF] ^ half >> 8) & 0xFF] ^ one[half & 0xFF] >> 8
        for half in range(1 << 16)
    ]
    return [crc >> 16 ^ two[crc & 0xFFFF] for crc in two], two


def crc32c(data: bytes) -> int:
    """Return the CRC32C of `data`, which are whole words, as all that has a digest."""
    first, last = _crc_tables()
    crc = 0xFFFFFFFF
    for (word,) in struct.iter_unpack("<I", data):
        crc ^= word
        crc = first[crc & 0xFFFF] ^ last[crc >> 16]
    return crc ^ 0xFFFFFFFF


def lun_bytes(lun: int) -> bytes:
    """Return a single-level LUN: peripheral addressing, or flat beyond 255."""
    return struct.pack(">H6x", lun if lun < 256 else 0x4000 | lun)


def pairs_bytes(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """Return NUL-terminated key=value pairs."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return b"".join(f"{key}={value}\0".encode() for key, value in items)


def parse_pairs(data: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a text or login data segment."""
    return [
        (key, value)
        for key, _, value in (part.decode().partition("=") for part in data.split(b"\0") if part)
    ]


@dataclass(frozen=True)
class Pdu:
    """A PDU as it arrived; `data` without padding."""

    bhs: bytes
    data: bytes = b""

    @property
    def opcode(self) -> int:
        return self.bhs[0] & 0x3F

    @property
    def flags(self) -> int:
        return self.bhs[1]

    @property
    def response(self) -> int:
        """Byte 2: the response, or the reason of a Reject."""
        return self.bhs[2]

    @property
    def scsi_status(self) -> int:
        return self.bhs[3]

    @property
    def login_status(self) -> int:
        return self.word16(36)

    @property
    def itt(self) -> int:
        return self.word32(16)

    @property
    def ttt(self) -> int:
        return self.word32(20)

    @property
    def stat_sn(self) -> int:
        return self.word32(24)

    @property
    def exp_cmd_sn(self) -> int:
        return self.word32(28)

    @property
    def max_cmd_sn(self) -> int:
        return self.word32(32)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return parse_pairs(self.data)

    def word16(self, offset: int) -> int:
        return int(struct.unpack_from(">H", self.bhs, offset)[0])

    def word32(self, offset: int) -> int:
        return int(struct.unpack_from(">I", self.bhs, offset)[0])


@dataclass(frozen=True)
class ScsiResult:
    """How a SCSI command ended. `overflow` and `underflow` are residual counts."""

    status: int
    data: bytes = b""
    sense: bytes = b""
    overflow: int = 0
    underflow: int = 0
    response: int = 0

    @property
    def sense_triple(self) -> tuple[int, int, int]:
        """Sense key, additional sense code and qualifier, of either format."""
        if self.sense[0] & 0x7F >= 0x72:
            return self.sense[1] & 0xF, self.sense[2], self.sense[3]
        return self.sense[2] & 0xF, self.sense[12], self.sense[13]
