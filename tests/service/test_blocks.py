"""The lock of blocks: who shares them, and who has them alone."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.service import blocks
from scsi2nvme.service.blocks import BlockLock
from scsi2nvme.unit import extents
from tests.service.bench import settle

Claim = tuple[int, int, bool]
CLAIMS = st.tuples(st.integers(0, 9), st.integers(0, 4), st.booleans())

RANGE = st.tuples(st.integers(0, 40), st.integers(0, 5)).map(lambda one: range(one[0], sum(one)))
RANGES = st.lists(RANGE, max_size=12)


def meet(one: Claim, other: Claim) -> bool:
    """Whether two claims may not be held at the same time."""
    blocks = set(range(one[0], one[0] + one[1])) & set(range(other[0], other[0] + other[1]))
    return bool(blocks) and (one[2] or other[2])


class Visitors:
    def __init__(self) -> None:
        self.lock = BlockLock()
        self.inside: list[int] = []
        self.leave: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, claim: Claim) -> None:
        number = len(self.tasks)
        self.leave.append(asyncio.Event())
        self.tasks.append(asyncio.create_task(self._visit(number, claim)))
        await settle()

    async def _visit(self, number: int, claim: Claim) -> None:
        start, count, alone = claim
        async with self.lock.hold([range(start, start + count)], alone=alone):
            self.inside.append(number)
            try:
                await self.leave[number].wait()
            finally:
                self.inside.remove(number)


@given(st.lists(CLAIMS, max_size=12), st.lists(st.integers(0, 11), max_size=24), st.data())
def test_any_story_ends_well(claims: list[Claim], leaving: list[int], data: st.DataObject) -> None:
    """Those inside agree, and whoever waits does so for somebody who came before."""

    async def work() -> None:
        visitors = Visitors()

        def check() -> None:
            inside = visitors.inside
            gone = [number for number, task in enumerate(visitors.tasks) if task.done()]
            for number in range(len(visitors.tasks)):
                before = [
                    other
                    for other in range(number)
                    if other not in gone and meet(claims[other], claims[number])
                ]
                if number not in gone:
                    assert (number in inside) == (not before)

        for number, claim in enumerate(claims):
            await visitors.come(claim)
            check()
            if number < len(leaving) and leaving[number] <= number:
                whom = leaving[number]
                if whom in visitors.inside:
                    visitors.leave[whom].set()
                elif data.draw(st.booleans()):
                    visitors.tasks[whom].cancel()
                await settle()
                check()
        while visitors.inside:
            visitors.leave[visitors.inside[0]].set()
            await settle()
            check()
        assert all(task.done() for task in visitors.tasks)

    asyncio.run(work())


def test_who_leaves_is_compared_with_those_alone_whom_it_kept_out() -> None:
    """Thousands wait: that one goes must not cost a comparison of each with each."""

    async def work() -> None:
        compared = 0
        excludes = blocks.Claim.excludes

        def counting(one: blocks.Claim, other: blocks.Claim) -> bool:
            nonlocal compared
            compared += 1
            return excludes(one, other)

        visitors, count = Visitors(), 40
        for number in range(2 * count):
            await visitors.come((number % count, 1, True))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks.Claim, "excludes", counting)
            visitors.leave[0].set()
            await settle()
        assert count in visitors.inside
        assert compared <= 2 * (2 * count)
        for leave in visitors.leave:
            leave.set()
        await asyncio.gather(*visitors.tasks)

    asyncio.run(work())


@given(RANGES, RANGES)
def test_extents_meet_where_they_have_blocks_in_common(
    some: list[range], others: list[range]
) -> None:
    mine, theirs = set[int]().union(*some), set[int]().union(*others)
    assert extents.meet(some, others) == bool(mine & theirs)
    whole = extents.merged(some)
    assert set[int]().union(*whole) == mine
    assert all(one.stop < other.start for one, other in pairwise(whole))


def test_many_extents_are_put_in_order_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a thousand ranges of one and of another are a million looks, while nobody is served."""
    looks = 0

    def look(one: range, other: range) -> bool:
        nonlocal looks
        looks += 1
        return max(one.start, other.start) < min(one.stop, other.stop)

    monkeypatch.setattr(extents, "_meets", look)
    even, odd = ([range(n, n + 1) for n in range(first, 400, 2)] for first in (0, 1))
    assert not extents.meet(even, odd)
    assert looks <= len(even) + len(odd)
