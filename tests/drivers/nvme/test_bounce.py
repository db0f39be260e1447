"""Buffers that are lent out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.bounce import BouncePool
from scsi2nvme.native.transport import Region

PAGES = 16


def pool() -> BouncePool:
    return BouncePool(Region(1 << 30, 1 << 20, PAGES * PAGE))


@given(st.lists(st.tuples(st.integers(0, PAGES * PAGE), st.integers(0, 4)), max_size=30))
def test_what_is_lent_never_overlaps_and_all_of_it_comes_back(
    borrowers: list[tuple[int, int]],
) -> None:
    async def scenario() -> None:
        lender = pool()
        lent: set[int] = set()

        async def borrower(length: int, rounds: int) -> None:
            async with lender.borrow(length) as region:
                assert region.length == length
                assert region.iova % PAGE == 0
                assert region.iova - region.vaddr == (1 << 20) - (1 << 30)
                mine = set(range(region.iova // PAGE, -(-(region.iova + length) // PAGE)))
                assert not lent & mine
                lent.update(mine)
                for _ in range(rounds):
                    await asyncio.sleep(0)
                lent.difference_update(mine)

        await asyncio.gather(*(borrower(length, rounds) for length, rounds in borrowers))
        async with lender.borrow(PAGES * PAGE):
            pass

    asyncio.run(scenario())


def test_first_come_first_served_and_cancelled_ones_do_not_block() -> None:
    async def scenario() -> list[str]:
        lender = pool()
        order: list[str] = []

        async def borrower(name: str, pages: int) -> None:
            async with lender.borrow(pages * PAGE):
                order.append(name)

        async with AsyncExitStack() as held:
            await held.enter_async_context(lender.borrow((PAGES - 1) * PAGE))
            large = asyncio.create_task(borrower("large", PAGES))
            await asyncio.sleep(0)
            small = asyncio.create_task(borrower("small", 1))
            await asyncio.sleep(0)
            assert order == []  # though one page is free
            gone = asyncio.create_task(borrower("gone", 2))
            await asyncio.sleep(0)
            gone.cancel()
        await asyncio.gather(large, small)
        return order

    assert asyncio.run(scenario()) == ["large", "small"]


def test_what_is_lent_to_somebody_who_is_cancelled_comes_back() -> None:
    async def scenario() -> None:
        lender = pool()

        async def borrower() -> None:
            async with lender.borrow(PAGES * PAGE):
                pass

        async with lender.borrow(PAGE):
            gone = asyncio.create_task(borrower())
            await asyncio.sleep(0)
        gone.cancel()  # it is its turn now, but it has not gone on yet
        await asyncio.wait([gone])
        await asyncio.wait_for(borrower(), 5)

    asyncio.run(scenario())


def test_more_than_there_is() -> None:
    async def scenario() -> None:
        async with pool().borrow(PAGES * PAGE + 1):
            pass

    with pytest.raises(ValueError, match="wanted"):
        asyncio.run(scenario())
