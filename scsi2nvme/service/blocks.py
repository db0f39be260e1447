"""Which blocks of a logical unit the engine's commands work on at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from scsi2nvme.records import dataclass
from scsi2nvme.unit.extents import meet


@dataclass(eq=False, slots=True)
class Claim:
    """Blocks that are used, or waited for if `turn` is there and not done."""

    extents: Sequence[range]
    alone: bool
    turn: asyncio.Future[None] | None = None

    def excludes(self, other: Claim) -> bool:
        """Whether two may not be held at the same time."""
        return (self.alone or other.alone) and meet(self.extents, other.extents)


class BlockLock:
    """Commands share blocks, unless one wants those that it names alone.

    Such have their turns in the order in which they came. What names other blocks never waits.
    """

    def __init__(self) -> None:
        self._claims: dict[Claim, None] = {}  # in the order in which they came
        self._alone = 0

    @asynccontextmanager
    async def hold(self, extents: Sequence[range], *, alone: bool) -> AsyncIterator[None]:
        """Wait for blocks and hold them for the body."""
        claim = Claim(extents, alone)
        waits = self._excluded(claim)
        self._add(claim)
        try:
            if waits:
                claim.turn = asyncio.get_running_loop().create_future()
                await claim.turn
            yield
        finally:
            self.leave(claim)

    def try_share(self, extents: Sequence[range]) -> Claim | None:
        """Hold blocks beside others until `leave`; None if that has to be waited for."""
        claim = Claim(extents, alone=False)
        if self._excluded(claim):
            return None
        self._add(claim)
        return claim

    def leave(self, claim: Claim) -> None:
        """End to hold blocks, or to wait for them."""
        del self._claims[claim]
        if self._alone:
            self._alone -= claim.alone
            self._admit(claim)

    def _excluded(self, claim: Claim) -> bool:
        return (claim.alone or self._alone > 0) and any(map(claim.excludes, self._claims))

    def _add(self, claim: Claim) -> None:
        self._claims[claim] = None
        self._alone += claim.alone

    def _admit(self, left: Claim) -> None:
        """Let those go on who have nobody before them any more, now that one has left."""
        before: list[Claim] = []
        for claim in self._claims:
            waits = claim.turn is not None and not claim.turn.done()
            if waits and left.excludes(claim) and not any(map(claim.excludes, before)):
                assert claim.turn is not None
                claim.turn.set_result(None)
            before.append(claim)


def hull(extents: Sequence[range]) -> range:
    """Return the blocks from the first that extents name to the last."""
    return range(min(each.start for each in extents), max(each.stop for each in extents))
