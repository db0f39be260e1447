"""What a Read or Write says of how its blocks are used: DSM, the low byte of CDW13.

Nothing depends on it: a controller may ignore all of it.
Spec: NVM Command Set 1.0c 3.2.4, 3.2.6 (Dataset Management field).
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.records import dataclass

_LATENCY_SHIFT, _SEQUENTIAL_SHIFT = 4, 6


class Frequency(IntEnum):
    """Access Frequency."""

    UNKNOWN = 0
    SELDOM = 2  # read, and written
    READ_OFTEN = 3  # and seldom written
    WRITTEN_OFTEN = 4
    OFTEN = 5  # read, and written


class Latency(IntEnum):
    """Access Latency."""

    UNKNOWN = 0
    LOW = 3


def access_hint(frequency: Frequency, latency: Latency, *, sequential: bool) -> int:
    """Return the field."""
    return frequency | latency << _LATENCY_SHIFT | sequential << _SEQUENTIAL_SHIFT


@dataclass(frozen=True, slots=True)
class AccessHints:
    """What Reads and Writes of each group say of their blocks; nothing at all: no bytes."""

    reads: bytes = b""
    writes: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.reads)

    def of_read(self, group: int | None) -> int:
        """Return what CDW13 of a Read of a group says; None: its CDB has no field for that."""
        return self.reads[group] if self.reads and group is not None else 0

    def of_write(self, group: int | None) -> int:
        """Return what CDW13 of a Write of a group says, likewise."""
        return self.writes[group] if self.writes and group is not None else 0


NO_HINTS = AccessHints()
