"""What a sanitize operation means to the logical units of its controller.

One operation takes all namespaces, so that all logical units of a controller share this state.
Spec: SBC-4 4.11 (sanitize operations); NVMe Base 2.0c 8.21.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from scsi2nvme.scsi.sense import (
    LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS,
    SANITIZE_COMMAND_FAILED,
    Sense,
)


class Phase(Enum):
    """Where the most recent operation is, as far as it keeps anybody from the medium."""

    NONE = "none"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(eq=False, slots=True)
class Sanitizing:
    """The state that is shared. Who changes it calls every logical unit's `on_change`.

    `progress` is of 65536. `restricted`: what has failed can only be mended by another operation.
    `watched`: somebody asks the controller again and again until it ends. `erased`: when it was
    last asked, nothing had been written since all was erased and deallocated.
    """

    phase: Phase = Phase.NONE
    progress: int = 0
    restricted: bool = False
    watched: bool = False
    erased: bool = False

    @property
    def running(self) -> bool:
        """Whether an operation is under way."""
        return self.phase is Phase.RUNNING

    @property
    def sense(self) -> Sense | None:
        """Why almost every command is refused, None if none is for this reason."""
        if self.phase is Phase.NONE:
            return None
        if self.phase is Phase.FAILED:
            return Sense(SANITIZE_COMMAND_FAILED)
        return Sense(LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS, progress=self.progress)
