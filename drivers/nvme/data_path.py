"""The queue pairs that a controller gives away, and who uses them."""

from __future__ import annotations

from typing import Protocol

from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.records import dataclass


class DataPath(Protocol):
    """Whoever uses the queue pairs of `Controller.io_queues`."""

    async def pause(self) -> None:
        """Return once nothing touches the queue pairs any more."""

    def resume(self) -> None:
        """The queues were created anew: reset the queue pairs, with replay, and go on."""

    def fail(self, status: int) -> None:
        """The controller is lost: end everything, now and from now on, with `status`."""


@dataclass(frozen=True, slots=True)
class IoQueue:
    """A queue pair for a reactor, its interrupt (-1: poll), and buffer memory."""

    queue: QueuePair
    eventfd: int
    pool: Region
