"""Whether a logical unit is ready, and why not. Spec: SPC-4 6.38, 5.11, SBC-3 5.3."""

from __future__ import annotations

from enum import Enum

from scsi2nvme.nvme.ana import AnaState
from scsi2nvme.scsi.sense import (
    ASYMMETRIC_ACCESS_STATE_TRANSITION,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    LOGICAL_UNIT_NOT_SUPPORTED,
    MEDIUM_FORMAT_CORRUPTED,
    MEDIUM_NOT_PRESENT,
    TARGET_PORT_IN_UNAVAILABLE_STATE,
    Sense,
)


class Readiness(Enum):
    """Why a logical unit is, or is not, ready for medium access."""

    READY = "ready"
    STOPPED = "stopped"  # START STOP UNIT
    EJECTED = "ejected"  # START STOP UNIT, where the medium is removable
    FORMATTING = "formatting"
    FORMAT_FAILED = "format failed"
    FAILED = "failed"  # the controller is gone; it may come back


_NOT_READY = {
    Readiness.STOPPED: LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    Readiness.EJECTED: MEDIUM_NOT_PRESENT,
    Readiness.FORMATTING: LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    Readiness.FORMAT_FAILED: MEDIUM_FORMAT_CORRUPTED,
    # ESXi takes it for a permanent loss, Linux for the failure of a path: another is tried. A
    # hardware error would be the disk's to Linux, whichever path leads there.
    Readiness.FAILED: LOGICAL_UNIT_NOT_SUPPORTED,
}

# By the state of asymmetric access: LUs that cannot be reached this way. Spec: SPC-4 5.15.2.4.
UNREACHABLE = {
    AnaState.INACCESSIBLE: TARGET_PORT_IN_UNAVAILABLE_STATE,
    AnaState.PERSISTENT_LOSS: TARGET_PORT_IN_UNAVAILABLE_STATE,
    AnaState.CHANGE: ASYMMETRIC_ACCESS_STATE_TRANSITION,
}


def sense_of(readiness: Readiness, progress: int | None) -> Sense | None:
    """Return why medium access is refused, None if it is not.

    `progress` is that of a format, as a fraction of 65536.
    """
    if readiness is Readiness.READY:
        return None
    told = progress if readiness is Readiness.FORMATTING else None
    return Sense(_NOT_READY[readiness], progress=told)
