"""Buffers that are lent out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.memory import PAGE
from scsi2nvme.drivers.nvme.bounce import SLOT_BYTES, SLOTS, BouncePool
from scsi2nvme.native.transport import Region

PAGES = 16


def pool() -> BouncePool:
    return BouncePool(Region(1 << 30, 1 << 20, PAGES * PAGE), slots=0)


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


# What a party has leaves some to others


def shared(pages: int, slots: int) -> BouncePool:
    length = pages * PAGE + slots * SLOT_BYTES
    return BouncePool(Region(1 << 30, 1 << 20, length), slots)


def test_nobody_takes_all_that_is_common() -> None:
    lender = shared(PAGES, 0)
    held = [lender.lend(PAGE, "one") for _ in range(PAGES)]
    assert sum(region is not None for region in held) == 11  # it held 10 when 6 were left
    assert lender.lend(PAGE, "other") is not None


def test_who_has_nothing_gets_all_that_is_left() -> None:
    assert shared(PAGES, 0).lend(PAGES * PAGE, "one") is not None


def test_each_party_has_one_slot_and_the_daemon_has_some_of_its_own() -> None:
    lender = shared(PAGES, SLOTS)
    assert lender.lend(PAGES * PAGE, "large") is not None
    assert lender.lend(PAGE, "large") is not None
    assert lender.lend(PAGE, "large") is None
    others = [lender.lend(SLOT_BYTES, number) for number in range(SLOTS)]
    assert None in others
    own = [lender.lend(SLOT_BYTES) for _ in range(SLOTS - others.index(None))]
    assert sum(region is not None for region in own) == SLOTS - others.index(None) - 1
    regions = [region for region in (*others, *own) if region is not None]
    assert len({region.iova for region in regions}) == len(regions)
    lender.take_back(regions[0])
    lender.take_back(regions[-1])
    assert lender.lend(SLOT_BYTES) is not None


def test_what_is_common_is_kept_for_who_waits_with_nothing_and_others_have_slots() -> None:
    async def scenario() -> None:
        lender = shared(2 * PAGES, SLOTS)
        small = lender.lend(PAGE, "small")
        assert small is not None
        order: list[str] = []

        async def borrower(party: str, length: int) -> None:
            async with lender.borrow(length, party):
                order.append(party)

        large = asyncio.create_task(borrower("large", 2 * PAGES * PAGE))
        await asyncio.sleep(0)
        await borrower("other", PAGE)
        later = asyncio.create_task(borrower("later", SLOT_BYTES + PAGE))
        await asyncio.sleep(0)
        assert order == ["other"]
        lender.take_back(small)
        await asyncio.gather(large, later)
        assert order == ["other", "large", "later"]

    asyncio.run(scenario())


def test_who_gives_up_keeps_nothing_from_others() -> None:
    async def scenario() -> None:
        lender = shared(PAGES, 0)
        small = lender.lend(PAGE, "small")

        async def borrower(party: str, pages: int) -> None:
            async with lender.borrow(pages * PAGE, party):
                pass

        large = asyncio.create_task(borrower("large", PAGES))
        await asyncio.sleep(0)
        other = asyncio.create_task(borrower("other", 2))
        await asyncio.sleep(0)
        assert small is not None
        assert not other.done()
        large.cancel()
        await asyncio.wait_for(other, 5)

    asyncio.run(scenario())


def test_parties_that_wait_have_turns() -> None:
    async def scenario() -> list[str]:
        lender = shared(1, 0)
        order: list[str] = []

        async def borrower(party: str) -> None:
            async with lender.borrow(PAGE, party):
                order.append(party)

        waiting = []
        async with lender.borrow(PAGE, "first"):
            for party in ("one", "one", "one", "other"):
                waiting.append(asyncio.create_task(borrower(party)))
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(scenario()) == ["one", "other", "one", "one"]
