"""The lock: many, or one alone, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.service.lock import SharedLock
from tests.service.bench import settle


class Visitors:
    """Tasks that take a lock and hold it until they are let go."""

    def __init__(self) -> None:
        self.lock = SharedLock()
        self.inside: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, *, alone: bool = False, party: str = "") -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.get_running_loop().create_task(self._visit(name, alone, party))
        await settle()

    async def _visit(self, name: str, alone: bool, party: str) -> None:
        async with self.lock.hold(exclusive=alone, party=party):
            self.inside.append(name)
            try:
                await self._leave[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.tasks[name]
        await settle()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_many_are_inside_together() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("a")
        await visitors.come("b")
        assert visitors.inside == ["a", "b"]
        assert not visitors.lock.exclusive
        await visitors.go("a")
        await visitors.go("b")

    run(work())


def test_one_alone_waits_for_all_and_keeps_all_out() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("a")
        await visitors.come("b")
        await visitors.come("alone", alone=True)
        assert visitors.lock.exclusive
        await visitors.come("later")
        assert visitors.inside == ["a", "b"]
        await visitors.go("a")
        assert visitors.inside == ["b"]
        await visitors.go("b")
        assert visitors.inside == ["alone"]
        await visitors.go("alone")
        assert visitors.inside == ["later"]
        assert not visitors.lock.exclusive
        await visitors.go("later")

    run(work())


def test_those_alone_take_turns_in_order() -> None:
    async def work() -> None:
        visitors = Visitors()
        for name in ("a", "b", "c"):
            await visitors.come(name, alone=True)
        for name in ("a", "b", "c"):
            assert visitors.inside == [name]
            await visitors.go(name)

    run(work())


def test_nobody_waits_behind_the_queue_of_another() -> None:
    async def work() -> None:
        visitors = Visitors()
        for number in range(5):
            await visitors.come(f"flood {number}", alone=True, party="flood")
        await visitors.come("b", party="b")
        await visitors.come("c", party="c")
        await visitors.come("c alone", alone=True, party="c")
        await visitors.come("c later", party="c")
        await visitors.go("flood 0")
        assert visitors.inside == ["b", "c"]
        await visitors.come("b later", party="b")
        assert visitors.inside == ["b", "c"]  # nor does the flood starve
        await visitors.go("b")
        await visitors.go("c")
        assert visitors.inside == ["flood 1"]
        await visitors.go("flood 1")
        assert visitors.inside == ["b later"]
        await visitors.go("b later")
        assert visitors.inside == ["c alone"]  # they take turns
        await visitors.go("c alone")
        assert visitors.inside == ["c later"]
        await visitors.go("c later")
        for number in range(2, 5):
            assert visitors.inside == [f"flood {number}"]
            await visitors.go(f"flood {number}")

    run(work())


def test_a_party_keeps_its_order() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("other", alone=True, party="other")
        await visitors.come("first", alone=True, party="a")
        await visitors.come("second", party="a")
        await visitors.go("other")
        assert visitors.inside == ["first"]
        await visitors.go("first")
        assert visitors.inside == ["second"]
        await visitors.go("second")

    run(work())


def test_who_comes_while_another_is_let_in_comes_after_it() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("alone", alone=True)
        await visitors.come("first")
        await visitors.come("second")
        visitors._leave["alone"].set()
        await visitors.come("third")  # it runs before the first does whose turn has come
        assert visitors.inside == ["first", "second", "third"]
        for name in ("first", "second", "third"):
            await visitors.go(name)
        assert not visitors.lock.in_use

    run(work())


def test_a_failure_inside_leaves_the_lock() -> None:
    async def work() -> None:
        lock = SharedLock()
        with pytest.raises(ZeroDivisionError):
            async with lock.hold(exclusive=True):
                raise ZeroDivisionError
        async with lock.hold(exclusive=True):
            assert lock.exclusive
        assert not lock.exclusive

    run(work())


def test_who_gives_up_waiting_stands_in_nobody_s_way() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("a")
        await visitors.come("alone", alone=True)
        await visitors.come("b")
        await visitors.cancel("alone")
        assert visitors.inside == ["a", "b"]
        assert not visitors.lock.exclusive
        await visitors.go("a")
        await visitors.go("b")

    run(work())


def test_who_is_cancelled_while_being_admitted_gives_the_place_back() -> None:
    async def work() -> None:
        visitors = Visitors()
        await visitors.come("a", alone=True)
        await visitors.come("b", alone=True)
        await visitors.come("c", alone=True)
        visitors._leave["a"].set()
        await visitors.tasks["a"]  # b's turn has come, but b has not run yet
        visitors.tasks["b"].cancel()
        await settle()
        assert visitors.tasks["b"].cancelled()
        assert visitors.inside == ["c"]
        await visitors.go("c")
        assert not visitors.lock.exclusive

    run(work())


def test_who_is_cancelled_and_passed_over_is_just_gone() -> None:
    """The lock meets the cancelled turn before its task has seen the cancellation."""

    async def work() -> None:
        visitors = Visitors()
        await visitors.come("a", alone=True)
        await visitors.come("b", alone=True)
        await visitors.come("c", alone=True)
        visitors._leave["a"].set()
        visitors.tasks["b"].cancel()
        await settle()
        assert visitors.tasks["b"].cancelled()
        assert visitors.inside == ["c"]
        await visitors.go("c")

    run(work())


@given(st.lists(st.tuples(st.sampled_from(("come", "alone", "go", "cancel")), st.integers(0, 9))))
def test_any_story_ends_well(story: list[tuple[str, int]]) -> None:
    """Nobody is inside with one who is alone, and in the end everyone has had a turn."""

    async def work() -> None:
        visitors = Visitors()
        alone: set[str] = set()
        for number, (what, whom) in enumerate(story):
            name = str(number)
            if what in ("come", "alone"):
                if what == "alone":
                    alone.add(name)
                await visitors.come(name, alone=what == "alone", party=str(whom % 3))
            elif visitors.inside and what == "go":
                await visitors.go(visitors.inside[whom % len(visitors.inside)])
            elif waiting := [n for n, t in visitors.tasks.items() if not t.done()]:
                await visitors.cancel(waiting[whom % len(waiting)])
            assert len(visitors.inside) <= 1 or alone.isdisjoint(visitors.inside)
        while visitors.inside:
            await visitors.go(visitors.inside[0])
        assert all(task.done() for task in visitors.tasks.values())
        async with visitors.lock.hold(exclusive=True):
            pass

    run(work())
