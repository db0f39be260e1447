"""What is done once at a time, for all who ask."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.drivers.nvme.coalescing import Coalesced


class Work:
    """Goes on until it is let end; notes what was under way."""

    def __init__(self) -> None:
        self.begun = self.at_once = self.most = self.cancelled = 0
        self.ends: list[asyncio.Future[None]] = []
        self.coalesced = Coalesced(self.run)

    async def run(self) -> int:
        self.begun += 1
        number = self.begun
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        end = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        return number

    async def ask(self, count: int = 1) -> list[asyncio.Task[int]]:
        tasks = [asyncio.create_task(self.coalesced()) for _ in range(count)]
        for _ in range(5):
            await asyncio.sleep(0)
        return tasks


def test_who_asks_meanwhile_shares_the_next() -> None:
    async def scenario() -> None:
        work = Work()
        first = await work.ask()
        later = await work.ask(3)
        assert work.begun == 1
        work.ends[0].set_result(None)
        assert await asyncio.gather(*first) == [1]
        later += await work.ask(0)
        work.ends[1].set_result(None)
        assert await asyncio.gather(*later) == [2] * 3
        last = await work.ask()
        work.ends[2].set_result(None)
        assert await asyncio.gather(*last) == [3]
        assert (work.begun, work.most) == (3, 1)

    asyncio.run(scenario())


def test_what_nobody_waits_for_is_cancelled() -> None:
    async def scenario() -> None:
        work = Work()
        one, other = await work.ask(2)
        one.cancel()
        await asyncio.wait([one])
        assert work.cancelled == 0
        other.cancel()
        await asyncio.wait([other])
        for _ in range(3):
            await asyncio.sleep(0)
        assert (work.cancelled, work.at_once) == (1, 0)
        (again,) = await work.ask()
        work.ends[-1].set_result(None)
        assert await again == 2

    asyncio.run(scenario())


def test_a_failure_is_of_those_who_asked_for_it() -> None:
    async def scenario() -> None:
        work = Work()
        (first,), (second,) = await work.ask(), await work.ask()
        work.ends[0].set_exception(ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            await first
        for _ in range(3):
            await asyncio.sleep(0)
        work.ends[1].set_result(None)
        assert await second == 2

    asyncio.run(scenario())
