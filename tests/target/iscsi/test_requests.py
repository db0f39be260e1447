"""Requests that Python answers: whose turn it is when, and how many there are in a second."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from scsi2nvme.target.iscsi import requests
from scsi2nvme.target.iscsi.requests import Requests
from tests.target.iscsi.portal_bench import ALICE, DISK, ready, serving
from tests.waiting import eventually

LU_RESET, COLD_RESET = 5, 7


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_lone_request_is_taken_at_once() -> None:
    """In no later round of the loop than it came."""
    taken = list[int]()
    waiting = Requests(_Clock())
    for number in range(requests.AT_ONCE):
        waiting.add("host", partial(taken.append, number))
    assert taken == list(range(requests.AT_ONCE))


def test_a_flood_has_so_many_in_a_second() -> None:
    async def work() -> None:
        clock, taken = _Clock(), list[int]()
        waiting = Requests(clock)
        for number in range(requests.AT_ONCE + 100):
            waiting.add("flood", partial(taken.append, number))
        assert len(taken) == requests.AT_ONCE
        clock.now_s = 40 / requests.PER_SECOND
        await eventually(lambda: len(taken) == requests.AT_ONCE + 40, "as many as the time is for")
        clock.now_s = 1
        await eventually(lambda: len(taken) == requests.AT_ONCE + 100, "all")
        assert taken == sorted(taken)

    asyncio.run(work())


def test_others_do_not_wait_for_a_flood() -> None:
    async def work() -> None:
        clock, taken = _Clock(), list[str]()
        waiting = Requests(clock)
        for _ in range(requests.AT_ONCE + 100):
            waiting.add("flood", partial(taken.append, "flood"))
        waiting.add("host", partial(taken.append, "host"))
        clock.now_s = 2 / requests.PER_SECOND
        await eventually(lambda: len(taken) == requests.AT_ONCE + 2, "two more")
        assert taken[-2:] == ["flood", "host"]

    asyncio.run(work())


def test_what_is_left_when_a_party_goes_is_taken() -> None:
    async def work() -> None:
        taken = list[int]()
        waiting = Requests(_Clock())
        for number in range(requests.AT_ONCE + 3):
            waiting.add("host", partial(taken.append, number))
        waiting.finish("host")
        assert taken == list(range(requests.AT_ONCE + 3))

    asyncio.run(work())


def test_what_ends_tasks_waits_for_no_such_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "AT_ONCE", 1)
    monkeypatch.setattr(requests, "PER_SECOND", 0.001)
    with serving() as bench, bench.initiator() as one, bench.initiator(name=ALICE) as other:
        for initiator in one, other:
            initiator.login(DISK)
            ready(initiator)
        assert one.task_management(COLD_RESET).response == 6
        one.request_task_management(COLD_RESET)
        assert other.task_management(LU_RESET).response == 0
