"""The Error Information log: at which block a command failed. Spec: NVMe Base 2.0c 5.16.1.2."""

from __future__ import annotations

from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY

_LOG_IDENTIFIER = 0x01
_MOST_ENTRIES = 64  # the newest come first
_STATUS = 0x7FF  # SCT and SC


def get_error_log(elpe: int) -> NvmeCommand:
    """Return the command that reads the newest entries; `elpe` is Identify Controller's."""
    size = min(elpe + 1, _MOST_ENTRIES) * ERROR_LOG_ENTRY.size
    return get_log_page(_LOG_IDENTIFIER, BROADCAST_NSID, size)


def first_failing_block(log: bytes, command: NvmeCommand, completion: Completion) -> int | None:
    """Return the LBA that the log has for a command that failed, None if it has none.

    An entry for which the command has no such block is not believed.
    """
    for start in range(0, len(log) - ERROR_LOG_ENTRY.size + 1, ERROR_LOG_ENTRY.size):
        entry = ERROR_LOG_ENTRY.parse(log[start:])
        if not entry.error_count:
            break  # this and all that follow are empty
        if (entry.sqid, entry.cmdid, entry.nsid) != (completion.sqid, completion.cid, command.nsid):
            continue
        if entry.status_field & _STATUS != completion.status:
            continue
        within = command.slba <= entry.lba < command.slba + command.blocks
        return int(entry.lba) if within else None
    return None
