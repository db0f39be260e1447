"""Buffers of DMA memory for the commands of the control thread's queue pairs.

Whose commands do not end leaves memory to others: beside what is common there are slots, of which
a party has one at a time, and a few that are the daemon's own. Of what is common no party, before
it takes some, has more than twice what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.lines import Lines
from scsi2nvme.native.transport import Region
from scsi2nvme.records import dataclass

SLOT_BYTES = 64 << 10
SLOTS, _OWN_SLOTS = 32, 4
BOUNCE_BYTES = (8 << 20) + SLOTS * SLOT_BYTES  # what is common is as much as the largest batch


@dataclass(frozen=True, slots=True)
class _Loan:
    """What `party` has: `length` bytes of what is common, or the slot at `offset`."""

    party: Hashable
    offset: int
    length: int


class BouncePool:
    """A region that is lent out piece by piece. `slots` of it are at its end.

    Those who wait have a line for each party, and lines have turns. For who has nothing of what
    is common, and does not find enough there, it is kept until there is; others have slots.
    """

    def __init__(self, region: Region, slots: int = SLOTS) -> None:
        self._region = region
        self._common = region.length - slots * SLOT_BYTES
        self._free = [(0, self._common)]  # (offset, length), sorted, never adjacent
        self._slots: list[int] = [*range(self._common, region.length, SLOT_BYTES)]  # free ones
        self._loans: dict[int, _Loan] = {}  # by offset
        self._held: Counter[Hashable] = Counter()  # of what is common, in bytes
        self._in_slots: Counter[Hashable] = Counter()
        self._lines = Lines(lambda: bool(self._free or self._slots))
        self._kept_for: list[Hashable] = []  # for whom what is common is kept: one, or nobody

    @property
    def most(self) -> int:
        """How many bytes can be lent at once."""
        return self._common

    @asynccontextmanager
    async def borrow(self, length: int, party: Hashable = None) -> AsyncIterator[Region]:
        """Lend `length` bytes, page aligned; ValueError if that is more than there is.

        They are the borrower's until the end of the block, and hold what another left there.
        """
        region = self.lend(length, party)
        if region is None:
            region = await self._wait(length, party)
        try:
            yield region
        finally:
            self.take_back(region)

    async def _wait(self, length: int, party: Hashable) -> Region:
        taken: list[Region] = []

        def take() -> bool:
            region = self._take(length, party)
            if region is None:
                self._keep_for(party)
                return False
            taken.append(region)
            return True

        try:
            await self._lines.wait(party, take)
        except BaseException:
            for region in taken:
                self._end_loan(region)
            self._serve()
            raise
        return taken[0]

    def lend(self, length: int, party: Hashable = None) -> Region | None:
        """Lend as `borrow` does until `take_back`, None if that has to be waited for."""
        if length > self._common:
            raise ValueError(f"{length} bytes wanted of {self._common}")
        if length == 0:
            return self._region.slice(0, 0)
        return None if party in self._lines else self._take(length, party)

    def take_back(self, region: Region) -> None:
        """End what `lend` began."""
        if region.length:
            self._end_loan(region)
            self._serve()

    def _serve(self) -> None:
        """Give those who wait what there is, in turn."""
        self._kept_for.clear()
        self._lines.serve()

    def _take(self, length: int, party: Hashable) -> Region | None:
        """Lend some, if the party may have it now."""
        pages = -(-length // PAGE) * PAGE
        offset = self._take_common(pages, party)
        if offset is None:
            offset = self._take_slot(pages, party)
        if offset is None:
            return None
        self._loans[offset] = _Loan(party, offset, pages)
        return self._region.slice(offset, length)

    def _keep_for(self, party: Hashable) -> None:
        """Keep what is common for one that has nothing of it, and is the first of such."""
        if not self._kept_for and not self._held[party]:
            self._kept_for.append(party)

    def _take_common(self, pages: int, party: Hashable) -> int | None:
        held, left = self._held[party], sum(length for _, length in self._free)
        if self._kept_for not in ([], [party]) or (party is not None and held > 2 * left):
            return None
        offset = self._cut(pages)
        if offset is not None:
            self._held[party] += pages
            self._kept_for.clear()
        return offset

    def _take_slot(self, pages: int, party: Hashable) -> int | None:
        if pages > SLOT_BYTES or not self._slots:
            return None
        if party is not None and (self._in_slots[party] or len(self._slots) <= _OWN_SLOTS):
            return None
        self._in_slots[party] += 1
        return self._slots.pop()

    def _end_loan(self, region: Region) -> None:
        loan = self._loans.pop(region.iova - self._region.iova)
        in_slot = loan.offset >= self._common
        held = self._in_slots if in_slot else self._held
        held[loan.party] -= 1 if in_slot else loan.length
        if not held[loan.party]:
            del held[loan.party]
        if in_slot:
            self._slots.append(loan.offset)
        else:
            self._give_back(loan.offset, loan.length)

    def _cut(self, length: int) -> int | None:
        for index, (offset, free) in enumerate(self._free):
            if free >= length:
                self._free[index : index + 1] = (
                    [(offset + length, free - length)] if free > length else []
                )
                return offset
        return None

    def _give_back(self, offset: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, length)]):
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + size)
            else:
                merged.append((start, size))
        self._free = merged
