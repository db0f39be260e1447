"""Commands alike that ask the controller: one asks at a time, for all that have come by then.

What is alike is of one nexus, and asks for the same. Those that come while one is under way wait
until it has ended: then one of them is begun, and its answer is that of all. So nobody gets an
answer that was asked for before its command came, and a flood of them costs little more than one.
Which commands may share an answer their rows say (`Command.shares`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import field
from typing import Generic, TypeVar

from scsi2nvme.records import dataclass

M = TypeVar("M")


@dataclass(eq=False, slots=True)
class Asking(Generic[M]):
    """One that asks: the `others` that it asks for, and the `late` ones, by number.

    When it is `over`, those that are left are to be begun.
    """

    alike: Hashable
    others: dict[int, M] = field(default_factory=dict)
    late: dict[int, M] = field(default_factory=dict)
    over: bool = False


class Sharing(Generic[M]):
    """Who waits for whose answer. Numbers tell all that wait apart."""

    def __init__(self) -> None:
        self._asking: dict[Hashable, Asking[M]] = {}
        self._waiting: dict[int, Asking[M]] = {}

    def wait(self, alike: Hashable, number: int, member: M) -> bool:
        """Have one wait if another like it is under way; whether there is."""
        asking = self._asking.get(alike)
        if asking is None:
            return False
        asking.late[number] = member
        self._waiting[number] = asking
        return True

    def leave(self, number: int) -> M | None:
        """Have one wait no more; None if it does not."""
        asking = self._waiting.pop(number, None)
        if asking is None:
            return None
        return asking.others.pop(number, None) or asking.late.pop(number)

    def ask(self, alike: Hashable) -> Asking[M]:
        """One asks the controller now, and nobody else like it."""
        assert alike not in self._asking
        asking = self._asking[alike] = Asking(alike)
        return asking

    def answered(self, asking: Asking[M]) -> list[M]:
        """Its answer is there, and good for others: return those."""
        others, asking.others = asking.others, {}
        for number in others:
            del self._waiting[number]
        return [*others.values()]

    def end(self, asking: Asking[M]) -> bool:
        """It has ended, or is not to be waited for: whether some are left, for `take`."""
        if asking.over:
            return False
        asking.over = True
        # Who has waited longest goes first.
        asking.others, asking.late = {}, {**asking.others, **asking.late}
        if not asking.late:
            del self._asking[asking.alike]
        return bool(asking.late)

    def take(self, alike: Hashable) -> list[tuple[int, M]]:
        """Return those that wait, with their numbers: they are about to be begun, in this order."""
        left = self._asking.pop(alike).late
        for number in left:
            del self._waiting[number]
        return [*left.items()]

    def let_ask(self, alike: Hashable, others: Sequence[tuple[int, M]]) -> bool:
        """Have the one that asks, if there is one, ask for others that came before; whether so."""
        asking = self._asking.get(alike)
        if asking is None:
            return False
        for number, member in others:
            asking.others[number] = member
            self._waiting[number] = asking
        return True
