"""When something has changed: a number that grows."""

from __future__ import annotations


class Epoch:
    """Counts changes: while `number` is the same, nothing has changed that it is told of."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def advance(self) -> None:
        """Something has changed, or may have."""
        self.number += 1
