"""Which commands may be sent again when nobody knows whether they were executed."""

from __future__ import annotations

from scsi2nvme.nvme.command import AdminOpcode, Fuse, NvmeCommand, Opcode

_REPEATABLE = {
    Opcode.FLUSH,
    Opcode.WRITE,
    Opcode.READ,
    Opcode.WRITE_UNCORRECTABLE,
    Opcode.COMPARE,
    Opcode.WRITE_ZEROES,
    Opcode.DATASET_MANAGEMENT,
    Opcode.VERIFY,
    Opcode.COPY,  # from blocks that it does not write: another is no valid command
    Opcode.RESERVATION_REPORT,
}
_REPEATABLE_ADMIN = {
    AdminOpcode.GET_LOG_PAGE,
    AdminOpcode.IDENTIFY,
    AdminOpcode.SET_FEATURES,
    AdminOpcode.GET_FEATURES,
    AdminOpcode.GET_LBA_STATUS,
}


def repeatable(command: NvmeCommand) -> bool:
    """Whether sending it again is harmless when it may have been executed.

    A fused pair is not: its Compare would meet what its own Write wrote.
    """
    if command.fuse is not Fuse.NORMAL:
        return False
    return command.opcode in (_REPEATABLE_ADMIN if command.admin else _REPEATABLE)
