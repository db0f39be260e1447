"""What a sanitize operation means to the logical units of its controller.

One operation takes all namespaces, so that all logical units of a controller share this state.
Spec: SBC-4 4.11 (sanitize operations); NVMe Base 2.0c 8.21.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from scsi2nvme.records import dataclass
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
    `watcher`: the logical unit on whose behalf the controller is asked again and again until it
    ends. `erased`: when it was last asked, nothing had been written since all was erased and
    deallocated. `beginning` are the commands under way that begin one, `begun` those that have
    ended: what was asked before says nothing of the operation.
    """

    phase: Phase = Phase.NONE
    progress: int = 0
    restricted: bool = False
    watcher: object = None
    erased: bool = False
    beginning: int = 0
    begun: int = 0

    @property
    def running(self) -> bool:
        """Whether an operation is under way."""
        return self.phase is Phase.RUNNING

    @contextmanager
    def begins(self) -> Iterator[None]:
        """Have the controller begin an operation in the body."""
        self.beginning += 1
        try:
            yield
        finally:
            self.beginning -= 1
            self.begun += 1

    @property
    def sense(self) -> Sense | None:
        """Why almost every command is refused, None if none is for this reason."""
        if self.phase is Phase.NONE:
            return None
        if self.phase is Phase.FAILED:
            return Sense(SANITIZE_COMMAND_FAILED)
        return Sense(LOGICAL_UNIT_NOT_READY_SANITIZE_IN_PROGRESS, progress=self.progress)
