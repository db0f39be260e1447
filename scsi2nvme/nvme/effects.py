"""What a command may do besides what it is asked for. Spec: NVMe Base 2.0c 5.16.1.6."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import NvmeCommand

EFFECTS_LOG = 0x05
EFFECTS_LOG_BYTES = 4096
OPCODES = 256

COMMAND_EFFECTS = Structure(
    "Commands Supported and Effects",
    4,
    (
        Field("csupp", 0, 0, 1, "the command is supported"),
        Field("lbcc", 0, 1, 1, "changes the content of logical blocks"),
        Field("ncc", 0, 2, 1, "changes the capabilities of a namespace"),
        Field("nic", 0, 3, 1, "changes which namespaces there are"),
        Field("ccc", 0, 4, 1, "changes the capabilities of the controller"),
        Field("cse", 2, 0, 3, "1: alone on its namespace, 2: alone on the controller"),
        Field("uss", 2, 3, 1, "a UUID may be selected"),
        Field("csp", 2, 4, 12, "which of namespace, controller, … are concerned"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 211",
)


def effects_of(log: bytes, command: NvmeCommand) -> Values:
    """Return what the log (its first 2048 bytes at least) says of a command's opcode."""
    return effects_at(log, command.opcode, admin=command.admin)


def effects_at(log: bytes, opcode: int, *, admin: bool) -> Values:
    """Return what the log says of an opcode."""
    at = COMMAND_EFFECTS.size * (opcode + (0 if admin else OPCODES))
    return COMMAND_EFFECTS.parse(log[at : at + COMMAND_EFFECTS.size])
