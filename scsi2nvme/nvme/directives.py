"""Directives, of which we use streams: writes that say what belongs together.

Spec: NVMe Base 2.0c 5.12 and 5.13 (Directive Receive, Directive Send), 8.7.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.structures import IDENTIFY_BYTES
from scsi2nvme.records import dataclass

OACS_DIRECTIVES = 5
_ENABLE = 1  # CDW12 of Enable Directive: ENDIR


class DirectiveType(IntEnum):
    """DTYPE. Spec: NVMe Base 2.0c figure 584."""

    IDENTIFY = 0
    STREAMS = 1


class Receive(IntEnum):
    """Directive operations that return something, by both types: DOPER."""

    PARAMETERS = 1
    STATUS = 2
    ALLOCATE = 3


class Send(IntEnum):
    """Directive operations that change something: DOPER."""

    ENABLE = 1  # of IDENTIFY
    RELEASE_IDENTIFIER = 1  # of STREAMS
    RELEASE_RESOURCES = 2


# Bit n of each stands for the directive type n.
IDENTIFY_PARAMETERS = Structure(
    "Identify directive: Return Parameters",
    IDENTIFY_BYTES,
    (
        Field("supported", 0, 0, 256),
        Field("enabled", 32, 0, 256),
        Field("persistent", 64, 0, 256, "enabled still after a reset"),
    ),
    order="little",
    spec="NVMe Base 2.0c 8.7.2.1.1",
)
STREAMS_PARAMETERS = Structure(
    "Streams directive: Return Parameters",
    32,
    (
        Field("msl", 0, 0, 16, "streams that the NVM subsystem has"),
        Field("nssa", 2, 0, 16, "of these, what nobody has to itself"),
        Field("nsso", 4, 0, 16, "of these, what is open"),
        Field("nssc", 6),
        Field("sws", 16, 0, 32, "blocks that a write of a stream should be a multiple of"),
        Field("sgs", 20, 0, 16, "SWS that a stream is allocated and deallocated by"),
        Field("nsa", 22, 0, 16, "streams that the namespace has to itself"),
        Field("nso", 24, 0, 16, "of these, what is open"),
    ),
    order="little",
    spec="NVMe Base 2.0c 8.7.3.1.1",
)


@dataclass(frozen=True, slots=True)
class Streams:
    """How many streams a namespace may have open, and what suits them, in logical blocks.

    `granularity` counts in writes of `write_blocks`; both are 0 where they are not told.
    """

    count: int
    write_blocks: int = 0
    granularity: int = 0


def receive(kind: DirectiveType, operation: Receive, nsid: int, length: int) -> NvmeCommand:
    """Return a Directive Receive of `length` bytes, a multiple of four."""
    return NvmeCommand(
        AdminOpcode.DIRECTIVE_RECEIVE,
        nsid,
        cdw10=length // 4 - 1,
        cdw11=operation | kind << 8,
        data_in=length,
        admin=True,
    )


def enable(kind: DirectiveType, nsid: int) -> NvmeCommand:
    """Return a Directive Send that enables a directive for a namespace."""
    return NvmeCommand(
        AdminOpcode.DIRECTIVE_SEND,
        nsid,
        cdw11=Send.ENABLE | DirectiveType.IDENTIFY << 8,
        cdw12=_ENABLE | kind << 8,
        admin=True,
    )


def release_stream(nsid: int, stream: int) -> NvmeCommand:
    """Return a Directive Send that closes a stream."""
    return NvmeCommand(
        AdminOpcode.DIRECTIVE_SEND,
        nsid,
        cdw11=Send.RELEASE_IDENTIFIER | DirectiveType.STREAMS << 8 | stream << 16,
        admin=True,
    )


def in_stream(stream: int) -> tuple[int, int]:
    """Return what CDW12 and CDW13 of a Write say of a stream; 0: none.

    Spec: NVM Command Set 1.0c 3.2.6 (DTYPE, DSPEC).
    """
    return (DirectiveType.STREAMS << 20, stream << 16) if stream else (0, 0)
