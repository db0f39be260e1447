"""A method of the control API: its record."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from scsi2nvme.records import dataclass

P = TypeVar("P")
R = TypeVar("R")
N = TypeVar("N")


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


@dataclass(frozen=True, slots=True)
class Notification(Generic[N]):
    """What the daemon tells without being asked each time: a message that wants no answer."""

    name: str
    doc: str
    params: type[N]


@dataclass(frozen=True, slots=True)
class Subscription(Method[P, R], Generic[P, R, N]):
    """A method after whose answer notifications follow on the same connection, `N` in all."""

    tells: tuple[Notification[Any], ...] = ()
