"""Who may work on a logical unit at the same time: many, or one alone."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

_Turn = tuple[bool, "asyncio.Future[None]"]


class SharedLock:
    """A shared and exclusive lock for one event loop, fair to each of its parties.

    What one party waits with has its turns in the order in which it came; the parties
    take turns. Whoever waits for exclusive use keeps later comers waiting, so that it cannot
    starve. When one that was alone leaves, all go first whose party waits with nothing before
    them that wants to be alone: nobody waits behind a queue of others' exclusive uses.

    In which order commands of different I_T nexuses arrive, nobody but the target can tell:
    the order of one nexus's is kept.
    """

    def __init__(self) -> None:
        self._holders = 0  # -1: one, exclusively
        self._entering = 0  # whose turn has come, and who have not gone on yet
        self._waiting: OrderedDict[Hashable, deque[_Turn]] = OrderedDict()

    @property
    def exclusive(self) -> bool:
        """Whether someone holds it exclusively, or waits to."""
        return self._holders < 0 or any(
            exclusive for turns in self._waiting.values() for exclusive, _ in turns
        )

    @property
    def in_use(self) -> bool:
        """Whether someone holds it, or waits to."""
        return self._holders != 0 or bool(self._waiting)

    @asynccontextmanager
    async def hold(self, *, exclusive: bool, party: Hashable = None) -> AsyncIterator[None]:
        """Wait for the lock and hold it for the body, on behalf of `party`."""
        if not self.try_hold(exclusive=exclusive):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(party, deque()).append((exclusive, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._entering -= 1
                    self._leave(exclusive)
                else:
                    self._give_up(party, (exclusive, turn))
                raise
            self._entering -= 1
            self._admit_next()
        try:
            yield
        finally:
            self._leave(exclusive)

    def try_hold(self, *, exclusive: bool = False) -> bool:
        """Hold the lock until `leave`, unless that has to be waited for; whether it is held.

        Who comes while others are about to go on comes after them.
        """
        if self._waiting or self._entering or not self._admits(exclusive):
            return False
        self._take(exclusive)
        return True

    def try_join(self) -> bool:
        """Hold the lock shared until `leave`, before those who wait; not beside who is alone.

        For who has waited for his turn before, and had to give it up: he has it still.
        """
        if self._holders < 0:
            return False
        self._take(exclusive=False)
        return True

    def leave(self) -> None:
        """End to hold it shared."""
        self._leave(exclusive=False)

    def _admits(self, exclusive: bool) -> bool:
        return self._holders == 0 if exclusive else self._holders >= 0

    def _take(self, exclusive: bool) -> None:
        self._holders = -1 if exclusive else self._holders + 1

    def _leave(self, exclusive: bool) -> None:
        self._holders = 0 if exclusive else self._holders - 1
        if exclusive:
            self._admit_shared()
        self._admit_next()

    def _give_up(self, party: Hashable, turn: _Turn) -> None:
        turns = self._waiting.get(party, ())
        if turn in turns:
            self._waiting[party].remove(turn)
            self._forget_empty(party)
            self._admit_next()

    def _forget_empty(self, party: Hashable) -> None:
        if not self._waiting[party]:
            del self._waiting[party]

    def _pop(self, party: Hashable) -> None:
        """Admit the party's next, unless it has given up."""
        exclusive, turn = self._waiting[party].popleft()
        self._forget_empty(party)
        if not turn.cancelled():
            self._take(exclusive)
            self._entering += 1
            turn.set_result(None)

    def _admit_shared(self) -> None:
        """Admit, of every party, what waits before the first that wants to be alone."""
        for party, turns in list(self._waiting.items()):
            while turns and (turns[0][1].cancelled() or not turns[0][0]):
                self._pop(party)

    def _admit_next(self) -> None:
        """Admit whose turn it is, party by party."""
        while self._waiting:
            party, turns = next(iter(self._waiting.items()))
            exclusive, turn = turns[0]
            if not turn.cancelled() and not self._admits(exclusive):
                return
            self._pop(party)
            if exclusive and party in self._waiting:
                self._waiting.move_to_end(party)
