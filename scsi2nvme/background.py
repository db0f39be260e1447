"""Coroutines that nobody awaits, but whose failures are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Runs coroutines until they end or all are cancelled; `blame` heads what is logged of them."""

    def __init__(self, blame: str = "internal error") -> None:
        self._blame = blame
        self._tasks: set[asyncio.Task[None]] = set()

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
        return await self.wait(limit_s)

    async def wait(self, limit_s: float | None = None) -> bool:
        """Wait for what is running, and for what that starts, for so many seconds at most.

        Returns whether all has ended.
        """
        deadline = None if limit_s is None else asyncio.get_running_loop().time() + limit_s
        while self._tasks:
            left_s = None
            if deadline is not None:
                left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            if not (await asyncio.wait(self._tasks, timeout=left_s))[0]:
                return False
        return True


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
