"""The method that sends a logical unit a SCSI command as people write it."""

from __future__ import annotations

from dataclasses import field

from scsi2nvme.api.method import Method, doc
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class WhichCdb:
    """A SCSI command for a logical unit."""

    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))
    cdb: str = field(metadata=doc("the CDB in hexadecimal"))
    nsid: int = field(default=1, metadata=doc("of the namespace that is the logical unit"))
    data_in: int = field(
        default=0,
        metadata=doc("how many bytes come back, 2 MiB at most; 0: as many as the CDB says"),
    )
    data_out: str = field(
        default="", metadata=doc("data for the logical unit in hexadecimal, 28 KiB at most")
    )
    force: bool = field(
        default=False, metadata=doc("also what changes data, or how the logical unit behaves")
    )


@dataclass(frozen=True, slots=True)
class CdbEnded:
    """How a SCSI command ended."""

    status: int
    sense: str = field(metadata=doc("sense data in hexadecimal, if there are any"))
    data: str = field(metadata=doc("what came back, in hexadecimal"))


COMMAND = Method(
    "units.command",
    "send a logical unit a SCSI command, as an initiator of the daemon's own",
    WhichCdb,
    CdbEnded,
    changes=True,
)

METHODS = (COMMAND,)
