"""What the emulated controller takes for a firmware image: a header, and anything behind it.

The header says which revision it is, and what its activation needs.
"""

from __future__ import annotations

import zlib
from enum import IntEnum

from scsi2nvme.fields import Field, Structure
from scsi2nvme.records import dataclass

MAGIC = b"S2NFIRMW"
REVISION_BYTES = 8
MAXIMUM_BYTES = 16 << 20

HEADER = Structure(
    "Firmware image header",
    32,
    (
        Field("magic", 0, 0, 64),
        Field("revision", 8, 0, 64, "ASCII"),
        Field("needs", 16, doc="what activates it: see Needs"),
        Field("pause", 18, 0, 16, "how long its activation takes, 100 ms"),
        Field("size", 20, 0, 32, "bytes in all"),
        Field("crc", 24, 0, 32, "of what follows: as of zlib"),
    ),
    order="little",
)


class Needs(IntEnum):
    """What activates an image."""

    NOTHING = 0  # Firmware Commit does
    CONTROLLER_RESET = 1
    SUBSYSTEM_RESET = 2  # or a power cycle
    CONVENTIONAL_RESET = 3  # or a power cycle
    PROHIBITED = 4  # nothing does


@dataclass(frozen=True, slots=True)
class Firmware:
    """A revision that a slot holds."""

    revision: str
    needs: int = Needs.NOTHING
    pause: int = 0  # 100 ms

    def __post_init__(self) -> None:
        if len(self.revision) > REVISION_BYTES or not self.revision.isascii():
            raise ValueError(f"revision: is not at most {REVISION_BYTES} ASCII characters")
        if not self.revision.strip() or not self.revision.isprintable():
            raise ValueError("revision: is not printable")
        if self.needs not in Needs._value2member_map_:
            raise ValueError("needs: is nothing that an image can need")

    @property
    def fr(self) -> bytes:
        """The revision as Identify and log have it."""
        return f"{self.revision:<{REVISION_BYTES}}".encode()


def build(firmware: Firmware, body: bytes = b"") -> bytes:
    """Return an image; its length is a multiple of four."""
    body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    size = HEADER.size + len(body)
    return (
        HEADER.build(
            magic=MAGIC,
            revision=firmware.fr,
            needs=firmware.needs,
            pause=firmware.pause,
            size=size,
            crc=zlib.crc32(body),
        )
        + body
    )


def parse(image: bytes) -> Firmware | None:
    """Return what an image holds, None if it is damaged, or none at all."""
    if len(image) < HEADER.size:
        return None
    header = HEADER.parse(image)
    body = image[HEADER.size : header.size]
    whole = header.size == HEADER.size + len(body) and not any(image[header.size :])
    if header.bytes("magic") != MAGIC or not whole or zlib.crc32(body) != header.crc:
        return None
    try:
        return Firmware(header.text("revision"), header.needs, header.pause)
    except ValueError:
        return None
