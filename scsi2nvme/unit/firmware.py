"""A firmware image that an initiator sends in pieces, which the controller has so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class FirmwareDownload:
    """What was downloaded to one controller, through whichever logical unit.

    `sender` is the key of the nexus that sends the image, "" if there is none; `slot` where it
    is to be stored, 0: where the controller wants; `size` how many bytes came, `first` how many
    at once; `mode` how it is to be activated. `busy`: the controller has a command about it.
    """

    def __init__(self) -> None:
        self.busy = False
        self.discard()

    def discard(self) -> None:
        """Forget what came: the controller has, or is to be sent something else."""
        self.begin("", 0, 0)

    def begin(self, sender: str, slot: int, mode: int) -> None:
        """Begin with an image."""
        self.sender, self.slot, self.mode = sender, slot, mode
        self.size = self.first = 0

    def add(self, size: int) -> None:
        """The controller has so many bytes more."""
        self.first = self.first or size
        self.size += size

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Be busy for the body."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
