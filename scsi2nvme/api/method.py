"""A method of the control API: its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")


def doc(text: str) -> dict[str, str]:
    """Return the `metadata` of a field that is described so."""
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Nothing:
    """The parameters of a method that takes none."""


@dataclass(frozen=True, slots=True)
class Method(Generic[P, R]):
    """One method. `params` is a dataclass, and `result` anything that `scsi2nvme.typed` knows.

    Who may only look may not ask what `changes` anything, or tells what is `private`.
    """

    name: str
    doc: str
    params: type[P]
    result: type[R]
    changes: bool = False
    private: bool = False

    @property
    def restricted(self) -> bool:
        """Whether it is not for who may only look."""
        return self.changes or self.private
