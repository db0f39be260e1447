"""What nobody awaits, coroutines above all, but whose failures are told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class UnderWay(Protocol):
    """What goes on without a coroutine."""

    def stop(self) -> None:
        """Have it end soon."""


class Background:
    """Runs coroutines until they end or all are cancelled; `blame` heads what is logged of them.

    What goes on without one counts as well, from `enter` to `leave`.
    """

    def __init__(self, blame: str = "internal error") -> None:
        self._blame = blame
        self._tasks: set[asyncio.Task[None]] = set()
        self._others: set[UnderWay] = set()
        self._left: asyncio.Future[None] | None = None  # for who waits: all others have ended

    def enter(self, other: UnderWay) -> None:
        """Count something that goes on among what is running."""
        self._others.add(other)

    def leave(self, other: UnderWay) -> None:
        """It has ended."""
        self._others.discard(other)
        if not self._others and self._left is not None:
            self._left.set_result(None)
            self._left = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start `work` in the running loop; an exception that ends it is logged."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    def failed(self, error: BaseException) -> None:
        """Log what has ended something that nobody awaits."""
        log.error(self._blame, exc_info=error)

    async def cancel(self, limit_s: float | None = None) -> bool:
        """Cancel what is running, and wait for its end, as `wait` does."""
        for task in self._tasks:
            task.cancel()
        for other in [*self._others]:
            other.stop()
        return await self.wait(limit_s)

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait for what is running, and for what that starts, for so many seconds at most.

        Returns whether all has ended.
        """
        deadline = None if limit_s is None else asyncio.get_running_loop().time() + limit_s
        while self._tasks or self._others:
            left_s = None
            if deadline is not None:
                left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            if not (await asyncio.wait(self._running(), timeout=left_s))[0]:
                return False
        return True

    def _running(self) -> set[asyncio.Future[None]]:
        """Return what ends when something that is running does."""
        running: set[asyncio.Future[None]] = {*self._tasks}
        if self._others:
            if self._left is None:
                self._left = asyncio.get_running_loop().create_future()
            running.add(self._left)
        return running


async def within(limit_s: float, work: Coroutine[Any, Any, None]) -> bool:
    """Wait for `work` for so many seconds at most; whether it has ended. Its exception passes.

    What takes longer goes on; how it ends is nobody's concern then.
    """
    task = asyncio.get_running_loop().create_task(work)
    if not (await asyncio.wait([task], timeout=limit_s))[0]:
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        return False
    task.result()
    return True


async def until_ended(
    start: Callable[[Callable[[T | BaseException], None]], Callable[[], None]],
) -> T:
    """Return what `start` has its argument called with, once; raise that if it is an exception.

    Who is cancelled meanwhile calls what `start` has returned, and goes on when it has ended.
    """
    future: asyncio.Future[T | BaseException] = asyncio.get_running_loop().create_future()
    stop = start(future.set_result)
    try:
        outcome = await asyncio.shield(future)
    except asyncio.CancelledError:
        stop()
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
