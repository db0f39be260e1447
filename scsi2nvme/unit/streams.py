"""The streams that STREAM CONTROL opens. Spec: SBC-4 4.32.

Those of groups are always open: `BlockDevice.permanent_streams` says which these are.
"""

from __future__ import annotations

from scsi2nvme.unit.block_device import BlockDevice


class OpenStreams:
    """Which streams of a logical unit are open. The namespace may have become another."""

    def __init__(self, device: BlockDevice) -> None:
        self._device = device
        self._assigned: set[int] = set()

    def all(self) -> tuple[int, ...]:
        """Return those that writes may name, in ascending order."""
        permanent, streams = self._device.permanent_streams, self._device.streams
        assigned = (stream for stream in self._assigned if permanent < stream <= streams)
        return (*range(1, permanent + 1), *sorted(assigned))

    def open(self) -> int:
        """Assign one that is closed, and return it; 0 if there is none."""
        taken = set(self.all())
        closed = (each for each in range(1, self._device.streams + 1) if each not in taken)
        stream = next(closed, 0)
        if stream:
            self._assigned.add(stream)
        return stream

    def close(self, stream: int) -> None:
        """Close one that was assigned."""
        self._assigned.discard(stream)

    def reset(self) -> None:
        """Close all that were assigned: a logical unit reset, or a format.

        Spec: SBC-4 4.32.
        """
        self._assigned.clear()
