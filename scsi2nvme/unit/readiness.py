"""Why a logical unit is not ready, as sense data. Spec: SPC-4 6.38, 5.11, SBC-3 5.3."""

from __future__ import annotations

from scsi2nvme.scsi.sense import (
    INTERNAL_TARGET_FAILURE,
    LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    MEDIUM_FORMAT_CORRUPTED,
    Sense,
)
from scsi2nvme.unit.logical_unit import LogicalUnit, Readiness

_NOT_READY = {
    Readiness.STOPPED: LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED,
    Readiness.FORMATTING: LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS,
    Readiness.FORMAT_FAILED: MEDIUM_FORMAT_CORRUPTED,
    Readiness.FAILED: INTERNAL_TARGET_FAILURE,
}


def not_ready(lu: LogicalUnit) -> Sense | None:
    """Return why the logical unit refuses medium access, None if it does not."""
    if lu.readiness is Readiness.READY:
        return None
    progress = lu.progress if lu.readiness is Readiness.FORMATTING else None
    return Sense(_NOT_READY[lu.readiness], progress=progress)
