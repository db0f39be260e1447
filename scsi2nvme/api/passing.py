"""Methods that send a controller commands as people write them."""

from __future__ import annotations

from dataclasses import field

from scsi2nvme.api.method import Method, doc
from scsi2nvme.records import dataclass

DATA_OUT_BYTES = 28 << 10  # what fits, in hexadecimal, into a request's line
LOOK_BYTES = 128 << 10  # that come back of a look: many may look at once, in batches

DWORDS = ("cdw2", "cdw3", *(f"cdw{n}" for n in range(10, 16)))  # what a command says by itself


@dataclass(frozen=True, slots=True)
class WhichCommand:
    """An NVMe command for a controller. Its data pointer and identifier are the driver's."""

    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))
    opcode: int = field(metadata=doc("CDW0 bits 7:0"))
    admin: bool = field(default=True, metadata=doc("for the admin queue, else an I/O command"))
    nsid: int = 0
    cdw2: int = 0
    cdw3: int = 0
    cdw10: int = 0
    cdw11: int = 0
    cdw12: int = 0
    cdw13: int = 0
    cdw14: int = 0
    cdw15: int = 0
    data_in: int = field(
        default=0, metadata=doc("how many bytes come back, 2 MiB at most, of a look 128 KiB")
    )
    data_out: str = field(
        default="", metadata=doc("data for the controller in hexadecimal, 28 KiB at most")
    )
    metadata_in: int = field(
        default=0, metadata=doc("how many bytes of metadata come back in a buffer of their own")
    )
    metadata_out: str = field(
        default="", metadata=doc("metadata for the controller, as data_out and together with it")
    )
    prefill: int = field(
        default=0, metadata=doc("what a byte is that comes back, and the controller has not filled")
    )
    timeout_ms: int = field(
        default=0, metadata=doc("0, and for a look: as long as such a command usually has")
    )
    force: bool = field(
        default=False, metadata=doc("also where initiators lose what they use; changing ones only")
    )


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """How an NVMe command ended."""

    status: int = field(metadata=doc("status code type << 8 | status code; 0: success"))
    dw0: int = field(metadata=doc("the command's result"))
    dnr: bool = field(metadata=doc("do not retry"))
    more: bool = field(metadata=doc("the error log has more"))
    data: str = field(metadata=doc("what came back, in hexadecimal"))
    metadata: str = field(
        default="", metadata=doc("what came back in a buffer of its own, in hexadecimal")
    )


@dataclass(frozen=True, slots=True)
class WhichProperties:
    """A controller whose properties are to be read."""

    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))


@dataclass(frozen=True, slots=True)
class WhichSubsystem:
    """A controller whose NVM subsystem is to be reset."""

    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))
    force: bool = field(default=False, metadata=doc("also while initiators use it"))


LOOK = Method(
    "controllers.look",
    "send a controller a command that only looks, at what is not private",
    WhichCommand,
    CommandEnded,
)
COMMAND = Method(
    "controllers.command",
    "send a controller any command but those that are the driver's own",
    WhichCommand,
    CommandEnded,
    changes=True,
)
PROPERTIES = Method(
    "controllers.properties",
    "a controller's properties (registers), by their offsets in decimal",
    WhichProperties,
    dict[str, int],
)

RESET_SUBSYSTEM = Method(
    "controllers.reset_subsystem",
    "reset all controllers of a controller's NVM subsystem, others' as well",
    WhichSubsystem,
    type(None),
    changes=True,
)

METHODS = (LOOK, COMMAND, PROPERTIES, RESET_SUBSYSTEM)
