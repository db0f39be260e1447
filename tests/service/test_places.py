"""Places that are given up while what is held with them has to be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from scsi2nvme.service.places import Place, Places


@asynccontextmanager
async def _locked(lock: asyncio.Lock) -> AsyncIterator[None]:
    async with lock:
        yield


class Scene:
    """One place, a lock that is held, and who needs both."""

    def __init__(self) -> None:
        self.places, self.lock, self.entered = Places(1), asyncio.Lock(), 0
        self.place = Place(self.places, "a")

    def hold(self) -> AbstractAsyncContextManager[None]:
        return _locked(self.lock)

    async def work(self) -> None:
        async with self.place.shared(), self.place.within(0, self.hold):
            self.entered += 1

    async def other(self) -> None:
        async with asyncio.timeout(5), self.places.hold("b"):
            pass


def test_who_waits_for_something_else_leaves_the_place_to_others() -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.lock.acquire()
        works = [asyncio.create_task(scene.work()) for _ in range(3)]
        await scene.other()
        assert scene.entered == 0
        scene.lock.release()
        await asyncio.gather(*works)
        assert scene.entered == 3
        await scene.other()

    asyncio.run(scenario())


@pytest.mark.parametrize("in_line", [False, True])
def test_who_gives_up_waits_for_no_place(in_line: bool) -> None:
    async def scenario() -> None:
        scene = Scene()
        await scene.lock.acquire()
        work = asyncio.create_task(scene.work())
        await scene.other()
        async with scene.places.hold("b"):
            if in_line:
                scene.lock.release()
                for _ in range(9):
                    await asyncio.sleep(0)
            work.cancel()
            async with asyncio.timeout(5):
                with pytest.raises(asyncio.CancelledError):
                    await work
        await scene.other()
        assert scene.place._users == 0

    asyncio.run(scenario())
