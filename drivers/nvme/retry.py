"""Which commands may be sent twice, and when."""

from __future__ import annotations

from collections.abc import Sequence

from scsi2nvme.nvme.command import AdminOpcode, Completion, Fuse, NvmeCommand
from scsi2nvme.nvme.status import StatusCode

MAXIMUM_RETRIES = 4

# What a command ends with that was under way when the controller was reset and
# must not be sent again.
ABORTED_BY_RESET = StatusCode.ABORTED_SQ_DELETION
# What every command ends with once the controller is lost.
LOST = StatusCode.HOST_PATHING_ERROR

_RETRYABLE = {
    StatusCode.NAMESPACE_NOT_READY,
    StatusCode.COMMAND_INTERRUPTED,
    StatusCode.TRANSIENT_TRANSPORT_ERROR,
}
_DEFAULT_DELAY_S = 0.1

# What may leave the disk half changed, or useless, when a reset ends it.
_UNINTERRUPTIBLE_ADMIN = {
    AdminOpcode.NAMESPACE_MANAGEMENT,
    AdminOpcode.FIRMWARE_COMMIT,
    AdminOpcode.FORMAT_NVM,
    AdminOpcode.SECURITY_SEND,
    AdminOpcode.SANITIZE,
}


def interruptible(command: NvmeCommand) -> bool:
    """Whether the controller may be reset for no other reason than that nobody wants it."""
    return not command.admin or command.opcode not in _UNINTERRUPTIBLE_ADMIN


def retry_delay_s(
    command: NvmeCommand, completion: Completion, delays_s: Sequence[float]
) -> float | None:
    """Return how many seconds to wait before a retry, None if there shall be none.

    `delays_s` are CRDT1 to CRDT3. Half of a fused pair is tried again only where it has not
    begun; see `repeating.repeatable`. Spec: NVMe Base 2.0c figure 92 (CRD).
    """
    if completion.dnr or completion.status not in _RETRYABLE:
        return None
    if command.fuse is not Fuse.NORMAL and completion.status != StatusCode.NAMESPACE_NOT_READY:
        return None
    if 1 <= completion.retry_delay <= len(delays_s):
        return delays_s[completion.retry_delay - 1]
    return _DEFAULT_DELAY_S
