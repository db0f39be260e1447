"""Turns: whose command begins when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from scsi2nvme.service import turns
from scsi2nvme.service.turns import Turns
from tests.service.bench import Bench, settle, told
from tests.support import row
from tests.waiting import eventually

_What = TypeVar("_What")


def noting(begun: list[_What], what: _What) -> Callable[[], bool]:
    """Return what begins at once, and notes that it did."""

    def begin() -> bool:
        begun.append(what)
        return True

    return begin


def test_parties_take_turns_and_keep_their_order() -> None:
    async def work() -> None:
        waiting, begun = Turns(clock=lambda: 0.0), list[tuple[str, int]]()
        for number in range(4):
            waiting.add("flood", noting(begun, ("flood", number)))
        waiting.add("a", noting(begun, ("a", 0)))
        await settle()
        assert [party for party, _ in begun].index("a") == 1
        assert [number for party, number in begun if party == "flood"] == [0, 1, 2, 3]

    asyncio.run(work())


def test_the_loop_serves_others_between_a_few() -> None:
    async def work() -> None:
        waiting, begun = Turns(clock=lambda: 0.0), list[int]()
        for number in range(3 * turns.AT_A_TIME):
            waiting.add(number % 2, noting(begun, number))
        for count in (1, 2, 3):
            await asyncio.sleep(0)
            assert len(begun) == count * turns.AT_A_TIME

    asyncio.run(work())


def test_the_loop_serves_others_after_what_takes_long() -> None:
    async def work() -> None:
        now, begun = [0.0], list[int]()
        waiting = Turns(clock=lambda: now[0])

        def save(number: int) -> bool:
            now[0] += turns.LONG_S
            begun.append(number)
            return True

        for number in range(3):
            waiting.add("flood", partial(save, number))
        for count in (1, 2, 3):
            await asyncio.sleep(0)
            assert len(begun) == count

    asyncio.run(work())


def test_what_the_loop_begins_is_begun_before_what_comes_next() -> None:
    async def work() -> None:
        waiting, begun = Turns(clock=lambda: 0.0), list[str]()

        def begin_later() -> bool:
            asyncio.get_running_loop().call_soon(begun.append, "first")
            return False

        waiting.add("a", begin_later)
        waiting.add("a", noting(begun, "second"))
        await settle()
        assert begun == ["first", "second"]

    asyncio.run(work())


@told
async def test_a_flood_of_one_nexus_does_not_delay_another(bench: Bench) -> None:
    other, plane_other = bench.open("b")
    bench.ready(other)
    inquiry = row("INQUIRY").build(allocation_length=36)
    flood = [bench.submit(inquiry) for _ in range(300)]
    task = bench.submit(inquiry, plane_nexus=plane_other)
    await eventually(lambda: task.ended is not None, "the other has its turn")
    assert sum(one.ended is not None for one in flood) < 60
    await eventually(lambda: flood[-1].ended is not None, "the flood ends")
