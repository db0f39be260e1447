"""Replay Protected Memory Blocks, by security protocol EAh. Spec: NVMe Base 2.0c 8.18."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure

PROTOCOL, PROTOCOL_SPECIFIC = 0xEA, 0x0001
KEY_BYTES = 32  # of HMAC SHA-256, and of what it makes
SECTOR = 512
CONFIGURATION_BYTES = 512  # of the Device Configuration Block
HMAC_SHA_256 = 0  # authentication method
EXPIRED = 0x80  # of a result: the write counter has come to its end


class Message(IntEnum):
    """What a frame asks for; what answers it has 100h times as much. Spec: 8.18."""

    PROGRAM_KEY = 0x01
    READ_COUNTER = 0x02
    WRITE_DATA = 0x03
    READ_DATA = 0x04
    READ_RESULT = 0x05
    WRITE_CONFIGURATION = 0x06
    READ_CONFIGURATION = 0x07


class Result(IntEnum):
    """How what was asked has ended. Spec: 8.18."""

    SUCCESSFUL = 0
    GENERAL_FAILURE = 1
    AUTHENTICATION_FAILURE = 2
    COUNTER_FAILURE = 3
    ADDRESS_FAILURE = 4
    WRITE_FAILURE = 5
    READ_FAILURE = 6
    NO_KEY = 7
    INVALID_CONFIGURATION = 8


RESULTS: dict[int, str] = {
    Result.SUCCESSFUL: "successful",
    Result.GENERAL_FAILURE: "general failure",
    Result.AUTHENTICATION_FAILURE: "the authentication code is not that of the key",
    Result.COUNTER_FAILURE: "the write counter is another",
    Result.ADDRESS_FAILURE: "there is no such address",
    Result.WRITE_FAILURE: "it could not be written",
    Result.READ_FAILURE: "it could not be read",
    Result.NO_KEY: "no key is programmed",
    Result.INVALID_CONFIGURATION: "the configuration block is not valid",
}
"""What they say to people."""

SUPPORT = Structure(
    "Replay Protected Memory Block Support",
    4,
    (
        Field("units", 0, 0, 3, "targets"),
        Field("method", 0, 3, 3, "authentication method"),
        Field("total", 2, 0, 8, "of a target: times 128 KiB, plus 1"),
        Field("access", 3, 0, 8, "sectors of one read or write, less 1"),
    ),
    order="little",
    spec="NVMe Base 2.0c 5.17.2.1 (Identify Controller, RPMBS)",
)


def _f(name: str, byte: int, last: int, doc: str = "") -> Field:
    return Field(name, byte, 0, 8 * (last - byte + 1), doc)


AUTHENTICATED_FROM = 223  # the first byte that the authentication code covers
FRAME = Structure(
    "RPMB Data Frame",
    256,
    (
        _f("mac", 191, 222, "authentication code, or the key that is programmed"),
        _f("target", 223, 223),
        _f("nonce", 224, 239),
        _f("counter", 240, 243, "write counter"),
        _f("address", 244, 247, "first sector"),
        _f("sectors", 248, 251),
        _f("result", 252, 253),
        _f("message", 254, 255),
    ),
    order="little",
    spec="NVMe Base 2.0c 8.18",
)
