"""Whose the error history is, and what the snapshot of it is. Spec: SPC-4 5.6 (error history)."""

from __future__ import annotations

from enum import IntEnum


class Retrieved(IntEnum):
    """EHS_RETRIEVED. Spec: SPC-4 6.18.8.2."""

    NOT_TOLD = 0b00
    YES = 0b01
    NO = 0b10


class ErrorHistory:
    """Of one logical unit. `owner` is a nexus's key, "": nobody's.

    `lengths` are the bytes of each buffer of the snapshot, `generation` the controller's number
    of it; there is no snapshot without lengths. `events` are the persistent ones. `reading_ended`:
    who has read them was aborted, or could not release them, and the controller may wait for him
    still.
    """

    def __init__(self) -> None:
        self.owner = ""
        self.retrieved = Retrieved.NO
        self.reading_ended = False
        self.release()

    def release(self) -> None:
        """There is no snapshot any more."""
        self.lengths: dict[int, int] = {}
        self.generation = 0
        self.events = b""

    def reset(self) -> None:
        """It is nobody's any more, and gone."""
        self.owner = ""
        self.release()

    def forget(self, nexus: str) -> None:
        """A nexus has ended."""
        if self.owner == nexus:
            self.reset()
