"""Who waits for something that all use: a line for each party, and the lines have turns.

A party is an I_T nexus as a rule. None is the daemon itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from scsi2nvme.records import dataclass


@dataclass(eq=False, slots=True)
class _Waiting:
    """`take` takes what is waited for, and says whether it could; `served` is done when it has."""

    take: Callable[[], bool]
    served: asyncio.Future[None]


class Lines:
    """The lines. Nobody in them is asked while nothing is `left`."""

    def __init__(self, left: Callable[[], bool]) -> None:
        self._left = left
        self._lines: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, party: Hashable) -> bool:
        return party in self._lines

    async def wait(self, party: Hashable, take: Callable[[], bool]) -> None:
        """Wait behind what the party waits with until `take` has taken what it wants.

        Who is cancelled while it waits has taken nothing.
        """
        waiting = _Waiting(take, asyncio.get_running_loop().create_future())
        line = self._lines.setdefault(party, deque())
        line.append(waiting)
        if len(line) == 1 and self._left():
            self._ask(party)
        try:
            await waiting.served
        except asyncio.CancelledError:
            if waiting.served.cancelled():
                self._leave(party, waiting)
                self.serve()
            raise

    def serve(self) -> None:
        """Ask the first of each line, until none of them can take what it wants."""
        taken = True
        while taken:
            taken = False
            for party in [*self._lines]:
                if not self._left():
                    return
                taken |= self._ask(party)

    def _ask(self, party: Hashable) -> bool:
        first = self._lines[party][0]
        if first.served.cancelled() or not first.take():
            return False
        self._leave(party, first)
        if party in self._lines:
            self._lines.move_to_end(party)
        first.served.set_result(None)
        return True

    def _leave(self, party: Hashable, waiting: _Waiting) -> None:
        line = self._lines[party]
        line.remove(waiting)
        if not line:
            del self._lines[party]
